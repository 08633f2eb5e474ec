//! Timings of single pieces of the data plane, with spread: what a turn costs before any system call.
//!
//! `cargo bench -p framewire-perf`. Numbers of a piece alone are lower than what it costs in the loop, where its
//! memory has been used by others meanwhile: they tell a regression, not a rate.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use framewire_dataplane::frame::{Burst, Offload, Progress, Strip, lower};
use framewire_shared::counters::DropReason;
use framewire_shared::plan::{End, PlanSlot, Section};
use framewire_shared::publish::{Acknowledgement, Publisher, Sound, Subscriber};
use framewire_shared::region::{Config, Mapping};

const STRIP_BYTES: usize = 4 << 20;
const BURST: usize = 64;

fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for len in [64_usize, 1460, 65_160] {
        let mut strip = Strip::new(STRIP_BYTES).expect("memory for a strip");
        let segment = strip.room(len).expect("room for one frame").segment();
        segment.write(0, &(0..=255).cycle().take(len).collect::<Vec<u8>>());
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_with_input(BenchmarkId::from_parameter(len), &segment, |bench, segment| {
            bench.iter(|| black_box(segment).sum().checksum());
        });
    }
    group.finish();
}

/// Describes a burst: what every received frame costs apart from its bytes.
fn burst(criterion: &mut Criterion) {
    let mut strip = Strip::new(STRIP_BYTES).expect("memory for a strip");
    let mut frames = Burst::default();
    let mut group = criterion.benchmark_group("burst of 64");
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("land, describe, clear", |bench| {
        bench.iter(|| {
            strip.clear();
            frames.clear();
            for _ in 0..BURST {
                land(&mut strip, &mut frames, 64, Offload::default());
            }
            black_box(frames.bytes())
        });
    });
    group.finish();
}

/// Cutting and checksums in software, for a sink that can do neither.
fn lowering(criterion: &mut Criterion) {
    const NEEDS_CHECKSUM: u8 = 1;
    const GSO_TCP4: u8 = 1;
    let large = Offload {
        flags: NEEDS_CHECKSUM,
        gso_type: GSO_TCP4,
        header_bytes: 54,
        gso_bytes: 1448,
        csum_start: 34,
        csum_offset: 16,
    };
    let single = Offload { gso_type: 0, gso_bytes: 0, ..large };
    let mut group = criterion.benchmark_group("lower");
    for (name, len, count, offload) in
        [("64 KiB of TCP", 54 + 45 * 1448, 1, large), ("64 checksums of 1500", 1514, BURST, single)]
    {
        let mut strip = Strip::new(STRIP_BYTES).expect("memory for a strip");
        let mut scratch = Strip::new(256 << 10).expect("memory for a strip");
        let (mut frames, mut lowered) = (Burst::default(), Burst::default());
        for _ in 0..count {
            land(&mut strip, &mut frames, len, offload);
        }
        group.throughput(Throughput::Bytes((len * count) as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let mut progress = Progress::default();
                while progress.frames < frames.len() {
                    let batch = lower(&frames, progress, &mut lowered, &mut scratch);
                    progress = batch.passed(lowered.len()).0;
                }
                black_box(progress)
            });
        });
    }
    group.finish();
}

/// What a worker pays each turn, and what a new plan costs both sides.
fn publication(criterion: &mut Criterion) {
    let memfd = Mapping::<Config>::create().expect("a memfd");
    let config: &'static Mapping<Config> = Box::leak(Box::new(Mapping::writable(&memfd).expect("a mapping")));
    let line = |value: &'static framewire_shared::region::Line| &value.0;
    let (seen, quiesced) = (Box::leak(Box::default()), Box::leak(Box::default()));
    let acknowledgement = Acknowledgement { seen, quiesced };
    let mut publisher = Publisher::<Sound>::new(line(&config.generation));
    let mut subscriber = Subscriber::<Sound>::new(line(&config.generation), acknowledgement);
    let mut group = criterion.benchmark_group("plan");
    group.bench_function("look, nothing new", |bench| {
        bench.iter(|| black_box(&subscriber).changed());
    });
    for wires in [1, 100, 4000] {
        let mut section = Section::with_room();
        for wire in 0..wires {
            let ends = [0, 1].map(|side| End { queue: 2 * wire + u64::from(side) + 1, side, poll_us: 50 });
            section.add_wire(DropReason::NoPeer, ends);
        }
        let mut copy = Section::with_room();
        group.bench_function(BenchmarkId::new("publish and adopt wires", wires), |bench| {
            bench.iter(|| {
                section.revision += 1;
                let sections = std::slice::from_ref(&section);
                publish(&mut publisher, acknowledgement, &config.slots, sections);
                let generation = subscriber.changed().expect("just published");
                let read = |slot: usize| config.slots[slot].read_into(0, &mut copy);
                subscriber.see(generation, read).expect("written by ourselves");
                subscriber.quiesce();
            });
        });
    }
    group.finish();
}

fn publish(
    publisher: &mut Publisher<'_, Sound>,
    reader: Acknowledgement<'_>,
    slots: &[PlanSlot; 2],
    sections: &[Section],
) {
    let fill = |slot: usize, _generation| slots[slot].write(sections);
    publisher.publish(std::iter::once(reader), fill).expect("the only reader has seen the plan before");
}

/// A frame of zeroes but for the headers that cutting looks at.
fn land(strip: &mut Strip, frames: &mut Burst, len: usize, offload: Offload) {
    let landing = strip.room(len).expect("the strip holds a burst").segment();
    if offload != Offload::default() {
        landing.write(0, &tcp_headers(len));
    }
    strip.keep(len);
    frames.push(&[landing], offload, 0);
}

fn tcp_headers(len: usize) -> [u8; 54] {
    let mut headers = [0; 54];
    headers[12..14].copy_from_slice(&[8, 0]);
    headers[14] = 0x45;
    headers[16..18].copy_from_slice(&u16::try_from(len - 14).unwrap_or(u16::MAX).to_be_bytes());
    headers[22..24].copy_from_slice(&[64, 6]);
    headers[46] = 5 << 4;
    headers[47] = 0x10;
    headers
}

criterion_group!(pieces, checksum, burst, lowering, publication);
criterion_main!(pieces);
