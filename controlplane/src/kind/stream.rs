//! `stream`: frames with their length in front, over a stream socket.
//!
//! QEMU resolves, connects and listens after the command has answered, so nothing about the address can be wrong
//! here. What can be wrong are the options for trying again, which two generations of QEMU spell differently:
//! `reconnect` in seconds, `reconnect-ms` in milliseconds. Both are taken, never both at once.

pub mod prepare;

use super::{Kind, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;
use crate::qmp::types::socket_address::SocketAddress;

object! {
    /// Options of `stream`.
    pub struct Options {
        /// Where it listens or connects to.
        addr: SocketAddress,
        /// Whether it listens.
        server: Option<bool>,
        /// Seconds until a lost connection is tried again; 0 never.
        reconnect ["deprecated"]: Option<u32>,
        /// The same in milliseconds.
        reconnect_ms as "reconnect-ms": Option<i64>,
    }
}

/// A stream that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Where it listens or connects to.
    pub addr: SocketAddress,
    /// Who begins.
    pub role: Role,
}

/// Who begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Listens, and serves one client at a time.
    Server,
    /// Connects.
    Client {
        /// After how long a lost connection is tried again; None never.
        reconnect_ms: Option<u64>,
    },
}

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, _around: &dyn Surroundings) -> Result<Checked, QmpError> {
        self.checked()
    }
}

impl Options {
    /// The same, since nothing around matters.
    pub fn checked(&self) -> Result<Checked, QmpError> {
        if self.reconnect.is_some() && self.reconnect_ms.is_some() {
            return refuse("'reconnect' and 'reconnect-ms' are mutually exclusive");
        }
        let seconds_in_ms = self.reconnect.map(|seconds| u64::from(seconds) * 1000);
        // Negative is as good as never, as QEMU's timer has it.
        let given_ms = self.reconnect_ms.map(|ms| u64::try_from(ms).unwrap_or(0));
        let reconnect_ms = seconds_in_ms.or(given_ms);
        let role = if self.server != Some(true) {
            Role::Client { reconnect_ms: reconnect_ms.filter(|ms| *ms > 0) }
        } else if reconnect_ms.is_none() {
            Role::Server
        } else {
            return refuse(
                "'reconnect' and 'reconnect-ms' options are incompatible with socket in server mode",
            );
        };
        Ok(Checked { addr: self.addr.clone(), role })
    }
}

fn refuse(text: &str) -> Result<Checked, QmpError> {
    Err(QmpError::generic(text))
}
