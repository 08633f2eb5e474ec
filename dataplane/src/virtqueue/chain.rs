//! Chains of descriptors, as copied out of a ring.
//!
//! A chain is what a guest offers as one buffer: one piece of memory, or several, or a table of pieces
//! somewhere else (indirect). All layouts look the same here: some segments of a list. What a chain says is
//! believed only after it was checked, and the copy that was checked is the one that is used.

use std::ops::Range;

use framewire_shared::counters::DropReason;
use framewire_shared::limits::BURST_FRAMES_MAX;

use super::GuestFault;
use super::area::Table;
use super::memory::Translator;
use crate::frame::{Segment, SegmentList};

/// The buffer goes on with another descriptor (`VIRTQ_DESC_F_NEXT`).
pub const NEXT: u16 = 1;
/// We write it (`VIRTQ_DESC_F_WRITE`).
pub const WRITE: u16 = 2;
/// It holds a table of descriptors (`VIRTQ_DESC_F_INDIRECT`).
pub const INDIRECT: u16 = 4;

/// Descriptors of one chain, whatever the ring's size; what QEMU allows.
pub const CHAIN_MAX: u16 = 1024;

/// Descriptors read for one burst before no further chain is begun. Bounds what a hostile guest can make us
/// walk in a turn.
const WALKED_MAX: usize = CHAIN_MAX as usize;

/// Who writes the buffers of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The guest has written them; we read (its transmitq).
    Read,
    /// We write them (its receiveq).
    Write,
}

/// One descriptor, copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// The guest's address of the piece.
    pub address: u64,
    /// Its length.
    pub len: u32,
    /// [`NEXT`], [`WRITE`], [`INDIRECT`], and in a packed ring who has it.
    pub flags: u16,
    /// Split ring: where the chain goes on. Packed ring: the buffer's id.
    pub tag: u16,
}

impl Descriptor {
    /// From both halves of a split ring's descriptor.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
    pub fn split([address, rest]: [u64; 2]) -> Self {
        Descriptor { address, len: rest as u32, flags: (rest >> 32) as u16, tag: (rest >> 48) as u16 }
    }

    /// From both halves of a packed ring's descriptor.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
    pub fn packed([address, rest]: [u64; 2]) -> Self {
        Descriptor { address, len: rest as u32, flags: (rest >> 48) as u16, tag: (rest >> 32) as u16 }
    }
}

/// One chain.
#[derive(Debug, Clone, Copy)]
pub struct Chain {
    /// What the ring calls it: its head's index, or its buffer id.
    pub id: u16,
    /// How many entries of the ring it takes up.
    pub span: u16,
    /// Its segments' place in the list.
    first: u16,
    count: u16,
    /// What all its segments hold together.
    pub bytes: u32,
    /// How much of it we have written, to be told to the guest.
    pub written: u32,
    /// Why what it holds goes no further, if it does not.
    pub refused: Option<DropReason>,
}

/// The chains of a burst. Reused; allocates nothing.
#[derive(Debug)]
pub struct Chains {
    list: Vec<Chain>,
    segments: SegmentList,
    walked: usize,
}

impl Default for Chains {
    fn default() -> Self {
        let segments = SegmentList::with_capacity(WALKED_MAX + usize::from(CHAIN_MAX));
        Chains { list: Vec::with_capacity(BURST_FRAMES_MAX), segments, walked: 0 }
    }
}

impl Chains {
    /// Forgets all.
    #[inline]
    pub fn clear(&mut self) {
        self.list.clear();
        self.segments.clear();
        self.walked = 0;
    }

    /// All chains, oldest first.
    #[inline]
    #[must_use]
    pub fn all(&self) -> &[Chain] {
        &self.list
    }

    /// The same, to note what was written.
    #[inline]
    pub fn all_mut(&mut self) -> &mut [Chain] {
        &mut self.list
    }

    /// A chain's segments.
    #[inline]
    #[must_use]
    pub fn segments(&self, chain: &Chain) -> &[Segment] {
        &self.segments.all()[usize::from(chain.first)..][..usize::from(chain.count)]
    }

    /// The segments of several chains, one after another.
    #[inline]
    #[must_use]
    pub fn segments_of(&self, chains: Range<usize>) -> &[Segment] {
        let chains = &self.list[chains];
        let (Some(first), Some(last)) = (chains.first(), chains.last()) else { return &[] };
        &self.segments.all()[usize::from(first.first)..usize::from(last.first) + usize::from(last.count)]
    }

    /// Forgets all but the first `count`.
    #[inline]
    pub fn truncate(&mut self, count: usize) {
        self.list.truncate(count);
    }

    /// Whether another chain may be begun: there is a place for it, however long.
    #[inline]
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.list.len() < BURST_FRAMES_MAX && self.walked < WALKED_MAX
    }
}

/// Puts one chain after another into [`Chains`].
#[derive(Debug)]
pub struct Builder<'a> {
    /// Checks and translates addresses.
    pub translator: &'a mut Translator,
    /// Where the chains go.
    pub chains: &'a mut Chains,
    /// Who writes them.
    pub direction: Direction,
    /// Descriptors of a chain, at most: the ring's size and [`CHAIN_MAX`] bound it.
    pub chain_max: u16,
    /// Whether tables of descriptors were agreed on.
    pub allows_indirect: bool,
}

/// Where a chain begins that is being put together.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    first: usize,
    bytes: u64,
    descriptors: u16,
}

impl Begun {
    /// How many descriptors were added, tables and what they hold.
    #[inline]
    #[must_use]
    pub fn descriptors(&self) -> u16 {
        self.descriptors
    }
}

impl Builder<'_> {
    /// A chain of one descriptor that goes on nowhere: nearly all are.
    #[inline]
    pub fn single(&mut self, id: u16, descriptor: Descriptor) -> Result<(), GuestFault> {
        let mut begun = self.begin();
        self.piece(&mut begun, descriptor)?;
        self.end(begun, id, 1);
        Ok(())
    }

    /// Begins a chain.
    #[inline]
    #[must_use]
    pub fn begin(&self) -> Begun {
        Begun { first: self.chains.segments.all().len(), bytes: 0, descriptors: 0 }
    }

    /// Adds a descriptor that is no table.
    #[inline]
    pub fn piece(&mut self, begun: &mut Begun, descriptor: Descriptor) -> Result<(), GuestFault> {
        let direction = if descriptor.flags & WRITE == 0 { Direction::Read } else { Direction::Write };
        if direction != self.direction {
            return Err(GuestFault::Direction);
        }
        if begun.descriptors == self.chain_max {
            return Err(GuestFault::ChainTooLong);
        }
        begun.descriptors += 1;
        if descriptor.len == 0 {
            return Ok(()); // Whatever its address is, nobody will look there.
        }
        let segment = self.translator.segment(descriptor.address, descriptor.len);
        let segment = segment.ok_or(GuestFault::Address)?;
        segment.prefetch(self.direction == Direction::Write);
        begun.bytes += u64::from(descriptor.len);
        self.chains.segments.add(segment);
        Ok(())
    }

    /// Adds what a table holds. `packed` tables are walked in order, others by their links.
    #[cold]
    pub fn table(
        &mut self,
        begun: &mut Begun,
        descriptor: Descriptor,
        packed: bool,
    ) -> Result<(), GuestFault> {
        let Descriptor { address, len, flags, .. } = descriptor;
        let entries = len as usize / Table::DESCRIPTOR_BYTES;
        let is_table = entries > 0 && (len as usize).is_multiple_of(Table::DESCRIPTOR_BYTES);
        if !self.allows_indirect || !is_table || flags & NEXT != 0 || entries > usize::from(self.chain_max) {
            return Err(GuestFault::Indirect);
        }
        let segment = self.translator.segment(address, len).ok_or(GuestFault::Address)?;
        let table = Table::new(segment).ok_or(GuestFault::Indirect)?;
        if packed { self.in_order(begun, table) } else { self.linked(begun, table) }
    }

    fn in_order(&mut self, begun: &mut Begun, table: Table) -> Result<(), GuestFault> {
        for index in 0..table.entries() {
            // Of their flags only WRITE has a meaning in such a table (2.8.8).
            let entry = Descriptor::packed(table.load(index));
            self.piece(begun, entry)?;
        }
        Ok(())
    }

    fn linked(&mut self, begun: &mut Begun, table: Table) -> Result<(), GuestFault> {
        let mut index = 0;
        for _step in 0..table.entries() {
            let entry = Descriptor::split(table.load(index));
            if entry.flags & INDIRECT != 0 {
                return Err(GuestFault::Indirect);
            }
            self.piece(begun, entry)?;
            if entry.flags & NEXT == 0 {
                return Ok(());
            }
            index = usize::from(entry.tag);
            if index >= table.entries() {
                return Err(GuestFault::Next);
            }
        }
        Err(GuestFault::ChainTooLong)
    }

    /// Ends a chain.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "WALKED_MAX and CHAIN_MAX bound them")]
    pub fn end(&mut self, begun: Begun, id: u16, span: u16) {
        let count = self.chains.segments.all().len() - begun.first;
        self.chains.walked += usize::from(begun.descriptors);
        // Four gigabytes of buffer are not told apart from more.
        let bytes = u32::try_from(begun.bytes).unwrap_or(u32::MAX);
        let (first, count) = (begun.first as u16, count as u16);
        self.chains.list.push(Chain { id, span, first, count, bytes, written: 0, refused: None });
    }
}
