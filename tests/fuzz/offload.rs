//! Lowering: any frame with any virtio-net header, in any pieces.
//!
//! Beside "it does not panic": a frame is bad or becomes at least one; what is cut has equal headers' length and, put
//! together, the payload that went in; and a sink that stops anywhere gets the same frames in the end.

#![no_main]

use framewire_dataplane::frame::offload::GSO_NONE;
use framewire_dataplane::frame::{Burst, Offload, Progress, Segment, Strip, lower};
use libfuzzer_sys::fuzz_target;

/// A virtio-net header, a length to fill the frame up to, and the size of the pieces that it lies in.
const CHOICES_BYTES: usize = 10 + 2 + 1 + 1;

/// The burst has 1024 pieces; some are left for headers.
const PIECES_MAX: usize = 1000;

fuzz_target!(|input: &[u8]| {
    let Some((choices, frame)) = input.split_at_checked(CHOICES_BYTES) else { return };
    let (header, choices) = choices.split_first_chunk().expect("it is split so");
    let offload = Offload::from_vnet_header(header);
    let mut frame = frame.to_vec();
    let wanted = usize::from(u16::from_le_bytes([choices[0], choices[1]]));
    frame.extend((frame.len()..wanted).map(|at| at.to_le_bytes()[0]));
    if frame.is_empty() {
        return;
    }
    let piece_bytes = (usize::from(choices[2]) + 1).max(frame.len() / PIECES_MAX + 1);
    let all = lowered(&frame, offload, piece_bytes, usize::MAX);
    let some = lowered(&frame, offload, piece_bytes, usize::from(choices[3] % 64) + 1);
    assert!(all == some, "where the sink stops makes no difference");
    assert!(all.len() > 1 || offload.gso_type != GSO_NONE || all.iter().all(|one| one.len() == frame.len()));
    check_cuts(&frame, &all);
});

/// Lowers one frame for a sink that takes at most `takes` frames at once. Nothing if it is bad.
fn lowered(frame: &[u8], offload: Offload, piece_bytes: usize, takes: usize) -> Vec<Vec<u8>> {
    let (mut strip, mut scratch) = (Strip::new(1 << 17).unwrap(), Strip::new(256 << 10).unwrap());
    let (mut burst, mut made) = (Burst::default(), Burst::default());
    let whole = strip.room(frame.len()).expect("a frame is shorter than the strip").segment();
    whole.write(0, frame);
    strip.keep(frame.len());
    let pieces: Vec<Segment> =
        (0..frame.len()).step_by(piece_bytes).map(|at| whole.part(at, piece_bytes)).collect();
    burst.push(&pieces, offload, 0);
    let (mut progress, mut bad, mut out) = (Progress::default(), 0, Vec::new());
    while progress.frames < burst.len() {
        let batch = lower(&burst, progress, &mut made, &mut scratch);
        let taken = made.len().min(takes);
        for frame in &made.frames()[..taken] {
            assert_eq!(frame.offload, Offload::default());
            out.push(bytes(made.segments(frame)));
        }
        let (passed, found_bad) = batch.passed(taken);
        assert_ne!(passed, progress, "it goes on");
        bad += found_bad;
        progress = passed;
    }
    assert!(bad <= 1 && out.is_empty() == (bad == 1), "{bad} bad, {} made", out.len());
    out
}

/// Each has headers and a part of the payload; only the last part may be shorter.
fn check_cuts(frame: &[u8], made: &[Vec<u8>]) {
    let [first, .., last] = made else { return };
    let total: usize = made.iter().map(Vec::len).sum();
    let headers_bytes = (total - frame.len()) / (made.len() - 1);
    let payload: Vec<u8> = made.iter().flat_map(|one| &one[headers_bytes..]).copied().collect();
    assert!(payload == frame[headers_bytes..], "the payload that went in comes out");
    assert!(made[..made.len() - 1].iter().all(|one| one.len() == first.len()) && last.len() <= first.len());
}

fn bytes(segments: &[Segment]) -> Vec<u8> {
    let mut all = Vec::new();
    for segment in segments {
        let at = all.len();
        all.resize(at + segment.len(), 0);
        segment.read(0, &mut all[at..]);
    }
    all
}
