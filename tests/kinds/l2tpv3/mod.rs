//! `l2tpv3`: a pseudowire over UDP and over IP, by IPv4 and IPv6. Peers: plain sockets for exact bytes, QEMU's own l2tpv3
//! netdev with a kernel behind it.

mod faults;
mod peers;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use framewire_tests::bench::Bench;
use framewire_tests::frames::{hex, numbered};
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::port;
use framewire_tests::wait::PATIENCE;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, Protocol, RawProtocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde_json::{Value, json};

use crate::framed::SILENCE;

/// L2TP among the protocols over IP.
const IP_PROTOCOL: u32 = 115;

/// Which addresses a tunnel is between, and over what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    is_udp: bool,
    is_v6: bool,
}

pub(crate) const FORMS: [Form; 4] = [
    Form { is_udp: true, is_v6: false },
    Form { is_udp: true, is_v6: true },
    Form { is_udp: false, is_v6: false },
    Form { is_udp: false, is_v6: true },
];

impl Form {
    /// Our host and theirs. Two, since over IP nothing else tells the two ends apart.
    fn hosts(self) -> [&'static str; 2] {
        if self.is_v6 { ["fd00::1", "fd00::2"] } else { ["127.0.0.1", "127.0.0.2"] }
    }

    /// Gives the bench's namespace addresses of this form, and says which two ends are free.
    fn ends(self, bench: &Bench) -> [SocketAddr; 2] {
        let home = bench.framewire.home();
        if self.is_v6 {
            home.allow_loopback_v6();
            for host in self.hosts() {
                home.ip(&format!("address add {host}/128 dev lo nodad"));
            }
        }
        self.hosts().map(|host| SocketAddr::new(host.parse().expect("a numeric address"), port::unused()))
    }

    /// Options of a netdev between these ends.
    fn options(self, [ours, theirs]: [SocketAddr; 2], more: Value) -> Value {
        let mut options = json!({
            "src": ours.ip().to_string(),
            "dst": theirs.ip().to_string(),
            "ipv6": self.is_v6,
        });
        if self.is_udp {
            options["udp"] = json!(true);
            options["srcport"] = json!(ours.port().to_string());
            options["dstport"] = json!(theirs.port().to_string());
        }
        let Value::Object(more) = more else { panic!("options are objects") };
        options.as_object_mut().expect("just made so").extend(more);
        options
    }
}

/// A plain socket at the other end.
pub(crate) struct Peer {
    socket: OwnedFd,
    to: SocketAddr,
    /// Bytes of the kernel's before what was sent.
    before: usize,
}

impl Peer {
    fn new(bench: &Bench, form: Form, [ours, theirs]: [SocketAddr; 2]) -> Self {
        let family = if form.is_v6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let raw = Protocol::from_raw(RawProtocol::new(IP_PROTOCOL).expect("it is not 0"));
        let (kind, protocol) =
            if form.is_udp { (SocketType::DGRAM, None) } else { (SocketType::RAW, Some(raw)) };
        let socket = bench.framewire.home().run(|| {
            let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol);
            let socket = socket.expect("tests that need it are root's");
            rustix::net::bind(&socket, &theirs).expect("the address is there");
            socket
        });
        // A raw socket of IPv6 takes no port.
        let port = if form.is_udp { ours.port() } else { 0 };
        let ours = SocketAddr::new(ours.ip(), port);
        let before = if form.is_udp || form.is_v6 { 0 } else { 20 };
        Peer { socket, to: ours, before }
    }

    #[track_caller]
    pub(crate) fn send(&self, bytes: &[u8]) {
        let sent = rustix::net::sendto(&self.socket, bytes, SendFlags::empty(), &self.to);
        assert_eq!(sent, Ok(bytes.len()));
    }

    pub(crate) fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + patience;
        let mut bytes = vec![0; 70_000];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).expect("it is short");
            // Interrupted means: look again.
            let _ = rustix::event::poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout));
            match rustix::net::recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT) {
                Ok((received, _all)) => return Some(bytes[self.before..received].to_vec()),
                Err(_nothing) if left.is_zero() => return None,
                Err(_nothing) => {}
            }
        }
    }

    #[track_caller]
    pub(crate) fn expect(&self, bytes: &[u8]) {
        let got = self.receive(PATIENCE).unwrap_or_else(|| panic!("nothing came, wanted {}", hex(bytes)));
        assert!(got == bytes, "wrong datagram\n   got {}\nwanted {}", hex(&got), hex(bytes));
    }
}

/// A netdev `s` of this form and these further options joined with a tap, and the other end.
pub(crate) fn tunnel(form: Form, more: Value) -> (Bench, PacketSocket, Peer) {
    let mut bench = Bench::new();
    let ends = form.ends(&bench);
    let peer = Peer::new(&bench, form, ends);
    bench.add("l2tpv3", "s", form.options(ends, more));
    let tap = crate::stream::join(&mut bench);
    (bench, tap, peer)
}

/// Frames of several lengths both ways behind these headers, a cut link, a mended one; then nothing may be left.
/// `header` is of the given number.
#[track_caller]
fn exercise(form: Form, more: Value, header: impl Fn(u32) -> Vec<u8>, theirs: &[u8]) {
    let (mut bench, tap, peer) = tunnel(form, more);
    for (number, length) in (1..).zip([60, 61, 64, 1514, 9014]) {
        tap.send(&numbered(number, length));
        peer.expect(&[&header(number)[..], &numbered(number, length)].concat());
        peer.send(&[theirs, &numbered(number + 10, length)].concat());
        tap.expect(&numbered(number + 10, length));
    }
    bench.set_link("s", false);
    tap.send(&numbered(1, 60));
    peer.send(&[theirs, &numbered(2, 60)].concat());
    assert_eq!(peer.receive(SILENCE), None, "a frame crossed a link that is down");
    tap.expect_silence();
    bench.set_link("s", true);
    tap.send(&numbered(3, 60));
    peer.expect(&[&header(6)[..], &numbered(3, 60)].concat());
    drop(tap);
    bench.delete("s");
    bench.delete("t");
    bench.finish();
}

/// The first word, where there is one.
fn first(form: Form) -> &'static [u8] {
    if form.is_udp { &[0, 3, 0, 0] } else { &[] }
}

#[test]
fn frames_cross_bare_tunnels() {
    need!(root, tun);
    for form in FORMS {
        let ours = [first(form), &[0, 0, 1, 2]].concat();
        exercise(form, json!({ "txsession": 258 }), |_number| ours.clone(), &ours);
    }
}

#[test]
fn frames_cross_tunnels_with_short_cookies_and_a_counter() {
    need!(root, tun);
    for form in FORMS {
        let more = json!({
            "txsession": 1, "rxsession": 0xffff_ffff_u32, "counter": true,
            "txcookie": 0x9999_9999_a1a2_a3a4_u64, "rxcookie": 0xb1b2_b3b4_u64,
        });
        let header = |number: u32| {
            [first(form), &[0, 0, 0, 1, 0xa1, 0xa2, 0xa3, 0xa4], &number.to_be_bytes()].concat()
        };
        let theirs = [first(form), &[0xff, 0xff, 0xff, 0xff, 0xb1, 0xb2, 0xb3, 0xb4], &[7; 4]].concat();
        exercise(form, more, header, &theirs);
    }
}

#[test]
fn frames_cross_tunnels_with_long_cookies_a_pinned_counter_and_an_offset() {
    need!(root, tun);
    for form in FORMS {
        let more = json!({
            "txsession": 1, "rxsession": 2, "cookie64": true, "pincounter": true, "offset": 256,
            "txcookie": 0xa1a2_a3a4_a5a6_a7a8_u64, "rxcookie": 0xb1b2_b3b4_b5b6_b7b8_u64,
        });
        let header = |session: u8, cookie: u64| {
            [first(form), &[0, 0, 0, session], &cookie.to_be_bytes(), &[0; 4], &[0; 256]].concat()
        };
        let (ours, theirs) = (header(1, 0xa1a2_a3a4_a5a6_a7a8), header(2, 0xb1b2_b3b4_b5b6_b7b8));
        exercise(form, more, |_number| ours.clone(), &theirs);
    }
}

/// Runs of one length, then of another: what may be sent as one batch changes in the middle, and each has its number.
#[test]
fn bursts_arrive_whole_and_in_order() {
    need!(root, tun);
    for form in FORMS {
        let (_bench, tap, peer) = tunnel(form, json!({ "txsession": 5, "counter": true }));
        let length = |number: u32| if number % 40 < 25 { 200 } else { 1333 };
        let header = |number: u32| [first(form), &[0, 0, 0, 5], &number.to_be_bytes()].concat();
        for start in (0..400).step_by(40) {
            let all = start..start + 40;
            all.clone().for_each(|number| tap.send(&numbered(number, length(number))));
            for number in all.clone() {
                peer.expect(&[&header(number + 1)[..], &numbered(number, length(number))].concat());
            }
            for number in all.clone() {
                peer.send(&[&header(0)[..], &numbered(number, length(number))].concat());
            }
            all.for_each(|number| tap.expect(&numbered(number, length(number))));
        }
    }
}

#[test]
fn wrong_options_are_refused_and_leave_nothing() {
    need!(root);
    let mut bench = Bench::new();
    let ends = FORMS[0].ends(&bench);
    let with = |more: Value| FORMS[0].options(ends, more);
    let over_ip = |src: &str| json!({ "src": src, "dst": "127.0.0.1", "txsession": 1 });
    let refusals = [
        (with(json!({})), "Parameter 'txsession' is missing"),
        (with(json!({ "txsession": 1, "offset": 257 })), "offset must be less than 256 bytes"),
        (with(json!({ "txsession": 1, "rxcookie": 1 })), "require both 'rxcookie' and 'txcookie' or neither"),
        (
            json!({ "src": "::", "dst": "::", "txsession": 1, "udp": true }),
            "need both src and dst port for udp",
        ),
        (over_ip("::1"), "could not resolve src, errno = Address family for hostname not supported"),
        (over_ip("192.0.2.77"), "could not bind socket err=99"),
    ];
    for (options, wanted) in refusals {
        assert_eq!(bench.refused("l2tpv3", "s", options), wanted);
    }
    bench.finish();
}
