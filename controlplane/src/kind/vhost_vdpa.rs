//! `vhost-vdpa`: a device whose rings are virtio's and whose control is the kernel's.

use std::os::fd::OwnedFd;

use super::prepare::Descriptors;
use super::{Kind, Surroundings};
use crate::host::{vhost, words};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;

object! {
    /// Options of `vhost-vdpa`.
    #[derive(Default)]
    pub struct Options {
        /// The device.
        vhostdev: Option<String>,
        /// The device as a descriptor, by number or name.
        vhostfd: Option<String>,
        /// Ignored: the device says how many queues it has.
        queues: Option<i64>,
        /// Whether rings go through us.
        x_svq as "x-svq" ["unstable"]: Option<bool>,
    }
}

/// A device that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Where it is.
    pub device: Device,
    /// Whether rings go through us.
    pub shadow_rings: bool,
}

/// Where a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// At a path.
    Path(String),
    /// Open already, by number or name.
    Fd(String),
}

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, _around: &dyn Surroundings) -> Result<Checked, QmpError> {
        let device = match (&self.vhostdev, &self.vhostfd) {
            (Some(path), None) => Device::Path(path.clone()),
            (None, Some(fd)) => Device::Fd(fd.clone()),
            (Some(_), Some(_)) => {
                return refuse("vhost-vdpa: vhostdev= and vhostfd= are mutually exclusive");
            }
            (None, None) => return refuse("vhost-vdpa: neither vhostdev= nor vhostfd= was specified"),
        };
        Ok(Checked { device, shadow_rings: self.x_svq == Some(true) })
    }
}

fn refuse(text: &str) -> Result<Checked, QmpError> {
    Err(QmpError::generic(text))
}

/// Opens the device, and makes sure that it is one.
pub(super) fn open(checked: &Checked, descriptors: &mut dyn Descriptors) -> Result<OwnedFd, QmpError> {
    let device = match &checked.device {
        Device::Path(path) => {
            vhost::open(path).map_err(|errno| format!("Could not open '{path}': {}", words(errno)))
        }
        Device::Fd(fd) => descriptors
            .take(fd)
            .map_err(|error| format!("vhost-vdpa: unable to parse vhostfd: {}", error.desc)),
    };
    let device = device.map_err(QmpError::generic)?;
    match vhost::features(&device) {
        Ok(_features) => Ok(device),
        Err(errno) => {
            Err(QmpError::generic(format!("Fail to query features from vhost-vDPA device: {}", words(errno))))
        }
    }
}
