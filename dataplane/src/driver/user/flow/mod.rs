//! Flows: what is between a guest's port and the host's socket, and where each is kept.

mod record;
mod table;
mod wheel;

pub(super) use record::{Flow, Kind, Ping, Sent, Tcp, Udp};
pub(super) use table::{Key, Reference, Table};
pub(super) use wheel::Wheel;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::calls::Watcher;
use table::FLOWS_MAX;

/// How many descriptors flows of all networks together may have: never so many that other ports get none.
static DESCRIPTORS_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);
/// And how many they have.
static DESCRIPTORS: AtomicUsize = AtomicUsize::new(0);

/// Leaves half of the descriptors that this process may have to others. Called once, before there are flows.
pub(in crate::driver) fn share_descriptors(all: usize) {
    DESCRIPTORS_MAX.store(all / 2, Ordering::Relaxed);
}

/// Flows, when something is to be done about which, and which have something to say.
#[derive(Debug)]
pub(super) struct Flows {
    /// All of them.
    pub(super) table: Table<Flow>,
    /// When something is due.
    pub(super) wheel: Wheel,
    /// Tells what happens to sockets.
    pub(super) watcher: Watcher,
    /// Those that are to be asked for frames.
    pub(super) ready: VecDeque<Reference>,
}

impl Flows {
    /// None yet.
    pub(super) fn new(now_ns: u64) -> rustix::io::Result<Self> {
        Ok(Flows {
            table: Table::new(),
            wheel: Wheel::new(FLOWS_MAX, now_ns),
            watcher: Watcher::new()?,
            ready: VecDeque::with_capacity(FLOWS_MAX + 1),
        })
    }

    /// Takes a flow in, and watches its socket.
    pub(super) fn begin(&mut self, key: Key, flow: Flow) -> Option<Reference> {
        if !self.has_room() {
            return None;
        }
        DESCRIPTORS.fetch_add(1, Ordering::Relaxed);
        let reference = self.table.insert(key, flow);
        let flow = self.table.get_mut(reference)?;
        if self.watcher.watch(flow.socket.as_fd(), reference.to_bits()).is_err() {
            self.end(reference);
            return None;
        }
        Some(reference)
    }

    /// Whether there may be another.
    pub(super) fn has_room(&self) -> bool {
        // Others may be at it, too: half of all descriptors is far from all of them.
        self.table.has_room() && DESCRIPTORS.load(Ordering::Relaxed) < DESCRIPTORS_MAX.load(Ordering::Relaxed)
    }

    /// Gives a flow up. Its socket is closed.
    pub(super) fn end(&mut self, reference: Reference) {
        self.wheel.stop(reference.number);
        if self.table.remove(reference).is_some() {
            DESCRIPTORS.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Has a flow asked for frames.
    pub(super) fn wake(&mut self, reference: Reference) {
        if let Some(flow) = self.table.get_mut(reference)
            && !std::mem::replace(&mut flow.is_ready, true)
        {
            // Flows that have ended may still be named here: there is room for one name a flow, and dead names go first.
            if self.ready.len() > FLOWS_MAX {
                self.drop_dead();
            }
            self.ready.push_back(reference);
        }
    }

    #[cold]
    fn drop_dead(&mut self) {
        let table = &mut self.table;
        self.ready.retain(|reference| table.get_mut(*reference).is_some());
    }

    /// Says when something is overdue about a flow.
    pub(super) fn expect(&mut self, reference: Reference, due_ns: u64) {
        let Some(flow) = self.table.get_mut(reference) else { return };
        // A timer that runs is moved when it fires, unless it would fire too late.
        let is_sooner = due_ns < flow.due_ns;
        flow.due_ns = due_ns;
        if due_ns != u64::MAX && (is_sooner || !self.wheel.is_running(reference.number)) {
            self.wheel.start(reference.number, due_ns);
        }
    }

    /// The next flow about which something is overdue.
    pub(super) fn overdue(&mut self, now_ns: u64) -> Option<Reference> {
        loop {
            let number = self.wheel.expired(now_ns)?;
            let Some(reference) = self.table.reference(number) else { continue };
            let due_ns = self.table.get_mut(reference)?.due_ns;
            if due_ns <= now_ns {
                return Some(reference);
            }
            if due_ns != u64::MAX {
                self.wheel.start(number, due_ns);
            }
        }
    }
}

impl Drop for Flows {
    /// A network that ends takes its flows along.
    fn drop(&mut self) {
        DESCRIPTORS.fetch_sub(self.table.iter().count(), Ordering::Relaxed);
    }
}
