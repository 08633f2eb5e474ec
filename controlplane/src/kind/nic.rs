//! `nic`: a guest's network card.
//!
//! QEMU has it in the schema and refuses it on the monitor, because its cards are devices on a bus. A process
//! that is nothing but the network can give it its plain meaning: a port that a guest attaches to ([`crate::nic`]).
//! Its place on a bus and its interrupt vectors are its front end's business: they are checked, and mean nothing.

use super::mac::Mac;
use super::{Kind, Neighbour, Surroundings};
use crate::nic::Model;
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;

object! {
    /// Options of `nic`.
    pub struct Options {
        /// The netdev that it is peered with.
        netdev: Option<String>,
        /// Its address; one is made up if absent.
        macaddr: Option<String>,
        /// The model that the guest is to see.
        model: Option<String>,
        /// Its place on the bus.
        addr: Option<String>,
        /// How many MSI-X vectors it has.
        vectors: Option<u32>,
    }
}

/// A network card that can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The netdev that it is peered with.
    pub netdev: Option<String>,
    /// Its address; one is made up if absent.
    pub mac: Option<Mac>,
    /// The model that the guest is to see.
    pub model: Model,
}

/// QEMU keeps the number in an `int`.
const VECTORS_MAX: u32 = 0x7fff_ffff;

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, around: &dyn Surroundings) -> Result<Checked, QmpError> {
        match self.netdev.as_ref().map(|netdev| (netdev, around.netdev(netdev))) {
            Some((netdev, None)) => return Err(QmpError::generic(format!("netdev '{netdev}' not found"))),
            Some((netdev, Some(Neighbour::Taken))) => {
                return Err(QmpError::generic(format!("netdev '{netdev}' is already in use")));
            }
            Some((_, Some(Neighbour::Free))) | None => {}
        }
        let mac = self.macaddr.as_deref().map(Mac::parse).transpose()?;
        if mac.is_some_and(Mac::is_multicast) {
            return Err(QmpError::generic("NIC cannot have multicast MAC address (odd 1st byte)"));
        }
        if let Some(vectors) = self.vectors.filter(|vectors| *vectors > VECTORS_MAX) {
            return Err(QmpError::generic(format!("invalid # of vectors: {vectors}")));
        }
        Ok(Checked { netdev: self.netdev.clone(), mac, model: model(self.model.as_deref())? })
    }
}

/// The model that an option of a NIC names; `virtio` is what `-nic` calls the usual one.
///
/// # Errors
/// If it is another one.
pub fn model(name: Option<&str>) -> Result<Model, QmpError> {
    match name {
        None | Some("virtio") => Ok(Model::Pci),
        Some(name) => {
            Model::find(name).ok_or_else(|| QmpError::generic(format!("Unsupported NIC model: {name}")))
        }
    }
}
