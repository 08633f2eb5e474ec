//! Lowering against an oracle that makes every packet anew, slowly; and against nonsense.

use proptest::prelude::*;

use super::packet::{Ip, Layer4, Packet, bytes, packet, push};
use super::*;
use crate::frame::checksum::oracle::folded_sum;
use crate::frame::offload::{GSO_TCP4, GSO_UDP, NEEDS_CHECKSUM};

/// Memory as a worker has it.
struct Bench {
    strip: Strip,
    scratch: Strip,
    burst: Burst,
    lowered: Burst,
}

impl Bench {
    fn new() -> Self {
        let (strip, scratch) = (Strip::new(4 << 20).unwrap(), Strip::new(256 << 10).unwrap());
        Bench { strip, scratch, burst: Burst::default(), lowered: Burst::default() }
    }

    fn push(&mut self, frame: &(Vec<u8>, Offload), pieces: &[usize]) {
        push(&mut self.burst, &mut self.strip, &frame.0, pieces, frame.1);
    }

    /// Lowers all, for a sink that takes as many frames of each batch as `takes` says, again and again.
    /// Returns what it got, and how many frames were bad.
    fn lower_all(&mut self, takes: &[usize]) -> (Vec<Vec<u8>>, u64) {
        let (mut sent, mut bad, mut progress) = (Vec::new(), 0, Progress::default());
        let mut takes = takes.iter().cycle();
        while progress.frames < self.burst.len() {
            let batch = lower(&self.burst, progress, &mut self.lowered, &mut self.scratch);
            let taken = self.lowered.len().min(*takes.next().unwrap());
            sent.extend(self.lowered.frames()[..taken].iter().map(|f| bytes(self.lowered.segments(f))));
            let (passed, found_bad) = batch.passed(taken);
            assert!(taken == 0 || passed != progress, "it goes on");
            assert!(self.lowered.frames().iter().all(|frame| frame.offload == Offload::default()));
            bad += found_bad;
            progress = passed;
        }
        (sent, bad)
    }
}

fn tcp4(flags: u8, payload_bytes: usize) -> Packet {
    Packet {
        tags: vec![],
        network: Ip::V4 { id: 0xffff, options: vec![] },
        transport: Layer4::Tcp { sequence: u32::MAX - 5, flags, options: vec![1; 12] },
        payload: (0..=255u8).cycle().take(payload_bytes).collect(),
    }
}

/// Where the last frame but `CUTS_MAX` would be too many.
fn cuttable(packet: &Packet, gso_bytes: u16) -> bool {
    packet.payload.len().div_ceil(usize::from(gso_bytes)) <= 2048
}

prop_compose! {
    /// What a hostile guest may ask for.
    fn lie()(
        flags in any::<u8>(), gso_type in prop::sample::select(vec![0u8, 1, 3, 4, 5, 0x81, 0x84, 0x85]),
        header_bytes in any::<u16>(), gso_bytes in any::<u16>(),
        csum_start in prop_oneof![0u16..80, any::<u16>()], csum_offset in prop_oneof![0u16..20, any::<u16>()],
    ) -> Offload {
        Offload { flags, gso_type, header_bytes, gso_bytes, csum_start, csum_offset }
    }
}

proptest! {
    #[test]
    fn segments_are_what_the_oracle_makes(
        packet in packet(), gso_bytes in 1u16..3000,
        pieces in prop::collection::vec(1usize..900, 0..6),
        takes in prop::collection::vec(1usize..=64, 1..4),
    ) {
        prop_assume!(cuttable(&packet, gso_bytes));
        let mut bench = Bench::new();
        bench.push(&packet.unfinished(gso_bytes), &pieces);
        let (sent, bad) = bench.lower_all(&takes);
        let expected: Vec<Vec<u8>> = packet.cut(gso_bytes).iter().map(Packet::finished).collect();
        prop_assert_eq!(bad, 0);
        prop_assert_eq!(sent, expected);
    }

    #[test]
    fn checksum_is_completed_as_the_oracle_does(
        packet in packet(), pieces in prop::collection::vec(1usize..900, 0..6),
    ) {
        let mut bench = Bench::new();
        bench.push(&packet.unfinished(0), &pieces);
        prop_assert_eq!(bench.lower_all(&[64]), (vec![packet.finished()], 0));
    }

    #[test]
    fn checksum_of_anything_goes_anywhere(
        mut frame in prop::collection::vec(any::<u8>(), 2..400), anywhere in any::<[u16; 2]>(),
    ) {
        let places = u16::try_from(frame.len() - 1).unwrap();
        let start = anywhere[0] % places;
        let offset = anywhere[1] % (places - start);
        let at = usize::from(start + offset);
        let nothing = Offload::default();
        let offload = Offload { flags: NEEDS_CHECKSUM, csum_start: start, csum_offset: offset, ..nothing };
        let mut bench = Bench::new();
        bench.push(&(frame.clone(), offload), &[7]);
        let checksum = !folded_sum(&frame[usize::from(start)..]);
        let checksum = if checksum == 0 { [0xff; 2] } else { checksum.to_be_bytes() };
        frame[at..at + 2].copy_from_slice(&checksum);
        prop_assert_eq!(bench.lower_all(&[64]), (vec![frame], 0));
    }

    #[test]
    fn burst_of_all_kinds_stays_in_order_however_often_the_sink_stops(
        packets in prop::collection::vec((packet(), 0u16..1500, any::<bool>()), 1..20),
        takes in prop::collection::vec(0usize..=64, 1..6).prop_filter("goes on", |t| t.iter().any(|n| *n > 0)),
    ) {
        let (mut bench, mut expected, mut expected_bad) = (Bench::new(), Vec::new(), 0);
        for (packet, gso_bytes, spoil) in packets.iter().filter(|(p, g, _)| *g == 0 || cuttable(p, *g)) {
            let (bytes, mut offload) = packet.unfinished(*gso_bytes);
            if *spoil {
                offload.csum_start = u16::MAX;
                expected_bad += 1;
            } else if *gso_bytes == 0 {
                expected.push(packet.finished());
            } else {
                expected.extend(packet.cut(*gso_bytes).iter().map(Packet::finished));
            }
            bench.push(&(bytes, offload), &[60]);
            let plain = (packet.finished(), Offload::default());
            bench.push(&plain, &[100]);
            expected.push(plain.0);
        }
        prop_assert_eq!(bench.lower_all(&takes), (expected, expected_bad));
    }

    #[test]
    fn nonsense_is_bad_or_cut_but_never_panics(
        packet in packet(), lie in lie(), keep in 1usize..4200,
        spoiled in prop::collection::vec((0usize..120, any::<u8>()), 0..8),
        pieces in prop::collection::vec(1usize..40, 0..30),
    ) {
        let (mut frame, honest) = packet.unfinished(1);
        for (at, value) in spoiled {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        frame.truncate(keep);
        for offload in [lie, Offload { gso_type: lie.gso_type, gso_bytes: lie.gso_bytes, ..honest }] {
            let mut bench = Bench::new();
            bench.push(&(frame.clone(), offload), &pieces);
            let (sent, bad) = bench.lower_all(&[64]);
            prop_assert!(sent.is_empty() == (bad == 1) && bad <= 1);
        }
    }
}

#[test]
fn flags_stay_on_the_segments_they_are_meant_for() {
    // CWR, ECE, ACK, PSH, FIN
    let packet = tcp4(0xd9, 3000);
    let mut bench = Bench::new();
    bench.push(&packet.unfinished(1000), &[]);
    let (sent, _bad) = bench.lower_all(&[64]);
    let flags: Vec<u8> = sent.iter().map(|frame| frame[14 + 20 + 13]).collect();
    assert_eq!(flags, [0xd0, 0x50, 0x59]);
    let ids: Vec<u16> = sent.iter().map(|frame| u16::from_be_bytes([frame[18], frame[19]])).collect();
    assert_eq!(ids, [0xffff, 0, 1]);
}

#[test]
fn frame_of_a_thousand_segments_comes_in_batches_of_a_burst() {
    let packet = tcp4(0x10, 64_000);
    let mut bench = Bench::new();
    bench.push(&packet.unfinished(50), &[]);
    let batch = lower(&bench.burst, Progress::default(), &mut bench.lowered, &mut bench.scratch);
    assert_eq!(bench.lowered.len(), BURST_FRAMES_MAX);
    assert_eq!(batch.passed(BURST_FRAMES_MAX).0, Progress { frames: 0, cuts: BURST_FRAMES_MAX });
    let expected: Vec<_> = packet.cut(50).iter().map(Packet::finished).collect();
    assert_eq!(bench.lower_all(&[64]), (expected, 0));
}

#[test]
fn payload_is_not_copied() {
    let packet = tcp4(0x10, 5000);
    let mut bench = Bench::new();
    bench.push(&packet.unfinished(1448), &[]);
    let _batch = lower(&bench.burst, Progress::default(), &mut bench.lowered, &mut bench.scratch);
    let original = bench.burst.all_segments()[0];
    let first = bench.lowered.segments(&bench.lowered.frames()[1]);
    assert_eq!(first.len(), 2);
    assert_eq!(first[1].base(), original.base().wrapping_add(14 + 20 + 32 + 1448));
}

#[test]
fn frames_that_cannot_be_cut_are_bad() {
    let (bytes, honest) = tcp4(0x10, 4000).unfinished(1448);
    let with = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        (bytes, honest)
    };
    let bad = [
        ("another version", with(14, 0x65)),
        ("IPv4 header too short", with(14, 0x44)),
        ("fragment that others follow", with(20, 0x20)),
        ("fragment that follows others", with(21, 1)),
        ("another protocol", with(23, 50)),
        ("TCP header too short", with(46, 0x40)),
        ("TCP header past the frame", (with(46, 0xf0).0[..80].to_vec(), honest)),
        ("another ethertype", with(12, 9)),
        ("other type", (bytes.clone(), Offload { gso_type: GSO_UDP, ..honest })),
        ("checksum elsewhere", (bytes.clone(), Offload { csum_start: 36, ..honest })),
        ("checksum of another protocol", (bytes.clone(), Offload { csum_offset: 6, ..honest })),
        ("cut into nothing", (bytes.clone(), Offload { gso_bytes: 0, ..honest })),
        ("cut into too many", (bytes.clone(), Offload { gso_bytes: 1, ..honest })),
        ("only headers, and not all", (bytes[..50].to_vec(), honest)),
    ];
    for (why, frame) in bad {
        let mut bench = Bench::new();
        bench.push(&frame, &[]);
        assert_eq!(bench.lower_all(&[64]), (vec![], 1), "{why}");
    }
}

#[test]
fn segment_too_long_for_an_ip_header_is_bad() {
    let mut packet = tcp4(0x10, 65_000);
    let (mut bytes, offload) = packet.unfinished(65_500);
    bytes.extend(vec![0; 3000]);
    let mut bench = Bench::new();
    bench.push(&(bytes, offload), &[]);
    assert_eq!(bench.lower_all(&[64]), (vec![], 1));
    // What fits is one segment, whatever the size says.
    packet.payload.truncate(1000);
    let mut bench = Bench::new();
    bench.push(&packet.unfinished(65_500), &[]);
    assert_eq!(bench.lower_all(&[64]), (vec![packet.finished()], 0));
}

#[test]
fn frame_in_more_pieces_than_a_call_takes_is_bad() {
    let frame = tcp4(0x10, 1400).finished();
    let offload = Offload { flags: NEEDS_CHECKSUM, csum_start: 34, csum_offset: 16, ..Offload::default() };
    let mut bench = Bench::new();
    bench.push(&(frame, offload), &[1; 1023]);
    assert_eq!(bench.lower_all(&[64]), (vec![], 1));
}

#[test]
fn gso_without_checksum_flag_is_cut_all_the_same() {
    let packet = tcp4(0x10, 3000);
    let (bytes, offload) = packet.unfinished(1448);
    assert_eq!(offload.gso_type, GSO_TCP4);
    let mut bench = Bench::new();
    bench.push(&(bytes, Offload { flags: 0, csum_start: 0, csum_offset: 0, ..offload }), &[]);
    let expected = packet.cut(1448).iter().map(Packet::finished).collect();
    assert_eq!(bench.lower_all(&[64]), (expected, 0));
}
