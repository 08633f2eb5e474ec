//! A queue at the end of a wire, and whether it is being polled.

use crate::adopt::Parcel;
use crate::driver::AnyQueue;

/// Whether a worker asks an end for frames.
///
/// ```text
/// Awake ──nothing for poll-us──► Dozing ──the kernel tells──► Awake
/// Awake ──its sink has no room (a guest: for poll-us)──► HeldBack ──it has again──► Awake
/// Awake ──its descriptor failed──► Failed (for good)
/// any ──the plan no longer mentions it──► Leaving (until nothing of it is in flight)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Asked every turn.
    Awake,
    /// Not asked; the ring watches its descriptor.
    Dozing,
    /// Not asked until its sink has room (the ring watches the sink), or until it is on a wire.
    HeldBack,
    /// Never asked again.
    Failed,
    /// On its way back to the foreman.
    Leaving,
}

/// One queue in a worker's care.
#[derive(Debug)]
pub struct End {
    /// Its key in the plan.
    pub key: u64,
    /// Which of the queues under this key it is.
    pub edition: u64,
    /// What is to take its place.
    pub successor: Option<Parcel>,
    /// The queue. Boxed, so that it moves between threads by its address alone.
    pub queue: Box<AnyQueue>,
    /// Its wire, or [`End::NO_WIRE`].
    pub wire: u32,
    /// Its side of that wire.
    pub side: u32,
    /// How long it is polled after its last frame; `u64::MAX` is for ever.
    pub poll_ns: u64,
    /// When it last had a frame.
    pub last_frame_ns: u64,
    /// What its wire looked like when it was last woken for that.
    pub fingerprint: u64,
    /// See [`State`].
    pub state: State,
    /// The ring watches for something to receive.
    pub watched_receive: bool,
    /// The ring watches for room to send.
    pub watched_send: bool,
}

impl End {
    /// No wire mentions it.
    pub const NO_WIRE: u32 = u32::MAX;

    /// A queue that has just arrived and is on no wire yet.
    #[must_use]
    pub fn new(parcel: Parcel) -> Self {
        let Parcel { key, edition, queue } = parcel;
        End {
            key,
            edition,
            successor: None,
            queue,
            wire: Self::NO_WIRE,
            side: 0,
            poll_ns: 0,
            last_frame_ns: 0,
            fingerprint: 0,
            state: State::HeldBack,
            watched_receive: false,
            watched_send: false,
        }
    }

    /// As it travels.
    #[must_use]
    pub fn parcel(self) -> Parcel {
        Parcel { key: self.key, edition: self.edition, queue: self.queue }
    }

    /// Lets its successor, if there is one, take its place. Returns what was there.
    pub fn succeed(&mut self) -> Option<Parcel> {
        let Parcel { key, edition, queue } = self.successor.take()?;
        let edition = std::mem::replace(&mut self.edition, edition);
        Some(Parcel { key, edition, queue: std::mem::replace(&mut self.queue, queue) })
    }

    /// Whether it had nothing for as long as it is to be polled.
    #[inline]
    #[must_use]
    pub fn is_out_of_patience(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_frame_ns) >= self.poll_ns && self.poll_ns != u64::MAX
    }

    /// Whether nothing in the kernel refers to it.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        !self.watched_receive && !self.watched_send
    }
}
