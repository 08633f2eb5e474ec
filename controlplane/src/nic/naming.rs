//! What NICs are called, and which address they have, if nobody says.

use crate::inventory::{Inventory, Port};
use crate::kind::mac::Mac;
use crate::nic::{Model, Nic};

/// The first address that QEMU gives away.
const FIRST_MAC: u64 = 0x5254_0012_3456;

/// The nearest address after it that no NIC has. QEMU has 169 of them, then gives the same one to all.
#[must_use]
pub fn free_mac(inventory: &Inventory) -> Mac {
    let taken: std::collections::BTreeSet<Mac> = nics(inventory).map(|(_port, nic)| nic.mac).collect();
    let mut candidates = (FIRST_MAC..).map(|number| {
        let [_, _, bytes @ ..] = number.to_be_bytes();
        Mac(bytes)
    });
    candidates.find(|mac| !taken.contains(mac)).expect("there are more addresses than ports")
}

/// The name of a NIC without an id: its model, and how many of it there are. As in QEMU two may come to have
/// the same; the older one is meant then.
#[must_use]
pub fn name(inventory: &Inventory, model: Model) -> String {
    let count = nics(inventory).filter(|(_port, nic)| nic.model == model).count();
    format!("{}.{count}", model.name())
}

/// Where QEMU's object tree would have a device.
#[must_use]
pub fn path(inventory: &Inventory, id: Option<&str>) -> String {
    const UNNAMED: &str = "/machine/peripheral-anon/device[";
    if let Some(id) = id {
        return format!("/machine/peripheral/{id}");
    }
    let number_of = |nic: &Nic| nic.path.strip_prefix(UNNAMED)?.strip_suffix(']')?.parse::<u64>().ok();
    let last = nics(inventory).filter_map(|(_port, nic)| number_of(nic)).max();
    format!("{UNNAMED}{}]", last.map_or(0, |last| last + 1))
}

/// All NICs, in the order of their creation.
pub fn nics(inventory: &Inventory) -> impl Iterator<Item = (&Port, &Nic)> {
    inventory.ports().iter().filter_map(|port| Some((port, port.nic()?)))
}

/// The NIC that `device_del` means: by its id, or by where it is in QEMU's object tree.
#[must_use]
pub fn device<'a>(inventory: &'a Inventory, id: &str) -> Option<(&'a Port, &'a Nic)> {
    nics(inventory).find(|(_port, nic)| nic.device_id.as_deref() == Some(id) || nic.path == id)
}

/// Whether QEMU's object tree has something there that is no device but holds some.
#[must_use]
pub fn is_container(path: &str) -> bool {
    // Nothing is where `device_del` begins to look: among the devices with a name.
    path.is_empty() || ["/machine", "/machine/peripheral", "/machine/peripheral-anon"].contains(&path)
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::inventory::{Description, NewPort, Role};
    use crate::nic::Origin;
    use crate::nic::socket::Place;

    fn add(inventory: &mut Inventory, id: Option<&str>) {
        let nic = Nic {
            model: Model::Pci,
            mac: free_mac(inventory),
            origin: Origin::Device,
            device_id: id.map(str::to_owned),
            path: path(inventory, id),
            features: 0,
            mtu: None,
            socket: Place { path: String::new(), retry_ms: None, lender: None },
        };
        let id = id.map_or_else(|| name(inventory, nic.model), str::to_owned);
        let description = Description { nic: Some(nic), ..Description::default() };
        inventory.add(NewPort { id, role: Role::Nic, description, queues: 1, peer: None }).unwrap();
    }

    fn seen(inventory: &Inventory) -> Vec<(String, String, String)> {
        let seen =
            nics(inventory).map(|(port, nic)| (port.id.clone(), nic.mac.to_string(), nic.path.clone()));
        seen.collect()
    }

    #[test]
    fn nobody_says_and_qemu_s_names_come_out() {
        let mut inventory = Inventory::default();
        for id in [None, Some("vn0"), None] {
            add(&mut inventory, id);
        }
        let texts = |id: &str, mac: &str, path: &str| (id.to_owned(), mac.to_owned(), path.to_owned());
        let wanted = [
            texts("virtio-net-pci.0", "52:54:00:12:34:56", "/machine/peripheral-anon/device[0]"),
            texts("vn0", "52:54:00:12:34:57", "/machine/peripheral/vn0"),
            texts("virtio-net-pci.2", "52:54:00:12:34:58", "/machine/peripheral-anon/device[1]"),
        ];
        assert_eq!(seen(&inventory), wanted);
        assert!(device(&inventory, "virtio-net-pci.0").is_none());
        let by_path = device(&inventory, "/machine/peripheral-anon/device[1]").unwrap();
        assert_eq!(by_path.0.id, "virtio-net-pci.2");
    }

    #[test]
    fn addresses_do_not_run_out_and_come_back() {
        let mut inventory = Inventory::default();
        (0..300).for_each(|_nth| add(&mut inventory, None));
        let last = seen(&inventory).pop().unwrap();
        assert_eq!(last.1, "52:54:00:12:35:81");
        let first = inventory.ports()[0].number;
        inventory.remove_nic(first).unwrap();
        assert_eq!(free_mac(&inventory).to_string(), "52:54:00:12:34:56");
    }
}
