//! Commands about character devices.

use std::os::fd::OwnedFd;

use super::{Caller, Server};
use crate::chardev::held::{self, Held};
use crate::kind::ChardevNature;
use crate::qmp::Monitors;
use crate::qmp::answer::{Outcome, QmpError};
use crate::qmp::endpoint::{Address, Endpoint};
use crate::qmp::names::{self, Meaning};
use crate::qmp::qapi::QapiType as _;
use crate::qmp::types::chardev::{ChardevAdd, ChardevInfo, ChardevReturn};

/// All character devices.
#[derive(Debug)]
pub struct Chardevs {
    /// Monitors of the command line: character devices that are in use for ever.
    monitors: Vec<Endpoint>,
    /// In the order of their creation.
    devices: Vec<(String, Held)>,
}

impl Chardevs {
    /// None but these monitors.
    #[must_use]
    pub fn new(monitors: Vec<Endpoint>) -> Self {
        Chardevs { monitors, devices: Vec::new() }
    }

    /// What kind of character device has this name.
    pub(super) fn nature(&self, id: &str) -> Option<ChardevNature> {
        self.devices.iter().find(|(label, _)| label == id).map(|(_, held)| held.nature())
    }

    fn is_monitor(&self, id: &str) -> bool {
        (0..self.monitors.len()).any(|number| monitor_label(number) == id)
    }
}

/// How QEMU calls the character device of a monitor.
fn monitor_label(number: usize) -> String {
    format!("compat_monitor{number}")
}

impl Server {
    /// Makes one.
    pub(super) fn chardev_add(&mut self, chardev: &ChardevAdd, caller: Caller<'_>) -> Outcome {
        let id = &chardev.id;
        if self.chardevs.is_monitor(id) || self.chardevs.nature(id).is_some() {
            return Err(QmpError::generic(format!("Chardev with id '{id}' already exists")));
        }
        let checked = chardev.check()?;
        let monitors = &mut self.monitors;
        let held =
            held::open(checked, |text| given(text, monitors, caller)).map_err(|why| chardev.failure(&why))?;
        self.chardevs.devices.push((id.clone(), held));
        Ok(ChardevReturn::default().print())
    }

    /// Closes one, and removes its path.
    pub(super) fn chardev_remove(&mut self, id: &str) -> Outcome {
        if self.chardevs.is_monitor(id) {
            return Err(QmpError::generic(format!("Chardev '{id}' is busy")));
        }
        let at = self.chardevs.devices.iter().position(|(label, _)| label == id);
        let at = at.ok_or_else(|| QmpError::generic(format!("Chardev '{id}' not found")))?;
        self.chardevs.devices.remove(at);
        Ok(crate::qmp::answer::nothing())
    }

    /// Lists all of them.
    pub(super) fn query_chardev(&self) -> Outcome {
        let info = |label, filename, frontend_open| ChardevInfo { label, filename, frontend_open };
        let made = self.chardevs.devices.iter();
        let mut list: Vec<ChardevInfo> =
            made.map(|(id, held)| info(id.clone(), held.filename(), false)).collect();
        for (number, endpoint) in self.chardevs.monitors.iter().enumerate() {
            let state = if self.monitors.has_client(number) { "" } else { "disconnected:" };
            list.push(info(monitor_label(number), format!("{state}{}", place(endpoint)), true));
        }
        Ok(list.print())
    }
}

fn place(endpoint: &Endpoint) -> String {
    let place = match &endpoint.address {
        Address::Unix(path) => format!("unix:{path}"),
        Address::Abstract { name, .. } => format!("unix:{name}"),
        Address::Tcp { host, port } => format!("tcp:{host}:{port}"),
        Address::Inherited(number) => format!("fd:{number}"),
    };
    if endpoint.server { format!("{place},server=on") } else { place }
}

/// The descriptor that an address means.
fn given(text: &str, monitors: &mut Monitors, caller: Caller<'_>) -> Result<OwnedFd, String> {
    match (names::meaning(text).map_err(|error| error.desc)?, caller) {
        (Meaning::Name(name), Caller::Client(request)) => {
            monitors.names(request.monitor).take(name).map_err(|error| error.desc)
        }
        (Meaning::Name(name), Caller::CommandLine) => {
            Err(format!("File descriptor named '{name}' has not been found"))
        }
        (Meaning::Number(number), _) => names::duplicate(number)
            .map_err(|_not_open| format!("File descriptor '{number}' is not a socket")),
    }
}
