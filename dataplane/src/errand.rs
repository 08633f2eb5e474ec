//! What is asked of one queue while it carries frames: to be other than it was built, or to tell what goes on in it.
//!
//! **Problem.** A made-up network is given another port to listen at while connections are open in it. To build it anew
//! would end them; and whoever asks must know when it is done.
//!
//! **Rejected.** An exchange as guests' rings have it ([`crate::adopt`]): what a network has in it would have to be moved
//! from the old queue to the new one, while frames wait. And a lock around the queue, which every turn would pay for.
//!
//! **Chosen.** The foreman makes an errand and gives it to the worker that has the queue, by a ring that is looked at when
//! the doorbell was rung. The worker does it between two turns and gives it back, with what it has taken out of the
//! queue: so nothing is allocated or closed here. A queue that no worker has, the foreman asks itself.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use framewire_shared::driver::DriverOptions;
use framewire_shared::flows::FlowRecord;
use ringbuf::traits::{Consumer, Producer};
use ringbuf::{HeapCons, HeapProd};
use rustix::io::Errno;

use crate::doorbell;
use crate::wire::State;
use crate::worker::Worker;

/// Errands on their way to one worker, or back, at most: the foreman has one at a time.
pub const ERRANDS_MAX: usize = 2;

/// Something asked of a queue.
#[derive(Debug)]
pub struct Errand {
    /// The queue's key.
    pub queue: u64,
    /// What is asked.
    pub task: Task,
    /// What came of it; none if the worker did not have the queue.
    pub outcome: Option<Result<(), Errno>>,
}

/// What may be asked of a queue.
#[derive(Debug)]
pub enum Task {
    /// To be as if it had been built from these; afterwards they are what it was built from before.
    Amend(Box<DriverOptions>, Arc<[OwnedFd]>),
    /// To tell of its flows, as many as there is room for.
    Describe(Vec<FlowRecord>),
}

/// A worker's side of the rings.
pub struct Errands {
    /// From the foreman.
    pub asked: HeapCons<Box<Errand>>,
    /// Back to the foreman.
    pub done: HeapProd<Box<Errand>>,
}

impl Worker {
    /// Does what is asked.
    #[cold]
    pub(crate) fn run_errands(&mut self) {
        while let Some(mut errand) = self.errands.asked.try_pop() {
            if let Some(index) = self.ends.find(errand.queue) {
                errand.outcome = Some(self.ends[index].queue.perform(&mut errand.task));
                if self.ends[index].state == State::Dozing {
                    self.wake(index);
                }
            }
            let returned = self.errands.done.try_push(errand);
            assert!(returned.is_ok(), "there is a place for each errand");
            doorbell::ring(self.adoption.foreman());
        }
    }
}
