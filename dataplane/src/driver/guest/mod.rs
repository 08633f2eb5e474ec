//! The `guest` driver: one queue pair of a virtual machine's NIC. What the guest transmits is received here, and
//! what is sent here the guest receives.
//!
//! **Receiving copies nothing.** A frame's segments are the guest's own chain; whoever sends it reads there.
//! When the pass ends, the chains of the frames that went are used, all at once; the others are left in the
//! ring as if nobody had looked (`settle`), so a guest is never told that a frame is gone which is not.
//!
//! **Sending copies once**, into the chains that the guest offers, in stages: take as many chains as there are
//! frames, then copy, then publish. Between two guests this one copy, chain to chain, is the whole way.
//!
//! A pair whose guest is not there, or whose driver has not started its rings, takes frames and drops them: a
//! machine that reboots does not hold its peers up. Rings come and go with the guest's driver; the foreman
//! then exchanges the whole queue for another one (`crate::adopt`), so none of this ever changes under a
//! worker's hands.

mod filling;
mod manners;
pub mod sieve;

use std::os::fd::RawFd;

use framewire_shared::counters::{DropReason, QueueCounters};
use framewire_shared::happenings::{Happening, HappeningKind};
use framewire_shared::limits::{BURST_FRAMES_MAX, FRAME_BYTES_MAX};

pub use manners::{Accepts, Manners};

use super::{ETHERNET_HEADER_BYTES, Queue, Received};
use crate::frame::{Burst, Progress, lower};
use crate::turn::{Reporter, Turn};
use crate::uring::Readiness;
use crate::virtqueue::{CHAINS_MAX, Chain, Chains, GuestFault, Position, Virtqueue, header};
use filling::Filling;
use sieve::Sieve;

/// A ring, and whether its guest wants it served. One that is not is still emptied: what the guest transmits
/// is dropped, and it receives nothing (`VHOST_USER_SET_VRING_ENABLE`).
#[derive(Debug)]
pub struct Ring {
    /// The ring.
    pub queue: Virtqueue,
    /// Whether it is served.
    pub is_enabled: bool,
}

/// One queue pair.
#[derive(Debug)]
pub struct Guest {
    key: u64,
    counters: &'static QueueCounters,
    manners: Manners,
    header_bytes: u32,
    transmitq: Option<Ring>,
    receiveq: Option<Ring>,
    /// What ended the rings.
    fault: Option<GuestFault>,
    is_reported: bool,
    /// There is nothing to take frames just now, but there will be.
    is_paused: bool,
    /// Which frames its guest wants, if not all.
    sieve: Option<Box<Sieve>>,
    /// So few buffers were there when a frame needed more: until there are others, there is no room.
    starved_at: Option<u16>,
}

impl Guest {
    /// A pair without rings: nobody is attached.
    #[must_use]
    pub fn absent(key: u64, counters: &'static QueueCounters) -> Self {
        Guest::new(key, counters, Manners::default(), [None, None])
    }

    /// A pair whose rings are being exchanged for others: what is to be sent there waits.
    #[must_use]
    pub fn paused(key: u64, counters: &'static QueueCounters) -> Self {
        Guest { is_paused: true, ..Guest::absent(key, counters) }
    }

    /// A pair with the rings that its driver has started: its transmitq and its receiveq.
    #[must_use]
    pub fn new(
        key: u64,
        counters: &'static QueueCounters,
        manners: Manners,
        [transmitq, receiveq]: [Option<Ring>; 2],
    ) -> Self {
        Guest {
            key,
            counters,
            manners,
            header_bytes: manners.header_bytes(),
            transmitq,
            receiveq,
            fault: None,
            is_reported: false,
            is_paused: false,
            sieve: None,
            starved_at: None,
        }
    }

    /// The same, and only what passes is delivered.
    #[must_use]
    pub fn behind(self, sieve: Option<Box<Sieve>>) -> Self {
        Guest { sieve, ..self }
    }

    /// Where its rings stand: transmitq and receiveq.
    #[must_use]
    pub fn positions(&self) -> [Option<Position>; 2] {
        [&self.transmitq, &self.receiveq].map(|ring| Some(ring.as_ref()?.queue.position()))
    }

    /// What its guest did wrong, if that has ended its rings.
    #[must_use]
    pub fn fault(&self) -> Option<GuestFault> {
        self.fault
    }

    #[cold]
    fn fail(&mut self, fault: GuestFault) {
        self.fault = Some(fault);
        self.counters.guest_faults.add(1);
    }

    /// Tells of a fault, once.
    #[cold]
    fn report(&mut self, reporter: &Reporter) {
        if let Some(fault) = self.fault
            && !std::mem::replace(&mut self.is_reported, true)
        {
            let (kind, detail) = (HappeningKind::GuestFault, fault as u64);
            reporter.report(Happening { kind, queue: self.key, detail });
        }
    }

    /// Fills the burst from the transmitq.
    #[inline]
    fn fill(&mut self, burst: &mut Burst, chains: &mut Chains) -> Result<Received, GuestFault> {
        chains.clear();
        let Some(ring) = &mut self.transmitq else { return Ok(Received::Nothing) };
        let room = u16::try_from(burst.room()).unwrap_or(CHAINS_MAX);
        if ring.queue.ready(room)? == 0 {
            return Ok(Received::Nothing);
        }
        ring.queue.take(room, chains)?;
        let mut count = 0;
        while count < chains.all().len() {
            if ring.is_enabled {
                count += push_plain(burst, chains, count, self.header_bytes);
            }
            let Some(chain) = chains.all().get(count) else { break };
            let pushed = if ring.is_enabled {
                push(burst, chains, chain, self.header_bytes)
            } else {
                Err(DropReason::NotReady)
            };
            match pushed {
                Ok(true) => {}
                Ok(false) => break,
                Err(reason) => chains.refuse(count, reason),
            }
            count += 1;
        }
        ring.queue.untake(&chains.all()[count..]);
        chains.truncate(count);
        Ok(Received::of(burst))
    }

    #[inline]
    fn send_all(&mut self, burst: &Burst, turn: &mut Turn) -> usize {
        let accepts = &self.manners.accepts;
        if burst.frames().iter().all(|frame| accepts.takes(&frame.offload)) {
            self.deliver(burst, &mut turn.offered)
        } else {
            self.deliver_lowered(burst, turn)
        }
    }

    /// As `send_all`, of the frames that the guest wants; the others are done with as far as those are.
    #[cold]
    fn send_sifted(&mut self, burst: &Burst, turn: &mut Turn) -> usize {
        let (Some(sieve), Some(mut sifted)) = (&self.sieve, turn.sifted.take()) else { return 0 };
        sifted.sift(burst, sieve);
        let sent = if sifted.burst.is_empty() { 0 } else { self.send_all(&sifted.burst, turn) };
        let outcome = sifted.outcome(sent);
        turn.sifted = Some(sifted);
        self.counters.drop_frames(DropReason::Filtered, outcome.filtered as u64);
        outcome.done
    }

    /// The receiveq, if there is one to be served.
    #[inline]
    fn served(&mut self) -> Option<&mut Ring> {
        self.receiveq.as_mut().filter(|ring| ring.is_enabled && self.fault.is_none())
    }

    /// Takes out what fits into the guest's buffers. Returns how many frames are done with: all of them, if the
    /// guest takes none or makes a mistake.
    fn deliver(&mut self, burst: &Burst, chains: &mut Chains) -> usize {
        let mut done = 0;
        let delivered = self.try_deliver(burst, chains, &mut done);
        if let Err(fault) = delivered {
            self.fail(fault);
        }
        if self.served().is_some() {
            return done;
        }
        self.counters.drop_frames(DropReason::NotReady, (burst.len() - done) as u64);
        burst.len()
    }

    fn try_deliver(
        &mut self,
        burst: &Burst,
        chains: &mut Chains,
        done: &mut usize,
    ) -> Result<(), GuestFault> {
        let (counters, manners, header_bytes) = (self.counters, self.manners, self.header_bytes);
        let Some(ring) = self.served() else { return Ok(()) };
        // As many buffers as frames, to begin with; if a frame needs more of them, whatever there is.
        let mut wanted = u16::try_from(burst.len()).unwrap_or(CHAINS_MAX).min(CHAINS_MAX);
        let mut entries = wanted;
        while *done < burst.len() {
            let ready = ring.queue.ready(entries)?;
            if ready == 0 {
                break;
            }
            ring.queue.take(wanted, chains)?;
            let Manners { mergeable, accepts, .. } = manners;
            let hears_checksums = accepts.checksum;
            let mut filling = Filling { mergeable, hears_checksums, header_bytes, chains, used: 0 };
            let filled = filling.fill(burst, *done);
            let used = filling.used;
            counters.sent_frames.add(filled.frames as u64);
            counters.sent_bytes.add(filled.bytes);
            counters.drop_frames(DropReason::TooLong, filled.too_long as u64);
            ring.queue.publish(chains, used);
            let left = &chains.all()[used..];
            ring.queue.untake(left);
            *done += filled.done();
            if filled.done() > 0 {
                continue;
            }
            if left.len() >= usize::from(ring.queue.chains_max()) || !chains.has_room() {
                // All buffers that there can be at once are too few for this frame.
                counters.drop_frames(DropReason::TooLong, 1);
                *done += 1;
            } else if entries < ring.queue.size() {
                (wanted, entries) = (CHAINS_MAX, ring.queue.size());
            } else {
                self.starved_at = Some(ready);
                break;
            }
        }
        Ok(())
    }

    /// As `deliver`, of a burst with frames that the guest wants finished first. A frame is begun only if there
    /// seem to be buffers for all that it is cut into: what is taken of it cannot be given back.
    #[cold]
    fn deliver_lowered(&mut self, burst: &Burst, turn: &mut Turn) -> usize {
        let mut progress = Progress::default();
        let mut allowed = self.allowed(burst, 0);
        while progress.frames < burst.len() && allowed > 0 {
            turn.lowered.limit(allowed);
            let batch = lower(burst, progress, &mut turn.lowered, &mut turn.scratch);
            let sent = self.deliver(&turn.lowered, &mut turn.offered);
            let (passed, bad) = batch.passed(sent);
            self.counters.drop_frames(DropReason::BadHeader, bad);
            progress = passed;
            allowed = allowed.saturating_sub(sent);
            if sent < turn.lowered.len() {
                break;
            }
            if progress.cuts == 0 {
                allowed = self.allowed(burst, progress.frames);
            }
        }
        turn.lowered.limit(BURST_FRAMES_MAX);
        if progress.cuts > 0 {
            self.counters.drop_frames(DropReason::NoRoom, 1);
            progress.frames += 1;
        }
        progress.frames
    }

    /// How many buffers are there, of those that whole frames from `from` on need.
    fn allowed(&mut self, burst: &Burst, from: usize) -> usize {
        // Where frames are only dropped, any number may be.
        let Some(ring) = self.served() else { return BURST_FRAMES_MAX };
        let size = ring.queue.size();
        let ready = match ring.queue.ready(size) {
            Ok(ready) => ready,
            Err(fault) => {
                self.fail(fault);
                return BURST_FRAMES_MAX;
            }
        };
        let mut allowed = 0;
        for frame in &burst.frames()[from..] {
            let pieces = match frame.offload.gso_bytes {
                0 => 1,
                bytes => (frame.len.div_ceil(u32::from(bytes)) as usize).min(size.into()),
            };
            if allowed + pieces > usize::from(ready) {
                break;
            }
            allowed += pieces;
        }
        // When all frames are through there is nobody to wait: a driver that has so many buffers left may offer
        // no more before it gets some back.
        if allowed == 0 && from < burst.len() {
            self.starved_at = Some(ready);
        }
        allowed
    }
}

/// Adds the frames of the chains from `from` on, as long as they lie in one piece and nothing is to be done to them:
/// nearly all do. Returns how many.
#[inline]
fn push_plain(burst: &mut Burst, chains: &Chains, from: usize, header_bytes: u32) -> usize {
    let header_bytes = header_bytes as usize;
    let frames = chains.all()[from..].iter().map_while(|chain| {
        let segment = chains.single(chain)?;
        let len = segment.len().checked_sub(header_bytes)?;
        let is_plain = (ETHERNET_HEADER_BYTES..=FRAME_BYTES_MAX).contains(&len) && header::is_plain(&segment);
        is_plain.then(|| segment.part(header_bytes, len))
    });
    burst.push_plain(frames)
}

/// Adds a chain's frame to the burst. Whether there was room; or why the frame goes no further.
#[inline]
fn push(burst: &mut Burst, chains: &Chains, chain: &Chain, header_bytes: u32) -> Result<bool, DropReason> {
    let segments = chains.segments(chain);
    let len = chain.bytes.checked_sub(header_bytes).filter(|len| *len as usize >= ETHERNET_HEADER_BYTES);
    let len = len.ok_or(DropReason::Runt)?;
    if len as usize > FRAME_BYTES_MAX {
        return Err(DropReason::TooLong);
    }
    let offload = header::read(segments).ok_or(DropReason::Runt)?;
    offload.check(len)?;
    Ok(burst.push_behind(header_bytes as usize, segments, offload, len))
}

impl Queue for Guest {
    #[inline]
    fn receive(&mut self, burst: &mut Burst, turn: &mut Turn) -> Received {
        if self.fault.is_some() {
            self.report(&turn.reporter);
            return Received::Nothing;
        }
        match self.fill(burst, &mut turn.taken) {
            Ok(Received::Nothing) if !turn.taken.all().is_empty() => {
                self.settle(burst, 0, turn);
                Received::Nothing
            }
            Ok(received) => received,
            Err(fault) => {
                self.fail(fault);
                self.report(&turn.reporter);
                burst.clear();
                Received::Nothing
            }
        }
    }

    #[inline]
    fn settle(&mut self, burst: &Burst, taken: usize, turn: &mut Turn) {
        let Some(ring) = &mut self.transmitq else { return };
        let chains = turn.taken.all();
        let end = end_of(chains, taken, burst.len());
        if turn.taken.has_refused() {
            for reason in chains[..end].iter().filter_map(|chain| chain.refused) {
                self.counters.drop_frames(reason, 1);
            }
        }
        let bytes = burst.frames()[..taken].iter().map(|frame| u64::from(frame.len)).sum();
        self.counters.received_frames.add(taken as u64);
        self.counters.received_bytes.add(bytes);
        ring.queue.publish(&turn.taken, end);
        ring.queue.untake(&chains[end..]);
        turn.taken.clear();
    }

    #[inline]
    fn send(&mut self, burst: &Burst, turn: &mut Turn) -> usize {
        let taken =
            if self.sieve.is_none() { self.send_all(burst, turn) } else { self.send_sifted(burst, turn) };
        if self.fault.is_some() {
            self.report(&turn.reporter);
        }
        taken
    }

    #[inline]
    fn room(&mut self) -> usize {
        let starved_at = self.starved_at;
        let without = if self.is_paused { 0 } else { BURST_FRAMES_MAX };
        let Some(ring) = self.served() else { return without };
        let wanted = if starved_at.is_some() { ring.queue.size() } else { CHAINS_MAX };
        match ring.queue.ready(wanted) {
            Ok(ready) if starved_at == Some(ready) => 0,
            Ok(ready) => {
                self.starved_at = None;
                usize::from(ready)
            }
            Err(fault) => {
                self.fail(fault);
                BURST_FRAMES_MAX
            }
        }
    }

    fn room_is_seen(&self) -> bool {
        true
    }

    fn arm(&mut self, readiness: Readiness) -> bool {
        let Some(ring) = self.ring_mut(readiness) else { return false };
        ring.queue.arm()
    }

    fn disarm(&mut self, readiness: Readiness) {
        if let Some(ring) = self.ring_mut(readiness) {
            ring.queue.answer_kick();
        }
    }

    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    fn watched(&self, readiness: Readiness) -> Option<(RawFd, Readiness)> {
        let ring = match readiness {
            Readiness::Receive => self.transmitq.as_ref(),
            Readiness::Send => self.receiveq.as_ref(),
        };
        // Either way it is an eventfd that the guest rings.
        Some((ring.filter(|_| self.fault.is_none())?.queue.kick_descriptor()?, Readiness::Receive))
    }

    fn counters(&self) -> &'static QueueCounters {
        self.counters
    }
}

impl Guest {
    fn ring_mut(&mut self, readiness: Readiness) -> Option<&mut Ring> {
        let ring = match readiness {
            Readiness::Receive => self.transmitq.as_mut(),
            Readiness::Send => self.receiveq.as_mut(),
        };
        ring.filter(|_| self.fault.is_none())
    }
}

/// How many chains are done with when `taken` of `frames` frames are: those of refused frames in between, too.
#[inline]
fn end_of(chains: &[Chain], taken: usize, frames: usize) -> usize {
    if taken == frames {
        return chains.len();
    }
    let mut frames = (0..chains.len()).filter(|place| chains[*place].refused.is_none());
    frames.nth(taken).unwrap_or(chains.len())
}
