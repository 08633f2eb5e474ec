//! `vde`: a port of a VDE switch.

pub mod prepare;

use super::{Kind, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;

object! {
    /// Options of `vde`.
    pub struct Options {
        /// Folder of the switch's sockets.
        sock: Option<String>,
        /// The port; 0 for any.
        port: Option<u16>,
        /// Group of our socket.
        group: Option<String>,
        /// Permissions of our socket.
        mode: Option<u16>,
    }
}

/// Permissions of our socket if none are given.
const MODE_DEFAULT: u16 = 0o700;

/// A switch that can be talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Folder of the switch's sockets; the usual places if absent.
    pub sock: Option<String>,
    /// The port; 0 for any.
    pub port: u16,
    /// Group of our socket.
    pub group: Option<String>,
    /// Permissions of our socket.
    pub mode: u16,
}

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, _around: &dyn Surroundings) -> Result<Checked, QmpError> {
        Ok(self.checked())
    }
}

impl Options {
    /// Nothing about them can be wrong.
    #[must_use]
    pub fn checked(&self) -> Checked {
        Checked {
            sock: self.sock.clone(),
            port: self.port.unwrap_or(0),
            group: self.group.clone(),
            mode: self.mode.unwrap_or(MODE_DEFAULT),
        }
    }
}
