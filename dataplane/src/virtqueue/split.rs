//! The split ring (virtio 1.2, 2.7): a table of descriptors, a ring of heads from the guest, a ring of used
//! chains to it, each with an index that only grows.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::area::Area;
use super::chain::{Builder, CHAIN_MAX, Chain, Chains, Descriptor, Direction, INDIRECT, NEXT};
use super::memory::{Memory, Translator};
use super::notify::passes;
use super::queue::{RingLayout, RingOptions};
use super::{GuestFault, Position};

// Words of 16 bits of the guest's part: flags, index, heads, and where it wants to be told.
const DRIVER_FLAGS: usize = 0;
const DRIVER_INDEX: usize = 1;
const DRIVER_HEADS: usize = 2;
// Words of 16 bits of our part: flags and index; then, in words of 32 bits, pairs of id and length.
const DEVICE_FLAGS: usize = 0;
const DEVICE_INDEX: usize = 1;
const DEVICE_USED: usize = 1;

/// `VIRTQ_AVAIL_F_NO_INTERRUPT`.
const NO_CALLS: u16 = 1;
/// `VIRTQ_USED_F_NO_NOTIFY`.
const NO_KICKS: u16 = 1;

/// A split ring, our side.
#[derive(Debug)]
pub(super) struct Split {
    descriptors: Area<16>,
    driver: Area<2>,
    device: Area<4>,
    size: u16,
    options: RingOptions,
    /// Chains taken, ever.
    next: u16,
    /// Chains made available, as far as we know. Reading that anew costs a cache miss, so it is done only when
    /// what we know of is not enough.
    seen: u16,
    /// Chains used, ever.
    used: u16,
}

impl Split {
    pub(super) fn new(memory: &Arc<Memory>, layout: &RingLayout, options: RingOptions) -> Option<Self> {
        let size = usize::from(layout.size);
        if !layout.size.is_power_of_two() {
            return None;
        }
        let events = usize::from(options.event_index);
        let next = layout.position.index;
        Some(Split {
            descriptors: Area::of_user(memory, layout.descriptors, 16 * size)?,
            driver: Area::of_user(memory, layout.driver, 2 * (DRIVER_HEADS + size + events))?,
            device: Area::of_user(memory, layout.device, 4 + 8 * size + 2 * events)?,
            size: layout.size,
            options,
            next,
            seen: next,
            used: next,
        })
    }

    /// Where a ring stands whose data plane was killed: where its used index says, since all that was taken before
    /// was used with it. `None` if the ring is none.
    pub(super) fn recover(memory: &Arc<Memory>, layout: &RingLayout) -> Option<Position> {
        let device = Area::<4>::of_user(memory, layout.device, 4)?;
        Some(Position { index: device.acquire16(DEVICE_INDEX), wrap: true })
    }

    #[inline]
    fn place(&self, index: u16) -> usize {
        usize::from(index & (self.size - 1))
    }

    #[inline]
    pub(super) fn ready(&mut self, wanted: u16) -> Result<u16, GuestFault> {
        let known = self.seen.wrapping_sub(self.next);
        if known >= wanted {
            return Ok(known);
        }
        // Acquire: the heads and descriptors up to this index were written before it.
        self.seen = self.driver.acquire16(DRIVER_INDEX);
        let ready = self.seen.wrapping_sub(self.next);
        if ready > self.size { Err(GuestFault::AvailableIndex) } else { Ok(ready) }
    }

    /// Takes up to `limit` of the chains that are ready.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a burst has few chains")]
    pub(super) fn take(
        &mut self,
        limit: u16,
        direction: Direction,
        translator: &mut Translator,
        chains: &mut Chains,
    ) -> Result<(), GuestFault> {
        let ready = self.seen.wrapping_sub(self.next).min(limit);
        let chain_max = self.size.min(CHAIN_MAX);
        let allows_indirect = self.options.indirect;
        let mut builder = Builder { translator, chains, direction, chain_max, allows_indirect };
        let (mut next, end) = (self.next, self.next.wrapping_add(ready));
        while next != end && builder.chains.has_room() {
            let left = usize::from(end.wrapping_sub(next));
            let singles = builder.singles(left, |step| self.head(next.wrapping_add(step as u16)))?;
            next = next.wrapping_add(singles as u16);
            if next != end && builder.chains.has_room() {
                let (head, descriptor) = self.head(next)?;
                self.walk(head, descriptor, &mut builder)?;
                next = next.wrapping_add(1);
            }
        }
        self.next = next;
        Ok(())
    }

    /// The head of a chain, and its first descriptor.
    #[inline]
    fn head(&self, index: u16) -> Result<(u16, Descriptor), GuestFault> {
        let head = self.driver.load16(DRIVER_HEADS + self.place(index));
        if head < self.size { Ok((head, self.descriptor(head))) } else { Err(GuestFault::Head) }
    }

    #[inline]
    fn descriptor(&self, index: u16) -> Descriptor {
        Descriptor::split(self.descriptors.acquire_two64(2 * usize::from(index)))
    }

    /// A chain of any number of descriptors. Ends: each adds to what the builder has counted, and it stops counting.
    fn walk(
        &self,
        head: u16,
        mut descriptor: Descriptor,
        builder: &mut Builder<'_>,
    ) -> Result<(), GuestFault> {
        let mut begun = builder.begin();
        loop {
            if descriptor.flags & INDIRECT != 0 {
                builder.table(&mut begun, descriptor, false)?;
                break;
            }
            builder.piece(&mut begun, descriptor)?;
            if descriptor.flags & NEXT == 0 {
                break;
            }
            if descriptor.tag >= self.size {
                return Err(GuestFault::Next);
            }
            descriptor = self.descriptor(descriptor.tag);
        }
        builder.end(begun, head, 1);
        Ok(())
    }

    /// Gives back the chains taken last, unused.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a burst has few chains")]
    pub(super) fn untake(&mut self, chains: &[Chain]) {
        self.next = self.next.wrapping_sub(chains.len() as u16);
    }

    /// Marks the chains taken first as used. Returns whether the guest wants to be told.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a burst has few chains")]
    pub(super) fn publish(&mut self, chains: &[Chain], direction: Direction) -> bool {
        // With chains in order, the last one's entry stands for all: it carries no length that matters.
        let entries = match (chains, direction) {
            ([.., last], Direction::Read) if self.options.in_order => std::slice::from_ref(last),
            (all, _) => all,
        };
        let mut at = self.used;
        for chain in entries {
            let place = DEVICE_USED + 2 * self.place(at);
            self.device.store_two32(place, [chain.id.into(), chain.written]);
            at = at.wrapping_add(1);
        }
        let old = self.used;
        self.used = old.wrapping_add(chains.len() as u16);
        // Release: the entries, and the buffers, are written before.
        self.device.release16(DEVICE_INDEX, self.used);
        self.wants_call(old)
    }

    #[inline]
    fn wants_call(&self, old: u16) -> bool {
        // Pairs with the guest's: it asks to be told, then looks at our index once more; we store our index,
        // then look whether it asked. One of the two sees the other.
        fence(Ordering::SeqCst);
        if self.options.event_index {
            let event = self.driver.load16(DRIVER_HEADS + usize::from(self.size));
            passes(event, old, self.used)
        } else {
            self.driver.load16(DRIVER_FLAGS) & NO_CALLS == 0
        }
    }

    /// Asks the guest to kick when there are more chains than we know of. Returns whether there are already.
    pub(super) fn arm(&mut self) -> bool {
        if self.options.event_index {
            self.device.store16(2 + 4 * usize::from(self.size), self.seen);
        } else {
            self.device.store16(DEVICE_FLAGS, 0);
        }
        // Pairs with the guest's, as in `wants_call` with the sides exchanged.
        fence(Ordering::SeqCst);
        self.driver.load16(DRIVER_INDEX) != self.seen
    }

    /// No kicks are needed.
    pub(super) fn disarm(&mut self) {
        // With event indices, the one that was passed is not passed again for 65536 chains.
        if !self.options.event_index {
            self.device.store16(DEVICE_FLAGS, NO_KICKS);
        }
    }

    pub(super) fn position(&self) -> Position {
        Position { index: self.used, wrap: true }
    }
}
