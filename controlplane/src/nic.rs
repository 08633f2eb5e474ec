//! A guest's NIC: what is known of it before there is a guest.
//!
//! **Problem.** In QEMU a NIC is a device on a bus of a machine, and netdevs are one thing, devices another. Here is no
//! machine; yet clients make NICs with `device_add`, ask about them, take them away and wait for `DEVICE_DELETED`.
//!
//! **Rejected.** Pretending buses and slots: clients could then run into refusals about things that do not exist.
//!
//! **Chosen.** A NIC is a port like any other, whose outside is a guest instead of the host. `device_add` makes it
//! from QEMU's properties ([`properties`]): those that say something about the network count, those of buses, slots
//! and boot ROMs are known and mean nothing here. `netdev_add` of type `nic` makes the same, and so does `--nic`.
//! Names, addresses and paths are QEMU's ([`naming`]).

pub mod announce;
pub mod leaving;
pub mod naming;
pub mod properties;
pub mod record;
pub mod rx_filter;
pub mod socket;

use framewire_shared::session::feature;

use crate::kind::mac::Mac;

/// The models that there are. All are served in the same way: what differs, the front end makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// On PCI.
    Pci,
    /// On PCI, for drivers of all ages.
    PciTransitional,
    /// On PCI, for present drivers only.
    PciNonTransitional,
    /// On no particular bus.
    Device,
}

impl Model {
    const ALL: [Model; 4] = [Model::Pci, Model::PciTransitional, Model::PciNonTransitional, Model::Device];

    /// QEMU's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Model::Pci => "virtio-net-pci",
            Model::PciTransitional => "virtio-net-pci-transitional",
            Model::PciNonTransitional => "virtio-net-pci-non-transitional",
            Model::Device => "virtio-net-device",
        }
    }

    /// The model of that name; `virtio-net` is another name of the first.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        if name == "virtio-net" {
            return Some(Model::Pci);
        }
        Model::ALL.into_iter().find(|model| model.name() == name)
    }

    /// Whether QEMU makes two objects of it, a device on a bus and the NIC in it.
    #[must_use]
    pub fn has_backend(self) -> bool {
        match self {
            Model::Pci | Model::PciTransitional | Model::PciNonTransitional => true,
            Model::Device => false,
        }
    }
}

/// Which command has made a NIC, and may unmake it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `device_add`.
    Device,
    /// `netdev_add`; its id is one of both name spaces.
    Netdev,
}

/// What never changes about a NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Its model.
    pub model: Model,
    /// Its address.
    pub mac: Mac,
    /// Who made it.
    pub origin: Origin,
    /// Its id as a device. One without has a name all the same ([`naming::name`]), by which it cannot be unmade.
    pub device_id: Option<String>,
    /// Where QEMU's object tree would have it.
    pub path: String,
    /// What it offers to a guest: bits of [`feature`].
    pub features: u64,
    /// What the guest is told to use, if it is told.
    pub mtu: Option<u16>,
    /// Where the guest's front end attaches.
    pub socket: socket::Place,
}

impl Nic {
    /// Whether the guest may take it as a stand-in for another one.
    #[must_use]
    pub fn has_failover(&self) -> bool {
        self.features & feature::STANDBY != 0
    }

    /// One line for people, as in `info network`.
    #[must_use]
    pub fn info(&self) -> String {
        format!("model={},macaddr={},{}", self.model.name(), self.mac, self.socket.info())
    }
}
