//! What a client has still to read, bounded.
//!
//! QEMU buffers without limit, so a client that is stopped while events flow makes it grow until something ends
//! it. Three things could be done instead. To drop events in silence was rejected: a client that misses
//! `DEVICE_DELETED` or a link change never learns that it did, and acts on a state that is gone. To block was rejected:
//! one client would stop all. So a client that lets too many events pile up is disconnected: that it notices,
//! and all orchestrators know what to do then, namely connect again and ask for the state.
//!
//! Replies are never the reason for a disconnection, however large: they stop only the reading of further requests
//! until the client has taken most of them.

use std::collections::VecDeque;
use std::io::IoSlice;

/// Events that a client may leave unread, beside what the kernel's socket buffer holds. A burst of one event for
/// each of a thousand ports is some 200 KiB: a client that reads at all never comes near this, and a machine with a
/// dozen dead clients does not notice them.
pub const EVENTS_MAX_BYTES: usize = 4 << 20;

/// Unread replies from which on no further request is read. The longest reply (`query-qmp-schema`) is well below, so
/// that a client may send a few requests for it before it reads.
pub const REPLIES_PAUSE_BYTES: usize = 4 << 20;

/// What a line costs beyond its text: its place in the queue and the allocator's share.
const LINE_OVERHEAD_BYTES: usize = 64;

/// Lines handed to one system call.
pub(super) const LINES_AT_ONCE: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Reply,
    Event,
}

#[derive(Debug)]
struct Line {
    text: String,
    sort: Sort,
}

impl Line {
    fn cost(&self) -> usize {
        self.text.len() + LINE_OVERHEAD_BYTES
    }
}

/// The client left more than [`EVENTS_MAX_BYTES`] of events unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flooded;

/// Lines in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Output {
    lines: VecDeque<Line>,
    /// Bytes of the first line that are gone.
    sent_bytes: usize,
    replies_bytes: usize,
    events_bytes: usize,
}

impl Output {
    pub(super) fn reply(&mut self, text: String) {
        self.push(Line { text, sort: Sort::Reply });
    }

    pub(super) fn event(&mut self, text: &str) -> Result<(), Flooded> {
        let line = Line { text: text.to_owned(), sort: Sort::Event };
        if self.events_bytes + line.cost() > EVENTS_MAX_BYTES {
            return Err(Flooded);
        }
        self.push(line);
        Ok(())
    }

    /// There are so many unread replies that no more should be made.
    pub(super) fn is_full(&self) -> bool {
        self.replies_bytes > REPLIES_PAUSE_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// What to send next.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut skip = self.sent_bytes;
        let mut slices = Vec::with_capacity(LINES_AT_ONCE);
        for line in self.lines.iter().take(LINES_AT_ONCE) {
            slices.push(IoSlice::new(&line.text.as_bytes()[skip..]));
            skip = 0;
        }
        slices
    }

    /// So many bytes of [`slices`](Self::slices) are gone.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes;
        while let Some(line) = self.lines.pop_front_if(|line| line.text.len() <= self.sent_bytes) {
            self.sent_bytes -= line.text.len();
            *self.account(line.sort) -= line.cost();
        }
    }

    fn push(&mut self, line: Line) {
        *self.account(line.sort) += line.cost();
        self.lines.push_back(line);
    }

    fn account(&mut self, sort: Sort) -> &mut usize {
        match sort {
            Sort::Reply => &mut self.replies_bytes,
            Sort::Event => &mut self.events_bytes,
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn text(output: &Output) -> String {
        output.slices().iter().map(|slice| String::from_utf8_lossy(slice).into_owned()).collect()
    }

    #[test]
    fn lines_leave_in_order_and_in_pieces() {
        let mut output = Output::default();
        output.reply("first\n".to_owned());
        output.event("second\n").unwrap();
        output.sent(8);
        assert_eq!(text(&output), "cond\n");
        output.sent(5);
        assert!(output.is_empty());
        assert_eq!((output.replies_bytes, output.events_bytes), (0, 0));
    }

    #[test]
    fn unread_events_are_bounded() {
        let mut output = Output::default();
        let event = "x".repeat(1000);
        let taken = (0..).take_while(|_| output.event(&event).is_ok()).count();
        assert_eq!(taken, EVENTS_MAX_BYTES / (1000 + LINE_OVERHEAD_BYTES));
        output.sent(1000);
        assert_eq!(output.event(&event), Ok(()));
    }

    #[test]
    fn a_reply_of_any_size_does_not_count_against_events() {
        let mut output = Output::default();
        output.reply("r".repeat(REPLIES_PAUSE_BYTES + 1));
        assert!(output.is_full());
        assert_eq!(output.event("e"), Ok(()));
    }
}
