//! The control queue, driver's side: commands, and what else a hostile driver puts there.

use std::sync::Arc;

use super::front::Bells;
use super::memory::GuestMemory;
use super::ring::{Piece, Ring, Shape};

/// What is in the place of an answer that nobody has written.
const UNANSWERED: u8 = 0xee;
/// Bytes of a command, at most.
const COMMAND_BYTES_MAX: usize = 4096;

/// The ring, and memory for one command at a time.
#[derive(Debug)]
pub struct Controller {
    /// The ring.
    pub ring: Ring,
    /// Its eventfds.
    pub bells: Bells,
    memory: Arc<GuestMemory>,
    command: u64,
    answer: u64,
    table: u64,
}

impl Controller {
    /// Without any command.
    pub fn new(memory: &Arc<GuestMemory>, region: usize, shape: Shape) -> Self {
        let ring = Ring::new(memory, region, shape);
        let allocate = |bytes| memory.allocate(region, bytes, 64);
        let (command, answer, table) = (allocate(COMMAND_BYTES_MAX), allocate(64), allocate(16 * 64));
        Self { ring, bells: Bells::default(), memory: Arc::clone(memory), command, answer, table }
    }

    /// Where the answer is to be written.
    pub fn answer_piece(&self) -> Piece {
        Piece { address: self.answer, len: 1, writable: true }
    }

    /// Pieces of a command, of so many bytes each.
    pub fn command_pieces(&self, bytes: &[u8], piece: usize) -> Vec<Piece> {
        self.memory.write(self.command, bytes);
        let starts = (0..bytes.len()).step_by(piece);
        starts
            .map(|at| {
                let len = piece.min(bytes.len() - at);
                Piece { address: self.command + at as u64, len: len as u32, writable: false }
            })
            .collect()
    }

    /// Gives the device pieces, whatever they are, and kicks it.
    pub fn post(&mut self, pieces: &[Piece], is_indirect: bool) {
        self.memory.write(self.answer, &[UNANSWERED]);
        self.ring.add(pieces, is_indirect.then_some(self.table)).expect("one command at a time has room");
        self.ring.publish();
        self.kick();
    }

    /// Gives the device a command.
    pub fn ask(&mut self, command: &[u8], piece: usize, is_indirect: bool) {
        let mut pieces = self.command_pieces(command, piece);
        pieces.push(self.answer_piece());
        self.post(&pieces, is_indirect);
    }

    /// Rings the device.
    pub fn kick(&self) {
        rustix::io::write(&self.bells.kick, &1u64.to_ne_bytes()).expect("an eventfd takes a ring");
    }

    /// What the device has answered, if it has.
    pub fn answer(&mut self) -> Option<u8> {
        let (_id, written) = self.ring.used()?;
        let mut answer = [0];
        self.memory.read(self.answer, &mut answer);
        assert_eq!(written, 1, "an answer has one byte");
        assert_ne!(answer[0], UNANSWERED, "a command was used without an answer");
        Some(answer[0])
    }
}
