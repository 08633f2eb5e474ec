//! `socket`: the older spelling of `stream` (listen, connect) and `dgram` (udp, mcast), and descriptors of either sort.
//! Peers: plain sockets for exact bytes, QEMU's own socket netdev with a kernel behind it.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};

use framewire_tests::bench::Bench;
use framewire_tests::frames::numbered;
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::port;
use framewire_tests::process::Process;
use framewire_tests::wait::{PATIENCE, wait_until};
use serde_json::json;

use crate::framed::Framed;
use crate::kernels;
use crate::stream::{exercise, join, status};

const HOST: &str = "127.0.0.1";

fn is_connected(bench: &Bench) -> bool {
    status(bench, "s")["link"] == json!(true)
}

/// Frames cross, and no event was raised: a `socket` raises none.
#[track_caller]
fn exercise_in_silence(mut bench: Bench, tap: PacketSocket, peer: Framed) {
    wait_until("the connection", || is_connected(&bench));
    assert_eq!(bench.qmp.events(), Vec::<String>::new());
    exercise(bench, tap, peer);
}

#[test]
fn frames_cross_as_a_server() {
    need!(root, tun);
    let mut bench = Bench::new();
    let port = port::unused();
    bench.add("socket", "s", json!({ "listen": format!("{HOST}:{port}") }));
    let tap = join(&mut bench);
    let peer = bench.framewire.home().run(|| TcpStream::connect((HOST, port)).expect("it listens"));
    exercise_in_silence(bench, tap, Framed::new(peer));
}

#[test]
fn next_client_is_served_when_the_first_has_left() {
    need!(root, tun);
    let mut bench = Bench::new();
    let port = port::unused();
    bench.add("socket", "s", json!({ "listen": format!(":{port}") }));
    let tap = join(&mut bench);
    for round in 0..3 {
        let home = bench.framewire.home();
        let mut peer = Framed::new(home.run(|| TcpStream::connect((HOST, port)).expect("it listens")));
        wait_until("the connection", || is_connected(&bench));
        tap.send(&numbered(round, 60));
        peer.expect(&numbered(round, 60));
        drop(peer);
        wait_until("its end", || !is_connected(&bench));
    }
    assert_eq!(bench.qmp.events(), Vec::<String>::new());
}

#[test]
fn frames_cross_as_a_client() {
    need!(root, tun);
    let mut bench = Bench::new();
    let listener = bench.framewire.home().run(|| TcpListener::bind((HOST, 0)).expect("loopback is up"));
    let port = listener.local_addr().expect("it is bound").port();
    bench.add("socket", "s", json!({ "connect": format!("{HOST}:{port}") }));
    let (socket, _address) = listener.accept().expect("it connects");
    let tap = join(&mut bench);
    exercise_in_silence(bench, tap, Framed::new(socket));
}

#[test]
fn client_that_is_refused_or_left_is_not_tried_again() {
    need!(root, tun);
    let mut bench = Bench::new();
    let port = port::unused();
    bench.add("socket", "s", json!({ "connect": format!("{HOST}:{port}") }));
    let listener = bench.framewire.home().run(|| TcpListener::bind((HOST, port)).expect("it is free"));
    listener.set_nonblocking(true).expect("it can be");
    std::thread::sleep(crate::framed::SILENCE);
    assert!(listener.accept().is_err(), "it was tried again");
    bench.delete("s");
    bench.finish();
}

#[test]
fn frames_cross_a_given_stream() {
    need!(root, tun);
    let mut bench = Bench::new();
    let (peer, given) = UnixStream::pair().expect("descriptors are free");
    bench.qmp.getfd("fd0", given.as_fd());
    drop(given);
    bench.add("socket", "s", json!({ "fd": "fd0" }));
    assert!(is_connected(&bench), "from the beginning");
    let tap = join(&mut bench);
    exercise_in_silence(bench, tap, Framed::new(peer));
}

#[test]
fn frames_cross_a_given_datagram_socket() {
    need!(root, tun);
    let mut bench = Bench::new();
    let (peer, given) = UnixDatagram::pair().expect("descriptors are free");
    bench.qmp.getfd("fd0", given.as_fd());
    drop(given);
    bench.add("socket", "s", json!({ "fd": "fd0" }));
    let tap = join(&mut bench);
    datagrams_cross(
        &tap,
        |frame| {
            peer.send(frame).expect("there is room");
        },
        |buffer| {
            peer.set_read_timeout(Some(PATIENCE)).expect("it can be set");
            peer.recv(buffer).expect("a frame comes")
        },
    );
}

#[test]
fn frames_cross_udp() {
    need!(root, tun);
    let mut bench = Bench::new();
    let peer = bench.framewire.home().run(|| UdpSocket::bind((HOST, 0)).expect("loopback is up"));
    let theirs = peer.local_addr().expect("it is bound").port();
    let ours = port::unused();
    let udp = json!({ "udp": format!("{HOST}:{theirs}"), "localaddr": format!("{HOST}:{ours}") });
    bench.add("socket", "s", udp);
    let tap = join(&mut bench);
    datagrams_cross(
        &tap,
        |frame| {
            peer.send_to(frame, (HOST, ours)).expect("there is room");
        },
        |buffer| {
            peer.set_read_timeout(Some(PATIENCE)).expect("it can be set");
            peer.recv(buffer).expect("a frame comes")
        },
    );
}

#[track_caller]
fn datagrams_cross(tap: &PacketSocket, send: impl Fn(&[u8]), receive: impl Fn(&mut [u8]) -> usize) {
    for length in [60, 1514, 9014] {
        let number = u32::try_from(length).expect("a short frame");
        tap.send(&numbered(number, length));
        let mut buffer = vec![0; 70_000];
        let received = receive(&mut buffer);
        assert!(buffer[..received] == numbered(number, length), "another frame came");
        send(&numbered(number + 1, length));
        tap.expect(&numbered(number + 1, length));
    }
}

#[test]
fn wrong_options_are_refused_and_leave_nothing() {
    need!(root);
    let mut bench = Bench::new();
    let listener = bench.framewire.home().run(|| TcpListener::bind((HOST, 0)).expect("loopback is up"));
    let taken = format!("{HOST}:{}", listener.local_addr().expect("it is bound").port());
    let (pipe, _other) = std::io::pipe().expect("descriptors are free");
    bench.qmp.getfd("pipe", pipe.as_fd());
    let refusals = [
        (json!({}), "exactly one of listen=, connect=, mcast= or udp= is required"),
        (json!({ "listen": ":1", "localaddr": ":2" }), "localaddr= is only valid with mcast= or udp="),
        (json!({ "udp": ":1" }), "localaddr= is mandatory with udp="),
        (json!({ "listen": taken }), "can't bind ip=127.0.0.1 to socket: Address already in use"),
        (json!({ "fd": "unknown" }), "File descriptor named 'unknown' has not been found"),
        (json!({ "fd": "pipe" }), "can't get socket option SO_TYPE"),
    ];
    drop(pipe);
    for (options, wanted) in refusals {
        assert_eq!(bench.refused("socket", "s", options), wanted);
    }
    bench.finish();
}

/// QEMU with a socket netdev of these options on a hub with a tap `q`.
#[track_caller]
fn qemu(bench: &Bench, options: &str) -> Process {
    kernels::qemu(bench.framewire.home(), &format!("socket,id=s,{options}"))
}

/// Puts both taps into namespaces with addresses: ping, and a file both ways.
#[track_caller]
fn two_kernels_talk(bench: &mut Bench, qemu: &Process) {
    drop(join(bench));
    let home = bench.framewire.home();
    home.ip("link set dev t mtu 1500");
    let _kernels = kernels::talk(home, ["t", "q"], 2_000_000);
    assert!(qemu.is_running(), "QEMU ended:\n{}", qemu.log());
}

#[test]
fn qemu_connects_to_our_socket() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    let mut bench = Bench::new();
    let port = port::unused();
    bench.add("socket", "s", json!({ "listen": format!("{HOST}:{port}") }));
    let qemu = qemu(&bench, &format!("connect={HOST}:{port}"));
    two_kernels_talk(&mut bench, &qemu);
}

#[test]
fn we_connect_to_qemus_socket() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    let mut bench = Bench::new();
    let port = port::unused();
    let qemu = qemu(&bench, &format!("listen={HOST}:{port}"));
    bench.add("socket", "s", json!({ "connect": format!("{HOST}:{port}") }));
    two_kernels_talk(&mut bench, &qemu);
}

#[test]
fn qemu_and_we_send_each_other_udp() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    let mut bench = Bench::new();
    let (ours, theirs) = (port::unused(), port::unused());
    let udp = json!({ "udp": format!("{HOST}:{theirs}"), "localaddr": format!("{HOST}:{ours}") });
    bench.add("socket", "s", udp);
    let qemu = qemu(&bench, &format!("udp={HOST}:{ours},localaddr={HOST}:{theirs}"));
    two_kernels_talk(&mut bench, &qemu);
}

/// Both are in the group, and hear what they send themselves, too.
#[test]
fn qemu_and_we_are_in_one_group() {
    need!(root, tun, "qemu-system-x86_64", "ping");
    let mut bench = Bench::new();
    let home = bench.framewire.home();
    home.ip("link set dev lo multicast on");
    home.ip("route add 239.0.0.0/8 dev lo");
    let qemu = qemu(&bench, &format!("mcast=239.1.2.3:7777,localaddr={HOST}"));
    bench.add("socket", "s", json!({ "mcast": "239.1.2.3:7777", "localaddr": HOST }));
    let tap = join(&mut bench);
    let home = bench.framewire.home();
    home.ip("link set dev q up");
    let theirs = PacketSocket::open(home, "q");
    wait_until("a frame to QEMU", || {
        tap.send(&numbered(1, 60));
        theirs.receive(crate::framed::SILENCE).is_some()
    });
    theirs.send(&numbered(2, 60));
    let mut frames = std::iter::from_fn(|| tap.receive(PATIENCE));
    assert!(frames.any(|frame| frame == numbered(2, 60)), "nothing came from QEMU");
    assert!(qemu.is_running(), "QEMU ended:\n{}", qemu.log());
}
