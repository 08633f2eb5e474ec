use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::inventory::test::{hubport, netdev};
use crate::inventory::{NewPort, Queue, Role};

const TWO: Settings = Settings { workers: 2, poll_us: 50 };

fn with(ports: impl IntoIterator<Item = NewPort>) -> Inventory {
    let mut inventory = Inventory::default();
    for port in ports {
        inventory.add(port).unwrap();
        replan(&mut inventory, TWO);
    }
    inventory
}

fn replan(inventory: &mut Inventory, settings: Settings) -> Plan {
    let plan = plan(inventory, settings);
    inventory.keep_workers(|key| plan.worker_of.get(&key).copied());
    plan
}

/// Each wire as the ids of its sides (queue index in brackets left out), and its reason.
fn wires(inventory: &Inventory) -> Vec<(Vec<String>, DropReason)> {
    let name = |key| inventory.port_of_queue(key).unwrap().id.clone();
    let plan = plan(inventory, TWO);
    let wire = |section: &Section, wire| {
        let ends = section.ends_of(wire);
        let sides: BTreeMap<u32, String> = ends.iter().map(|end| (end.side, name(end.queue))).collect();
        (sides.into_values().collect(), wire.discard)
    };
    let mut wires: Vec<(Vec<String>, DropReason)> =
        plan.sections.iter().flat_map(|section| section.wires.iter().map(|w| wire(section, w))).collect();
    wires.sort_by(|one, other| one.0.cmp(&other.0));
    wires
}

fn sides(inventory: &Inventory) -> Vec<String> {
    wires(inventory).iter().map(|(sides, _reason)| sides.join("-")).collect()
}

fn label_of(section: &Section) -> &str {
    std::str::from_utf8(&section.label).unwrap().trim_end_matches('\0')
}

fn two_on_a_hub() -> Inventory {
    with([netdev("n0", 1), netdev("n1", 1), hubport("h0", 7, Some("n0")), hubport("h1", 7, Some("n1"))])
}

#[test]
fn hub_of_two_is_a_cable_and_of_three_a_hub() {
    let mut inventory = two_on_a_hub();
    assert_eq!(sides(&inventory), ["n0-n1"]);
    inventory.add(netdev("n2", 1)).unwrap();
    inventory.add(hubport("h2", 7, Some("n2"))).unwrap();
    assert_eq!(sides(&inventory), ["n0-n1-n2"]);
    inventory.remove_backend("h0").unwrap();
    assert_eq!(sides(&inventory), ["n0", "n1-n2"]);
}

#[test]
fn queues_that_a_guest_does_not_use_share_lanes_with_one_that_it_does() {
    let mut inventory = Inventory::default();
    inventory.add(netdev("n0", 4)).unwrap();
    inventory.add(NewPort { role: Role::Nic, peer: Some("n0".into()), ..netdev("vn0", 4) }).unwrap();
    let lanes = |inventory: &Inventory| {
        let plan = plan(inventory, TWO);
        let ends = |section: &Section| {
            section.wires.iter().map(|wire| section.ends_of(wire).len()).collect::<Vec<_>>()
        };
        plan.sections.iter().flat_map(ends).collect::<Vec<_>>()
    };
    assert_eq!(lanes(&inventory), [2, 2, 2, 2]);
    let nic = inventory.ports()[1].number;
    inventory.set_in_service(nic, 1);
    assert_eq!(lanes(&inventory), [8]);
    inventory.set_in_service(nic, 3);
    assert_eq!(lanes(&inventory).iter().sum::<usize>(), 8);
    assert_eq!(lanes(&inventory).len(), 3);
}

#[test]
fn ports_with_nobody_to_hear_them_say_why() {
    let mut inventory = two_on_a_hub();
    inventory.add(netdev("lone", 1)).unwrap();
    inventory.add(netdev("alone", 1)).unwrap();
    inventory.add(hubport("h9", -9, Some("alone"))).unwrap();
    let reasons = |inventory: &Inventory| -> Vec<DropReason> {
        wires(inventory).into_iter().map(|(_sides, reason)| reason).collect()
    };
    assert_eq!(sides(&inventory), ["alone", "lone", "n0-n1"]);
    assert_eq!(reasons(&inventory)[..2], [DropReason::NoPeer; 2]);
    for down in ["n0", "h0", "h1", "n1"] {
        inventory.set_link(down, false).unwrap();
        assert_eq!(sides(&inventory), ["alone", "lone", "n0", "n1"], "{down}");
        assert_eq!(reasons(&inventory)[2..], [DropReason::LinkDown; 2], "{down}");
        inventory.set_link(down, true).unwrap();
    }
    inventory.set_link("lone", false).unwrap();
    assert_eq!(reasons(&inventory)[..2], [DropReason::NoPeer, DropReason::LinkDown]);
    assert_eq!(sides(&inventory)[2], "n0-n1");
}

#[test]
fn link_down_in_a_larger_hub_silences_only_that_port() {
    let mut inventory = two_on_a_hub();
    inventory.add(netdev("n2", 1)).unwrap();
    inventory.add(hubport("h2", 7, Some("n2"))).unwrap();
    inventory.set_link("h1", false).unwrap();
    assert_eq!(sides(&inventory), ["n0-n2", "n1"]);
}

#[test]
fn hubs_wired_to_each_other_are_one_and_to_themselves_do_not_loop() {
    let inventory = with([
        netdev("n0", 1),
        hubport("h0", 1, Some("n0")),
        hubport("bridge1", 1, None),
        hubport("bridge2", 2, Some("bridge1")),
        netdev("n1", 1),
        hubport("h1", 2, Some("n1")),
        hubport("self1", 2, None),
        hubport("self2", 2, Some("self1")),
    ]);
    assert_eq!(sides(&inventory), ["n0-n1"]);
}

#[test]
fn lanes_are_those_of_the_smallest_port_and_no_queue_is_left_out() {
    let mut inventory =
        with([netdev("n0", 4), netdev("n1", 2), hubport("h0", 0, Some("n0")), hubport("h1", 0, Some("n1"))]);
    let plan = replan(&mut inventory, Settings { workers: 8, ..TWO });
    let wires: Vec<Vec<(u64, u32)>> = plan
        .sections
        .iter()
        .flat_map(|section| section.wires.iter().map(|wire| section.ends_of(wire)))
        .map(|ends| ends.iter().map(|end| (end.queue, end.side)).collect())
        .collect();
    let keys = |id: &str| -> Vec<u64> {
        inventory.backend(id).unwrap().queues.iter().map(|queue: &Queue| queue.key).collect()
    };
    let (n0, n1) = (keys("n0"), keys("n1"));
    assert_eq!(wires, [[(n0[0], 0), (n0[2], 0), (n1[0], 1)], [(n0[1], 0), (n0[3], 0), (n1[1], 1)]]);
}

#[test]
fn each_lane_has_its_own_worker_as_long_as_they_last() {
    let mut inventory = Inventory::default();
    for (id, queues) in [("a", 4), ("b", 1), ("c", 1)] {
        inventory.add(netdev(id, queues)).unwrap();
        replan(&mut inventory, Settings { workers: 6, ..TWO });
    }
    let workers: BTreeSet<Option<u32>> =
        inventory.ports().iter().flat_map(|port| &port.queues).map(|queue| queue.worker).collect();
    assert_eq!(workers.len(), 6);
}

#[test]
fn cables_of_ports_that_were_apart_share_the_workers_evenly() {
    let mut inventory = with((0..4).map(|n| netdev(&format!("n{n}"), 1)));
    for n in 0..4 {
        inventory.add(hubport(&format!("h{n}"), n / 2, Some(&format!("n{n}")))).unwrap();
        replan(&mut inventory, TWO);
    }
    let plan = replan(&mut inventory, TWO);
    assert_eq!(plan.sections.iter().map(|section| section.wires.len()).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn taps_own_poll_us_overrides_the_daemons() {
    let mut own = netdev("n0", 1);
    own.description.poll_us = Some(u32::MAX);
    let inventory = with([own, netdev("n1", 1)]);
    let polls: BTreeSet<u32> =
        plan(&inventory, TWO).sections.iter().flat_map(|s| &s.ends).map(|end| end.poll_us).collect();
    assert_eq!(polls, BTreeSet::from([50, u32::MAX]));
}

#[test]
fn labels_tell_what_a_worker_carries_in_fifteen_bytes() {
    let mut inventory = with([netdev("n0", 1)]);
    let plan = replan(&mut inventory, TWO);
    assert_eq!(plan.sections.iter().map(label_of).collect::<Vec<_>>(), ["fw0:n0.0", "fw1"]);
    let mut inventory = with([netdev("a-name-made-by-a-program-17", 3)]);
    let plan = replan(&mut inventory, Settings { workers: 1, ..TWO });
    assert_eq!(label_of(&plan.sections[0]), "fw0:gram-17.0+2");
}

/// What may be done to an inventory, in random order.
#[derive(Debug, Clone)]
enum Change {
    AddNetdev(usize),
    AddHubport(i32, Option<usize>),
    Remove(usize),
    SetLink(usize, bool),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (1..5_usize).prop_map(Change::AddNetdev),
        3 => (0..3, proptest::option::of(0..30_usize)).prop_map(|(hub, peer)| Change::AddHubport(hub, peer)),
        1 => (0..30_usize).prop_map(Change::Remove),
        1 => (0..30_usize, any::<bool>()).prop_map(|(port, up)| Change::SetLink(port, up)),
    ]
}

fn apply(inventory: &mut Inventory, change: &Change, nth: usize) {
    let id = |at: usize| inventory.ports().get(at).map(|port| port.id.clone());
    // A change that the inventory refuses (no such port, peer taken) is no change.
    let _ = match *change {
        Change::AddNetdev(queues) => inventory.add(netdev(&format!("n{nth}"), queues)).map(|_port| ()),
        Change::AddHubport(hub, peer) => {
            let peer = peer.and_then(id);
            inventory.add(hubport(&format!("h{nth}"), hub, peer.as_deref())).map(|_port| ())
        }
        Change::Remove(at) => id(at).map_or(Ok(()), |id| inventory.remove_backend(&id).map(|_port| ())),
        Change::SetLink(at, up) => id(at).map_or(Ok(()), |id| inventory.set_link(&id, up)),
    };
}

fn check_every_queue_is_on_one_wire(inventory: &Inventory, plan: &Plan) {
    let planned: Vec<u64> = plan.sections.iter().flat_map(|s| &s.ends).map(|end| end.queue).collect();
    let mut existing: Vec<u64> =
        inventory.ports().iter().flat_map(|port| &port.queues).map(|queue| queue.key).collect();
    let mut sorted = planned.clone();
    sorted.sort_unstable();
    existing.sort_unstable();
    assert_eq!(sorted, existing);
    assert_eq!(plan.worker_of.len(), existing.len());
}

fn check_sides(inventory: &Inventory, plan: &Plan) {
    for section in &plan.sections {
        for wire in &section.wires {
            let ends = section.ends_of(wire);
            let sides: Vec<u32> = ends.iter().map(|end| end.side).collect();
            assert_eq!(sides[0], 0, "sides are numbered from 0");
            assert!(sides.windows(2).all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1));
            let port = |end: &End| inventory.port_of_queue(end.queue).unwrap().number;
            let pairs = ends.iter().flat_map(|one| ends.iter().map(move |other| (one, other)));
            for (one, other) in pairs {
                // One side is one port: nothing hears itself, and no two ports are taken for one.
                assert_eq!(one.side == other.side, port(one) == port(other));
            }
        }
    }
}

/// Ports whose wires are the same as before must be on the same workers as before.
fn check_undisturbed(before: &Plan, after: &Plan) {
    let wires = |plan: &Plan| -> BTreeMap<Vec<u64>, usize> {
        let of = |section: &Section, wire| section.ends_of(wire).iter().map(|end| end.queue).collect();
        let sections = plan.sections.iter().enumerate();
        sections.flat_map(|(worker, s)| s.wires.iter().map(move |w| (of(s, w), worker))).collect()
    };
    let after = wires(after);
    for (wire, worker) in wires(before) {
        assert!(after.get(&wire).is_none_or(|now| *now == worker), "{wire:?} moved");
    }
}

proptest! {
    #[test]
    fn any_inventory_gives_a_sound_plan(
        changes in proptest::collection::vec(change(), 1..40),
        workers in 1..6_usize,
    ) {
        let settings = Settings { workers, poll_us: 50 };
        let mut inventory = Inventory::default();
        let mut before = plan(&inventory, settings);
        for (nth, change) in changes.iter().enumerate() {
            apply(&mut inventory, change, nth);
            let after = replan(&mut inventory, settings);
            assert_eq!(after.sections.len(), workers);
            check_every_queue_is_on_one_wire(&inventory, &after);
            check_sides(&inventory, &after);
            check_undisturbed(&before, &after);
            assert_eq!(replan(&mut inventory, settings), after, "planning again changes nothing");
            before = after;
        }
    }
}
