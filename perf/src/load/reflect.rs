//! Sends back what arrives, under the same number: the far end of a round trip that another process measures.

use std::io;
use std::time::Instant;

use super::Stop;
use crate::endpoint::Endpoint;
use crate::frame::{Verdict, judge};
use crate::tally::Sink;

/// Numbers of frames that are to be sent back.
#[derive(Debug, Default)]
struct Arrivals {
    sequences: Vec<u64>,
}

impl Sink for Arrivals {
    fn frame(&mut self, frame: &[u8]) {
        if let Verdict::Whole { sequence } = judge(frame) {
            self.sequences.push(sequence);
        }
    }

    fn unread(&mut self, _frames: u64) {}
}

/// Reflects until it is time to stop; returns how many frames went back.
///
/// # Errors
/// If the endpoint breaks.
pub fn run(endpoint: &mut dyn Endpoint, stop: Stop<'_>) -> io::Result<u64> {
    let begun = Instant::now();
    let mut arrivals = Arrivals::default();
    let mut reflected = 0;
    while !stop.is_due(begun, Instant::now()) {
        endpoint.receive(&mut arrivals)?;
        reflected += send_back(endpoint, &arrivals.sequences)?;
        arrivals.sequences.clear();
    }
    Ok(reflected)
}

/// Sends each run of consecutive numbers in one call. What is not taken is dropped, as a device would.
fn send_back(endpoint: &mut dyn Endpoint, sequences: &[u64]) -> io::Result<u64> {
    let mut sent = 0;
    for run in sequences.chunk_by(|left, right| left + 1 == *right) {
        sent += endpoint.send(run[0], run.len())? as u64;
    }
    Ok(sent)
}
