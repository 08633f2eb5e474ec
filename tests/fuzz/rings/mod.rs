//! A hostile guest and a decent one on a cable.
//!
//! The hostile one does what the input says: writes descriptors, words of its rings and headers, makes chains
//! available, and has another thread write into its rings again and again while they are being looked at. Beside "it
//! does not panic": the decent one gets whole frames only, every frame that it has sent is used once or still its own,
//! and its rings never end.

#[path = "../../../dataplane/tests/rings/rig.rs"]
mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use framewire_dataplane::driver::guest::Accepts;
use framewire_dataplane::driver::{AnyQueue, Queue as _};
use framewire_tests::guest::{GuestMemory, Layout, Manners, Receiver, Ring, Shape, Transmitter};

use rig::{Rig, counters, device, manners};

const SIZE: u16 = 8;
const BUFFER_BYTES: usize = 2048;
const REGIONS: [(u64, usize); 2] = [(0, 64 << 10), (1 << 20, 64 << 10)];
const MANNERS: Manners = Manners { modern: true, mergeable: true };
const FRAME: [u8; 60] = [7; 60];

/// The input, as numbers. Ends with zeros.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let there = self.0.len().min(N);
        bytes[..there].copy_from_slice(&self.0[..there]);
        self.0 = &self.0[there..];
        bytes
    }

    fn byte(&mut self) -> u8 {
        self.bytes::<1>()[0]
    }

    fn word16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    fn word32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    /// Mostly one that is somewhere near the guest's memory.
    fn address(&mut self) -> u64 {
        let offset = u64::from(self.word16());
        match self.byte() % 8 {
            0..=3 => offset,
            4 | 5 => (1 << 20) + offset,
            6 => offset.wrapping_sub(64),
            _ => u64::from_le_bytes(self.bytes()),
        }
    }

    /// Mostly one that a frame may have.
    fn len(&mut self) -> u32 {
        match self.byte() {
            small @ 0..=199 => u32::from(small),
            200..=229 => u32::from(self.word16()),
            _ => self.word32(),
        }
    }
}

/// What the other thread writes, where.
#[derive(Clone, Copy)]
struct Race {
    word: usize,
    value: u32,
}

struct World {
    memory: Arc<GuestMemory>,
    rings: [Transmitter; 2],
    receivers: [Receiver; 2],
    rig: Rig,
    races: Vec<Race>,
    sent: usize,
    reclaimed: usize,
}

/// What one input does.
pub fn run(input: &[u8], packed: bool) {
    let mut choices = Choices(input);
    let features = choices.byte();
    let bit = |n: u8| features >> n & 1 == 1;
    let shape =
        Shape { packed, size: SIZE, event_index: bit(0), in_order: bit(1), indirect: bit(2) };
    let accepts = Accepts { checksum: bit(3), tso4: bit(4), tso6: bit(4), ecn: bit(5), uso: bit(6) };
    let mut world = World::new(shape, accepts);
    for _step in 0..200 {
        if choices.0.is_empty() {
            break;
        }
        world.step(&mut choices);
    }
    world.finish();
}

impl World {
    fn new(shape: Shape, accepts: Accepts) -> Self {
        let memories = [GuestMemory::new(&REGIONS), GuestMemory::new(&REGIONS)];
        let decent = Shape { in_order: false, ..shape };
        let shapes = [shape, decent];
        let layout = Layout::default();
        let rings = [0, 1].map(|i: usize| Transmitter::new(&memories[i], 0, shapes[i], 1024));
        let receivers =
            [0, 1].map(|i: usize| Receiver::new(&memories[i], 1, shapes[i], MANNERS, (BUFFER_BYTES, &layout)));
        let queues = [0, 1].map(|i: usize| {
            let (transmit, receive) = ((&rings[i], shapes[i]), (&receivers[i], shapes[i]));
            let manners = manners(MANNERS, accepts);
            AnyQueue::Guest(device(&memories[i], transmit, receive, manners, counters()))
        });
        let [memory, _decent] = memories;
        World { memory, rings, receivers, rig: Rig::new(queues), races: Vec::new(), sent: 0, reclaimed: 0 }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 10 {
            0 | 1 => self.write_descriptor(choices),
            2 => {
                let (ring, head) = (self.hostile_ring(choices.byte()), choices.word16() % (SIZE + 2));
                if let Ring::Split(ring) = ring {
                    ring.push_head(head);
                    ring.publish();
                }
            }
            3 => {
                let address = choices.address() % (BUFFER_BYTES as u64 * 8);
                self.memory.write(address, &choices.bytes::<12>());
            }
            4 => {
                let race = Race { word: usize::from(choices.word16()), value: choices.word32() };
                self.races.push(race);
            }
            5 => {
                let (word, value) = (usize::from(choices.word16()), choices.word32());
                self.write_word(word, value);
            }
            6 | 7 => self.carry(0),
            8 => self.decent_sends(choices),
            _ => self.carry(1),
        }
    }

    /// The hostile guest's transmitq or receiveq.
    fn hostile_ring(&mut self, which: u8) -> &mut Ring {
        if which % 2 == 0 { &mut self.rings[0].ring } else { &mut self.receivers[0].ring }
    }

    fn write_descriptor(&mut self, choices: &mut Choices<'_>) {
        let which = choices.byte();
        let (index, address, len) = (choices.word16() % SIZE, choices.address(), choices.len());
        let (flags, tag) = (choices.word16(), choices.word16());
        // Bogus flags and tags are tried, too, but plausible ones must not be rare.
        let tag = if tag > 0x8000 { tag } else { tag % (SIZE + 1) };
        match self.hostile_ring(which) {
            Ring::Split(ring) => ring.write_descriptor(index, address, len, flags & 7, tag),
            Ring::Packed(ring) => ring.write_descriptor(index, address, len, tag, flags & 0x8087),
        }
    }

    fn write_word(&self, word: usize, value: u32) {
        words(&self.memory).word32(word % WORDS).store(value, Ordering::Relaxed);
    }

    /// A pass, with whatever races there are.
    fn carry(&mut self, from: usize) {
        if self.races.is_empty() {
            self.rig.carry(from);
            return;
        }
        let (stop, began) = (AtomicBool::new(false), AtomicBool::new(false));
        let (memory, races) = (Arc::clone(&self.memory), self.races.clone());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let words = words(&memory);
                while !stop.load(Ordering::Relaxed) {
                    for race in &races {
                        let word = words.word32(race.word % WORDS);
                        let before = word.swap(race.value, Ordering::Relaxed);
                        std::hint::spin_loop();
                        word.store(before, Ordering::Relaxed);
                    }
                    began.store(true, Ordering::Relaxed);
                }
            });
            while !began.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            for _again in 0..20 {
                self.rig.carry(from);
                self.decent_reads();
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    fn decent_sends(&mut self, choices: &mut Choices<'_>) {
        let layout = Layout { cuts: vec![usize::from(choices.byte())], indirect: choices.byte() % 2 == 0 };
        if self.rings[1].send(&[0; 12], &FRAME, &layout) {
            self.sent += 1;
        }
        self.rings[1].ring.publish();
        self.receivers[1].refill(usize::from(choices.byte() % SIZE.to_le_bytes()[0]));
        self.receivers[1].ring.publish();
    }

    fn decent_reads(&mut self) {
        while let Some(received) = self.receivers[1].receive() {
            assert!(received.frame.len() >= 14, "a frame of {} bytes", received.frame.len());
        }
        self.reclaimed += self.rings[1].reclaim();
    }

    fn finish(mut self) {
        self.carry(0);
        self.carry(1);
        self.decent_reads();
        assert!(self.reclaimed <= self.sent, "a frame was used twice");
        assert_eq!(self.rig.queue(1).counters().guest_faults.get(), 0, "the decent guest's rings ended");
        let taken = self.rig.queue(1).counters();
        let taken = taken.received_frames.get();
        assert_eq!(taken, self.reclaimed as u64, "what is taken is given back");
    }
}

/// Words that the hostile guest writes at random: the first region, where its transmitq is, and its buffers.
const WORDS: usize = REGIONS[0].1 / 4;

fn words(memory: &Arc<GuestMemory>) -> framewire_tests::guest::memory::Words {
    memory.words(0, 4 * WORDS)
}
