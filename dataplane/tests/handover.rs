//! The data plane as a process, with this test in the control plane's place.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use framewire_shared::counters::DropReason;
use framewire_shared::driver::DriverOptions;
use framewire_shared::handover::{self, ANY_CPU, Build, Message, Step, Welcome};
use framewire_shared::plan::{End, Section};
use framewire_shared::publish::{Publisher, Sound};
use framewire_shared::region::{Config, Mapping, Status, read_only_description};
use framewire_shared::stream_memory::StreamMemory;
use rustix::event::EventfdFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A data plane with `WORKERS` workers, and all that its control plane holds.
struct Plane {
    child: Child,
    control: OwnedFd,
    listener: SocketAddrUnix,
    config: Mapping<Config>,
    status: Mapping<Status>,
    doorbells: Vec<OwnedFd>,
}

const WORKERS: usize = 2;

fn eventfd() -> OwnedFd {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

fn socket() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

fn spawn(handover: &OwnedFd) -> Child {
    let number = handover.as_raw_fd();
    let mut command = Command::new(env!("CARGO_BIN_EXE_framewire-dataplane"));
    let place = move || {
        // SAFETY: `number` is open in the parent, and nobody in the child uses 3.
        let placed = unsafe { libc::dup2(number, 3) };
        if placed == 3 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: dup2 is all that happens between fork and exec, and may happen there.
    unsafe { command.pre_exec(place) };
    command.spawn().unwrap()
}

impl Plane {
    fn start(name: &str) -> Plane {
        let flags = SocketFlags::CLOEXEC;
        let (control, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let child = spawn(&theirs);
        let (config, status) = (Mapping::<Config>::create().unwrap(), Mapping::<Status>::create().unwrap());
        let (listener, address) = (socket(), format!("framewire-test-{name}-{}", std::process::id()));
        let address = SocketAddrUnix::new_abstract_name(address.as_bytes()).unwrap();
        rustix::net::bind(&listener, &address).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let doorbells: Vec<_> = (0..WORKERS + 2).map(|_| eventfd()).collect();
        let config_read_only = read_only_description(&config).unwrap();
        let mut descriptors = vec![config_read_only.as_fd(), status.as_fd(), doorbells[0].as_fd()];
        descriptors.extend([doorbells[1].as_fd(), listener.as_fd()]);
        descriptors.extend(doorbells[2..].iter().map(AsFd::as_fd));
        let welcome = Message::Welcome(Welcome::new(&[ANY_CPU; WORKERS]));
        handover::send(&control, &welcome, &descriptors).unwrap();
        let plane = Plane {
            child,
            control,
            listener: address,
            config: Mapping::writable(&config).unwrap(),
            status: Mapping::read_only(&status).unwrap(),
            doorbells,
        };
        let (answer, _none) = handover::receive(&plane.control).unwrap();
        assert!(matches!(answer, Message::Ready(_)), "{answer:?}");
        plane
    }

    fn ask(&self, message: Message) -> Message {
        handover::send(&self.control, &message, &[]).unwrap();
        handover::receive(&self.control).unwrap().0
    }

    fn build(&self, queue: u64) -> Message {
        self.build_from(queue, DriverOptions::Null, &[])
    }

    fn build_from(&self, queue: u64, options: DriverOptions, descriptors: &[OwnedFd]) -> Message {
        let counter_slot = u32::try_from(queue).unwrap();
        let build = Message::Build(Build { queue, counter_slot, counters_go_on: false, options });
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        handover::send(&self.control, &build, &descriptors).unwrap();
        handover::receive(&self.control).unwrap().0
    }

    /// Publishes, and waits until all of it is in effect.
    fn publish(&self, sections: &mut [Section]) -> u64 {
        let mut publisher = Publisher::<Sound>::new(&self.config.generation.0);
        let readers = self.status.workers[..WORKERS].iter().chain([&self.status.foreman]);
        let generation = publisher
            .publish(readers.map(|line| line.get()), |slot, generation| {
                sections.iter_mut().for_each(|section| section.revision = generation);
                self.config.slots[slot].write(sections);
            })
            .unwrap();
        for doorbell in &self.doorbells[1..] {
            rustix::io::write(doorbell, &1u64.to_ne_bytes()).unwrap();
        }
        self.wait(generation);
        generation
    }

    fn wait(&self, generation: u64) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.status.foreman.get().has_quiesced::<Sound>(generation) {
            assert!(Instant::now() < deadline, "generation {generation} is not in effect");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lone(queue: u64) -> Section {
    let mut section = Section::default();
    section.label[..3].copy_from_slice(b"fwX");
    section.add_wire(DropReason::NoPeer, [End { queue, side: 0, poll_us: 0 }]);
    section
}

#[test]
fn queue_is_built_carried_moved_and_given_up() {
    let plane = Plane::start("moves");
    assert_eq!(plane.build(7), Message::Built(7));
    plane.publish(&mut [lone(7), Section::default()]);
    assert_eq!(plane.status.worker_counters[0].queues.get(), 1);
    plane.publish(&mut [Section::default(), lone(7)]);
    let queues = [0, 1].map(|worker: usize| plane.status.worker_counters[worker].queues.get());
    assert_eq!(queues, [0, 1]);
    plane.publish(&mut [Section::default(), Section::default()]);
    // Given up entirely: the key may be built again.
    assert_eq!(plane.build(7), Message::Built(7));
    assert_eq!(plane.build(7), Message::Failed(7, Step::Queue, libc::EINVAL));
    assert_eq!(plane.ask(Message::Discard(7)), Message::Discarded(7));
    assert_eq!(plane.build(7), Message::Built(7));
}

#[test]
fn queue_that_was_never_planned_survives_until_the_next_plan() {
    let plane = Plane::start("unplanned");
    assert_eq!(plane.build(7), Message::Built(7));
    plane.publish(&mut [Section::default(), Section::default()]);
    assert_eq!(plane.build(7), Message::Built(7));
}

#[test]
fn data_plane_has_no_privilege_and_an_empty_world() {
    let plane = Plane::start("walls");
    let status = plane.proc("status");
    for line in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line} not in {status}");
    }
    if rustix::process::geteuid().is_root() {
        assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
        let interfaces = plane.proc("net/dev");
        assert_eq!(interfaces.lines().count(), 3, "more than loopback: {interfaces}");
        assert_eq!(plane.proc("mounts").lines().count(), 1);
    }
}

#[test]
fn threads_are_named_after_what_they_carry() {
    let plane = Plane::start("names");
    assert_eq!(plane.build(7), Message::Built(7));
    plane.publish(&mut [lone(7), Section::default()]);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", plane.child.id())).unwrap();
    let names: Vec<_> =
        tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap()).collect();
    assert!(names.iter().any(|name| name == "fwX\n"), "{names:?}");
}

#[test]
fn next_control_plane_gets_everything_back() {
    let mut plane = Plane::start("recall");
    assert_eq!(plane.build(7), Message::Built(7));
    let generation = plane.publish(&mut [lone(7), Section::default()]);
    let next = socket();
    plane.control = eventfd(); // The old connection is gone.
    rustix::net::connect(&next, &plane.listener).unwrap();
    rustix::io::ioctl_fionbio(&next, false).unwrap();
    handover::send(&next, &Message::Recall, &[]).unwrap();
    let (welcome, descriptors) = handover::receive(&next).unwrap();
    assert_eq!(
        (welcome, descriptors.len()),
        (Message::Welcome(Welcome::new(&[ANY_CPU; WORKERS])), 5 + WORKERS)
    );
    let status = Mapping::<Status>::read_only(&descriptors[1]).unwrap();
    assert!(status.foreman.get().has_quiesced::<Sound>(generation));
    assert!(matches!(handover::receive(&next).unwrap().0, Message::Build(Build { queue: 7, .. })));
    assert_eq!(handover::receive(&next).unwrap().0, Message::Recalled(1));
}

#[test]
fn end_means_end() {
    let mut plane = Plane::start("end");
    handover::send(&plane.control, &Message::End, &[]).unwrap();
    assert!(plane.child.wait().unwrap().success());
}

/// Two queues that face each other.
fn cable(left: u64, right: u64) -> Section {
    wire(&[left, right], 50)
}

/// Queues that all hear each other.
fn wire(queues: &[u64], poll_us: u32) -> Section {
    let mut section = Section::default();
    let ends = (0..).zip(queues).map(|(side, queue)| End { queue: *queue, side, poll_us });
    section.add_wire(DropReason::NoPeer, ends);
    section
}

/// A stream's two descriptors, and its peer.
fn stream() -> ([OwnedFd; 2], UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    ([ours.into(), Mapping::<StreamMemory>::create().unwrap()], peer)
}

#[test]
fn streams_go_on_in_the_middle_of_a_frame_when_the_data_plane_is_killed() {
    let ((left, mut sender), (right, mut receiver)) = (stream(), stream());
    let frame = [vec![0, 0, 4, 0], vec![7; 1024]].concat();
    for (round, name) in ["first", "second", "third"].into_iter().enumerate() {
        let plane = Plane::start(name);
        for (key, descriptors) in [(1, &left), (2, &right)] {
            let built = plane.build_from(key, DriverOptions::Stream, descriptors);
            assert_eq!(built, Message::Built(key));
        }
        plane.publish(&mut [cable(1, 2), Section::default()]);
        // The rest of what the one before had received half of, a whole one, and half of the next.
        let rest = if round == 0 { &frame[..0] } else { &frame[500..] };
        sender.write_all(&[rest, &frame, &frame[..500]].concat()).unwrap();
        let mut got = vec![0; frame.len() * if round == 0 { 1 } else { 2 }];
        receiver.read_exact(&mut got).unwrap();
        assert!(got.chunks(frame.len()).all(|got| got == frame), "round {round}");
        // Half a frame is in the data plane's hands, or still in the socket: both have to do.
        drop(plane);
    }
}

const ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn announce(plane: &Plane, queue: u64) {
    assert_eq!(plane.ask(Message::Announce(queue, ADDRESS)), Message::Announced(queue));
}

#[track_caller]
fn expect_announcement(peer: &mut UnixStream) {
    let mut got = [0; 64];
    peer.read_exact(&mut got).unwrap();
    let (length, destination, source) = (&got[..4], &got[4..10], &got[10..16]);
    assert_eq!((length, destination, source), (&60_u32.to_be_bytes()[..], &[0xff; 6][..], &ADDRESS[..]));
}

#[test]
fn announcement_reaches_whoever_hears_its_queue_asleep_or_not() {
    let plane = Plane::start("announce");
    let ([(left, mut left_peer), (right, mut right_peer)], sleeps_never) = ([stream(), stream()], u32::MAX);
    assert_eq!(plane.build(1), Message::Built(1));
    for (key, descriptors) in [(2, &left), (3, &right)] {
        assert_eq!(plane.build_from(key, DriverOptions::Stream, descriptors), Message::Built(key));
    }
    for poll_us in [0, sleeps_never] {
        plane.publish(&mut [wire(&[1, 2], poll_us), wire(&[3], poll_us)]);
        announce(&plane, 1);
        expect_announcement(&mut left_peer);
        plane.publish(&mut [wire(&[1, 2, 3], poll_us), Section::default()]);
        announce(&plane, 1);
        expect_announcement(&mut left_peer);
        expect_announcement(&mut right_peer);
    }
    for peer in [left_peer, right_peer] {
        peer.set_nonblocking(true).unwrap();
        assert!((&peer).read(&mut [0; 1]).is_err(), "it was sent twice");
    }
}

#[test]
fn announcement_that_nobody_hears_is_counted_or_forgotten() {
    let plane = Plane::start("announce-lost");
    announce(&plane, 9);
    assert_eq!(plane.build(1), Message::Built(1));
    announce(&plane, 1);
    plane.publish(&mut [lone(1), Section::default()]);
    announce(&plane, 1);
    let dropped = &plane.status.queue_counters[1].dropped[DropReason::NoPeer as usize];
    let deadline = Instant::now() + Duration::from_secs(5);
    while dropped.get() != 1 {
        assert!(Instant::now() < deadline, "{} frames are counted", dropped.get());
        std::thread::sleep(Duration::from_millis(1));
    }
}
