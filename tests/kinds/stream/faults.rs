//! Peers that break the rules, or stand still.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use framewire_tests::bench::Bench;
use framewire_tests::frames::{number_of, numbered};
use framewire_tests::leaks::resident_kib;
use framewire_tests::need;
use framewire_tests::wait::wait_until;
use serde_json::json;

use super::{CONNECTED, DISCONNECTED, join, status, unix, unix_server};
use crate::framed::{Framed, prefix};

#[test]
fn length_that_lies_ends_the_connection_and_is_counted_and_the_next_client_is_served() {
    need!(root, tun);
    let mut bench = Bench::new();
    let path = unix_server(&mut bench);
    let tap = join(&mut bench);
    let mut wrong = 0;
    for lie in [0, 69_633, 0x8000_0000, u32::MAX] {
        let mut peer = Framed::new(UnixStream::connect(&path).expect("it listens"));
        bench.qmp.event(CONNECTED);
        peer.send(&numbered(lie, 60));
        peer.send_raw(&lie.to_be_bytes());
        tap.expect(&numbered(lie, 60));
        peer.expect_end();
        bench.qmp.event(DISCONNECTED);
        wrong += 1;
        // The counters of a port go on from one connection to the next.
        assert_eq!(status(&bench, "s")["dropped"]["foreign"], json!(wrong));
        assert_eq!(status(&bench, "s")["received-frames"], json!(wrong));
    }
}

#[test]
fn largest_frame_is_carried_and_one_byte_more_is_not() {
    need!(root);
    let mut bench = Bench::new();
    let mut peers = ["a", "b"].map(|id| {
        let path = bench.framewire.file(id);
        bench.add("stream", id, json!({ "addr": unix(&path), "server": true }));
        let peer = Framed::new(UnixStream::connect(path).expect("it listens"));
        bench.qmp.event(CONNECTED);
        peer
    });
    bench.join("a", "b");
    let largest = numbered(1, 69_632);
    peers[0].send(&largest);
    peers[1].expect(&largest);
    peers[0].send(&numbered(2, 18));
    peers[1].expect(&numbered(2, 18));
    peers[0].send_raw(&prefix(69_633));
    peers[0].expect_end();
}

#[test]
fn frame_that_comes_a_byte_at_a_time_is_carried() {
    need!(root, tun);
    let mut bench = Bench::new();
    let path = unix_server(&mut bench);
    let tap = join(&mut bench);
    let mut peer = Framed::new(UnixStream::connect(&path).expect("it listens"));
    for byte in [&prefix(80)[..], &numbered(1, 80)].concat() {
        peer.send_raw(&[byte]);
        std::thread::sleep(Duration::from_micros(200));
    }
    tap.expect(&numbered(1, 80));
}

/// A peer that does not read holds back only its own cable, loses nothing, and costs a bounded amount of memory.
#[test]
fn peer_that_stands_still_disturbs_nobody_and_gets_everything_in_the_end() {
    need!(root, tun);
    let mut bench = Bench::new();
    let names = ["a", "b"];
    let [mut fast, slow] = names.map(|id| {
        let path = bench.framewire.file(id);
        bench.add("stream", id, json!({ "addr": unix(&path), "server": true }));
        UnixStream::connect(path).expect("it listens")
    });
    for _stream in names {
        bench.qmp.event(CONNECTED);
    }
    bench.join("a", "b");
    let (tap_t, tap_u) = (bench.tap("t", json!({})), bench.tap("u", json!({})));
    bench.join("t", "u");
    let resident = resident_kib(bench.framewire.data().pid());

    // The cable from a to b is filled until nothing more goes in.
    fast.set_write_timeout(Some(Duration::from_millis(300))).expect("it can be set");
    let mut sent = 0;
    let mut half = Vec::new();
    loop {
        let frame = [&prefix(1514)[..], &numbered(sent, 1514)].concat();
        let written = fast.write(&frame).unwrap_or(0);
        sent += 1;
        if written < frame.len() {
            half.extend(&frame[written..]);
            break;
        }
        assert!(sent < 100_000, "it takes everything");
    }
    assert!(status(&bench, "a")["held-back"].as_u64() > Some(0), "{}", status(&bench, "a"));

    // The other cable does not notice.
    let begin = Instant::now();
    let mut crossed = 0;
    while begin.elapsed() < Duration::from_secs(5) {
        tap_t.send(&numbered(crossed, 200));
        tap_u.expect(&numbered(crossed, 200));
        crossed += 1;
    }
    assert!(crossed > 500, "only {crossed} frames crossed the other cable");
    let grown = resident_kib(bench.framewire.data().pid()).saturating_sub(resident);
    assert!(grown < 16 << 10, "the data plane has grown by {grown} KiB");

    let mut slow = Framed::new(slow);
    let reading = std::thread::spawn(move || {
        for number in 0..sent {
            let frame = slow.receive(Duration::from_secs(5)).expect("nothing is lost");
            assert_eq!(number_of(&frame), Some(number));
        }
    });
    fast.set_write_timeout(None).expect("it can be set");
    fast.write_all(&half).expect("there is room again");
    reading.join().expect("everything arrives");
    assert_eq!(status(&bench, "b")["dropped"], json!({}));
}

/// A peer that goes away while its socket is full must not hold its cable for ever.
#[test]
fn full_peer_that_vanishes_is_replaced_by_the_next() {
    need!(root, tun);
    let mut bench = Bench::new();
    let path = unix_server(&mut bench);
    let tap = join(&mut bench);
    let full = UnixStream::connect(&path).expect("it listens");
    bench.qmp.event(CONNECTED);
    for number in 0..2000 {
        tap.send(&numbered(number, 1000));
    }
    wait_until("the socket to be full", || status(&bench, "t")["held-back"].as_u64() > Some(0));
    drop(full);
    bench.qmp.event(DISCONNECTED);
    let mut next = Framed::new(UnixStream::connect(&path).expect("it listens"));
    bench.qmp.event(CONNECTED);
    wait_until("the tap to be read again", || {
        tap.send(&numbered(9999, 60));
        std::iter::from_fn(|| next.receive(Duration::from_millis(50)))
            .any(|frame| number_of(&frame) == Some(9999))
    });
}
