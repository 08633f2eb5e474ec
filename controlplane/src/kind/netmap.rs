//! `netmap`: rings of a netmap port.

use super::{Kind, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;

/// The device if none is given.
const DEVICE_DEFAULT: &str = "/dev/netmap";

object! {
    /// Options of `netmap`.
    pub struct Options {
        /// The port.
        ifname: String,
        /// The device.
        devname: Option<String>,
    }
}

/// A port that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The port.
    pub ifname: String,
    /// The device.
    pub device: String,
}

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, _around: &dyn Surroundings) -> Result<Checked, QmpError> {
        let device = self.devname.clone().unwrap_or_else(|| DEVICE_DEFAULT.to_owned());
        Ok(Checked { ifname: self.ifname.clone(), device })
    }
}
