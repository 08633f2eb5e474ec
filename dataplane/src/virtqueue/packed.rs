//! The packed ring (virtio 1.2, 2.8): one ring of descriptors, in which each tells by two flags whose it is.
//!
//! Two words of 16 bits besides it say where either side wants to be told.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use framewire_shared::ledger::RingLedger;

use super::area::Area;
use super::chain::{Builder, CHAIN_MAX, Chain, Chains, Descriptor, Direction, INDIRECT, NEXT, WRITE};
use super::memory::{Memory, Translator};
use super::notify::passes;
use super::queue::{RingLayout, RingOptions};
use super::{GuestFault, Position};

/// `VIRTQ_DESC_F_AVAIL` and `VIRTQ_DESC_F_USED`.
const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;

// What a word of events says in its upper half (`RING_EVENT_FLAGS_*`); the lower half is a place in the ring,
// with the wrap bit on top.
const EVENTS_ALL: u16 = 0;
const EVENTS_NONE: u16 = 1;
const EVENTS_AT: u16 = 2;
const EVENT_WRAP: u16 = 1 << 15;

/// Where in the ring somebody is, and in which of two alternating rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    index: u16,
    wrap: bool,
}

impl Place {
    #[inline]
    fn after(self, entries: u16, size: u16) -> Self {
        let index = self.index + entries; // Both are at most 32768, and the first is less.
        if index >= size { Place { index: index - size, wrap: !self.wrap } } else { Place { index, ..self } }
    }

    #[inline]
    fn before(self, entries: u16, size: u16) -> Self {
        match self.index.checked_sub(entries) {
            Some(index) => Place { index, ..self },
            None => Place { index: self.index + size - entries, wrap: !self.wrap },
        }
    }

    /// What a descriptor here carries when the guest has made it available.
    #[inline]
    fn available(self) -> u16 {
        if self.wrap { AVAILABLE } else { USED }
    }

    /// What it carries when we have used it.
    #[inline]
    fn used(self) -> u16 {
        if self.wrap { AVAILABLE | USED } else { 0 }
    }
}

/// A packed ring, our side.
#[derive(Debug)]
pub(super) struct Packed {
    descriptors: Area<16>,
    driver: Area<4>,
    device: Area<4>,
    size: u16,
    options: RingOptions,
    /// The next chain to take.
    next: Place,
    /// Descriptors from there on that are known to be available.
    known: u16,
    /// The next place to mark as used.
    used: Place,
    ledger: Option<&'static RingLedger>,
}

impl Packed {
    pub(super) fn new(
        memory: &Arc<Memory>,
        layout: &RingLayout,
        options: RingOptions,
        ledger: Option<&'static RingLedger>,
    ) -> Option<Self> {
        let next = Place { index: layout.position.index, wrap: layout.position.wrap };
        if next.index >= layout.size {
            return None;
        }
        Some(Packed {
            descriptors: Area::of_user(memory, layout.descriptors, 16 * usize::from(layout.size))?,
            driver: Area::of_user(memory, layout.driver, 4)?,
            device: Area::of_user(memory, layout.device, 4)?,
            size: layout.size,
            options,
            next,
            known: 0,
            used: next,
            ledger,
        })
    }

    /// Where a ring stands whose data plane was killed; `None` if the ledger does not say, or the ring is none.
    pub(super) fn recover(
        memory: &Arc<Memory>,
        layout: &RingLayout,
        ledger: &RingLedger,
    ) -> Option<Position> {
        let descriptors = Area::<16>::of_user(memory, layout.descriptors, 16 * usize::from(layout.size))?;
        let places = ledger.candidates().map(|(index, wrap)| Place { index, wrap });
        if places.iter().any(|place| place.index >= layout.size) {
            return None;
        }
        let [committed, intended] = places;
        let flags = (descriptors.acquire64(2 * usize::from(committed.index) + 1) >> 48) as u16;
        // Still as the guest has made it available: nothing was given from there on. Otherwise it was, and the
        // guest may even have made it available again, in the next round.
        let stands = if flags & (AVAILABLE | USED) == committed.available() { committed } else { intended };
        Some(Position { index: stands.index, wrap: stands.wrap })
    }

    /// Looks at descriptors ahead until one is not available. The loads do not depend on each other, so the
    /// misses overlap, and `take` finds the lines here.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a row has no more entries than the ring")]
    pub(super) fn ready(&mut self, wanted: u16) -> Result<u16, GuestFault> {
        let wanted = wanted.min(self.size);
        while self.known < wanted {
            let place = self.next.after(self.known, self.size);
            let row = (wanted - self.known).min(self.size - place.index);
            let in_row = |step: &u16| self.is_available(Place { index: place.index + step, ..place });
            let found = (0..row).take_while(in_row).count() as u16;
            self.known += found;
            if found < row {
                break;
            }
        }
        Ok(self.known)
    }

    #[inline]
    fn is_available(&self, place: Place) -> bool {
        // Acquire: the flags are what the guest writes last.
        let flags = (self.descriptors.acquire64(2 * usize::from(place.index) + 1) >> 48) as u16;
        flags & (AVAILABLE | USED) == place.available()
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a burst has few chains")]
    pub(super) fn take(
        &mut self,
        limit: u16,
        direction: Direction,
        translator: &mut Translator,
        chains: &mut Chains,
    ) -> Result<(), GuestFault> {
        let chain_max = self.size.min(CHAIN_MAX);
        let allows_indirect = self.options.indirect;
        let mut builder = Builder { translator, chains, direction, chain_max, allows_indirect };
        let (mut next, mut known, mut left) = (self.next, self.known, limit);
        while known > 0 && left > 0 && builder.chains.has_room() {
            // As far as they lie in one row.
            let row = left.min(known).min(self.size - next.index);
            let read = |step| self.single(Place { index: next.index + step as u16, ..next });
            let singles = builder.singles(row.into(), read)? as u16;
            (next, known, left) = (next.after(singles, self.size), known - singles, left - singles);
            if singles < row && builder.chains.has_room() {
                let descriptor = self.descriptor(next).ok_or(GuestFault::Next)?;
                let span = self.walk(next, descriptor, &mut builder)?;
                (next, known, left) = (next.after(span, self.size), known.saturating_sub(span), left - 1);
            }
        }
        (self.next, self.known) = (next, known);
        Ok(())
    }

    /// The buffer that the descriptor here names if it is a chain of its own, and the descriptor. That it is available
    /// was seen before; a guest that has taken it back since has broken its ring.
    #[inline]
    fn single(&self, place: Place) -> Result<(u16, Descriptor), GuestFault> {
        let descriptor = self.descriptor(place).ok_or(GuestFault::Next)?;
        // Only a chain's last descriptor names its buffer.
        let names = descriptor.flags & (NEXT | INDIRECT) == 0;
        if names && descriptor.tag >= self.size {
            return Err(GuestFault::BufferId);
        }
        Ok((descriptor.tag, descriptor))
    }

    /// The descriptor here, if the guest has made it available.
    #[inline]
    fn descriptor(&self, place: Place) -> Option<Descriptor> {
        // Acquire: the other half was written before the flags.
        let descriptor = Descriptor::packed(self.descriptors.acquire_two64(2 * usize::from(place.index)));
        (descriptor.flags & (AVAILABLE | USED) == place.available()).then_some(descriptor)
    }

    /// A chain of several descriptors; returns how many of the ring.
    fn walk(
        &self,
        mut place: Place,
        mut descriptor: Descriptor,
        builder: &mut Builder<'_>,
    ) -> Result<u16, GuestFault> {
        let mut begun = builder.begin();
        let mut span = 1;
        loop {
            if descriptor.flags & INDIRECT != 0 {
                builder.table(&mut begun, descriptor, true)?;
                break;
            }
            builder.piece(&mut begun, descriptor)?;
            if descriptor.flags & NEXT == 0 {
                break;
            }
            if span == self.size {
                return Err(GuestFault::ChainTooLong);
            }
            place = place.after(1, self.size);
            // The guest makes the first descriptor of a chain available last, so the others are, too.
            descriptor = self.descriptor(place).ok_or(GuestFault::Next)?;
            span += 1;
        }
        // The last descriptor names the buffer.
        if descriptor.tag >= self.size {
            return Err(GuestFault::BufferId);
        }
        builder.end(begun, descriptor.tag, span);
        Ok(span)
    }

    #[inline]
    pub(super) fn untake(&mut self, chains: &[Chain]) {
        let entries = chains.iter().map(|chain| chain.span).sum();
        self.next = self.next.before(entries, self.size);
        self.known += entries;
    }

    /// Marks the chains taken first as used: all entries but the first, then the first one, since the guest
    /// looks at them in order. Returns whether it wants to be told.
    #[inline]
    pub(super) fn publish(&mut self, chains: &[Chain], direction: Direction) -> bool {
        let Some(first) = chains.first() else { return false };
        let start = self.used;
        let mut place = start.after(first.span, self.size);
        let (first_entry, others) = match (chains, direction) {
            ([.., last], Direction::Read) if self.options.in_order => {
                // One entry, which names the last buffer, stands for all.
                place = chains[1..].iter().fold(place, |place, chain| place.after(chain.span, self.size));
                (last, &[][..])
            }
            (all, _) => (first, &all[1..]),
        };
        for chain in others {
            let at = 2 * usize::from(place.index) + 1;
            self.descriptors.store64(at, used_entry(place, chain));
            place = place.after(chain.span, self.size);
        }
        if let Some(ledger) = self.ledger {
            ledger.intend(place.index, place.wrap);
        }
        // Release: the other entries, and the buffers, are written before, and so is what was intended.
        let at = 2 * usize::from(start.index) + 1;
        self.descriptors.release64(at, used_entry(start, first_entry));
        if let Some(ledger) = self.ledger {
            ledger.commit(place.index, place.wrap);
        }
        self.used = place;
        self.wants_call(start)
    }

    #[inline]
    fn wants_call(&self, old: Place) -> bool {
        // Pairs with the guest's, as in a split ring.
        fence(Ordering::SeqCst);
        let events = self.driver.load32(0);
        #[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
        let (at, flags) = (events as u16, (events >> 16) as u16);
        match flags & 3 {
            EVENTS_NONE => false,
            EVENTS_AT if self.options.event_index => {
                // Counted from the start of the round that we are in now.
                let rounds_differ = (at & EVENT_WRAP != 0) != self.used.wrap;
                let event = at & !EVENT_WRAP;
                let event = if rounds_differ { event.wrapping_sub(self.size) } else { event };
                let moved = self.entries_since(old);
                passes(event, self.used.index.wrapping_sub(moved), self.used.index)
            }
            _all => true,
        }
    }

    /// How many entries of the ring were used since `old`, less than a burst ago.
    fn entries_since(&self, old: Place) -> u16 {
        if self.used.index > old.index || self.used == old {
            self.used.index - old.index
        } else {
            self.used.index + (self.size - old.index)
        }
    }

    /// See [`super::split::Split::arm`].
    pub(super) fn arm(&mut self) -> bool {
        let place = self.next.after(self.known, self.size);
        let (at, flags) = if self.options.event_index {
            (place.index | if place.wrap { EVENT_WRAP } else { 0 }, EVENTS_AT)
        } else {
            (0, EVENTS_ALL)
        };
        self.device.store32(0, u32::from(at) | u32::from(flags) << 16);
        // Pairs with the guest's, as in a split ring.
        fence(Ordering::SeqCst);
        // A ring that is known to be all available has no place that could become so.
        self.known < self.size && self.is_available(place)
    }

    pub(super) fn disarm(&mut self) {
        self.device.store32(0, u32::from(EVENTS_NONE) << 16);
    }

    pub(super) fn position(&self) -> Position {
        Position { index: self.used.index, wrap: self.used.wrap }
    }
}

/// What tells the guest that it has a chain back, and how much of it was written.
#[inline]
fn used_entry(place: Place, chain: &Chain) -> u64 {
    let flags = place.used() | if chain.written > 0 { WRITE } else { 0 };
    u64::from(chain.written) | u64::from(chain.id) << 32 | u64::from(flags) << 48
}
