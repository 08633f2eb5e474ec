//! A session: bytes of a client in pieces, mixed with answers, events, and a client that reads now and then.
//!
//! Beside "it does not panic": one in-band request at a time, every line is ASCII and ends in CR LF, unread output
//! stays within its bounds, and in the end everything that was asked is answered.

#![no_main]

use controlplane::qmp::connection::{Asked, Connection, Turn};
use controlplane::qmp::{EVENTS_MAX_BYTES, QmpError, REPLIES_PAUSE_BYTES};
use libfuzzer_sys::fuzz_target;

/// The longest line that these inputs can cause: an error that repeats the input, every byte escaped.
const LINE_MAX_BYTES: usize = 1 << 20;

struct World {
    connection: Connection,
    in_progress: Vec<Asked>,
    sent: Vec<u8>,
}

impl World {
    /// One of the things that may happen, chosen by a byte.
    fn happen(&mut self, what: u8) {
        match what % 8 {
            0..=3 => self.turn(),
            4 => self.answer(),
            5 => self.read(usize::from(what)),
            6 => drop(self.connection.event("{\"event\": \"X\"}\r\n")),
            _ => {}
        }
    }

    fn turn(&mut self) {
        if let Turn::Asked(asked) = self.connection.turn() {
            assert!(asked.oob || self.in_progress.iter().all(|other| other.oob), "one at a time");
            self.in_progress.push(asked);
        }
    }

    fn answer(&mut self) {
        if let Some(asked) = self.in_progress.pop() {
            let outcome = match asked.arguments {
                Some(arguments) => Ok(arguments),
                None => Err(QmpError::command_not_found(&asked.name)),
            };
            self.connection.answer(asked.oob, asked.id, outcome);
        }
    }

    fn read(&mut self, at_most: usize) {
        let slices = self.connection.output();
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(at_most).collect();
        self.connection.sent(bytes.len());
        self.sent.extend(bytes);
    }

    /// Lets everything come to its end.
    fn settle(&mut self) {
        while self.connection.has_work() || !self.in_progress.is_empty() || !self.connection.is_flushed() {
            self.turn();
            self.answer();
            self.read(usize::MAX);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut world = World { connection: Connection::open(), in_progress: Vec::new(), sent: Vec::new() };
    let mut rest = input;
    // Each piece: its length, what happens after it, its bytes.
    while let [length, what, bytes @ ..] = rest {
        let (piece, later) = bytes.split_at(bytes.len().min(usize::from(*length)));
        if !world.connection.wants_input() {
            world.settle();
            assert!(world.connection.wants_input(), "nothing is in its way");
        }
        world.connection.receive(piece);
        world.happen(*what);
        world.happen(what >> 4);
        let unread: usize = world.connection.output().iter().map(|slice| slice.len()).sum();
        assert!(unread <= EVENTS_MAX_BYTES + REPLIES_PAUSE_BYTES + LINE_MAX_BYTES);
        rest = later;
    }
    world.settle();
    assert!(world.connection.wants_input());
    assert_eq!(world.connection.outstanding_until(), None);
    let text = String::from_utf8(world.sent).expect("output is ASCII");
    assert!(text.is_ascii() && text.ends_with("\r\n"));
    assert!(text.lines().all(|line| line.starts_with('{') && line.ends_with('}')));
});
