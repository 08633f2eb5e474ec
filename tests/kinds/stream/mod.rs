//! `stream`: frames behind their lengths, over unix sockets, TCP and given descriptors, as client and server. Peers:
//! plain sockets for exact bytes, QEMU's own stream netdev with a kernel behind it, socat in between.

mod faults;
mod life;
mod peers;

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use framewire_tests::bench::Bench;
use framewire_tests::frames::numbered;
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::port;
use framewire_tests::wait::wait_until;
use serde_json::{Value, json};

use crate::framed::{Framed, SILENCE};

pub(crate) const CONNECTED: &str = "NETDEV_STREAM_CONNECTED";
pub(crate) const DISCONNECTED: &str = "NETDEV_STREAM_DISCONNECTED";

/// Frames of several lengths both ways, a cut link, a mended one; then everything is deleted and nothing is left.
#[track_caller]
pub(crate) fn exercise(bench: Bench, tap: PacketSocket, peer: Framed) {
    exercise_and_delete(bench, tap, peer).finish();
}

#[track_caller]
fn exercise_and_delete(mut bench: Bench, tap: PacketSocket, mut peer: Framed) -> Bench {
    for length in [60, 61, 64, 1514, 9014] {
        let number = u32::try_from(length).expect("a short frame");
        tap.send(&numbered(number, length));
        peer.expect(&numbered(number, length));
        peer.send(&numbered(number + 1, length));
        tap.expect(&numbered(number + 1, length));
    }
    bench.set_link("s", false);
    tap.send(&numbered(1, 60));
    peer.send(&numbered(2, 60));
    assert_eq!(peer.receive(SILENCE), None, "a frame crossed a link that is down");
    tap.expect_silence();
    bench.set_link("s", true);
    tap.send(&numbered(3, 60));
    peer.expect(&numbered(3, 60));
    peer.send(&numbered(4, 60));
    tap.expect(&numbered(4, 60));
    drop(tap);
    bench.delete("s");
    peer.expect_end();
    drop(peer);
    bench.delete("t");
    bench
}

/// A stream netdev `s` of these options.
#[track_caller]
pub(crate) fn add(bench: &mut Bench, options: &Value) {
    bench.add("stream", "s", options.clone());
}

/// Joins the netdev `s` with a tap `t` that takes long frames.
#[track_caller]
pub(crate) fn join(bench: &mut Bench) -> PacketSocket {
    let tap = bench.tap("t", json!({}));
    bench.framewire.home().ip("link set dev t mtu 9000");
    bench.join("s", "t");
    tap
}

pub(crate) fn unix(path: &Path) -> Value {
    json!({ "type": "unix", "path": path })
}

pub(crate) fn inet(host: &str, port: u16) -> Value {
    json!({ "type": "inet", "host": host, "port": port.to_string() })
}

/// A server netdev `s` at a path, and how to get there.
#[track_caller]
pub(crate) fn unix_server(bench: &mut Bench) -> std::path::PathBuf {
    let path = bench.framewire.file("s");
    add(bench, &json!({ "addr": unix(&path), "server": true }));
    path
}

/// What `framewire status` says of a port.
pub(crate) fn status(bench: &Bench, id: &str) -> Value {
    let status = bench.framewire.status();
    let ports = status["ports"].as_array().cloned().unwrap_or_default();
    ports.into_iter().find(|port| port["id"] == id).unwrap_or_else(|| panic!("no port {id} in {status}"))
}

#[test]
fn frames_cross_as_a_client_of_a_path() {
    need!(root, tun);
    let mut bench = Bench::new();
    let path = bench.framewire.file("s");
    let listener = UnixListener::bind(&path).expect("a path that is free");
    add(&mut bench, &json!({ "addr": unix(&path) }));
    let connected = bench.qmp.event(CONNECTED);
    assert_eq!(connected, json!({ "netdev-id": "s", "addr": unix(&path) }));
    let (socket, _nameless) = listener.accept().expect("it has connected");
    let tap = join(&mut bench);
    exercise(bench, tap, Framed::new(socket));
}

#[test]
fn frames_cross_as_a_server_at_a_path() {
    need!(root, tun);
    let mut bench = Bench::new();
    let path = unix_server(&mut bench);
    let tap = join(&mut bench);
    let peer = UnixStream::connect(&path).expect("it listens when it has answered");
    assert_eq!(bench.qmp.event(CONNECTED), json!({ "netdev-id": "s", "addr": unix(&path) }));
    let bench = exercise_and_delete(bench, tap, Framed::new(peer));
    assert!(!path.exists(), "the path is removed with the netdev");
    bench.finish();
}

#[test]
fn frames_cross_as_a_server_at_an_abstract_name() {
    need!(root, tun);
    let mut bench = Bench::new();
    let name = format!("framewire-test-{}", std::process::id());
    let addr = json!({ "type": "unix", "path": name, "abstract": true });
    add(&mut bench, &json!({ "addr": addr, "server": true }));
    let tap = join(&mut bench);
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    // Abstract names belong to a network namespace.
    let home = bench.framewire.home();
    let peer = home.run(|| UnixStream::connect_addr(&address).expect("it listens"));
    let told = json!({ "type": "unix", "path": name, "abstract": true, "tight": true });
    assert_eq!(bench.qmp.event(CONNECTED), json!({ "netdev-id": "s", "addr": told }));
    exercise(bench, tap, Framed::new(peer));
}

#[test]
fn frames_cross_as_a_client_of_tcp() {
    need!(root, tun);
    for (host, family) in [("127.0.0.1", "ipv4"), ("::1", "ipv6")] {
        let mut bench = Bench::new();
        bench.framewire.home().allow_loopback_v6();
        let listener = bench.framewire.home().run(|| TcpListener::bind((host, 0)).expect("loopback is up"));
        let port = listener.local_addr().expect("it is bound").port();
        add(&mut bench, &json!({ "addr": inet(host, port) }));
        let mut told = inet(host, port);
        told[family] = json!(true);
        assert_eq!(bench.qmp.event(CONNECTED), json!({ "netdev-id": "s", "addr": told }));
        let (socket, _address) = listener.accept().expect("it has connected");
        let tap = join(&mut bench);
        exercise(bench, tap, Framed::new(socket));
    }
}

#[test]
fn frames_cross_as_a_server_of_tcp() {
    need!(root, tun);
    for (host, family) in [("127.0.0.1", "ipv4"), ("::1", "ipv6")] {
        let mut bench = Bench::new();
        bench.framewire.home().allow_loopback_v6();
        let port = port::unused();
        add(&mut bench, &json!({ "addr": inet(host, port), "server": true }));
        let tap = join(&mut bench);
        let peer = bench.framewire.home().run(|| TcpStream::connect((host, port)).expect("it listens"));
        let mut told = inet(host, peer.local_addr().expect("it is connected").port());
        told[family] = json!(true);
        assert_eq!(bench.qmp.event(CONNECTED), json!({ "netdev-id": "s", "addr": told }));
        exercise(bench, tap, Framed::new(peer));
    }
}

/// QEMU never finds a name that was given to `getfd`.
#[test]
fn frames_cross_a_given_connection() {
    need!(root, tun);
    let mut bench = Bench::new();
    let (peer, given) = UnixStream::pair().expect("descriptors are free");
    bench.qmp.getfd("fd0", given.as_fd());
    drop(given);
    add(&mut bench, &json!({ "addr": { "type": "fd", "str": "fd0" } }));
    let told = json!({ "type": "unix", "path": "" });
    assert_eq!(bench.qmp.event(CONNECTED), json!({ "netdev-id": "s", "addr": told }));
    let tap = join(&mut bench);
    exercise(bench, tap, Framed::new(peer));
}

#[test]
fn frames_cross_a_given_listener() {
    need!(root, tun);
    let mut bench = Bench::new();
    let path = bench.framewire.file("given");
    let listener = UnixListener::bind(&path).expect("a path that is free");
    bench.qmp.getfd("fd0", listener.as_fd());
    drop(listener);
    add(&mut bench, &json!({ "addr": { "type": "fd", "str": "fd0" }, "server": true }));
    let tap = join(&mut bench);
    let peer = UnixStream::connect(&path).expect("it listens");
    assert_eq!(bench.qmp.event(CONNECTED), json!({ "netdev-id": "s", "addr": unix(&path) }));
    let bench = exercise_and_delete(bench, tap, Framed::new(peer));
    assert!(path.exists(), "who made the path removes it");
    bench.finish();
}

#[test]
fn bursts_arrive_whole_and_in_order() {
    need!(root, tun);
    let mut bench = Bench::new();
    let path = unix_server(&mut bench);
    let tap = join(&mut bench);
    let mut peer = Framed::new(UnixStream::connect(&path).expect("it listens"));
    bench.qmp.event(CONNECTED);
    let length = |number: u32| 60 + (number as usize * 37) % 1400;
    for start in (0..2000).step_by(200) {
        let numbers = start..start + 200;
        let mut stream = Vec::new();
        for number in numbers.clone() {
            stream.extend(crate::framed::prefix(length(number)));
            stream.extend(numbered(number, length(number)));
            tap.send(&numbered(number, length(number)));
        }
        peer.send_raw(&stream);
        for number in numbers {
            peer.expect(&numbered(number, length(number)));
            tap.expect(&numbered(number, length(number)));
        }
    }
}

#[test]
fn link_is_down_while_there_is_no_connection() {
    need!(root, tun);
    let mut bench = Bench::new();
    let path = unix_server(&mut bench);
    let tap = join(&mut bench);
    let link = |bench: &Bench| status(bench, "s")["link"] == json!(true);
    assert!(!link(&bench), "nobody has connected");
    // QEMU dies of a frame towards a stream whose link was set up before it was connected.
    bench.set_link("s", true);
    tap.send(&numbered(1, 60));
    let mut peer = Framed::new(UnixStream::connect(&path).expect("it listens"));
    bench.qmp.event(CONNECTED);
    assert!(link(&bench));
    peer.expect_silence();
    bench.set_link("s", false);
    drop(peer);
    bench.qmp.event(DISCONNECTED);
    assert!(!link(&bench), "nobody is connected");
    // A connection sets the link up, whatever set_link said before.
    let mut peer = Framed::new(UnixStream::connect(&path).expect("it listens again"));
    bench.qmp.event(CONNECTED);
    tap.send(&numbered(2, 60));
    peer.expect(&numbered(2, 60));
}

#[test]
fn wrong_options_are_refused_and_leave_nothing() {
    need!(root);
    let mut bench = Bench::new();
    let addr = unix(&bench.framewire.file("a"));
    let refusals = [
        (json!({}), "Parameter 'addr' is missing"),
        (json!({ "addr": { "type": "unix" } }), "Parameter 'addr.path' is missing"),
        (json!({ "addr": addr, "server": 1 }), "Invalid parameter type for 'server', expected: boolean"),
        (
            json!({ "addr": addr, "reconnect": 1, "reconnect-ms": 1 }),
            "'reconnect' and 'reconnect-ms' are mutually exclusive",
        ),
        (
            json!({ "addr": addr, "server": true, "reconnect-ms": 1 }),
            "'reconnect' and 'reconnect-ms' options are incompatible with socket in server mode",
        ),
    ];
    for (options, wanted) in refusals {
        assert_eq!(bench.refused("stream", "s", options), wanted);
    }
    bench.finish();
}

/// What QEMU answers with success although nothing can come of it.
#[test]
fn places_that_cannot_be_leave_a_netdev_without_connection() {
    need!(root);
    let mut bench = Bench::new();
    let nowhere = unix(&bench.framewire.file("no/such/folder"));
    let places = [
        json!({ "addr": nowhere }),
        json!({ "addr": nowhere, "server": true }),
        json!({ "addr": { "type": "fd", "str": "unknown" } }),
        json!({ "addr": { "type": "vsock", "cid": "x", "port": "1" } }),
        json!({ "addr": inet("no-such-host.invalid", 1) }),
        json!({ "addr": { "type": "inet", "host": "127.0.0.1", "port": "no-such-service" } }),
    ];
    for place in places {
        add(&mut bench, &place);
        bench.delete("s");
    }
    assert_eq!(bench.qmp.events(), Vec::<String>::new());
    // Threads that still look names up end by themselves.
    wait_until("no lookup to be under way", || {
        let threads = format!("/proc/{}/task", bench.framewire.control().pid());
        std::fs::read_dir(threads).expect("it runs").count() == 1
    });
    bench.finish();
}
