//! `af-xdp`: peers are the kernels at the other ends of veth pairs, and packet sockets there for exact bytes.
//!
//! A veth leaves checksums to whoever receives, which is right between two kernels and wrong for a program that sees
//! the bytes: so the far ends compute theirs.

mod life;
mod queues;
mod steering;

use std::time::Duration;

use framewire_tests::bench::Bench;
use framewire_tests::frames::numbered;
use framewire_tests::namespace::Namespace;
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::traffic::{iperf3, pings, transfer};
use framewire_tests::wait::wait_until;
use serde_json::{Value, json};

const LEFT: &str = "192.0.2.1";
const RIGHT: &str = "192.0.2.2";

/// A veth pair: one end stays where Framewire lives, the other is in a namespace of its own.
struct Veth {
    far: Namespace,
    far_end: String,
}

impl Veth {
    #[track_caller]
    fn new(bench: &Bench, near: &str, queues: u32, mtu: u32) -> Self {
        let (home, far) = (bench.framewire.home(), Namespace::new());
        let far_end = format!("{near}far");
        let count = format!("mtu {mtu} numrxqueues {queues} numtxqueues {queues}");
        home.ip(&format!("link add name {near} {count} type veth peer name {far_end} {count}"));
        home.ip(&format!("link set dev {far_end} netns {}", far.path()));
        far.call(&format!("ethtool -K {far_end} tx off"));
        home.ip(&format!("link set dev {near} up"));
        far.ip(&format!("link set dev {far_end} up"));
        Self { far, far_end }
    }

    fn far(&self) -> &Namespace {
        &self.far
    }

    fn packets(&self) -> PacketSocket {
        PacketSocket::open(&self.far, &self.far_end)
    }

    fn address(&self, address: &str) -> &Namespace {
        self.far.ip(&format!("address add {address}/24 dev {}", self.far_end));
        &self.far
    }
}

/// Two interfaces of the host, joined by a cable.
struct Pair {
    bench: Bench,
    left: Veth,
    right: Veth,
}

impl Pair {
    #[track_caller]
    fn new(options: &Value, queues: u32, mtu: u32) -> Self {
        let mut bench = Bench::new();
        let (left, right) = (Veth::new(&bench, "l", queues, mtu), Veth::new(&bench, "r", queues, mtu));
        for name in ["l", "r"] {
            let mut options = options.clone();
            options["ifname"] = json!(name);
            options["queues"] = json!(queues);
            bench.add("af-xdp", name, options);
        }
        bench.join("l", "r");
        Self { bench, left, right }
    }

    #[track_caller]
    fn finish(mut self) {
        self.bench.delete("l");
        self.bench.delete("r");
        for name in ["l", "r"] {
            let text = self.bench.framewire.home().ip(&format!("link show dev {name}"));
            assert!(!text.contains("xdp"), "the program is still there: {text}");
            self.bench.framewire.home().ip(&format!("link del dev {name}"));
        }
        self.bench.finish();
    }
}

fn info(bench: &Bench, id: &str) -> String {
    let status = bench.framewire.status();
    let ports = status["ports"].as_array().expect("ports are listed");
    let port = ports.iter().find(|port| port["id"] == id).expect("the port is listed");
    port["info"].as_str().expect("a port says something about itself").to_owned()
}

#[track_caller]
fn exchange(pair: &Pair, lengths: &[usize]) {
    let (a, b) = (pair.left.packets(), pair.right.packets());
    for &length in lengths {
        let number = u32::try_from(length).expect("a short frame");
        a.send(&numbered(number, length));
        b.expect(&numbered(number, length));
        b.send(&numbered(number + 1, length));
        a.expect(&numbered(number + 1, length));
    }
}

#[track_caller]
fn wait_until_frames_cross(pair: &Pair) {
    let (a, b) = (pair.left.packets(), pair.right.packets());
    let frame = numbered(77, 60);
    wait_until("frames to cross again", || {
        a.send(&frame);
        let mut came = std::iter::from_fn(|| b.receive(Duration::from_millis(50)));
        came.any(|came| came == frame)
    });
}

#[test]
fn frames_cross_byte_for_byte_both_ways_in_the_driver_and_in_the_stack() {
    need!(root, "ethtool");
    for mode in ["native", "skb"] {
        let pair = Pair::new(&json!({ "mode": mode }), 1, 1500);
        assert!(info(&pair.bench, "l").contains(&format!("mode={mode}")), "{}", info(&pair.bench, "l"));
        exchange(&pair, &[60, 61, 127, 1499, 1514]);
        pair.finish();
    }
}

#[test]
fn jumbo_frames_cross_in_several_chunks() {
    need!(root, "ethtool");
    for mode in ["native", "skb"] {
        let pair = Pair::new(&json!({ "mode": mode }), 1, 9000);
        exchange(&pair, &[60, 1792, 1793, 2048, 2049, 4096, 9014]);
        pair.finish();
    }
}

#[test]
fn two_kernels_ping_and_exchange_a_file_over_tcp() {
    need!(root, "ethtool", "ping", "socat");
    let pair = Pair::new(&json!({}), 1, 1500);
    let (left, right) = (pair.left.address(LEFT), pair.right.address(RIGHT));
    assert!(pings(left, RIGHT, 5) && pings(right, LEFT, 5));
    transfer(left, right, RIGHT, 20_000_000);
    transfer(right, left, LEFT, 20_000_000);
    pair.finish();
}

#[test]
fn four_queues_carry_many_streams_in_jumbo_frames() {
    need!(root, "ethtool", "iperf3");
    let pair = Pair::new(&json!({}), 4, 9000);
    let (left, right) = (pair.left.address(LEFT), pair.right.address(RIGHT));
    let rate = iperf3(left, right, RIGHT, "--time 2 --parallel 16");
    assert!(rate > 0.0);
    pair.finish();
}
