//! `x-query-status`: everything that can be seen from outside, in pages that clients can hold.
//!
//! Counters are read from memory that the data plane writes, at any moment: a number may be newer than its
//! neighbour. They are numbers and nothing else; nothing here depends on their being true.

use framewire_bpf::Counter;
use framewire_shared::counters::{DropReason, QueueCounters, WorkerCounters};
use framewire_shared::handover::ANY_CPU;

use super::Server;
use crate::inventory::{Inventory, Port, Role};
use crate::kind::af_xdp;
use crate::qmp::qapi::QapiType as _;
use crate::qmp::types::status::{
    DataPlaneReport, DataPlaneState, DropReport, PortReport, Report, SteeringReport, WorkerReport,
};

/// A page ends when its ports have so much text. Clients are known (libvirt) to give up on lines of 64 KiB.
const PAGE_BYTES: usize = 40 << 10;

impl Server {
    /// The report, with ports from the `first`th on.
    pub(super) fn report(&self, first: u32) -> Report {
        let inventory = self.network.inventory();
        let mut ports = Vec::new();
        let mut bytes = 0;
        for port in inventory.ports().iter().skip(first as usize) {
            let report = self.port_report(port, inventory);
            bytes += report.print().to_string().len();
            ports.push(report);
            if bytes > PAGE_BYTES {
                break;
            }
        }
        let total = count(inventory.ports().len());
        let end = first.saturating_add(count(ports.len()));
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            control_pid: i64::from(std::process::id()),
            data_plane: self.data_plane_report(),
            workers: self.worker_reports(),
            ports,
            total,
            next: (end < total).then_some(end),
        }
    }

    fn data_plane_report(&self) -> DataPlaneReport {
        let supervisor = self.network.supervisor();
        let process = supervisor.watched().map(|(_incarnation, attached)| attached.process.pid);
        let state = match (supervisor.running(), process) {
            (Some(_), _) => DataPlaneState::Running,
            (None, Some(_)) => DataPlaneState::Starting,
            (None, None) => DataPlaneState::Down,
        };
        let walls = supervisor.walls();
        DataPlaneReport {
            state,
            pid: process.map(|pid| pid.as_raw_nonzero().get().into()),
            why: supervisor.unavailable().map(|unavailable| unavailable.why),
            restarts: supervisor.restarts(),
            network_namespace: walls.map(|walls| walls.network_namespace == 1),
            mount_namespace: walls.map(|walls| walls.mount_namespace == 1),
        }
    }

    fn worker_reports(&self) -> Vec<WorkerReport> {
        let equipment = self.network.supervisor().equipment();
        let workers = equipment.status.worker_counters.iter().zip(equipment.welcome.cpus);
        let workers = (0..).zip(workers.take(equipment.workers()));
        workers
            .map(|(number, (counters, cpu))| worker_report(number, self.label(number), cpu, counters))
            .collect()
    }

    fn label(&self, worker: u32) -> String {
        let section = self.network.published(worker as usize);
        let label = section.map(|section| section.label).unwrap_or_default();
        let text = label.split(|byte| *byte == 0).next().unwrap_or_default();
        if text.is_empty() { format!("fw{worker}") } else { String::from_utf8_lossy(text).into_owned() }
    }

    fn port_report(&self, port: &Port, inventory: &Inventory) -> PortReport {
        let status = &self.network.supervisor().equipment().status;
        let slots = port.queues.iter().map(|queue| queue.counter_slot as usize);
        let counters: Vec<&QueueCounters> =
            slots.filter_map(|slot| status.queue_counters.get(slot)).collect();
        let sum =
            |of: fn(&QueueCounters) -> u64| counters.iter().map(|line| of(line)).fold(0, u64::wrapping_add);
        let mut workers: Vec<u32> = port.queues.iter().filter_map(|queue| queue.worker).collect();
        workers.sort_unstable();
        workers.dedup();
        let peer = port.peer.and_then(|number| inventory.port(number));
        PortReport {
            id: port.id.clone(),
            kind: port.kind().to_owned(),
            peer: peer.map(|peer| peer.id.clone()),
            hub: if let Role::HubPort(hub) = port.role { Some(hub) } else { None },
            link: port.link_is_up,
            connected: self.connections.is_in_use(port.number),
            info: port.description.info.clone(),
            queues: count(port.queues.len()),
            workers,
            received_frames: sum(|line| line.received_frames.get()),
            received_bytes: sum(|line| line.received_bytes.get()),
            sent_frames: sum(|line| line.sent_frames.get()),
            sent_bytes: sum(|line| line.sent_bytes.get()),
            calls: sum(|line| line.calls.get()),
            held_back: sum(|line| line.held_back.get()),
            dropped: dropped(&counters),
            steering: self.steering(port),
        }
    }

    fn steering(&self, port: &Port) -> Option<SteeringReport> {
        let kept = self.network.vault().get(port.queues.first()?.key)?;
        let counters = af_xdp::prepare::counters(kept)?;
        let frames = |counter| framewire_bpf::frames(counters, counter).unwrap_or_default();
        let other_queue = frames(Counter::NoSocket);
        let warning = (other_queue > 0).then(|| {
            "frames come in by queues that are not ours, and stay with the host: take them too (queues=, \
             start-queue=), or spread frames over ours only (`ethtool -X`, or fewer queues by `ethtool -L`)"
                .to_owned()
        });
        Some(SteeringReport {
            to_us: frames(Counter::ToSocket),
            other_queue,
            other_station: frames(Counter::OtherStation),
            warning,
        })
    }
}

fn worker_report(worker: u32, label: String, cpu: u16, counters: &WorkerCounters) -> WorkerReport {
    WorkerReport {
        worker,
        label,
        cpu: (cpu != ANY_CPU).then_some(cpu.into()),
        queues: counters.queues.get(),
        queues_awake: counters.queues_awake.get(),
        turns: counters.turns.get(),
        busy_turns: counters.busy_turns.get(),
        spinning_ns: counters.spinning_ns.get(),
        sleeping_ns: counters.slept_ns(),
        sleeps: counters.sleeps.get(),
        adoptions: counters.adoptions.get(),
    }
}

fn dropped(counters: &[&QueueCounters]) -> DropReport {
    let of = |reason: DropReason| {
        let frames = counters.iter().map(|line| line.dropped[reason as usize].get());
        Some(frames.fold(0, u64::wrapping_add)).filter(|frames| *frames > 0)
    };
    DropReport {
        link_down: of(DropReason::LinkDown),
        no_peer: of(DropReason::NoPeer),
        no_room: of(DropReason::NoRoom),
        too_long: of(DropReason::TooLong),
        runt: of(DropReason::Runt),
        bad_header: of(DropReason::BadHeader),
        foreign: of(DropReason::Foreign),
        refused: of(DropReason::Refused),
        not_ready: of(DropReason::NotReady),
        wrong_cookie: of(DropReason::WrongCookie),
        filtered: of(DropReason::Filtered),
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).expect("QUEUES_MAX bounds all counts, hub ports fit an int32 each")
}
