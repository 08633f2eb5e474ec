//! Two guests on a cable, each with a VMM, and the data plane between them.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewire_shared::driver::DriverOptions;
use framewire_shared::handover::{self, Build, Message};
use framewire_shared::happenings::{Happening, HappeningKind};
use framewire_shared::plan::Section;
use framewire_shared::region::FOREMAN;
use framewire_shared::session::{Serve, feature};
use framewire_tests::guest::front::Bells;
use framewire_tests::guest::{Front, GuestMemory, Layout, Manners, Receiver, Shape, Transmitter};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::plane::{Plane, cable};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const SIZE: u16 = 64;
const MANNERS: Manners = Manners { modern: true, mergeable: true };
const REGIONS: [(u64, usize); 2] = [(0, 1 << 20), (1 << 32, 8 << 20)];

/// The control plane's side of a session.
pub(crate) struct Vaulted {
    pub(crate) serve: Serve,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Vaulted {
    /// A new session for the NIC whose only queue has this key, and its front end's socket.
    pub(crate) fn new(session: u64, queue: u64) -> (Vaulted, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Vaulted::of(session, queue, ours), theirs)
    }

    /// With a front end's connection.
    pub(crate) fn of(session: u64, queue: u64, connection: UnixStream) -> Vaulted {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (inlet, outlet) = rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        let mut serve = Serve::new(session, queue, 1, feature::SERVED);
        serve.mac = [2, 0, 0, 0, 0, 1];
        Vaulted { serve, descriptors: vec![connection.into(), inlet, outlet] }
    }

    pub(crate) fn hand_over(&self, plane: &Plane) -> Message {
        let descriptors: Vec<_> = self.descriptors.iter().map(AsFd::as_fd).collect();
        handover::send(&plane.control, &Message::Serve(self.serve), &descriptors).unwrap();
        handover::receive(&plane.control).unwrap().0
    }
}

/// A guest with one queue pair, and its VMM.
pub(crate) struct Machine {
    pub(crate) front: Front,
    pub(crate) memory: Arc<GuestMemory>,
    pub(crate) transmitter: Transmitter,
    pub(crate) receiver: Receiver,
    pub(crate) bells: [Bells; 2],
    shape: Shape,
}

impl Machine {
    /// Off.
    pub(crate) fn new(socket: UnixStream, shape: Shape, memory: Arc<GuestMemory>) -> Machine {
        let transmitter = Transmitter::new(&memory, 1, shape, 2048);
        let receiver = Receiver::new(&memory, 1, shape, MANNERS, (2048, &Layout::default()));
        let bells = [Bells::default(), Bells::default()];
        Machine { front: Front::new(socket), memory, transmitter, receiver, bells, shape }
    }

    /// Features of its rings and frames.
    pub(crate) fn features(shape: Shape) -> u64 {
        let bits = [
            (shape.packed, feature::RING_PACKED),
            (shape.event_index, feature::EVENT_IDX),
            (shape.in_order, feature::IN_ORDER),
            (shape.indirect, feature::INDIRECT_DESC),
        ];
        let rings: u64 = bits.into_iter().filter(|(is_on, _bit)| *is_on).map(|(_on, bit)| bit).sum();
        rings | feature::VERSION_1 | feature::MRG_RXBUF
    }

    /// Its driver has started.
    pub(crate) fn start(&mut self) {
        self.start_with(0);
    }

    /// With more features than those of its rings and frames.
    pub(crate) fn start_with(&mut self, more_features: u64) {
        let features = Self::features(self.shape) | more_features;
        let offered = self.front.negotiate(features);
        assert_eq!(offered & features, features);
        self.front.set_memory(&self.memory);
        self.start_rings([if self.shape.packed { 0x8000_8000 } else { 0 }; 2]);
        self.receiver.refill(SIZE.into());
        self.receiver.ring.publish();
        self.kick(0);
    }

    pub(crate) fn start_rings(&mut self, bases: [u32; 2]) {
        self.front.start(0, (&self.receiver.ring, SIZE), bases[0], &self.bells[0]);
        self.front.start(1, (&self.transmitter.ring, SIZE), bases[1], &self.bells[1]);
        (0..2).for_each(|ring| self.front.enable(ring, true));
    }

    pub(crate) fn kick(&self, ring: usize) {
        rustix::io::write(&self.bells[ring].kick, &1u64.to_ne_bytes()).unwrap();
    }

    /// Sends a frame whose bytes all say `number`, if there is room.
    pub(crate) fn send(&mut self, number: u8) -> bool {
        self.transmitter.reclaim();
        let sent = self.transmitter.send(&[0; 12], &[number; 60], &Layout::default());
        if self.transmitter.ring.publish() {
            self.kick(1);
        }
        sent
    }

    /// Frames that have come; their buffers are given back.
    pub(crate) fn frames(&mut self) -> Vec<Vec<u8>> {
        let frames = std::iter::from_fn(|| self.receiver.receive()).map(|received| received.frame).collect();
        self.receiver.refill(SIZE.into());
        if self.receiver.ring.publish() {
            self.kick(0);
        }
        frames
    }

    /// Numbers of the frames that have come.
    pub(crate) fn received(&mut self) -> Vec<u8> {
        let number = |frame: Vec<u8>| {
            assert_eq!(frame, [frame[0]; 60], "a frame that nobody sent");
            frame[0]
        };
        self.frames().into_iter().map(number).collect()
    }
}

/// All of it.
pub(crate) struct Stage {
    pub(crate) plane: Plane,
    pub(crate) sessions: Vec<Vaulted>,
    pub(crate) machines: Vec<Machine>,
}

pub(crate) fn shape(packed: bool) -> Shape {
    Shape { event_index: true, indirect: true, ..Shape::plain(packed, SIZE) }
}

/// Builds the queues of two NICs.
fn build(plane: &Plane, counters_go_on: bool) {
    for queue in [1, 2] {
        let counter_slot = u32::try_from(queue).unwrap();
        let build = Build { queue, counter_slot, counters_go_on, options: DriverOptions::Guest };
        assert_eq!(plane.ask(Message::Build(build)), Message::Built(queue));
    }
}

impl Stage {
    /// Two machines that are off.
    pub(crate) fn new(name: &str, shapes: [Shape; 2]) -> Stage {
        Stage::with(name, shapes, GuestMemory::new(&REGIONS))
    }

    /// With the first one's memory.
    pub(crate) fn with(name: &str, shapes: [Shape; 2], memory: Arc<GuestMemory>) -> Stage {
        let plane = Plane::start(name);
        build(&plane, false);
        plane.publish(&mut [cable(1, 2), Section::default()]);
        let (mut sessions, mut machines) = (Vec::new(), Vec::new());
        for ((key, shape), memory) in (1..).zip(shapes).zip([memory, GuestMemory::new(&REGIONS)]) {
            let (session, theirs) = Vaulted::new(10 + key, key);
            assert_eq!(session.hand_over(&plane), Message::Serving(10 + key));
            sessions.push(session);
            machines.push(Machine::new(theirs, shape, memory));
        }
        Stage { plane, sessions, machines }
    }

    /// Unsealed memory for a machine that will cut it.
    pub(crate) fn memory_to_cut() -> Arc<GuestMemory> {
        GuestMemory::unsealed(&REGIONS)
    }

    pub(crate) fn start(&mut self) {
        self.machines.iter_mut().for_each(Machine::start);
    }

    /// The data plane is killed, and another one started as the control plane would.
    pub(crate) fn replace_plane(&mut self, name: &str) {
        self.plane.replace(name);
        build(&self.plane, true);
        for session in &self.sessions {
            assert_eq!(session.hand_over(&self.plane), Message::Serving(session.serve.session));
        }
        self.plane.publish(&mut [cable(1, 2), Section::default()]);
    }

    /// What the foreman has told, besides features.
    pub(crate) fn happening(&self) -> Option<Happening> {
        let Plane { status, config, .. } = &self.plane;
        let next = || status.happenings[FOREMAN].pop(&config.read[FOREMAN]);
        std::iter::from_fn(next).find(|happening| happening.kind != HappeningKind::SessionFeatures)
    }

    /// Frames of these numbers go from one machine to the other, each once and in order.
    pub(crate) fn expect_passes(&mut self, from: usize, numbers: std::ops::Range<u8>) {
        let (mut next, mut expected) = (numbers.start, numbers.start);
        until("frames arrive", || {
            if next < numbers.end && self.machines[from].send(next) {
                next += 1;
            }
            for number in self.machines[1 - from].received() {
                assert_eq!(number, expected);
                expected += 1;
            }
            expected == numbers.end
        });
    }

    /// Descriptors that the data plane has open.
    pub(crate) fn open_descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.plane.child.id())).unwrap().count()
    }
}

/// Asks until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_micros(100));
    }
}
