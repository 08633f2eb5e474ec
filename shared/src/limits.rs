//! Every maximum in the product that both processes must share.
//!
//! Shared memory is laid out for these once, at start; pages that are never touched cost nothing, so the
//! limits are generous where a larger one only costs address space.

/// Worker threads. More than any machine gives one process of this kind; labels and doorbells are per worker.
pub const WORKERS_MAX: usize = 64;
/// Queues of all ports together; each owns a line of counters.
pub const QUEUES_MAX: usize = 8192;
/// Queues of one port, as in QEMU (`MAX_QUEUE_NUM`).
pub const QUEUES_PER_PORT_MAX: usize = 1024;
/// Wires in one plan: at most one for each queue.
pub const WIRES_MAX: usize = QUEUES_MAX;
/// Ends of wires in one plan: a queue is an end of one wire.
pub const ENDS_MAX: usize = QUEUES_MAX;
/// Frames that travel together. 64 is where a batch's fixed cost no longer shows (`perf/`), and what
/// `UDP_SEGMENT` accepts in one call.
pub const BURST_FRAMES_MAX: usize = 64;
/// The largest frame: what QEMU's `NET_BUFSIZE` allows (4096 + 65536), so that no peer of ours can be right
/// and too long.
pub const FRAME_BYTES_MAX: usize = 69632;
/// Bytes of a worker's label, the thread name that `ps -L` shows (15 and a terminator).
pub const LABEL_BYTES: usize = 16;
/// Happenings of one producer that wait for the control plane; more are counted and dropped.
pub const HAPPENINGS_WAITING_MAX: usize = 256;
/// Descriptors in one handover message. The kernel's own limit is 253 (`SCM_MAX_FD`).
pub const HANDOVER_DESCRIPTORS_MAX: usize = 80;
/// Bytes of one handover message.
pub const HANDOVER_BYTES_MAX: usize = 4096;
