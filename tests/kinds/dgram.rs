//! `dgram`: one frame a datagram, over UDP, multicast, unix sockets and given descriptors. Peers: plain sockets for exact
//! bytes, socat and QEMU's own dgram netdev with a kernel behind each.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use framewire_tests::bench::Bench;
use framewire_tests::frames::{hex, number_of, numbered};
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::port;
use framewire_tests::process::{Process, command};
use framewire_tests::wait::{PATIENCE, wait_until};
use serde_json::{Value, json};

use crate::kernels;

/// How long silence must last to count as silence.
const SILENCE: Duration = Duration::from_millis(200);

/// A datagram socket of the test, of whichever family.
trait Peer {
    fn send(&self, frame: &[u8]);
    fn receive(&self, patience: Duration) -> Option<Vec<u8>>;

    #[track_caller]
    fn expect(&self, frame: &[u8]) {
        let got = self.receive(PATIENCE).unwrap_or_else(|| panic!("no datagram came, wanted {}", hex(frame)));
        assert!(got == frame, "wrong datagram\n   got {}\nwanted {}", hex(&got), hex(frame));
    }
}

impl Peer for UdpSocket {
    fn send(&self, frame: &[u8]) {
        UdpSocket::send(self, frame).expect("the port takes datagrams");
    }

    fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        self.set_read_timeout(Some(patience)).expect("a timeout can be set");
        let mut buffer = vec![0; 70_000];
        let length = self.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}

impl Peer for UnixDatagram {
    fn send(&self, frame: &[u8]) {
        UnixDatagram::send(self, frame).expect("the port takes datagrams");
    }

    fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        self.set_read_timeout(Some(patience)).expect("a timeout can be set");
        let mut buffer = vec![0; 70_000];
        let length = self.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}

/// Frames of several lengths both ways, a cut link, a mended one; then everything is deleted and nothing is left.
#[track_caller]
fn exercise(mut bench: Bench, tap: PacketSocket, peer: &dyn Peer) {
    for length in [60, 61, 64, 1514, 9014] {
        let number = u32::try_from(length).expect("a short frame");
        tap.send(&numbered(number, length));
        peer.expect(&numbered(number, length));
        peer.send(&numbered(number + 1, length));
        tap.expect(&numbered(number + 1, length));
    }
    bench.set_link("d", false);
    tap.send(&numbered(1, 60));
    peer.send(&numbered(2, 60));
    assert_eq!(peer.receive(SILENCE), None, "a frame crossed a link that is down");
    tap.expect_silence();
    bench.set_link("d", true);
    tap.send(&numbered(3, 60));
    peer.expect(&numbered(3, 60));
    peer.send(&numbered(4, 60));
    tap.expect(&numbered(4, 60));
    drop(tap);
    bench.delete("d");
    bench.delete("t");
    bench.finish();
}

/// A bench with a dgram netdev `d` of these options, joined with a tap `t` that takes long frames.
fn joined(mut bench: Bench, options: Value) -> (Bench, PacketSocket) {
    bench.add("dgram", "d", options);
    let tap = bench.tap("t", json!({}));
    bench.framewire.home().ip("link set dev t mtu 9000");
    bench.join("d", "t");
    (bench, tap)
}

fn inet(port: u16) -> Value {
    json!({ "type": "inet", "host": "127.0.0.1", "port": port.to_string() })
}

/// A UDP socket on loopback in the bench's namespace, and a port that nobody uses there.
fn udp_peer(bench: &Bench) -> (UdpSocket, u16) {
    bench.framewire.home().run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback is up");
        let port = port::unused();
        socket.connect(("127.0.0.1", port)).expect("UDP connects to anything");
        (socket, port)
    })
}

fn port_of(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("it is bound").port()
}

#[test]
fn frames_cross_udp() {
    need!(root, tun);
    let bench = Bench::new();
    let (peer, port) = udp_peer(&bench);
    let (bench, tap) = joined(bench, json!({ "local": inet(port), "remote": inet(port_of(&peer)) }));
    exercise(bench, tap, &peer);
}

#[test]
fn frames_cross_unix_sockets() {
    need!(root, tun);
    let bench = Bench::new();
    let (mine, its) = (bench.framewire.file("peer"), bench.framewire.file("port"));
    let peer = UnixDatagram::bind(&mine).expect("a path that is free");
    let options =
        json!({ "local": { "type": "unix", "path": its }, "remote": { "type": "unix", "path": mine } });
    let (bench, tap) = joined(bench, options);
    peer.connect(&its).expect("the port is bound to its path");
    exercise(bench, tap, &peer);
}

#[test]
fn frames_cross_a_given_descriptor() {
    need!(root, tun);
    let mut bench = Bench::new();
    let (peer, given) = UnixDatagram::pair().expect("descriptors are free");
    bench.qmp.getfd("fd0", given.as_fd());
    drop(given);
    let (bench, tap) = joined(bench, json!({ "local": { "type": "fd", "str": "fd0" } }));
    exercise(bench, tap, &peer);
}

/// All members of a group hear each frame, the sender's own loop included; so the port hears what it sends, as in QEMU.
#[test]
fn frames_cross_a_multicast_group() {
    need!(root, tun);
    let mut bench = Bench::new();
    // A group needs an interface that multicasts and a route; loopback has neither by itself.
    let home = bench.framewire.home();
    home.ip("link set dev lo multicast on");
    home.ip("route add 239.0.0.0/8 dev lo");
    let group: std::net::Ipv4Addr = "239.1.2.3".parse().expect("an address");
    let peer = home.run(|| UdpSocket::bind((group, 0)).expect("a port is free"));
    peer.join_multicast_v4(&group, &std::net::Ipv4Addr::LOCALHOST).expect("loopback multicasts");
    let port = port_of(&peer);
    // The port's own socket has the same number: SO_REUSEADDR lets both have it, but only if both set it.
    rustix::net::sockopt::set_socket_reuseaddr(&peer, true).expect("the option exists");
    peer.connect((group, port)).expect("UDP connects to anything");
    let remote = json!({ "type": "inet", "host": "239.1.2.3", "port": port.to_string() });
    bench.add("dgram", "d", json!({ "remote": remote }));
    let tap = bench.tap("t", json!({}));
    bench.join("d", "t");
    Peer::send(&peer, &numbered(1, 100));
    tap.expect(&numbered(1, 100));
    drop(peer);
    drop(tap);
    bench.delete("d");
    bench.delete("t");
    bench.finish();
}

#[test]
fn bursts_arrive_whole_and_in_order_over_udp() {
    need!(root, tun);
    let bench = Bench::new();
    let (peer, port) = udp_peer(&bench);
    let (_bench, tap) = joined(bench, json!({ "local": inet(port), "remote": inet(port_of(&peer)) }));
    // Runs of one length, then of another: what may be sent as one batch changes in the middle. In bites that fit into
    // the peer's receive buffer.
    for start in (0..400).step_by(40) {
        let length = |number: u32| if number % 40 < 25 { 200 } else { 333 };
        for number in start..start + 40 {
            tap.send(&numbered(number, length(number)));
        }
        for number in start..start + 40 {
            peer.expect(&numbered(number, length(number)));
        }
        for number in start..start + 40 {
            Peer::send(&peer, &numbered(number, length(number)));
        }
        for number in start..start + 40 {
            tap.expect(&numbered(number, length(number)));
        }
    }
}

#[test]
fn a_peer_that_is_not_there_yet_does_no_harm() {
    need!(root, tun);
    let bench = Bench::new();
    let (peer, port) = udp_peer(&bench);
    let number = port_of(&peer);
    drop(peer);
    let (bench, tap) = joined(bench, json!({ "local": inet(port), "remote": inet(number) }));
    // Each of these is answered by "connection refused" from the kernel.
    for frame in 0..50 {
        tap.send(&numbered(frame, 60));
    }
    tap.expect_silence();
    let peer = bench.framewire.home().run(|| UdpSocket::bind(("127.0.0.1", number)).expect("free again"));
    wait_until("a frame to arrive after the peer has come", || {
        tap.send(&numbered(99, 60));
        Peer::receive(&peer, Duration::from_millis(50)).is_some_and(|frame| number_of(&frame) == Some(99))
    });
}

#[test]
fn a_runt_is_dropped_and_the_next_frame_passes() {
    need!(root, tun);
    let bench = Bench::new();
    let (peer, port) = udp_peer(&bench);
    let (_bench, tap) = joined(bench, json!({ "local": inet(port), "remote": inet(port_of(&peer)) }));
    Peer::send(&peer, b"");
    Peer::send(&peer, b"short");
    Peer::send(&peer, &numbered(1, 60));
    tap.expect(&numbered(1, 60));
}

/// QEMU on the other side: its dgram netdev, on its own hub with its own tap.
#[test]
fn a_qemu_with_its_own_dgram_netdev_is_the_peer() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    let bench = Bench::new();
    let (ours, theirs) = (port::unused(), port::unused());
    let (bench, tap) = joined(bench, json!({ "local": inet(ours), "remote": inet(theirs) }));
    drop(tap);
    let netdev = format!(
        "dgram,id=s,local.type=inet,local.host=127.0.0.1,local.port={theirs},\
         remote.type=inet,remote.host=127.0.0.1,remote.port={ours}"
    );
    let qemu = kernels::qemu(bench.framewire.home(), &netdev);
    two_kernels_talk(&bench, "q", &qemu);
}

/// socat on the other side: its TUN address is a tap, and it sends one frame a datagram.
#[test]
fn a_socat_with_a_tap_is_the_peer() {
    need!(root, tun, "socat", "ping");
    let bench = Bench::new();
    let (ours, theirs) = (bench.framewire.file("ours"), bench.framewire.file("theirs"));
    let options =
        json!({ "local": { "type": "unix", "path": ours }, "remote": { "type": "unix", "path": theirs } });
    let (bench, tap) = joined(bench, options);
    drop(tap);
    let socat = bench.framewire.home().start(command(&format!(
        "socat -b 65536 TUN,tun-type=tap,tun-name=q,iff-no-pi,iff-up UNIX-SENDTO:{},bind={}",
        ours.display(),
        theirs.display()
    )));
    two_kernels_talk(&bench, "q", &socat);
}

/// Puts our tap and the peer program's tap into namespaces with addresses: ping, and a file both ways.
#[track_caller]
fn two_kernels_talk(bench: &Bench, peers_tap: &str, peer: &Process) {
    let home = bench.framewire.home();
    kernels::expect_tap(home, peers_tap, peer);
    home.ip("link set dev t mtu 1500");
    let _kernels = kernels::talk(home, ["t", peers_tap], 2_000_000);
}

#[test]
fn wrong_options_are_refused_and_leave_nothing() {
    need!(root);
    let mut bench = Bench::new();
    let path = json!({ "type": "unix", "path": bench.framewire.file("a") });
    let refusals = [
        (json!({ "remote": inet(9) }), "dgram requires local= parameter"),
        (json!({ "local": inet(9) }), "type=inet or type=unix requires remote parameter"),
        (json!({ "local": path, "remote": inet(9) }), "remote and local types must be the same"),
        (json!({ "local": { "type": "fd", "str": "x" } }), "File descriptor named 'x' has not been found"),
        (
            json!({ "local": { "type": "fd", "str": "x" }, "remote": inet(9) }),
            "don't set remote with local.fd",
        ),
        (json!({ "local": { "type": "tipc" } }), "Parameter 'type' does not accept value 'tipc'"),
    ];
    for (options, wanted) in refusals {
        assert_eq!(bench.refused("dgram", "d", options), wanted);
    }
    bench.finish();
}
