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
    /// The guest has written their beginning, and we write the rest (its control queue). Such chains are taken one by
    /// one.
    Command,
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
    /// Of which the first `len` are chains; the others are places for more.
    list: Box<[Chain; BURST_FRAMES_MAX]>,
    len: usize,
    segments: SegmentList,
    walked: usize,
    has_refused: bool,
    /// Of a command, how many segments come before those of its answer.
    asked: u16,
}

impl Default for Chains {
    fn default() -> Self {
        let segments = SegmentList::with_capacity(WALKED_MAX + usize::from(CHAIN_MAX));
        Chains {
            list: Box::new([Chain::NONE; BURST_FRAMES_MAX]),
            len: 0,
            segments,
            walked: 0,
            has_refused: false,
            asked: 0,
        }
    }
}

impl Chain {
    const NONE: Chain = Chain { id: 0, span: 0, first: 0, count: 0, bytes: 0, written: 0, refused: None };
}

impl Chains {
    /// Forgets all.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
        self.segments.clear();
        self.walked = 0;
        self.has_refused = false;
        self.asked = 0;
    }

    /// All chains, oldest first.
    #[inline]
    #[must_use]
    pub fn all(&self) -> &[Chain] {
        &self.list[..self.len]
    }

    /// The same, to note what was written.
    #[inline]
    pub fn all_mut(&mut self) -> &mut [Chain] {
        &mut self.list[..self.len]
    }

    /// The same, with what finds the segment of a chain that has only one.
    #[inline]
    pub fn with_singles(&mut self) -> (&mut [Chain], Singles<'_>) {
        (&mut self.list[..self.len], Singles(self.segments.all()))
    }

    /// What this chain holds goes no further.
    pub fn refuse(&mut self, place: usize, reason: DropReason) {
        self.all_mut()[place].refused = Some(reason);
        self.has_refused = true;
    }

    /// Whether there is such a chain.
    #[inline]
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.has_refused
    }

    /// A chain's segments.
    #[inline]
    #[must_use]
    pub fn segments(&self, chain: &Chain) -> &[Segment] {
        &self.segments.all()[usize::from(chain.first)..][..usize::from(chain.count)]
    }

    /// What a command consists of: what is asked, and where the answer goes.
    #[must_use]
    pub fn command(&self, chain: &Chain) -> (&[Segment], &[Segment]) {
        self.segments(chain).split_at(self.asked.min(chain.count).into())
    }

    /// A chain's segments that we may have written.
    #[must_use]
    pub fn writable(&self, chain: &Chain) -> &[Segment] {
        self.command(chain).1
    }

    /// A chain's segment, if it has only one.
    #[inline]
    #[must_use]
    pub fn single(&self, chain: &Chain) -> Option<Segment> {
        Singles(self.segments.all()).of(chain)
    }

    /// The segments of several chains, one after another.
    #[inline]
    #[must_use]
    pub fn segments_of(&self, chains: Range<usize>) -> &[Segment] {
        let chains = &self.all()[chains];
        let (Some(first), Some(last)) = (chains.first(), chains.last()) else { return &[] };
        &self.segments.all()[usize::from(first.first)..usize::from(last.first) + usize::from(last.count)]
    }

    /// Forgets all but the first `count`.
    #[inline]
    pub fn truncate(&mut self, count: usize) {
        self.len = self.len.min(count);
    }

    /// Whether another chain may be begun: there is a place for it, however long.
    #[inline]
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.len < BURST_FRAMES_MAX && self.walked < WALKED_MAX
    }
}

/// The segments of a burst's chains.
#[derive(Debug, Clone, Copy)]
pub struct Singles<'a>(&'a [Segment]);

impl Singles<'_> {
    /// A chain's segment, if it has only one.
    #[inline]
    #[must_use]
    pub fn of(&self, chain: &Chain) -> Option<Segment> {
        if chain.count == 1 { self.0.get(usize::from(chain.first)).copied() } else { None }
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
    /// Segments that the guest has written; whether all of them are there.
    asked: u16,
    is_answer: bool,
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
    /// Adds chains of one descriptor, as nearly all are: up to `limit`, as `read` reads them (a buffer's name and its
    /// descriptor), until there is one that is anything but plain. That one is not added, and what was read of it is
    /// forgotten: whoever walks it reads it anew, and finds out what is wrong with it if something is. Returns how
    /// many were added.
    ///
    /// All that is decided here is decided on locals, and nothing that grows is touched before the end: measured,
    /// adding one by one as chains of any length costs 20 cycles more each.
    #[inline]
    pub fn singles(
        &mut self,
        limit: usize,
        mut read: impl FnMut(usize) -> Result<(u16, Descriptor), GuestFault>,
    ) -> Result<usize, GuestFault> {
        let Chains { list, len, segments, walked, .. } = &mut *self.chains;
        let (plain, to_write) = match self.direction {
            Direction::Read => (0, false),
            Direction::Write => (WRITE, true),
            // It has two descriptors at least.
            Direction::Command => return Ok(0),
        };
        let (first, mut count) = (segments.len(), 0);
        let limit = limit.min(list.len() - *len);
        for (chain, place) in list[*len..][..limit].iter_mut().zip(segments.free()) {
            let (id, descriptor) = read(count)?;
            let Descriptor { address, len: bytes, flags, .. } = descriptor;
            let is_plain = flags & (NEXT | WRITE | INDIRECT) == plain && bytes > 0;
            let Some(segment) = self.translator.near_segment(address, bytes).filter(|_| is_plain) else {
                break;
            };
            segment.prefetch(to_write);
            *place = segment;
            *chain = Chain { id, span: 1, first: small(first + count), count: 1, bytes, ..Chain::NONE };
            count += 1;
        }
        (*len, *walked) = (*len + count, *walked + count);
        segments.filled(count);
        Ok(count)
    }

    /// Begins a chain.
    #[inline]
    #[must_use]
    pub fn begin(&self) -> Begun {
        Begun { first: self.chains.segments.len(), bytes: 0, descriptors: 0, asked: 0, is_answer: false }
    }

    /// Adds a descriptor that is no table.
    #[inline]
    pub fn piece(&mut self, begun: &mut Begun, descriptor: Descriptor) -> Result<(), GuestFault> {
        let to_write = descriptor.flags & WRITE != 0;
        let is_right = match self.direction {
            Direction::Read => !to_write,
            Direction::Write => to_write,
            Direction::Command => to_write || !begun.is_answer,
        };
        if !is_right {
            return Err(GuestFault::Direction);
        }
        begun.is_answer = to_write;
        if begun.descriptors == self.chain_max {
            return Err(GuestFault::ChainTooLong);
        }
        begun.descriptors += 1;
        if descriptor.len == 0 {
            return Ok(()); // Whatever its address is, nobody will look there.
        }
        let segment = self.translator.segment(descriptor.address, descriptor.len);
        let segment = segment.ok_or(GuestFault::Address)?;
        segment.prefetch(to_write);
        begun.asked += u16::from(!to_write);
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
    ///
    /// # Panics
    /// If there is no place for it: [`Chains::has_room`] tells.
    #[inline]
    pub fn end(&mut self, begun: Begun, id: u16, span: u16) {
        let count = self.chains.segments.len() - begun.first;
        self.chains.asked = if self.direction == Direction::Command { begun.asked } else { 0 };
        self.chains.walked += usize::from(begun.descriptors);
        // Four gigabytes of buffer are not told apart from more.
        let bytes = u32::try_from(begun.bytes).unwrap_or(u32::MAX);
        let (first, count) = (small(begun.first), small(count));
        self.chains.list[self.chains.len] = Chain { id, span, first, count, bytes, ..Chain::NONE };
        self.chains.len += 1;
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "WALKED_MAX and CHAIN_MAX bound them")]
fn small(place: usize) -> u16 {
    place as u16
}
