//! Makes of a burst what a sink can carry that knows neither checksums nor segmentation to be done.
//!
//! One frame may become a thousand, so lowering goes in batches of at most a burst, and a sink that has no
//! room may stop in the middle of one. [`Progress`] says how far it came, in terms of the frames before
//! lowering, so that what must wait can be kept as it was, small, and be lowered when there is room.

use framewire_shared::limits::BURST_FRAMES_MAX;

use super::cursor::Cursor;
use super::offload::GSO_NONE;
use super::segmenter::Segmenter;
use super::{Burst, Frame, Offload, Segment, Strip};

/// How far a burst has been sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// So many frames are done with.
    pub frames: usize,
    /// And so many segments of the next, if that one is to be cut.
    pub cuts: usize,
}

/// Frames found bad are counted once they are passed, not when they are seen: what comes after a frame that
/// could not be sent is lowered again later.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    progress: Progress,
    bad: u64,
}

/// Which frames a batch of lowered ones was made of.
#[derive(Debug)]
pub struct Batch {
    /// Where each lowered frame begins.
    marks: [Mark; BURST_FRAMES_MAX],
    end: Mark,
    len: usize,
}

impl Batch {
    /// How far the burst is when `sent` frames of this batch have been sent, and how many of the burst's
    /// turned out to be bad on the way there.
    #[must_use]
    pub fn passed(&self, sent: usize) -> (Progress, u64) {
        let mark = if sent < self.len { &self.marks[sent] } else { &self.end };
        (mark.progress, mark.bad)
    }

    fn note(&mut self, lowered: &Burst) {
        if lowered.len() > self.len {
            self.marks[self.len] = self.end;
            self.len += 1;
        }
    }

    fn next_frame(&mut self) {
        self.end.progress = Progress { frames: self.end.progress.frames + 1, cuts: 0 };
    }
}

/// What became of one frame.
enum Lowered {
    Whole,
    /// Not all of it found room.
    Partly,
    Bad,
}

/// Fills `lowered`, over what it held, with what `burst` is made of from `from` on. Headers are made in
/// `scratch`, over what that held.
pub fn lower(burst: &Burst, from: Progress, lowered: &mut Burst, scratch: &mut Strip) -> Batch {
    lower_unless(|_offload| false, burst, from, lowered, scratch)
}

/// The same for a sink that completes checksums of frames that are not to be cut.
pub fn lower_large(burst: &Burst, from: Progress, lowered: &mut Burst, scratch: &mut Strip) -> Batch {
    lower_unless(|offload| offload.gso_type == GSO_NONE, burst, from, lowered, scratch)
}

/// `is_carried` says which frames stay as they are.
fn lower_unless(
    is_carried: impl Fn(&Offload) -> bool,
    burst: &Burst,
    from: Progress,
    lowered: &mut Burst,
    scratch: &mut Strip,
) -> Batch {
    lowered.clear();
    scratch.clear();
    let end = Mark { progress: from, bad: 0 };
    let mut batch = Batch { marks: [Mark::default(); BURST_FRAMES_MAX], end, len: 0 };
    while let Some(frame) = burst.frames().get(batch.end.progress.frames) {
        let segments = burst.segments(frame);
        let outcome = match frame.offload {
            offload if is_carried(&offload) => pass_on(frame, segments, offload, lowered),
            offload if offload.gso_type != GSO_NONE => cut(frame, segments, &mut batch, lowered, scratch),
            offload if offload.needs_checksum() => complete(frame, segments, lowered, scratch),
            _nothing_to_do => pass_on(frame, segments, Offload::default(), lowered),
        };
        match outcome {
            Lowered::Whole => {
                batch.note(lowered);
                batch.next_frame();
            }
            // In more pieces than a call can take: nobody sends such a frame in earnest.
            Lowered::Partly if batch.len == 0 => {
                batch.end.bad += 1;
                batch.next_frame();
            }
            Lowered::Partly => break,
            Lowered::Bad => {
                batch.end.bad += 1;
                batch.next_frame();
            }
        }
    }
    batch
}

fn pass_on(frame: &Frame, segments: &[Segment], offload: Offload, lowered: &mut Burst) -> Lowered {
    if !lowered.has_room(segments.len()) {
        return Lowered::Partly;
    }
    lowered.push(segments, offload, frame.headroom());
    Lowered::Whole
}

/// Completes the checksum, in a copy of the bytes up to it.
fn complete(frame: &Frame, segments: &[Segment], lowered: &mut Burst, scratch: &mut Strip) -> Lowered {
    let start = usize::from(frame.offload.csum_start);
    let at = start + usize::from(frame.offload.csum_offset);
    let Some(rest_bytes) = (frame.len as usize).checked_sub(at + 2) else { return Lowered::Bad };
    if !lowered.has_room(1 + segments.len()) {
        return Lowered::Partly;
    }
    let Some(landing) = scratch.room(at + 2) else { return Lowered::Partly };
    let head = landing.segment();
    let mut rest = Cursor::new(segments);
    rest.copy_to(&head);
    let sum = head.part(start, head.len()).sum().then(rest.sum(rest_bytes));
    head.write(at, &sum.checksum());
    scratch.keep(at + 2);
    lowered.push_joined(head, &mut rest, rest_bytes);
    Lowered::Whole
}

fn cut(
    frame: &Frame,
    segments: &[Segment],
    batch: &mut Batch,
    lowered: &mut Burst,
    scratch: &mut Strip,
) -> Lowered {
    let skip = batch.end.progress.cuts;
    let Some(mut segmenter) = Segmenter::new(segments, frame.len as usize, &frame.offload, skip) else {
        return Lowered::Bad;
    };
    loop {
        if !segmenter.cut(lowered, scratch) {
            return Lowered::Partly;
        }
        if segmenter.is_done() {
            // The caller notes the last one.
            return Lowered::Whole;
        }
        batch.note(lowered);
        batch.end.progress.cuts = segmenter.next();
    }
}

#[cfg(test)]
mod packet;
#[cfg(test)]
mod test;
