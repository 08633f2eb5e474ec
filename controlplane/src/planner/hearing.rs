//! Which ports hear each other: the connected sets of ports and hubs.

use std::collections::BTreeMap;

use framewire_shared::counters::DropReason;

use crate::inventory::{Port, Role};

/// Ports that hear each other, in the order of their creation, and why frames go nowhere if it is but one.
#[derive(Debug)]
pub(super) struct Wire<'a> {
    pub(super) ports: Vec<&'a Port>,
    pub(super) discard: DropReason,
}

/// All wires, in the order of their first ports. Every port that has queues is on exactly one.
pub(super) fn wires(ports: &[Port]) -> Vec<Wire<'_>> {
    let up = Sets::connect(ports, |port, peer| port.link_is_up && peer.link_is_up);
    let cabled = Sets::connect(ports, |_port, _peer| true);
    let mut place: BTreeMap<usize, usize> = BTreeMap::new();
    let mut wires: Vec<Wire<'_>> = Vec::new();
    for (at, port) in ports.iter().enumerate().filter(|(_at, port)| !port.queues.is_empty()) {
        let wire = *place.entry(up.of(at)).or_insert_with(|| {
            let a_link_is_down = !port.link_is_up || up.size(at) < cabled.size(at);
            let discard = if a_link_is_down { DropReason::LinkDown } else { DropReason::NoPeer };
            wires.push(Wire { ports: Vec::new(), discard });
            wires.len() - 1
        });
        wires[wire].ports.push(port);
    }
    wires
}

/// Disjoint sets (union by the lower root, with path halving) over ports, and after them hubs.
struct Sets {
    parent: Vec<usize>,
    /// By root: how many of its members have queues.
    sizes: BTreeMap<usize, usize>,
}

impl Sets {
    fn connect(ports: &[Port], hears: impl Fn(&Port, &Port) -> bool) -> Self {
        let mut sets = Sets { parent: (0..ports.len()).collect(), sizes: BTreeMap::new() };
        let mut hubs: BTreeMap<i32, usize> = BTreeMap::new();
        for (at, port) in ports.iter().enumerate() {
            if let Role::HubPort(hub) = port.role {
                let hub = *hubs.entry(hub).or_insert_with(|| sets.add());
                sets.join(at, hub);
            }
            let peer = port.peer.and_then(|number| ports.binary_search_by_key(&number, |p| p.number).ok());
            if let Some(peer) = peer.filter(|peer| hears(port, &ports[*peer])) {
                sets.join(at, peer);
            }
        }
        for at in (0..ports.len()).filter(|at| !ports[*at].queues.is_empty()) {
            *sets.sizes.entry(sets.of(at)).or_default() += 1;
        }
        sets
    }

    fn add(&mut self) -> usize {
        self.parent.push(self.parent.len());
        self.parent.len() - 1
    }

    fn of(&self, mut at: usize) -> usize {
        while self.parent[at] != at {
            at = self.parent[at];
        }
        at
    }

    fn size(&self, at: usize) -> usize {
        self.sizes.get(&self.of(at)).copied().unwrap_or(0)
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of_shortening(one), self.of_shortening(other));
        self.parent[one.max(other)] = one.min(other);
    }

    fn of_shortening(&mut self, mut at: usize) -> usize {
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }
}
