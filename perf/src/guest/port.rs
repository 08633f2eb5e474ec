//! A guest whose driver makes every frame and judges every frame.

use std::io;

use framewire_tests::guest::{Layout, Receiver, Transmitter};

use super::{Attached, BUFFER_BYTES, HEADER_BYTES, MANNERS, Place, RING_SIZE, memory};
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::frame::Template;
use crate::tally::Sink;

const RECEIVEQ: usize = 0;
const TRANSMITQ: usize = 1;

/// The guest.
#[derive(Debug)]
pub struct Port {
    transmitter: Transmitter,
    receiver: Receiver,
    attached: Attached,
    template: Template,
    frame: Vec<u8>,
}

impl Port {
    /// Attaches a guest that sends frames of `template`.
    ///
    /// # Errors
    /// If nobody serves its NIC.
    pub fn open(place: &Place, template: Template) -> Result<Self> {
        let memory = memory();
        let transmitter = Transmitter::new(&memory, 0, place.shape(), BUFFER_BYTES);
        let buffers = (BUFFER_BYTES, &Layout::default());
        let mut receiver = Receiver::new(&memory, 0, place.shape(), MANNERS, buffers);
        receiver.refill(RING_SIZE.into());
        receiver.ring.publish();
        receiver.ring.disarm();
        let mut transmitter = transmitter;
        transmitter.ring.disarm();
        let attached = Attached::new(place, &memory, [&receiver.ring, &transmitter.ring])?;
        let frame = template.bytes().to_vec();
        Ok(Self { transmitter, receiver, attached, template, frame })
    }
}

impl Endpoint for Port {
    fn send(&mut self, first_sequence: u64, count: usize) -> io::Result<usize> {
        // DPDK's packed rings have the frame's length there.
        self.transmitter.reclaim_whatever_was_written(|_bytes| ());
        let mut sent = 0;
        for sequence in (first_sequence..).take(count) {
            self.template.stamp(&mut self.frame, sequence);
            if !self.transmitter.send(&[0; HEADER_BYTES], &self.frame, &Layout::default()) {
                break;
            }
            sent += 1;
        }
        if self.transmitter.ring.publish() {
            self.attached.kick(TRANSMITQ);
        }
        Ok(sent)
    }

    fn receive(&mut self, sink: &mut dyn Sink) -> io::Result<usize> {
        let mut received = 0;
        while let Some(arrived) = self.receiver.receive() {
            sink.frame(&arrived.frame);
            received += 1;
        }
        if received > 0 {
            self.receiver.refill(RING_SIZE.into());
            if self.receiver.ring.publish() {
                self.attached.kick(RECEIVEQ);
            }
        }
        Ok(received)
    }
}
