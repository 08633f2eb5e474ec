//! The data plane as a process, with this test in the control plane's place.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use framewire_shared::counters::DropReason;
use framewire_shared::driver::DriverOptions;
use framewire_shared::handover::{self, ANY_CPU, Build, Message, Step, Welcome};
use framewire_shared::plan::{End, Section};
use framewire_shared::publish::Sound;
use framewire_shared::region::{Mapping, Status};
use framewire_shared::stream_memory::StreamMemory;

use plane::{Plane, WORKERS, cable, eventfd, socket, wire};

#[path = "plane/mod.rs"]
mod plane;

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
