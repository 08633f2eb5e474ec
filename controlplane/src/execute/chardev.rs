//! Commands about character devices.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::waiting::{Matter, Step};
use super::{Caller, Server};
use crate::chardev::file::ChardevFile;
use crate::chardev::held::{self, Held, Opening};
use crate::chardev::{self, Checked, Socket};
use crate::connection::Opened;
use crate::kind::ChardevNature;
use crate::nic::socket::{Lender, Place};
use crate::nic::{Nic, naming};
use crate::qmp::Monitors;
use crate::qmp::answer::{ErrorClass, Outcome, QmpError, nothing};
use crate::qmp::endpoint::{Address, Endpoint};
use crate::qmp::names::{self, Meaning};
use crate::qmp::qapi::QapiType as _;
use crate::qmp::types::chardev::{ChardevAdd, ChardevInfo, ChardevReturn};
use crate::qmp::types::socket_address::SocketAddress;
use crate::qmp::types::yank::{YankChardev, YankInstance};

/// How long the start of this process may be held up by one connection.
const AT_START_MAX: Duration = Duration::from_secs(10);

/// All character devices.
#[derive(Debug)]
pub struct Chardevs {
    /// Monitors of the command line: character devices that are in use for ever.
    monitors: Vec<Endpoint>,
    /// In the order of their creation.
    devices: Vec<Device>,
    file: ChardevFile,
}

/// One that was made.
#[derive(Debug)]
struct Device {
    /// How it was asked for.
    asked: ChardevAdd,
    held: Held,
    /// The port that uses it, by number.
    user: Option<u64>,
}

impl Chardevs {
    /// None but these monitors. What will be made is written down in `file`.
    #[must_use]
    pub fn new(monitors: Vec<Endpoint>, file: ChardevFile) -> Self {
        Chardevs { monitors, devices: Vec::new(), file }
    }

    /// What kind of character device has this name.
    pub(super) fn nature(&self, id: &str) -> Option<ChardevNature> {
        self.device(id).map(|device| device.held.nature())
    }

    /// When [`look_after`](Self::look_after) is to be called.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.devices
            .iter()
            .filter(|device| device.user.is_none())
            .filter_map(|device| device.held.due())
            .min()
    }

    /// Connects those whose turn it is. Those that were lent to ports that are gone are free again.
    pub fn look_after(&mut self, exists: impl Fn(u64) -> bool) {
        for device in &mut self.devices {
            device.user = device.user.filter(|port| exists(*port));
            if device.user.is_none() {
                device.held.look();
            }
        }
    }

    /// The port that uses it, by number.
    pub(super) fn user(&self, id: &str) -> Option<u64> {
        self.device(id)?.user
    }

    /// Where a NIC is that uses this one.
    pub(super) fn place(&self, id: &str) -> Option<Place> {
        let Checked::Socket(Socket { address, role, .. }) = self.device(id)?.asked.check().ok()? else {
            return None;
        };
        let (is_server, retry_ms) = match role {
            chardev::Role::Server { .. } => (true, None),
            chardev::Role::Client { reconnect_ms } => (false, reconnect_ms),
        };
        let address = if let SocketAddress::Unix(unix) = address { Some(unix) } else { None };
        let path = address.as_ref().map_or(String::new(), |unix| unix.path.clone());
        Some(Place { path, retry_ms, lender: Some(Lender { id: id.to_owned(), address, is_server }) })
    }

    /// What a NIC begins with that is to use this one.
    pub(super) fn offer(&self, id: &str) -> Result<Opened, QmpError> {
        let failed = |error: std::io::Error| QmpError::generic(format!("chardev \"{id}\": {error}"));
        let device = self.device(id).ok_or_else(|| QmpError::generic(format!("Chardev '{id}' not found")))?;
        device.held.offer().map_err(failed)
    }

    /// A NIC uses it from now on.
    pub(super) fn lend(&mut self, id: &str, port: u64) {
        if let Some(device) = self.devices.iter_mut().find(|device| device.asked.id == id) {
            device.user = Some(port);
            device.held.lend();
        }
    }

    fn device(&self, id: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.asked.id == id)
    }

    fn save(&self) -> std::io::Result<()> {
        self.file.save(self.devices.iter().map(|device| &device.asked))
    }

    /// The number of the monitor of this name.
    fn monitor(&self, id: &str) -> Option<usize> {
        (0..self.monitors.len()).find(|number| monitor_label(*number) == id)
    }

    fn is_monitor(&self, id: &str) -> bool {
        self.monitor(id).is_some()
    }
}

/// How QEMU calls the character device of a monitor.
fn monitor_label(number: usize) -> String {
    format!("compat_monitor{number}")
}

impl Server {
    /// Makes one, however long that takes.
    pub(super) fn chardev_add(&mut self, chardev: &ChardevAdd, caller: Caller<'_>) -> Outcome {
        match self.chardev_begin(chardev, caller) {
            Step::Done(outcome) => outcome,
            Step::Waits(Matter::Connection(connection)) => {
                let (chardev, attempt) = *connection;
                self.chardev_ready(&chardev, attempt.wait(AT_START_MAX))
            }
            Step::Waits(Matter::Names(_)) => Err(chardev.failure("its name is not known")),
        }
    }

    /// Begins to make one.
    pub(super) fn chardev_begin(&mut self, chardev: &ChardevAdd, caller: Caller<'_>) -> Step {
        match self.chardev_open(chardev, caller) {
            Err(error) => Step::Done(Err(error)),
            Ok(Opening::Done(held)) => Step::Done(self.chardev_ready(chardev, Ok(held))),
            Ok(Opening::Underway(mut attempt)) => match attempt.look() {
                Some(ended) => Step::Done(self.chardev_ready(chardev, ended)),
                None => Step::Waits(Matter::Connection(Box::new((chardev.clone(), attempt)))),
            },
        }
    }

    fn chardev_open(&mut self, chardev: &ChardevAdd, caller: Caller<'_>) -> Result<Opening, QmpError> {
        let id = &chardev.id;
        let is_taken = self.chardevs.is_monitor(id) || self.chardevs.nature(id).is_some();
        if is_taken || self.waiting.has_chardev(id) {
            return Err(QmpError::generic(format!("Chardev with id '{id}' already exists")));
        }
        let checked = chardev.check()?;
        let (monitors, known) = (&mut self.monitors, &self.waiting.known);
        let opening =
            held::open(checked, |text| given(text, monitors, caller), |question| known.look_up(question));
        opening.map_err(|why| chardev.failure(&why))
    }

    /// It has what it needs, or cannot have it.
    pub(super) fn chardev_ready(&mut self, chardev: &ChardevAdd, held: Result<Held, String>) -> Outcome {
        let held = held.map_err(|why| chardev.failure(&why))?;
        self.chardevs.devices.push(Device { asked: chardev.clone(), held, user: None });
        if let Err(error) = self.chardevs.save() {
            self.chardevs.devices.pop();
            return Err(chardev.failure(&error.to_string()));
        }
        Ok(ChardevReturn::default().print())
    }

    /// Closes one, and removes its path.
    pub(super) fn chardev_remove(&mut self, id: &str) -> Outcome {
        if self.chardevs.is_monitor(id) {
            return Err(QmpError::generic(format!("Chardev '{id}' is busy")));
        }
        let at = self.chardevs.devices.iter().position(|device| device.asked.id == id);
        let at = at.ok_or_else(|| QmpError::generic(format!("Chardev '{id}' not found")))?;
        if self.is_in_use(&self.chardevs.devices[at]) {
            return Err(QmpError::generic(format!("Chardev '{id}' is busy")));
        }
        self.chardevs.devices.remove(at);
        if let Err(error) = self.chardevs.save() {
            // It is gone all the same; at worst a next control plane makes it again.
            log::error!("character devices: {error}");
        }
        Ok(nothing())
    }

    /// Makes those again that a control plane before this one had; returns their names.
    pub fn recall_chardevs(&mut self, saved: &[ChardevAdd]) -> Vec<String> {
        for chardev in saved {
            if let Some(port) = self.lent_to(&chardev.id) {
                self.recall_lent(chardev, port);
            } else if let Err(error) = self.chardev_add(chardev, Caller::CommandLine) {
                log::warn!("{error}; it is gone");
            }
        }
        self.chardevs.devices.iter().map(|device| device.asked.id.clone()).collect()
    }

    /// The NIC that uses the character device of this name, by number.
    fn lent_to(&self, id: &str) -> Option<u64> {
        let is_its = |nic: &Nic| nic.socket.lender.as_ref().is_some_and(|lender| lender.id == id);
        naming::nics(self.network.inventory())
            .find(|(_port, nic)| is_its(nic))
            .map(|(port, _nic)| port.number)
    }

    /// One whose socket a NIC has had all the time.
    fn recall_lent(&mut self, chardev: &ChardevAdd, port: u64) {
        let listener = self.connections.listener(port).and_then(|listener| listener.try_clone().ok());
        let held = chardev
            .check()
            .and_then(|checked| Held::recalled(checked, listener).map_err(|why| chardev.failure(&why)));
        match held {
            Ok(held) => {
                self.chardevs.devices.push(Device { asked: chardev.clone(), held, user: Some(port) });
            }
            Err(error) => log::warn!("{error}; it is gone"),
        }
    }

    /// Whether the port that uses it is still there.
    fn is_in_use(&self, device: &Device) -> bool {
        device.user.is_some_and(|port| self.network.inventory().port(port).is_some())
    }

    /// `--chardev` for one that was made again: it must be the same.
    ///
    /// # Errors
    /// If it is another one of that name.
    pub fn check_recalled(&self, chardev: &ChardevAdd) -> Result<(), QmpError> {
        if self.chardevs.device(&chardev.id).is_some_and(|device| device.asked == *chardev) {
            return Ok(());
        }
        Err(QmpError::generic(
            "it exists with other options; delete it with chardev-remove, or give it as it is",
        ))
    }

    /// Lists what can be torn off.
    pub(super) fn query_yank(&self) -> Outcome {
        let monitors = (0..self.chardevs.monitors.len()).map(monitor_label);
        let made = self.chardevs.devices.iter().filter(|device| device.held.is_socket());
        let ids = monitors.chain(made.map(|device| device.asked.id.clone()));
        let list: Vec<YankInstance> = ids.map(|id| YankInstance::Chardev(YankChardev { id })).collect();
        Ok(list.print())
    }

    /// Tears connections off: of all instances, or of none if one is unknown.
    pub(super) fn yank(&mut self, instances: &[YankInstance]) -> Outcome {
        let ids: Option<Vec<&str>> = instances.iter().map(|instance| self.yankable(instance)).collect();
        let unknown = || QmpError::new(ErrorClass::DeviceNotFound, "Instance not found");
        let ids: Vec<String> = ids.ok_or_else(unknown)?.into_iter().map(str::to_owned).collect();
        for id in ids {
            if let Some(number) = self.chardevs.monitor(&id) {
                self.monitors.hang_up(number);
            }
            if let Some(device) = self.chardevs.device(&id) {
                device.held.tear_off();
                device.user.iter().for_each(|port| self.connections.tear_off(*port));
            }
        }
        Ok(nothing())
    }

    fn yankable<'a>(&self, instance: &'a YankInstance) -> Option<&'a str> {
        match instance {
            YankInstance::Chardev(YankChardev { id }) => {
                let is_socket = self.chardevs.device(id).is_some_and(|device| device.held.is_socket());
                (is_socket || self.chardevs.is_monitor(id)).then_some(id)
            }
            YankInstance::BlockNode(_) | YankInstance::Migration(_) => None,
        }
    }

    /// Lists all of them.
    pub(super) fn query_chardev(&self) -> Outcome {
        Ok(self.chardev_list().print())
    }

    /// The same, not yet for anybody.
    pub(super) fn chardev_list(&self) -> Vec<ChardevInfo> {
        let info = |label, filename, frontend_open| ChardevInfo { label, filename, frontend_open };
        let made = self.chardevs.devices.iter().map(|device| {
            let is_connected = device.user.is_some_and(|port| self.connections.is_in_use(port) == Some(true));
            info(device.asked.id.clone(), device.held.filename(is_connected), self.is_in_use(device))
        });
        let mut list: Vec<ChardevInfo> = made.collect();
        for (number, endpoint) in self.chardevs.monitors.iter().enumerate() {
            let state = if self.monitors.has_client(number) { "" } else { "disconnected:" };
            list.push(info(monitor_label(number), format!("{state}{}", place(endpoint)), true));
        }
        list
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

/// The descriptor that an address means: a client's are named, and on the command line there are only numbers.
fn given(text: &str, monitors: &mut Monitors, caller: Caller<'_>) -> Result<OwnedFd, String> {
    if let Caller::Client(request) = caller {
        return monitors.names(request.monitor).take(text).map_err(|error| error.desc);
    }
    match names::meaning(text).map_err(|error| error.desc)? {
        Meaning::Name(name) => Err(format!("File descriptor named '{name}' has not been found")),
        Meaning::Number(number) => names::duplicate(number)
            .map_err(|_not_open| format!("File descriptor '{number}' is not a socket")),
    }
}
