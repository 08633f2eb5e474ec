use std::sync::atomic::Ordering;
use std::thread;

use framewire_shared::counters::DropReason;
use framewire_shared::driver::DriverOptions;
use framewire_shared::handover::{Build as Request, Step, Welcome};
use framewire_shared::plan::End;

use super::*;
use crate::vault::Kept;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

fn equipment(name: &str) -> Equipment {
    let path = std::env::temp_dir().join(format!("framewire-{name}-{}", std::process::id()));
    let equipment = Equipment::create(Welcome::new(&[0, 0]), &path).unwrap();
    std::fs::remove_file(path).unwrap();
    equipment
}

/// An attached data plane whose process is this one, so that it never ends, and the foreman's socket.
fn attached() -> (Attached, OwnedFd) {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (ours, theirs) = rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    (Attached::found(Process::find(rustix::process::getpid()).unwrap(), ours), theirs)
}

fn kept(queue: u64) -> Kept {
    let build = Request { queue, counter_slot: 0, counters_go_on: false, options: DriverOptions::Null };
    Kept { build, descriptors: Vec::new() }
}

/// Answers every `Build`; refuses the keys that are divisible by ten.
fn foreman(socket: &OwnedFd) {
    while let Ok((Message::Build(build), _descriptors)) = handover::receive(socket) {
        let key = build.queue;
        let refuse = key.is_multiple_of(10);
        let answer = if refuse { Message::Failed(key, Step::Queue, 24) } else { Message::Built(key) };
        handover::send(socket, &answer, &[]).unwrap();
    }
}

#[test]
fn every_refusal_is_told_and_no_answer_is_left_over() {
    let (attached, theirs) = attached();
    let foreman = thread::spawn(move || foreman(&theirs));
    for _round in 0..2 {
        let queues: Vec<Kept> = (1..=100).map(kept).collect();
        let refused = attached.build(queues.iter().map(|kept| kept.on_its_way(false)), soon()).unwrap();
        assert_eq!(
            refused.iter().map(|r| r.key).collect::<Vec<_>>(),
            (1..=10).map(|n| n * 10).collect::<Vec<_>>()
        );
    }
    assert!(!attached.has_answer());
    drop(attached);
    foreman.join().unwrap();
}

#[test]
fn data_plane_that_is_gone_or_silent_is_noticed() {
    let (attached, theirs) = attached();
    let queue = kept(1);
    let build = || std::iter::once(queue.on_its_way(false));
    assert_eq!(attached.build(build(), Instant::now()), Err(Trouble::Late));
    drop(theirs);
    assert_eq!(attached.build(build(), soon()), Err(Trouble::Gone));
}

#[test]
fn only_sections_that_changed_get_a_new_revision() {
    let (attached, _theirs) = attached();
    let equipment = equipment("revision");
    let mut sections = vec![Section::default(), Section::default()];
    sections[0].add_wire(DropReason::NoPeer, [End { queue: 1, side: 0, poll_us: 50 }]);
    let readers: Vec<_> = equipment.status.workers.iter().take(2).map(|line| line.get()).collect();
    // Nobody has seen generation 0 but everybody begins with it, so the first is published; then nobody quiesces.
    let late = attached.publish(&equipment, sections.clone(), &[], Instant::now());
    assert_eq!(late.unwrap_err(), Trouble::Late);
    assert_eq!(equipment.config.generation.0.load(Ordering::Relaxed), 1);
    assert!(readers.iter().all(|reader| !reader.has_seen::<Sound>(1)));
    let refused = attached.publish(&equipment, sections.clone(), &[], Instant::now());
    assert_eq!(refused.unwrap_err(), Trouble::Late, "its slot may still be read");
    assert_eq!(equipment.config.generation.0.load(Ordering::Relaxed), 1);

    let before = sections.clone();
    sections[1].add_wire(DropReason::NoPeer, [End { queue: 2, side: 0, poll_us: 50 }]);
    revise(&mut sections, &before, 7);
    assert_eq!([sections[0].revision, sections[1].revision], [before[0].revision, 7]);
}
