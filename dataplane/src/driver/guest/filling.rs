//! Frames on their way into the buffers that a guest offers.

use crate::frame::{Burst, Cursor, Frame, Offload, Segment, copy, copy_behind, gather};
use crate::virtqueue::header::{self, Header};
use crate::virtqueue::{CHAINS_MAX, Chains};

/// Buffers that are being filled, one after another.
pub(super) struct Filling<'a> {
    /// Whether a frame may be spread over several.
    pub(super) mergeable: bool,
    /// Whether the guest wants to hear about checksums at all.
    pub(super) hears_checksums: bool,
    pub(super) header_bytes: u32,
    pub(super) chains: &'a mut Chains,
    /// Chains filled so far.
    pub(super) used: usize,
}

/// What went in.
#[derive(Debug, Default)]
pub(super) struct Filled {
    pub(super) frames: usize,
    pub(super) bytes: u64,
    /// Frames that no buffer of this guest holds.
    pub(super) too_long: usize,
}

impl Filled {
    /// Frames that need no further attention.
    pub(super) fn done(&self) -> usize {
        self.frames + self.too_long
    }
}

impl Filling<'_> {
    /// Until frames or buffers run out.
    #[inline]
    pub(super) fn fill(&mut self, burst: &Burst, from: usize) -> Filled {
        let mut filled = Filled::default();
        while let Some(frame) = burst.frames().get(from + filled.done()) {
            if self.plain(burst, from, &mut filled) {
                continue;
            }
            let Some(chain) = self.chains.all().get(self.used) else { break };
            let segments = burst.segments(frame);
            if chain.bytes >= self.header_bytes + frame.len {
                self.one(frame, segments);
            } else if !self.mergeable {
                filled.too_long += 1;
                continue;
            } else if !self.several(frame, segments) {
                break;
            }
            filled.frames += 1;
            filled.bytes += u64::from(frame.len);
        }
        filled
    }

    /// Frames of one piece, to which nothing is to be done, into buffers of one piece: nearly all are. As many as there
    /// are in a row; returns whether there were any.
    #[inline]
    fn plain(&mut self, burst: &Burst, from: usize, filled: &mut Filled) -> bool {
        let (header_bytes, used) = (self.header_bytes, self.used);
        let (chains, singles) = self.chains.with_singles();
        let frames = &burst.frames()[from + filled.done()..];
        for (frame, chain) in frames.iter().zip(&mut chains[used..]) {
            let (Some(frame), Some(to)) = (burst.plain(frame), singles.of(chain)) else { break };
            let bytes = frame.len() + header_bytes as usize;
            if bytes > to.len() {
                break;
            }
            let at = header::put_plain(&to, header_bytes);
            copy_behind(&frame, &to, at);
            chain.written = small(bytes);
            filled.bytes += frame.len() as u64;
            self.used += 1;
        }
        filled.frames += self.used - used;
        self.used > used
    }

    #[inline]
    fn header(&self, frame: &Frame) -> Header {
        let offload = if self.hears_checksums { frame.offload } else { Offload::default() };
        header::write(&offload, frame.len)
    }

    /// Into one buffer.
    #[inline]
    fn one(&mut self, frame: &Frame, segments: &[Segment]) {
        let header = self.header(frame);
        let header = &header[..self.header_bytes as usize];
        let chain = &self.chains.all()[self.used];
        match (segments, self.chains.segments(chain)) {
            ([from], [to]) => {
                to.write(0, header);
                copy(from, &to.part(header.len(), to.len()), from.len());
            }
            (from, to) => scatter(header, from, to),
        }
        self.chains.all_mut()[self.used].written = frame.len + self.header_bytes;
        self.used += 1;
    }

    /// Over as many buffers as it takes. Returns whether there are.
    fn several(&mut self, frame: &Frame, segments: &[Segment]) -> bool {
        let (first, mut last) = (self.used, self.used);
        let mut rest = frame.len + self.header_bytes;
        for chain in &mut self.chains.all_mut()[first..] {
            chain.written = rest.min(chain.bytes);
            rest -= chain.written;
            last += 1;
            if rest == 0 {
                break;
            }
        }
        if rest > 0 {
            return false;
        }
        let mut header = self.header(frame);
        header::spread_over(&mut header, u16::try_from(last - first).unwrap_or(CHAINS_MAX));
        scatter(&header, segments, self.chains.segments_of(first..last));
        self.used = last;
        true
    }
}

#[inline]
fn small(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("no longer than the buffer, whose descriptor has 32 bits for that")
}

/// A header and a frame, over however many pieces of memory.
fn scatter(header: &[u8], from: &[Segment], to: &[Segment]) {
    let (mut cursor, mut at) = (Cursor::new(to), 0);
    for part in cursor.parts(header.len()) {
        part.write(0, &header[at..at + part.len()]);
        at += part.len();
    }
    gather(from, cursor);
}
