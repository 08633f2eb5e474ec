//! Devices and objects: NICs come and go; of everything else that QEMU has there is nothing, and it is refused as
//! QEMU refuses what it does not have.

use framewire_shared::driver::DriverOptions;
use framewire_shared::session::feature;
use serde_json::{Map, Value};

use super::Server;
use super::net::kept;
use crate::connection::Opened;
use crate::inventory::{Description, Inventory, NewPort, Port, Role};
use crate::kind::ChardevNature;
use crate::kind::nic::Checked;
use crate::kind::prepare::PreparedQueue;
use crate::nic::properties::{self, Properties};
use crate::nic::socket::Place;
use crate::nic::{Nic, Origin, naming};
use crate::qmp::answer::{Outcome, QmpError, nothing};
use crate::qmp::types::device::DeviceAdd;
use crate::qmp::types::event::{DeviceDeleted, Event};

impl Server {
    /// Makes a NIC: when this returns, it is in effect.
    pub(super) fn device_add(&mut self, device: &DeviceAdd) -> Outcome {
        properties::check_id(&device.0)?;
        properties::driver(&device.0)?;
        if let Some(id) = device.0.get("id").and_then(Value::as_str)
            && naming::device(self.network.inventory(), id).is_some()
        {
            return Err(QmpError::generic(format!("Duplicate device ID '{id}'")));
        }
        let properties = Properties::read(&device.0)?;
        if let Some(netdev) = &properties.netdev {
            match self.network.inventory().backend(netdev).map(|port| port.peer) {
                None => return Err(properties::netdev_not_found(netdev)),
                Some(Some(_peer)) => return Err(properties::netdev_in_use(netdev)),
                Some(None) => {}
            }
        }
        let chardev = properties.socket.chardev.as_deref();
        chardev.map_or(Ok(()), |chardev| self.check_lender(chardev))?;
        properties.fault.clone().map_or(Ok(()), Err)?;
        properties.socket.check()?;
        self.add_nic(device.0.clone(), &properties, Origin::Device)
    }

    /// `netdev_add` of a NIC.
    pub(super) fn netdev_add_nic(
        &mut self,
        arguments: Map<String, Value>,
        id: &str,
        checked: Checked,
    ) -> Outcome {
        if naming::device(self.network.inventory(), id).is_some() {
            return Err(QmpError::duplicate_id(id));
        }
        let Checked { netdev, mac, model } = checked;
        let properties = Properties { id: Some(id.to_owned()), netdev, mac, ..Properties::new(model) };
        self.add_nic(arguments, &properties, Origin::Netdev)
    }

    fn add_nic(&mut self, arguments: Map<String, Value>, properties: &Properties, origin: Origin) -> Outcome {
        let mut next = self.network.inventory().clone();
        let netdev = properties.netdev.as_deref().and_then(|netdev| next.backend(netdev));
        let pairs = properties.pairs(netdev.map_or(0, |port| port.queues.len()));
        let id = properties.id.clone().unwrap_or_else(|| naming::name(&next, properties.model));
        let place = match &properties.socket.chardev {
            Some(chardev) => {
                self.chardevs.place(chardev).ok_or_else(|| properties::chardev_not_found(chardev))?
            }
            None => properties.socket.place(&id, &self.runtime_dir)?,
        };
        let nic = describe(&next, properties, pairs, (origin, place.clone()));
        let info = nic.info();
        let description = Description { arguments, info, nic: Some(nic), ..Description::default() };
        let peer = properties.netdev.clone();
        let port = next.add(NewPort { id, role: Role::Nic, description, queues: pairs, peer })?;
        let opened = match &place.lender {
            Some(lender) => self.chardevs.offer(&lender.id)?,
            None => properties.socket.open(&place)?,
        };
        let (number, source) = (port.number, place.source(&port.id));
        let kept = kept(port, queues(pairs, &opened));
        if let Err(error) = self.network.commit(next, kept) {
            place.remove();
            return Err(error.into());
        }
        if let Some(lender) = &place.lender {
            self.chardevs.lend(&lender.id, number);
        }
        self.connections.begin(number, source, opened);
        Ok(nothing())
    }

    /// Whether a character device may lend its socket to a NIC.
    fn check_lender(&self, id: &str) -> Result<(), QmpError> {
        match self.chardevs.nature(id) {
            None => Err(properties::chardev_not_found(id)),
            Some(_any) if self.chardevs.user(id).is_some() => Err(properties::chardev_in_use(id)),
            Some(ChardevNature::UnixSocket) => Ok(()),
            Some(ChardevNature::OtherSocket) => {
                Err(QmpError::generic(format!("chardev \"{id}\" does not support FD passing")))
            }
            Some(ChardevNature::NoSocket) => {
                Err(QmpError::generic(format!("chardev \"{id}\" is not a socket")))
            }
        }
    }

    /// Asks a NIC to go.
    pub(super) fn device_del(&mut self, id: &str) -> Outcome {
        let device = naming::device(self.network.inventory(), id);
        let (port, _nic) = device.ok_or_else(|| match naming::is_container(id) {
            true => QmpError::generic(format!("{id} is not a hotpluggable device")),
            false => QmpError::device_not_found(id),
        })?;
        if self.leaving.has(port.number) {
            return Err(QmpError::generic(format!("Device {id} is already in the process of unplug")));
        }
        self.leaving.ask(port.number, self.machine.runs());
        Ok(nothing())
    }

    /// Lets the NICs go whose time has come.
    pub(super) fn dismiss_nics(&mut self) {
        for number in self.leaving.take_due() {
            if let Err(error) = self.remove_nic(number) {
                log::error!("a NIC cannot go: {error}");
            }
        }
    }

    /// Takes a NIC away and says so: first the NIC, then the device that it was in.
    pub(super) fn remove_nic(&mut self, number: u64) -> Result<(), QmpError> {
        self.leaving.forget(number);
        let mut next = self.network.inventory().clone();
        let gone = next.remove_nic(number)?;
        self.network.commit(next, Vec::new())?;
        self.connections.end(number);
        self.changed_filters.forget(number);
        if let Some(Nic { model, device_id, path, origin: Origin::Device, .. }) = gone.nic() {
            if model.has_backend() {
                let backend = DeviceDeleted { device: None, path: format!("{path}/virtio-backend") };
                self.monitors.broadcast(&Event::DeviceDeleted(backend));
            }
            let device = DeviceDeleted { device: device_id.clone(), path: path.clone() };
            self.monitors.broadcast(&Event::DeviceDeleted(device));
        }
        Ok(())
    }

    /// `--device` for NICs that were there before this process: the one that it means, if there is one.
    ///
    /// # Errors
    /// If there is one of that id that is another.
    pub fn adopted_device(
        &self,
        device: &DeviceAdd,
        is_free: impl Fn(&Port) -> bool,
    ) -> Result<Option<u64>, QmpError> {
        let id = device.0.get("id").and_then(Value::as_str);
        let is_meant = |port: &Port, nic: &Nic| {
            if id.is_some() { nic.device_id.as_deref() == id } else { port.description.arguments == device.0 }
        };
        let mut nics = naming::nics(self.network.inventory());
        let Some((port, _nic)) = nics.find(|(port, nic)| is_free(port) && is_meant(port, nic)) else {
            return Ok(None);
        };
        if port.description.arguments == device.0 {
            return Ok(Some(port.number));
        }
        Err(QmpError::generic(
            "it exists with other properties and carries frames; delete it with device_del, or give it as it is",
        ))
    }
}

/// Its queue pairs, empty until there is a guest. The data plane keeps the socket for a next control plane.
fn queues(pairs: usize, opened: &Opened) -> Vec<PreparedQueue> {
    let listener = if let Opened::Listener(listener) = opened { listener.try_clone().ok() } else { None };
    let mut listener = Vec::from_iter(listener);
    let pair =
        |_nth| PreparedQueue { options: DriverOptions::Guest, descriptors: std::mem::take(&mut listener) };
    (0..pairs).map(pair).collect()
}

/// What the NIC will be for ever.
fn describe(
    inventory: &Inventory,
    properties: &Properties,
    pairs: usize,
    (origin, socket): (Origin, Place),
) -> Nic {
    let id = properties.id.as_deref();
    let mut features = properties.features | feature::MAC;
    if pairs > 1 {
        features |= feature::MQ;
    }
    if properties.mtu.is_some() {
        features |= feature::MTU;
    }
    Nic {
        model: properties.model,
        mac: properties.mac.unwrap_or_else(|| naming::free_mac(inventory)),
        origin,
        device_id: properties.id.clone(),
        path: naming::path(inventory, id),
        features,
        mtu: properties.mtu,
        socket,
    }
}

pub(super) fn object_del(id: &str) -> Outcome {
    Err(QmpError::generic(format!("object '{id}' not found")))
}
