//! `bridge`: a tap interface that a privileged helper makes and puts into a bridge.

pub mod prepare;

use super::tap::BRIDGE_DEFAULT;
use super::{Kind, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;

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
    /// The program, or a command line; one that is installed if absent.
    pub helper: Option<String>,
    /// The bridge.
    pub bridge: String,
}

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, _around: &dyn Surroundings) -> Result<Checked, QmpError> {
        Ok(Checked {
            helper: self.helper.clone(),
            bridge: self.br.clone().unwrap_or_else(|| BRIDGE_DEFAULT.to_owned()),
        })
    }
}
