//! A plan is published, not mutated: two slots, one generation, two levels of acknowledgement.
//!
//! **Problem.** A worker reads the plan between two turns of its loop and may not wait, lock or retry. The
//! control plane changes the plan while frames flow.
//!
//! **Rejected.** A lock (a dead control plane would hold it for ever; 11 ns a turn). A sequence lock (the
//! reader retries, and pays 76 ns for 512 bytes every turn). Pointers (the processes share no addresses).
//!
//! **Chosen.** The writer fills the slot that nobody reads and stores its generation; the slot is
//! `generation % 2`. A worker pays one load a turn. When the generation has moved it copies its part out of
//! the slot and stores `seen`; when moreover nothing in flight uses the plan before, and everything that the
//! new one mentions is in place, it stores `quiesced`.
//!
//! * `seen` by all: the writer may fill the other slot again.
//! * `quiesced` by all: what the old plan mentioned may be closed; the change has taken effect.
//!
//! Why no torn read is possible: the writer fills slot `g % 2` only after every reader has stored
//! `seen >= g - 1`, and a reader that has done so reads that slot no more until it loads `g`, which the
//! writer stores after filling. The two pairs of release and acquire are the whole proof; `tests/models`
//! runs it under loom, and runs variants with each of its four conditions broken, which loom must reject.

use std::marker::PhantomData;

use crate::atomic::{AtomicU64, Ordering};

/// The orderings that the proof rests on. There is one sound set; models break it on purpose.
pub trait Rules {
    /// Writer's store of the generation. Pairs with `NOTICE`: the slot was filled before.
    const PUBLISH: Ordering;
    /// Reader's load of the generation.
    const NOTICE: Ordering;
    /// Reader's store of `seen` and `quiesced`. Pairs with `COLLECT`: reading is over.
    const ACKNOWLEDGE: Ordering;
    /// Writer's load of `seen` and `quiesced`.
    const COLLECT: Ordering;
    /// Whether the writer waits for `seen` before it fills a slot again.
    const WAITS: bool;
}

/// The rules of the product.
#[derive(Debug, Clone, Copy)]
pub struct Sound;

impl Rules for Sound {
    const PUBLISH: Ordering = Ordering::Release;
    const NOTICE: Ordering = Ordering::Acquire;
    const ACKNOWLEDGE: Ordering = Ordering::Release;
    const COLLECT: Ordering = Ordering::Acquire;
    const WAITS: bool = true;
}

/// The slot in which a generation lies.
#[must_use]
pub fn slot_of(generation: u64) -> usize {
    usize::from(generation % 2 == 1)
}

/// One reader's two acknowledgements.
#[derive(Debug, Clone, Copy)]
pub struct Acknowledgement<'a> {
    /// The generation whose slot this reader has copied. writer: its reader
    pub seen: &'a AtomicU64,
    /// The generation that is fully in effect at this reader. writer: its reader
    pub quiesced: &'a AtomicU64,
}

impl Acknowledgement<'_> {
    /// Whether this reader is done with every slot older than `generation`.
    #[must_use]
    pub fn has_seen<R: Rules>(&self, generation: u64) -> bool {
        self.seen.load(R::COLLECT) >= generation
    }

    /// Whether nothing of a plan older than `generation` is in use any more.
    #[must_use]
    pub fn has_quiesced<R: Rules>(&self, generation: u64) -> bool {
        self.quiesced.load(R::COLLECT) >= generation
    }
}

/// Some reader has not yet seen the current generation; its slot may not be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StillRead;

/// The writing side. There is one.
#[derive(Debug)]
pub struct Publisher<'a, R: Rules = Sound> {
    generation: &'a AtomicU64,
    rules: PhantomData<R>,
}

impl<'a, R: Rules> Publisher<'a, R> {
    /// Continues whatever was published last: a new control plane goes on where a dead one stopped.
    #[must_use]
    pub fn new(generation: &'a AtomicU64) -> Self {
        Publisher { generation, rules: PhantomData }
    }

    /// The generation published last. Only the writer calls this, so the load needs no ordering.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Fills the idle slot and publishes it, unless a reader may still be in it.
    ///
    /// # Errors
    /// [`StillRead`] as long as one of `readers` has not seen the current generation.
    pub fn publish<'r>(
        &mut self,
        mut readers: impl Iterator<Item = Acknowledgement<'r>>,
        fill: impl FnOnce(usize, u64),
    ) -> Result<u64, StillRead> {
        let current = self.current();
        if R::WAITS && !readers.all(|reader| reader.has_seen::<R>(current)) {
            return Err(StillRead);
        }
        let next = current + 1;
        fill(slot_of(next), next);
        self.generation.store(next, R::PUBLISH);
        Ok(next)
    }
}

/// The reading side: one for each worker, and one for the foreman.
#[derive(Debug)]
pub struct Subscriber<'a, R: Rules = Sound> {
    generation: &'a AtomicU64,
    acknowledgement: Acknowledgement<'a>,
    adopted: u64,
    rules: PhantomData<R>,
}

impl<'a, R: Rules> Subscriber<'a, R> {
    /// A reader that has adopted nothing yet. Generation 0 is the empty plan that nobody publishes.
    #[must_use]
    pub fn new(generation: &'a AtomicU64, acknowledgement: Acknowledgement<'a>) -> Self {
        Subscriber { generation, acknowledgement, adopted: 0, rules: PhantomData }
    }

    /// The generation adopted last.
    #[must_use]
    pub fn adopted(&self) -> u64 {
        self.adopted
    }

    /// The one load a turn: the new generation, if there is one.
    #[inline]
    #[must_use]
    pub fn changed(&self) -> Option<u64> {
        let generation = self.generation.load(R::NOTICE);
        (generation != self.adopted).then_some(generation)
    }

    /// Copies the plan out of its slot with `read`, then tells that the slot is free.
    pub fn see<T>(&mut self, generation: u64, read: impl FnOnce(usize) -> T) -> T {
        let copied = read(slot_of(generation));
        self.adopted = generation;
        self.acknowledgement.seen.store(generation, R::ACKNOWLEDGE);
        copied
    }

    /// Tells that the adopted plan is fully in effect, and nothing of an older one is in use.
    pub fn quiesce(&self) {
        self.acknowledgement.quiesced.store(self.adopted, R::ACKNOWLEDGE);
    }
}
