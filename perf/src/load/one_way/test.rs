//! The generator against devices made of memory, whose faults are known.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::*;
use crate::frame::{Shape, Side, Template};
use crate::tally::Sink;

/// A device that loses every `loses`-th frame and holds `room` frames.
#[derive(Default)]
struct Wire {
    frames: VecDeque<Vec<u8>>,
    loses: Option<u64>,
    most: usize,
}

struct Source(Arc<Mutex<Wire>>, Template);
struct Drain(Arc<Mutex<Wire>>);

impl Endpoint for Source {
    fn send(&mut self, first_sequence: u64, count: usize) -> io::Result<usize> {
        let mut wire = self.0.lock().unwrap();
        for sequence in first_sequence..first_sequence + count as u64 {
            if wire.loses.is_some_and(|every| sequence % every == every - 1) {
                continue;
            }
            let mut frame = self.1.bytes().to_vec();
            self.1.stamp(&mut frame, sequence);
            wire.frames.push_back(frame);
        }
        wire.most = wire.most.max(wire.frames.len());
        Ok(count)
    }

    fn receive(&mut self, _sink: &mut dyn Sink) -> io::Result<usize> {
        Ok(0)
    }
}

impl Endpoint for Drain {
    fn send(&mut self, _first_sequence: u64, _count: usize) -> io::Result<usize> {
        Ok(0)
    }

    fn receive(&mut self, sink: &mut dyn Sink) -> io::Result<usize> {
        let mut wire = self.0.lock().unwrap();
        // Ten a turn: slower than the source, so that the window is what holds it back.
        let count = wire.frames.len().min(10);
        wire.frames.drain(..count).for_each(|frame| sink.frame(&frame));
        Ok(count)
    }
}

fn device(wire: Wire) -> (Source, Drain) {
    let wire = Arc::new(Mutex::new(wire));
    (Source(wire.clone(), Template::new(Shape::bare(64), Side::A)), Drain(wire))
}

fn short(ms: u64) -> Work<'static> {
    Work {
        warm_up: Duration::from_millis(5),
        stop: Stop::After(Duration::from_millis(ms)),
        ..Work::default()
    }
}

#[test]
fn everything_arrives_and_the_window_is_kept() {
    let (mut source, mut drain) = device(Wire::default());
    let outcome = run(Some(&mut source), Some(&mut drain), &short(600)).unwrap();
    assert_eq!(outcome.counts, Counts { received: outcome.sent, ..Counts::default() });
    assert!(
        source.0.lock().unwrap().most <= 256,
        "{} frames were on their way",
        source.0.lock().unwrap().most
    );
    assert_eq!(outcome.windows.len(), 2);
    assert!(outcome.measured > 0 && outcome.measured <= outcome.counts.received);
    assert!(outcome.generator_busy > 0.5);
}

#[test]
fn lost_frames_are_counted_and_do_not_stop_the_rest() {
    let (mut source, mut drain) = device(Wire { loses: Some(100), ..Wire::default() });
    let outcome = run(Some(&mut source), Some(&mut drain), &short(300)).unwrap();
    assert_eq!(outcome.counts.lost, outcome.sent / 100);
    assert_eq!(outcome.counts.received + outcome.counts.lost, outcome.sent);
    assert!(outcome.counts.intact());
}

#[test]
fn pace_is_kept() {
    let (mut source, mut drain) = device(Wire::default());
    let outcome =
        run(Some(&mut source), Some(&mut drain), &Work { pace: Some(50_000.0), ..short(400) }).unwrap();
    let seconds = outcome.elapsed.as_secs_f64();
    let rate = outcome.measured as f64 / seconds;
    // A busy machine may hold us back, but not drive us on.
    assert!((1.0..55_000.0).contains(&rate), "{rate} frames/s");
}

#[test]
fn source_alone_and_sink_alone_count_their_own_side() {
    let (mut source, _) = device(Wire::default());
    let outcome = run(Some(&mut source), None, &short(20)).unwrap();
    assert!(outcome.measured > 0 && outcome.counts == Counts::default());
    // A sink does not know what was sent: it sees what is missing between what arrived.
    let (mut source, mut drain) = device(Wire { loses: Some(10), ..Wire::default() });
    source.send(0, 95).unwrap();
    let outcome = run(None, Some(&mut drain), &Work { warm_up: Duration::ZERO, ..short(50) }).unwrap();
    assert_eq!((outcome.counts.received, outcome.counts.lost), (86, 9));
}
