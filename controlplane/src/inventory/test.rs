use super::*;

pub(crate) fn netdev(id: &str, queues: usize) -> NewPort {
    let arguments = serde_json::json!({ "type": "tap", "id": id });
    let arguments = arguments.as_object().unwrap().clone();
    let description = Description { arguments, info: format!("ifname={id}"), ..Description::default() };
    NewPort { id: id.to_owned(), role: Role::Netdev, description, queues, peer: None }
}

pub(crate) fn hubport(id: &str, hub: i32, peer: Option<&str>) -> NewPort {
    let role = Role::HubPort(hub);
    let peer = peer.map(str::to_owned);
    NewPort { id: id.to_owned(), role, description: Description::default(), queues: 0, peer }
}

fn nic(id: &str, peer: &str) -> NewPort {
    NewPort { role: Role::Nic, peer: Some(peer.to_owned()), ..netdev(id, 1) }
}

fn with(ports: impl IntoIterator<Item = NewPort>) -> Inventory {
    let mut inventory = Inventory::default();
    for port in ports {
        inventory.add(port).unwrap();
    }
    inventory
}

#[test]
fn names_are_unique_among_back_ends_only() {
    let mut inventory = with([netdev("n0", 1), hubport("h0", 0, None)]);
    assert_eq!(inventory.add(netdev("h0", 1)).unwrap_err(), Error::Duplicate("h0".to_owned()));
    assert_eq!(inventory.add(hubport("n0", 1, None)).unwrap_err(), Error::Duplicate("n0".to_owned()));
    assert!(inventory.add(nic("n0", "n0")).is_ok());
}

#[test]
fn back_end_has_one_peer_and_is_free_when_it_goes() {
    let mut inventory = with([netdev("n0", 1), hubport("h0", 0, Some("n0"))]);
    let refused = inventory.add(hubport("h1", 0, Some("n0"))).unwrap_err();
    assert_eq!(refused, Error::PeerTaken("n0".to_owned()));
    let refused = inventory.add(hubport("h1", 0, Some("n9"))).unwrap_err();
    assert_eq!(refused.to_string(), "netdev 'n9' not found");
    inventory.remove_backend("h0").unwrap();
    assert_eq!(inventory.backend("n0").unwrap().peer, None);
    assert!(inventory.add(hubport("h1", 0, Some("n0"))).is_ok());
}

#[test]
fn failed_add_changes_nothing() {
    let mut inventory = with([netdev("n0", 1)]);
    let before = inventory.clone();
    for refused in [netdev("n0", 1), hubport("h", 0, Some("x")), netdev("big", QUEUES_PER_PORT_MAX + 1)] {
        inventory.add(refused).unwrap_err();
        assert_eq!(inventory, before);
    }
}

#[test]
fn keys_are_never_used_twice_and_counter_slots_are() {
    let mut inventory = with([netdev("n0", 2), netdev("n1", 1)]);
    let old = inventory.remove_backend("n0").unwrap();
    let new = inventory.add(netdev("n2", 3)).unwrap().clone();
    assert!(new.number > old.number && new.queues.iter().all(|queue| queue.key > new.number));
    let slots: Vec<u32> = new.queues.iter().map(|queue| queue.counter_slot).collect();
    assert_eq!(slots, [0, 1, 3]);
}

#[test]
fn more_queues_than_counters_are_refused() {
    let ports = QUEUES_MAX / QUEUES_PER_PORT_MAX;
    let mut inventory = with((0..ports).map(|n| netdev(&format!("n{n}"), QUEUES_PER_PORT_MAX)));
    assert_eq!(inventory.add(netdev("more", 1)).unwrap_err(), Error::TooManyQueues);
    assert!(inventory.add(hubport("h", 0, None)).is_ok());
}

#[test]
fn link_of_a_netdev_takes_its_nic_along_and_not_the_other_way() {
    let mut inventory = with([netdev("n0", 1), nic("net0", "n0")]);
    let links = |inventory: &Inventory| [0, 1].map(|at: usize| inventory.ports()[at].link_is_up);
    inventory.set_link("n0", false).unwrap();
    assert_eq!(links(&inventory), [false, false]);
    inventory.set_link("net0", true).unwrap();
    assert_eq!(links(&inventory), [false, true]);
    assert_eq!(inventory.set_link("x", true).unwrap_err().to_string(), "Device 'x' not found");
}

#[test]
fn link_of_a_netdev_does_not_move_its_hub_port() {
    let mut inventory = with([netdev("n0", 1), hubport("h0", 0, Some("n0"))]);
    inventory.set_link("n0", false).unwrap();
    assert!(inventory.backend("h0").unwrap().link_is_up);
}

#[test]
fn lost_ports_are_dropped_and_unpeered() {
    let mut inventory = with([netdev("n0", 1), hubport("h0", 0, Some("n0")), netdev("n1", 1)]);
    let lost = inventory.drop_ports(|port| port.id.starts_with('n'));
    assert_eq!(lost.iter().map(|port| port.id.as_str()).collect::<Vec<_>>(), ["n0", "n1"]);
    assert_eq!(inventory.backend("h0").unwrap().peer, None);
}
