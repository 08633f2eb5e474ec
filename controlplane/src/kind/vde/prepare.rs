//! Taking a port of a switch.
//!
//! The queue is a datagram socket like any other. The control connection is handed over with it, as one descriptor more
//! than the queue needs: the port of the switch lives as long as that does, past the end of a control plane that was
//! killed. A switch that ends is [`crate::plugs`]' business.

use std::time::Duration;

use framewire_shared::driver::{Batching, DgramOptions, DriverOptions};
use rustix::io::Errno;

use super::Checked;
use crate::host::vde::{Plugged, Wish, plug};
use crate::host::{socket, words};
use crate::kind::prepare::{Prepared, PreparedQueue};
use crate::qmp::answer::QmpError;

/// How long a client waits for a switch that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens what a plug consists of.
pub(in crate::kind) fn prepare(checked: &Checked) -> Result<Prepared, QmpError> {
    let queue = take_port(checked, PATIENCE)
        .map_err(|errno| QmpError::generic(format!("Could not open vde: {}", words(errno))))?;
    let info = format!("sock={}", checked.sock.as_deref().unwrap_or("default"));
    Ok(Prepared::netdev(vec![queue], info))
}

/// A queue at a port of the switch.
///
/// # Errors
/// As the kernel says.
pub fn take_port(checked: &Checked, patience: Duration) -> Result<PreparedQueue, Errno> {
    let wish = Wish {
        folder: checked.sock.as_deref(),
        port: checked.port,
        group: checked.group.as_deref(),
        mode: checked.mode,
    };
    let Plugged { data, control } = plug(&wish, patience)?;
    socket::enlarge_buffers(&data);
    let options = DgramOptions::new(Batching::Single, &[]).expect("no address is short");
    Ok(PreparedQueue { options: DriverOptions::Dgram(options), descriptors: vec![data, control] })
}
