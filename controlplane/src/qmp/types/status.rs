//! What `framewire status` shows: our own command, with a name that QEMU's rules keep free for such (`x-`).

use crate::qmp::qapi::define::{enumeration, object};

object! {
    /// Arguments of `x-query-status`.
    #[derive(Default)]
    pub struct QueryStatus {
        /// The first port wanted, counted from 0: replies are kept short, so there may be several.
        first: Option<u32>,
    }
}

object! {
    /// Both processes, all workers, and a page of the ports.
    pub struct Report {
        /// The version of the program.
        version: String,
        /// The process of the control plane.
        control_pid as "control-pid": i64,
        /// The other process.
        data_plane as "data-plane": DataPlaneReport,
        /// Its workers.
        workers: Vec<WorkerReport>,
        /// Ports, in the order of their creation.
        ports: Vec<PortReport>,
        /// How many ports there are in all.
        total: u32,
        /// The first port of the next page, if there is one.
        next: Option<u32>,
    }
}

enumeration! {
    /// Where the data plane is in its life.
    pub enum DataPlaneState {
        /// It was started, and does not work yet.
        Starting = "starting",
        /// It carries all ports.
        Running = "running",
        /// There is none at the moment.
        Down = "down",
    }
}

object! {
    /// The data plane.
    pub struct DataPlaneReport {
        /// Where it is in its life.
        state: DataPlaneState,
        /// Its process, if there is one.
        pid: Option<i64>,
        /// Why there is none.
        why: Option<String>,
        /// How often this control plane has started another.
        restarts: u64,
        /// Whether it has an empty network of its own; absent if another control plane has started it.
        network_namespace as "network-namespace": Option<bool>,
        /// Whether its file system is empty; absent likewise.
        mount_namespace as "mount-namespace": Option<bool>,
    }
}

object! {
    /// A worker thread of the data plane.
    pub struct WorkerReport {
        /// Its number.
        worker: u32,
        /// Its name, as `ps -L` shows it: what it carries.
        label: String,
        /// The processor that it is pinned to.
        cpu: Option<u32>,
        /// Queues in its care.
        queues: u64,
        /// Of these, the ones that are being polled.
        queues_awake as "queues-awake": u64,
        /// Rounds of its loop.
        turns: u64,
        /// Rounds that moved frames.
        busy_turns as "busy-turns": u64,
        /// Time spent looking in vain.
        spinning_ns as "spinning-ns": u64,
        /// Time asleep.
        sleeping_ns as "sleeping-ns": u64,
        /// How often it went to sleep.
        sleeps: u64,
        /// How many plans it has adopted.
        adoptions: u64,
    }
}

object! {
    /// A port; numbers are those of all its queues together.
    pub struct PortReport {
        /// Its name.
        id: String,
        /// Its kind.
        kind: String,
        /// Whom it faces.
        peer: Option<String>,
        /// The hub that it is a port of.
        hub: Option<i32>,
        /// Whether its own link is up.
        link: bool,
        /// Whether somebody is at the other end, if its connection comes and goes: the front end of a NIC, the peer of
        /// a stream.
        connected: Option<bool>,
        /// About its resources.
        info: String,
        /// How many queues it has.
        queues: u32,
        /// The workers that carry them.
        workers: Vec<u32>,
        /// Frames that came in from the outside.
        received_frames as "received-frames": u64,
        /// Their bytes.
        received_bytes as "received-bytes": u64,
        /// Frames that went out.
        sent_frames as "sent-frames": u64,
        /// Their bytes.
        sent_bytes as "sent-bytes": u64,
        /// System calls that moved frames.
        calls: u64,
        /// Times that it had no room and its source was held back.
        held_back as "held-back": u64,
        /// Frames that went no further.
        dropped: DropReport,
        /// What the XDP program on its interface did with frames, if that is ours.
        steering: Option<SteeringReport>,
    }
}

object! {
    /// What became of the frames of an interface, since its program was attached.
    pub struct SteeringReport {
        /// Handed to our sockets. They may have had no room.
        to_us as "to-us": u64,
        /// Left to the host: they came by a queue of the interface that is not ours.
        other_queue as "other-queue": u64,
        /// Left to the host: they are addressed to none of our stations.
        other_station as "other-station": u64,
        /// What an operator should know.
        warning: Option<String>,
    }
}

object! {
    /// Frames that went no further, by reason; reasons without any are left out.
    pub struct DropReport {
        /// The port's own link, or one on the way from it, is down.
        link_down as "link-down": Option<u64>,
        /// Nothing is at the other end.
        no_peer as "no-peer": Option<u64>,
        /// A listener of a hub had no room.
        no_room as "no-room": Option<u64>,
        /// Longer than the sink can carry.
        too_long as "too-long": Option<u64>,
        /// Shorter than an Ethernet header, or cut off on the way in.
        runt: Option<u64>,
        /// A virtio-net header that contradicts its frame.
        bad_header as "bad-header": Option<u64>,
        /// A protocol's own header was wrong.
        foreign: Option<u64>,
        /// The kernel refused to take the frame.
        refused: Option<u64>,
        /// The guest's driver did not take frames.
        not_ready as "not-ready": Option<u64>,
        /// A tunnel's cookie was wrong.
        wrong_cookie as "wrong-cookie": Option<u64>,
        /// The guest has said that it does not want such frames.
        filtered: Option<u64>,
    }
}
