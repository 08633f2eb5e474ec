//! What a datagram carries besides its frame.
//!
//! Everything else about datagrams (runs, backlog, refusals) is the same whether frames travel bare or in a tunnel.
//! So there is one implementation, and what differs is a type that the compiler puts in: bare frames cost nothing.

use framewire_shared::counters::DropReason;

use crate::frame::Segment;

/// What is put before frames, and taken off them.
pub trait Envelope: std::fmt::Debug {
    /// Nothing is put before frames.
    const IS_BARE: bool;

    /// How many bytes are put before each.
    fn bytes(&self) -> usize;

    /// What is put before the frame that is the `number`th to be sent, counted from 1.
    fn header(&mut self, number: u64) -> &[u8];

    /// Where in a datagram its frame begins.
    ///
    /// # Errors
    /// Why there is none in it.
    fn frame_at(&self, datagram: Segment) -> Result<usize, DropReason>;
}

/// Frames as they are.
#[derive(Debug)]
pub struct Bare;

impl Envelope for Bare {
    const IS_BARE: bool = true;

    #[inline]
    fn bytes(&self) -> usize {
        0
    }

    #[inline]
    fn header(&mut self, _number: u64) -> &[u8] {
        &[]
    }

    #[inline]
    fn frame_at(&self, _datagram: Segment) -> Result<usize, DropReason> {
        Ok(0)
    }
}
