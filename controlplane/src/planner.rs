//! From what exists to what each worker carries: a pure function.
//!
//! **Hearing.** Ports hear each other if a path of peers and hubs leads from one to the other on which every
//! link is up. The planner asks only for that, so a hub of two ports *is* a cable, hubs that are wired to each
//! other are one hub, and a hub wired to itself loops no frame (QEMU recurses until it dies). QEMU's link
//! rules are symmetric, a link that is down silences both directions, which is what makes this a question of
//! connected sets and nothing more.
//!
//! **Lanes.** A wire is split into as many lanes as the smallest port on it has queues in service; queue *i* belongs to
//! lane *i* modulo lanes, so the first of each side there, which is the one that is sent to, is in service. Each lane belongs to one worker, so that no frame crosses threads, and none of a
//! port's queues is left without one.
//!
//! **Workers.** A lane stays where its queues are. Where they disagree (two ports were just joined) the
//! majority wins, then the least loaded. A new lane goes to the least loaded worker, so each has its own as
//! long as workers last. Rejected: spreading all lanes anew with each change, which balances better and moves
//! traffic that nobody touched.

mod hearing;
mod label;
mod spread;

use std::collections::BTreeMap;

use framewire_shared::counters::DropReason;
use framewire_shared::plan::{End, Section};

use crate::inventory::{Inventory, Port};

/// What the planner needs to know besides the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How many workers the data plane has; at least 1.
    pub workers: usize,
    /// How long a queue is polled after its last frame, unless its port says otherwise.
    pub poll_us: u32,
}

/// What is to be published, and what to remember about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// One for each worker. Revisions are filled in when it is published.
    pub sections: Vec<Section>,
    /// Which worker carries which queue.
    pub worker_of: BTreeMap<u64, u32>,
}

/// A queue with its place in the inventory.
#[derive(Debug, Clone, Copy)]
struct PlannedEnd<'a> {
    port: &'a Port,
    index: usize,
    end: End,
}

/// The part of a wire that one worker carries.
#[derive(Debug)]
struct Lane<'a> {
    ends: Vec<PlannedEnd<'a>>,
    discard: DropReason,
}

impl Lane<'_> {
    /// Whether frames cross it; if not, it costs its worker next to nothing.
    fn is_connected(&self) -> bool {
        self.ends.iter().any(|end| end.end.side != 0)
    }
}

/// Who carries what.
#[must_use]
pub fn plan(inventory: &Inventory, settings: Settings) -> Plan {
    let lanes: Vec<Lane<'_>> = hearing::wires(inventory.ports())
        .iter()
        .flat_map(|wire| lanes(&wire.ports, wire.discard, settings.poll_us))
        .collect();
    let worker_of_lane = spread::spread(&lanes, settings.workers);
    let mut plan = Plan { sections: vec![Section::default(); settings.workers], ..Plan::default() };
    for (lane, worker) in lanes.iter().zip(&worker_of_lane) {
        plan.sections[*worker].add_wire(lane.discard, lane.ends.iter().map(|planned| planned.end));
        let worker = u32::try_from(*worker).expect("WORKERS_MAX is small");
        plan.worker_of.extend(lane.ends.iter().map(|planned| (planned.end.queue, worker)));
    }
    for (worker, section) in plan.sections.iter_mut().enumerate() {
        let carried = lanes.iter().zip(&worker_of_lane).filter(|(_lane, of)| **of == worker);
        let first = carried.map(|(lane, _worker)| lane.ends[0]).next();
        section.label = label::label(worker, first, section.ends.len());
    }
    plan
}

/// Splits a wire. `ports` are its sides, in order; each has at least one queue.
fn lanes<'a>(ports: &[&'a Port], discard: DropReason, poll_us: u32) -> Vec<Lane<'a>> {
    let count = ports.iter().map(|port| port.queues.len().min(port.in_service.max(1))).min().unwrap_or(0);
    let mut lanes: Vec<Lane<'_>> = (0..count).map(|_| Lane { ends: Vec::new(), discard }).collect();
    for (side, port) in (0..).zip(ports) {
        for (index, queue) in port.queues.iter().enumerate() {
            let poll_us = port.description.poll_us.unwrap_or(poll_us);
            let end = End { queue: queue.key, side, poll_us };
            lanes[index % count].ends.push(PlannedEnd { port, index, end });
        }
    }
    lanes
}

#[cfg(test)]
mod test;
