//! Frames ready to be sent: one block of memory with as many as are sent in a call.
//!
//! A record is what the endpoint puts before each frame (a stream's length, a tunnel's header) and the frame.
//! Records lie one behind the other, so that the same memory serves `sendmmsg` (one each), `UDP_SEGMENT` and
//! streams (all at once). The kernel copies while it sends; the next burst is stamped over the last.

use crate::frame::Template;

/// A block of records.
#[derive(Debug)]
pub(crate) struct Records {
    template: Template,
    bytes: Vec<u8>,
    prefix_len: usize,
    record_len: usize,
}

impl Records {
    /// Room for `count` records, each `prefix` and a frame of `template`.
    pub(crate) fn new(template: Template, prefix: &[u8], count: usize) -> Self {
        let record_len = prefix.len() + template.bytes().len();
        let record = [prefix, template.bytes()].concat();
        Records { template, bytes: record.repeat(count), prefix_len: prefix.len(), record_len }
    }

    /// Bytes of one record.
    pub(crate) fn record_len(&self) -> usize {
        self.record_len
    }

    /// How many records there is room for.
    pub(crate) fn count(&self) -> usize {
        self.bytes.len() / self.record_len
    }

    /// Numbers the first `count` records from `first_sequence` on and returns them.
    pub(crate) fn stamp(&mut self, first_sequence: u64, count: usize) -> &[u8] {
        let part = &mut self.bytes[..count * self.record_len];
        for (record, sequence) in part.chunks_exact_mut(self.record_len).zip(first_sequence..) {
            self.template.stamp(&mut record[self.prefix_len..], sequence);
        }
        &self.bytes[..count * self.record_len]
    }

    /// The records as they were stamped last.
    pub(crate) fn stamped(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::frame::{Shape, Side, Verdict, judge};

    #[test]
    fn records_are_numbered_and_keep_their_prefix() {
        let mut records = Records::new(Template::new(Shape::bare(64), Side::A), &[9, 8], 4);
        assert_eq!((records.count(), records.record_len()), (4, 66));
        let stamped = records.stamp(41, 3);
        assert_eq!(stamped.len(), 3 * 66);
        for (record, sequence) in stamped.chunks(66).zip(41..) {
            assert_eq!(record[..2], [9, 8]);
            assert_eq!(judge(&record[2..]), Verdict::Whole { sequence });
        }
    }
}
