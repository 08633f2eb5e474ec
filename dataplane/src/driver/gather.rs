//! Puts the pieces of frames together for one system call.
//!
//! Each piece that the kernel is told about costs it 25 to 40 ns, and more where a call takes many; to copy
//! a few hundred warm bytes costs less. So small pieces are copied behind each other and count as one,
//! large ones stay where they are. How small is for the caller to say, who has measured his call.

use framewire_shared::limits::BURST_FRAMES_MAX;

use crate::frame::{SEGMENTS_MAX, Segment, SegmentList, Strip};

/// What is copied of frames at most between two [`Gather::clear`]s: a burst of frames of 512 bytes. Pieces
/// beyond that stay where they are, however small.
const COPIED_BYTES_MAX: usize = 32 << 10;

/// Lists of pieces, one behind the other.
#[derive(Debug)]
pub(super) struct Gather {
    memory: Strip,
    /// The size of `memory`.
    memory_bytes: usize,
    used_bytes: usize,
    /// How much of that is copied pieces.
    copied_bytes: usize,
    /// Pieces up to this size are copied.
    piece_bytes_max: usize,
    list: SegmentList,
    /// Where the list begins that is being made.
    begin: usize,
}

impl Gather {
    /// Copies pieces of up to `piece_bytes_max`, and puts up to `own_bytes_max` of ours before frames.
    pub(super) fn new(piece_bytes_max: usize, own_bytes_max: usize) -> rustix::io::Result<Self> {
        let memory_bytes = COPIED_BYTES_MAX + own_bytes_max;
        Ok(Gather {
            memory: Strip::new(memory_bytes)?,
            memory_bytes,
            used_bytes: 0,
            copied_bytes: 0,
            piece_bytes_max,
            // A burst's segments, and a header before each frame.
            list: SegmentList::with_capacity(SEGMENTS_MAX + BURST_FRAMES_MAX),
            begin: 0,
        })
    }

    /// Forgets all lists.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.used_bytes = 0;
        self.copied_bytes = 0;
        self.begin = 0;
    }

    /// Begins a list behind those there are.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.begin = self.list.all().len();
    }

    /// Adds a piece to the list.
    #[inline]
    pub(super) fn add(&mut self, piece: Segment) {
        let copy = piece.len() <= self.piece_bytes_max && self.list.joined(self.begin, &piece).is_none();
        let copy = copy && self.copied_bytes + piece.len() <= COPIED_BYTES_MAX;
        let place = if copy { self.place(piece.len()) } else { None };
        match place {
            Some(place) => {
                self.copied_bytes += piece.len();
                piece.copy_to(&place, 0);
                self.list.push(self.begin, place);
            }
            None => self.list.push(self.begin, piece),
        }
    }

    /// Adds bytes of our own to the list. There must be room for them: [`Gather::new`] was told.
    #[inline]
    pub(super) fn add_bytes(&mut self, bytes: &[u8]) {
        let place = self.place(bytes.len()).expect("own_bytes_max bounds them");
        place.write(0, bytes);
        self.list.push(self.begin, place);
    }

    /// All pieces of all lists, and where the last list is among them.
    #[inline]
    pub(super) fn pieces(&self) -> (&[Segment], std::ops::Range<usize>) {
        (self.list.all(), self.begin..self.list.all().len())
    }

    #[inline]
    fn place(&mut self, len: usize) -> Option<Segment> {
        let area = self.memory.room(self.memory_bytes)?.segment();
        let place = area.part(self.used_bytes, len);
        self.used_bytes += if place.len() == len { len } else { 0 };
        (place.len() == len).then_some(place)
    }
}
