//! The control queue, where the front end leaves it to us: by it a guest says what it wants of its NIC.
//!
//! **Problem.** A command must have taken effect when its answer is there, and the frames flow on other threads. A guest
//! may ask at any rate, and be killed, or we may be, at any moment.
//!
//! **Chosen.** The foreman serves it, since every command is a change of configuration. A command is taken, and what it
//! comes to is decided ([`super::choice`]); if that changes queues, they are lifted as for any request of the
//! front end, made anew, and only then is the command answered. What was chosen is in the safe before. So whoever
//! is killed in between leaves a command that is not answered, which the successor takes again; all of them may be done
//! twice.
//!
//! Which ring it is depends on what was agreed on: the third, or with several queue pairs the one after all of them.

use std::os::fd::{AsFd, BorrowedFd};

use framewire_shared::ledger::RingLedger;
use framewire_shared::rx_filter::{RxFilter, mode};
use framewire_shared::session::feature;

use super::choice::{Asking, Chosen};
use super::device::Device;
use crate::driver::guest::sieve::Sieve;
use crate::frame::Segment;
use crate::virtqueue::{Chains, Direction, GuestFault, Position, Virtqueue};

/// `VIRTIO_NET_OK`.
const DONE: u8 = 0;
/// `VIRTIO_NET_ERR`.
const REFUSED: u8 = 1;

/// The ring, and the command that was taken from it.
#[derive(Debug)]
pub(super) struct ControlQueue {
    queue: Virtqueue,
    chains: Chains,
}

impl ControlQueue {
    fn new(queue: Virtqueue) -> Self {
        ControlQueue { queue, chains: Chains::default() }
    }

    /// Takes the next command. Whether there is one.
    pub(super) fn next(&mut self) -> Result<bool, GuestFault> {
        if self.queue.ready(1)? == 0 {
            return Ok(false);
        }
        self.queue.take(1, &mut self.chains)?;
        let Some(chain) = self.chains.all().first() else { return Ok(false) };
        let (_asked, answer) = self.chains.command(chain);
        if answer.is_empty() { Err(GuestFault::Command) } else { Ok(true) }
    }

    /// What is asked.
    pub(super) fn command(&self) -> &[Segment] {
        self.chains.all().first().map_or(&[], |chain| self.chains.command(chain).0)
    }

    /// Answers the command that was taken.
    pub(super) fn answer(&mut self, is_done: bool) {
        let Some(chain) = self.chains.all().first() else { return };
        if let [first, ..] = self.chains.writable(chain) {
            first.write(0, &[if is_done { DONE } else { REFUSED }]);
        }
        self.chains.all_mut()[0].written = 1;
        self.queue.publish(&self.chains, 1);
        self.chains.clear();
    }

    /// Asks to be kicked when there is more. Whether there is already.
    pub(super) fn arm(&mut self) -> bool {
        self.queue.arm()
    }

    /// What the guest rings; without it the ring is looked at now and then.
    pub(super) fn kick(&self) -> Option<BorrowedFd<'_>> {
        self.queue.kick().map(AsFd::as_fd)
    }

    pub(super) fn position(&self) -> Position {
        self.queue.position()
    }
}

/// What the device has to do with it.
impl Device {
    fn has(&self, bit: u64) -> bool {
        self.features & bit != 0
    }

    /// Which ring it is, if it is ours.
    pub(super) fn control_index(&self) -> Option<usize> {
        let pairs = if self.has(feature::MQ) { usize::from(self.nic.queue_pairs) } else { 1 };
        self.has(feature::CTRL_VQ).then_some(2 * pairs)
    }

    /// How many pairs there are to be started: a guest that knows one only has its control queue behind it.
    pub(super) fn pairs(&self) -> usize {
        match self.control_index() {
            Some(control) => control / 2,
            None => self.nic.queue_pairs.into(),
        }
    }

    /// The queue, if the guest's driver has started it.
    pub(super) fn control(&mut self, ledger: &'static RingLedger) -> Option<ControlQueue> {
        let index = self.control_index().filter(|index| self.is_enabled(*index))?;
        let queue = self.ring(index, Direction::Command, ledger)?;
        Some(ControlQueue::new(queue))
    }

    /// Where it stands, when it is taken down.
    pub(super) fn control_stands(&mut self, position: Position, is_faulty: bool) {
        if let Some(index) = self.control_index() {
            self.rings[index].position = position;
            self.rings[index].is_faulty = is_faulty;
        }
    }

    /// What a command comes to.
    pub(super) fn asked(&self, command: &[Segment]) -> Option<Chosen> {
        let Device { features, choice, .. } = self;
        Asking { features: *features, pairs_max: self.nic.queue_pairs, choice }.obey(command)
    }

    /// Whether what the guest has chosen counts: its driver has started the queue, even if it has broken it since. A
    /// front end may accept the feature and keep the queue all the same.
    pub(super) fn is_heard(&self) -> bool {
        self.control_index().is_some_and(|index| self.rings[index].is_described())
    }

    /// What the NIC lets through.
    pub(super) fn filter(&self) -> RxFilter {
        let mut filter = self.choice.filter;
        filter.set(mode::HEARD, self.is_heard());
        filter
    }

    /// How many pairs the guest uses.
    pub(super) fn pairs_in_use(&self) -> usize {
        if self.is_heard() { self.choice.pairs.into() } else { self.nic.queue_pairs.into() }
    }

    /// Whether queues are other ones after this.
    pub(super) fn changes_queues(&self, chosen: &Chosen) -> bool {
        let (now, then) = (&self.choice, &chosen.choice);
        let takes_all = |filter: &RxFilter| filter.has(mode::PROMISCUOUS);
        let is_filtered = !takes_all(&now.filter) || !takes_all(&then.filter);
        now.pairs != then.pairs || (is_filtered && now.filter != then.filter)
    }

    /// What queues deliver through.
    pub(super) fn sieve(&self) -> Option<Box<Sieve>> {
        Sieve::of(&self.filter())
    }
}
