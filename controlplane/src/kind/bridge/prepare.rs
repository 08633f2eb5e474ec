//! How a bridge gets its port: by a helper, or by ourselves.
//!
//! A helper that is named, or installed where distributions put QEMU's, is run, because an operator's rules about
//! who may use which bridge are in its hands. Where there is none, nothing stands between us and the bridge but our
//! own privileges: if they suffice, what the helper would have done is done here.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use super::Checked;
use crate::host::helper::{Failure, Task};
use crate::host::tun::{self, Queue, Refusal, Wanted};
use crate::host::{bridge, words};
use crate::kind::prepare::Prepared;
use crate::kind::tap::prepare::{adopted, netdev};
use crate::qmp::answer::QmpError;

/// Where the helper is if none is named.
const HELPERS: [&str; 2] = ["/usr/lib/qemu/qemu-bridge-helper", "/usr/libexec/qemu-bridge-helper"];

/// How long a helper may take, while all clients wait. It makes a dozen system calls.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens what a bridge netdev consists of.
pub(in crate::kind) fn prepare(checked: Checked) -> Result<Prepared, QmpError> {
    let Checked { helper, bridge } = checked;
    let installed = || HELPERS.iter().find(|path| Path::new(path).exists()).map(|path| (*path).to_owned());
    match helper.or_else(installed) {
        Some(helper) => netdev(by_helper(&helper, &bridge)?, format!("helper={helper},br={bridge}")),
        None => {
            let queue = by_ourselves(&bridge).map_err(|errno| {
                let why = words(errno);
                log::warn!(
                    "bridge '{bridge}': no helper is installed, and making a port of it failed: {why}"
                );
                failed()
            })?;
            let info = format!("ifname={},br={bridge}", queue.interface);
            netdev(queue, info)
        }
    }
}

/// A tap in a bridge, made by a helper.
pub(in crate::kind) fn by_helper(helper: &str, bridge: &str) -> Result<Queue, QmpError> {
    match (Task { helper, bridge, patience: PATIENCE }).run() {
        Ok(descriptor) => adopted(descriptor),
        Err(Failure::Helper) => Err(failed()),
        Err(Failure::Socket(errno)) => {
            Err(QmpError::generic(format!("failed to recv file descriptor: {}", words(errno))))
        }
        // QEMU takes its descriptor 0 for the tap then, and finds that it is none.
        Err(Failure::NothingSent) => {
            let why = words(Errno::NOTTY);
            Err(QmpError::generic(format!("Unable to query TUNGETIFF on FD 0: {why}")))
        }
    }
}

fn by_ourselves(bridge: &str) -> Result<Queue, Errno> {
    let wanted = Wanted { interface: None, multi_queue: false, vnet_header: None };
    let queue = tun::open(wanted).map_err(|refusal| match refusal {
        Refusal::Open(errno) | Refusal::Configure(errno) => errno,
        Refusal::NoVnetHeader => Errno::NOTSUP,
    })?;
    bridge::add_port(bridge, &queue.interface)?;
    Ok(queue)
}

fn failed() -> QmpError {
    QmpError::generic("bridge helper failed")
}
