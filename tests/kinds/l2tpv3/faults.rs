//! What a path does to datagrams, and what somebody on it may.

use std::net::UdpSocket;

use framewire_tests::bench::Bench;
use framewire_tests::frames::numbered;
use framewire_tests::leaks::resident_kib;
use framewire_tests::namespace::Namespace;
use framewire_tests::need;
use framewire_tests::wait::{PATIENCE, wait_until};
use serde_json::{Value, json};

use super::{FORMS, tunnel};
use crate::framed::SILENCE;
use crate::stream::status;

/// A frame in the envelope that [`guarded`] tunnels want.
fn sealed(cookie: u64, session: u32, counter: u32, frame: &[u8]) -> Vec<u8> {
    [&[0, 3, 0, 0], &session.to_be_bytes()[..], &cookie.to_be_bytes(), &counter.to_be_bytes(), frame].concat()
}

const COOKIE: u64 = 0x1122_3344_5566_7788;

fn guarded() -> Value {
    json!({
        "txsession": 7, "rxsession": 8, "cookie64": true, "counter": true, "txcookie": 1, "rxcookie": COOKIE,
    })
}

/// An Ethernet may do so, too. A peer that was started anew counts from the beginning.
#[test]
fn frames_that_come_late_or_twice_are_passed_on_as_they_come() {
    need!(root, tun);
    let (bench, tap, peer) = tunnel(FORMS[0], guarded());
    for number in [3, 1, 2, 2, 9, 1] {
        peer.send(&sealed(COOKIE, 8, number, &numbered(number, 60)));
        tap.expect(&numbered(number, 60));
    }
    assert_eq!(status(&bench, "s")["dropped"], json!({}));
}

#[test]
fn forged_frames_are_counted_by_reason_and_cost_nobody_else_anything() {
    need!(root, tun);
    let (mut bench, tap, peer) = tunnel(FORMS[0], guarded());
    let (tap_u, tap_v) = (bench.tap("u", json!({})), bench.tap("v", json!({})));
    bench.join("u", "v");
    let resident = resident_kib(bench.framewire.data().pid());
    let frame = numbered(1, 60);
    let mut sent = 0;
    for round in 0..200 {
        for bit in 0..64 {
            // Each is wrong in one bit of the cookie, or of the session, or too short.
            peer.send(&sealed(COOKIE ^ 1 << bit, 8, sent, &frame));
            peer.send(&sealed(COOKIE, 8 ^ 1 << (bit % 32), sent, &frame));
            peer.send(&sealed(COOKIE, 8, sent, &[])[..bit % 20]);
            sent += 1;
        }
        tap_u.send(&numbered(round, 60));
        tap_v.expect(&numbered(round, 60));
        // No more at once than the socket keeps.
        peer.send(&sealed(COOKIE, 8, sent, &numbered(round, 60)));
        tap.expect(&numbered(round, 60));
    }
    let dropped = &status(&bench, "s")["dropped"];
    assert_eq!(dropped, &json!({ "wrong-cookie": sent, "foreign": sent, "runt": sent }));
    let grown = resident_kib(bench.framewire.data().pid()).saturating_sub(resident);
    assert!(grown < 4096, "the data plane has grown by {grown} KiB");
}

/// The peer is not there at first, and then is: each frame before is answered by "port unreachable".
#[test]
fn peer_that_comes_late_gets_what_is_sent_then() {
    need!(root, tun);
    let mut bench = Bench::new();
    let ends = FORMS[0].ends(&bench);
    bench.add("l2tpv3", "s", FORMS[0].options(ends, json!({ "txsession": 1 })));
    let tap = crate::stream::join(&mut bench);
    for number in 0..100 {
        tap.send(&numbered(number, 60));
    }
    let peer = super::Peer::new(&bench, FORMS[0], ends);
    wait_until("a frame to arrive", || {
        tap.send(&numbered(5, 60));
        peer.receive(SILENCE).is_some()
    });
    peer.send(&[&[0, 3, 0, 0, 0, 0, 0, 1][..], &numbered(6, 60)].concat());
    tap.expect(&numbered(6, 60));
}

/// Behind the first router is a link with less room, and nothing tells us: long frames arrive all the same, the first as
/// well as the last.
#[test]
fn path_with_a_smaller_mtu_that_nobody_tells_of_is_crossed() {
    need!(root, tun);
    let mut bench = Bench::new();
    let (router, far) = (Namespace::new(), Namespace::new());
    let home = bench.framewire.home();
    home.ip("link add v0 type veth peer name v1");
    home.give("v1", &router, "10.1.0.2/24");
    home.address("v0", "10.1.0.1/24");
    home.ip("route add 10.2.0.0/24 via 10.1.0.2");
    router.ip("link add w0 type veth peer name w1");
    router.give("w1", &far, "10.2.0.2/24");
    router.address("w0", "10.2.0.1/24");
    router.ip("link set dev w0 mtu 1280");
    far.ip("route add 10.1.0.0/24 via 10.2.0.1");
    router.set("net/ipv4/ip_forward", "1");
    let peer = far.run(|| UdpSocket::bind("10.2.0.2:5000").expect("the address is there"));
    peer.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    bench.add(
        "l2tpv3",
        "s",
        json!({ "src": "10.1.0.1", "dst": "10.2.0.2", "udp": true, "srcport": "5000", "dstport": "5000", "txsession": 1 }),
    );
    let tap = bench.tap("t", json!({}));
    bench.join("s", "t");
    let mut bytes = [0; 2000];
    for number in 0..20 {
        tap.send(&numbered(number, 1400));
        let length = peer.recv(&mut bytes).expect("a datagram arrives");
        assert!(bytes[8..length] == numbered(number, 1400), "another frame came");
    }
}
