//! `bridge`: a tap interface that a privileged helper makes and puts into a bridge.

use super::tap::BRIDGE_DEFAULT;
use super::{Kind, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;

/// The helper if none is named.
pub const HELPER_DEFAULT: &str = "/usr/lib/qemu/qemu-bridge-helper";

object! {
    /// Options of `bridge`.
    pub struct Options {
        /// The bridge.
        br: Option<String>,
        /// The program, or a command line.
        helper: Option<String>,
    }
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The program, or a command line.
    pub helper: String,
    /// The bridge.
    pub bridge: String,
}

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, _around: &dyn Surroundings) -> Result<Checked, QmpError> {
        Ok(Checked {
            helper: self.helper.clone().unwrap_or_else(|| HELPER_DEFAULT.to_owned()),
            bridge: self.br.clone().unwrap_or_else(|| BRIDGE_DEFAULT.to_owned()),
        })
    }
}
