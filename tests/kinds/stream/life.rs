//! Connections that come and go, and processes that die.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use framewire_tests::bench::Bench;
use framewire_tests::frames::{number_of, numbered};
use framewire_tests::leaks::{Holdings, expect_same};
use framewire_tests::need;
use framewire_tests::wait::{PATIENCE, wait_until};
use serde_json::json;

use super::{CONNECTED, DISCONNECTED, add, join, status, unix, unix_server};
use crate::framed::{Framed, prefix};

const KILLS: usize = 5;

/// The number of the frame that ends a flow.
const END: u32 = u32::MAX;

#[test]
fn one_client_is_served_at_a_time_and_the_next_after_it() {
    need!(root, tun);
    let mut bench = Bench::new();
    let path = unix_server(&mut bench);
    let tap = join(&mut bench);
    let connect = || Framed::new(UnixStream::connect(&path).expect("it listens"));
    let (mut first, mut second) = (connect(), connect());
    bench.qmp.event(CONNECTED);
    second.send(&numbered(2, 60));
    first.send(&numbered(1, 60));
    tap.expect(&numbered(1, 60));
    tap.expect_silence();
    drop(first);
    bench.qmp.event(DISCONNECTED);
    bench.qmp.event(CONNECTED);
    tap.expect(&numbered(2, 60));
    tap.send(&numbered(3, 60));
    second.expect(&numbered(3, 60));
}

#[test]
fn client_without_reconnect_is_not_tried_again() {
    need!(root, tun);
    let mut bench = Bench::new();
    let path = bench.framewire.file("s");
    let listener = UnixListener::bind(&path).expect("a path that is free");
    add(&mut bench, &json!({ "addr": unix(&path) }));
    drop(listener.accept().expect("it connects"));
    bench.qmp.event(DISCONNECTED);
    listener.set_nonblocking(true).expect("it can be");
    std::thread::sleep(Duration::from_millis(200));
    assert!(listener.accept().is_err(), "it has connected again");
}

#[test]
fn client_with_reconnect_is_tried_until_there_is_a_server_and_again_when_it_comes_back() {
    need!(root, tun);
    let mut bench = Bench::new();
    let path = bench.framewire.file("s");
    add(&mut bench, &json!({ "addr": unix(&path), "reconnect-ms": 20 }));
    let tap = join(&mut bench);
    std::thread::sleep(Duration::from_millis(100));
    for round in 0..3 {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a path that is free");
        let (socket, _nameless) = listener.accept().expect("it is tried");
        let mut peer = Framed::new(socket);
        bench.qmp.event(CONNECTED);
        tap.send(&numbered(round, 60));
        peer.expect(&numbered(round, 60));
        drop((peer, listener));
        bench.qmp.event(DISCONNECTED);
    }
    assert_eq!(bench.qmp.events(), Vec::<String>::new(), "failed attempts raise no event");
}

/// Numbered frames, as fast as the port takes them, from one stream to another while the data plane is killed again
/// and again. Both connections stay, and each frame that arrives is whole: the peer never loses the framing.
#[test]
fn connections_and_their_framing_survive_killed_data_planes_under_load() {
    need!(root);
    let mut bench = Bench::new();
    let paths = ["a", "b"].map(|id| {
        let path = bench.framewire.file(id);
        bench.add("stream", id, json!({ "addr": unix(&path), "server": true }));
        path
    });
    bench.join("a", "b");
    let [mut sender, receiver] = paths.map(|path| UnixStream::connect(path).expect("it listens"));
    // A receiver that gives up must not leave the sender waiting for ever.
    sender.set_write_timeout(Some(PATIENCE)).expect("it can be set");
    for _stream in ["a", "b"] {
        bench.qmp.event(CONNECTED);
    }
    let stop = AtomicBool::new(false);
    let (sent, (received, _connected)) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut bytes = Vec::new();
                for _frame in 0..64 {
                    let length = 60 + number as usize % 1440;
                    bytes.extend(prefix(length));
                    bytes.extend(numbered(number, length));
                    number += 1;
                }
                std::io::Write::write_all(&mut sender, &bytes).expect("the connection stays");
            }
            let end = [&prefix(60)[..], &numbered(END, 60)].concat();
            std::io::Write::write_all(&mut sender, &end).expect("the connection stays");
            number
        });
        let receiving = scope.spawn(|| {
            let mut peer = Framed::new(receiver);
            let mut numbers = Vec::new();
            loop {
                let frame = peer.receive(PATIENCE).expect("the flow goes on to its end");
                let number = number_of(&frame).expect("a frame of the test");
                if number == END {
                    return (numbers, peer);
                }
                numbers.push((number, frame == numbered(number, 60 + number as usize % 1440)));
            }
        });
        for _kill in 0..KILLS {
            std::thread::sleep(Duration::from_millis(300));
            let old = bench.framewire.data().pid();
            bench.framewire.data().kill();
            assert_ne!(bench.framewire.data().pid(), old, "another data plane");
        }
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        (sending.join().expect("sends"), receiving.join().expect("receives"))
    });
    let damaged = received.iter().filter(|(_number, is_whole)| !is_whole).count();
    // A kill within the fraction of a microsecond between the kernel's taking half a frame and our keeping the other
    // half damages that one.
    assert!(damaged <= 1, "{damaged} frames were damaged");
    assert_eq!(received.last().map(|(number, _)| *number), Some(sent - 1), "the last frame is missing");
    let events = bench.qmp.events();
    assert!(!events.iter().any(|name| name == DISCONNECTED), "{events:?}");
}

#[test]
fn connection_and_waiting_clients_survive_a_killed_control_plane() {
    need!(root, tun);
    let mut bench = Bench::new();
    let path = unix_server(&mut bench);
    let tap = join(&mut bench);
    let connect = || Framed::new(UnixStream::connect(&path).expect("it listens"));
    let mut first = connect();
    bench.qmp.event(CONNECTED);
    bench.framewire.kill_control();
    // There is no control plane now. Frames flow, and a client that comes waits.
    let mut second = connect();
    second.send(&numbered(2, 60));
    tap.send(&numbered(1, 60));
    first.expect(&numbered(1, 60));
    bench.framewire.restart_control();
    bench.qmp = bench.framewire.qmp();
    tap.send(&numbered(3, 60));
    first.expect(&numbered(3, 60));
    tap.expect_silence();
    drop(first);
    bench.qmp.event(DISCONNECTED);
    bench.qmp.event(CONNECTED);
    tap.expect(&numbered(2, 60));
    tap.send(&numbered(4, 60));
    second.expect(&numbered(4, 60));
    bench.delete("s");
    assert!(!path.exists(), "the path is removed with the netdev");
}

/// A connection that ends while nobody is there to hear of it is found out by the next control plane.
#[test]
fn end_of_a_connection_is_heard_by_the_next_control_plane() {
    need!(root, tun);
    let mut bench = Bench::new();
    let path = unix_server(&mut bench);
    let tap = join(&mut bench);
    let peer = Framed::new(UnixStream::connect(&path).expect("it listens"));
    bench.qmp.event(CONNECTED);
    bench.framewire.kill_control();
    drop(peer);
    let mut next = Framed::new(UnixStream::connect(&path).expect("it listens"));
    std::thread::sleep(Duration::from_millis(50));
    bench.framewire.restart_control();
    bench.qmp = bench.framewire.qmp();
    wait_until("the next client to be served", || {
        tap.send(&numbered(1, 60));
        next.receive(Duration::from_millis(50)).is_some()
    });
}

/// As many as can be within the time, and ten thousand at most.
#[test]
fn clients_that_connect_and_vanish_leave_nothing() {
    need!(root, tun);
    let mut bench = Bench::with(&["--log", "warn"]);
    let path = unix_server(&mut bench);
    let tap = join(&mut bench);
    // Events are taken in time: who reads none is disconnected.
    let vanish = |bench: &mut Bench, rounds: usize, limit: Duration| {
        let end = Instant::now() + limit;
        let mut done = 0;
        while done < rounds && Instant::now() < end {
            let mut client = UnixStream::connect(&path).expect("it listens");
            // Some leave half a frame behind, some a whole one, some nothing.
            let bytes = [&prefix(60)[..], &numbered(1, 60)[..30 + done % 31]].concat();
            let _ = std::io::Write::write_all(&mut client, &bytes[..bytes.len() * (done % 2)]);
            done += 1;
            if done % 100 == 0 {
                bench.qmp.events();
            }
        }
        done
    };
    vanish(&mut bench, 50, PATIENCE);
    // Who is served now has come after all of them.
    let settle = |bench: &mut Bench| {
        bench.qmp.events();
        let mut peer = Framed::new(UnixStream::connect(&path).expect("it listens"));
        wait_until("to be served", || {
            tap.send(&numbered(7, 60));
            peer.receive(Duration::from_millis(20)).is_some()
        });
        drop(peer);
        wait_until("its end", || status(bench, "s")["link"] == json!(false));
    };
    settle(&mut bench);
    let of = |bench: &mut Bench| {
        let control = bench.framewire.control().pid();
        (
            control,
            Holdings::settled_of(control),
            bench.framewire.data().pid(),
            Holdings::settled_of(bench.framewire.data().pid()),
        )
    };
    let (control, control_before, data, data_before) = of(&mut bench);
    let resident = framewire_tests::leaks::resident_kib(control) + framewire_tests::leaks::resident_kib(data);
    let done = vanish(&mut bench, 10_000, Duration::from_secs(30));
    settle(&mut bench);
    println!("{done} clients came and went");
    assert!(done >= 500, "only {done} clients were served in 30 s");
    expect_same("the control plane", control, &control_before);
    expect_same("the data plane", data, &data_before);
    let grown = (framewire_tests::leaks::resident_kib(control) + framewire_tests::leaks::resident_kib(data))
        .saturating_sub(resident);
    assert!(grown < 4096, "the processes have grown by {grown} KiB");
}
