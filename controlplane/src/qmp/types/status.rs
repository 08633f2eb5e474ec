//! What `framewire status` shows: our own command, with a name that QEMU's rules keep free for such (`x-`).

use crate::qmp::qapi::define::object;

object! {
    /// Arguments of `x-query-status`.
    #[derive(Default)]
    pub struct QueryStatus {
        /// The first port wanted, counted from 0: replies are kept short, so there may be several.
        first: Option<u32>,
    }
}

object! {
    /// The whole process and a page of its ports.
    pub struct Report {
        /// Of the control plane.
        pid: i64,
        /// The version of the program.
        version: String,
        /// The name given with `--name`.
        name: Option<String>,
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

object! {
    /// The data plane.
    pub struct DataPlaneReport {
        /// Whether it works.
        running: bool,
        /// Its process, if there is one.
        pid: Option<i64>,
        /// Why it does not work.
        why: Option<String>,
        /// Whether it has an empty network of its own; absent if another control plane has started it.
        own_network as "own-network": Option<bool>,
        /// Whether its file system is empty; absent likewise.
        own_files as "own-files": Option<bool>,
    }
}

object! {
    /// A worker thread of the data plane.
    pub struct WorkerReport {
        /// As `ps -L` shows it.
        name: String,
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
        /// Frames that went no further, by reason; reasons without any are left out.
        dropped: Vec<DropReport>,
    }
}

object! {
    /// Frames that went no further.
    pub struct DropReport {
        /// Why.
        reason: String,
        /// How many.
        frames: u64,
    }
}
