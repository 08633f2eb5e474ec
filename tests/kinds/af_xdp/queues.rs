//! Several queues: which frames come by which, somebody else's sockets and maps for some of them, and what is told
//! about those that are not ours.
//!
//! A veth puts each flow into one queue by its hash, so many flows of UDP reach every queue, and an end with one
//! queue to send by reaches only the first of its peer.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use framewire_bpf::put_socket;
use framewire_tests::bench::Bench;
use framewire_tests::frames::ethernet;
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::traffic::iperf3;
use framewire_tests::wait::wait_until;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::{Value, json};

use super::steering::{FAR, Pinned, STATION, program_of_others};
use super::{LEFT, Pair, RIGHT, Veth};

const ETHERTYPE_IPV4: u16 = 0x0800;
const FLOWS: u16 = 64;

/// A UDP frame of one flow. Nobody looks at its checksums.
fn of_flow(flow: u16) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 46, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    packet.extend((1024 + flow).to_be_bytes());
    packet.extend([0, 9, 0, 26, 0, 0]);
    packet.extend([0x77; 18]);
    ethernet(STATION, FAR, ETHERTYPE_IPV4, &packet)
}

fn flow_of(frame: &[u8]) -> Option<u16> {
    let port = frame.get(34..36)?;
    u16::from_be_bytes([port[0], port[1]]).checked_sub(1024).filter(|flow| *flow < FLOWS)
}

/// Of many flows into a port, those that come out of the tap that it is joined with.
struct Flows {
    far: PacketSocket,
    tap: PacketSocket,
    seen: BTreeSet<u16>,
}

impl Flows {
    #[track_caller]
    fn new(bench: &mut Bench, veth: &Veth) -> Self {
        drop(bench.tap("t", json!({})));
        bench.join("x", "t");
        let far = PacketSocket::open_for(veth.far(), &veth.far_end, ETHERTYPE_IPV4);
        let tap = PacketSocket::open_for(bench.framewire.home(), "t", ETHERTYPE_IPV4);
        Flows { far, tap, seen: BTreeSet::new() }
    }

    /// Sends one frame of each and takes note of what arrives.
    fn exchange(&mut self) {
        (0..FLOWS).for_each(|flow| self.far.send(&of_flow(flow)));
        while let Some(frame) = self.tap.receive(Duration::from_millis(200)) {
            self.seen.extend(flow_of(&frame));
        }
    }

    /// All of them arrive.
    #[track_caller]
    fn expect_all(&mut self) {
        wait_until("all flows to arrive", || {
            self.exchange();
            self.seen.len() == usize::from(FLOWS)
        });
    }

    /// Some arrive; those that do not are not of our queues.
    #[track_caller]
    fn expect_some(&mut self) {
        wait_until("some flows to arrive", || {
            self.exchange();
            !self.seen.is_empty()
        });
        assert!(self.seen.len() < usize::from(FLOWS), "flows of other queues came too");
    }
}

#[track_caller]
fn steering(bench: &Bench, id: &str) -> Value {
    let status = bench.framewire.status();
    let ports = status["ports"].as_array().expect("ports are listed");
    ports.iter().find(|port| port["id"] == id).expect("the port is listed")["steering"].clone()
}

#[track_caller]
fn finish(mut bench: Bench, veth: Veth) {
    bench.delete("t");
    bench.delete("x");
    bench.framewire.home().ip("link del dev l");
    drop(veth);
    bench.finish();
}

#[test]
fn four_queues_carry_many_streams_in_the_stack() {
    need!(root, "ethtool", "iperf3");
    let pair = Pair::new(&json!({ "mode": "skb" }), 4, 1500);
    let (left, right) = (pair.left.address(LEFT), pair.right.address(RIGHT));
    assert!(iperf3(left, right, RIGHT, "--time 1 --parallel 16") > 0.0);
    pair.finish();
}

#[test]
fn frames_of_queues_that_are_not_ours_stay_with_the_host_and_are_told() {
    need!(root, tun, "ethtool");
    let mut bench = Bench::new();
    let veth = Veth::new(&bench, "l", 2, 1500);
    bench.add("af-xdp", "x", json!({ "ifname": "l", "start-queue": 1 }));
    let before = steering(&bench, "x");
    let mut flows = Flows::new(&mut bench, &veth);
    flows.expect_some();
    let after = steering(&bench, "x");
    let grew = |counter: &str| after[counter].as_u64() > before[counter].as_u64();
    assert!(grew("to-us") && grew("other-queue"), "{before} {after}");
    assert!(after["warning"].as_str().is_some_and(|text| text.contains("ethtool -X")), "{after}");
    drop(flows);
    finish(bench, veth);
}

#[test]
fn all_queues_that_are_ours_need_no_warning() {
    need!(root, tun, "ethtool");
    let mut bench = Bench::new();
    let veth = Veth::new(&bench, "l", 2, 1500);
    bench.add("af-xdp", "x", json!({ "ifname": "l", "queues": 2 }));
    // What came between program and sockets is told, too: only what comes now counts.
    let before = steering(&bench, "x");
    Flows::new(&mut bench, &veth).expect_all();
    let after = steering(&bench, "x");
    assert_eq!(after["other-queue"], before["other-queue"]);
    finish(bench, veth);
}

#[test]
fn place_in_a_pinned_map_is_where_the_first_socket_goes() {
    need!(root, tun, "ethtool");
    let mut bench = Bench::new();
    let veth = Veth::new(&bench, "l", 2, 1500);
    let (program, link) = program_of_others(&bench, "l");
    let pinned = Pinned::new(&program.sockets);
    let options = json!({
        "ifname": "l", "inhibit": true, "start-queue": 1, "map-path": pinned.path, "map-start-index": 1,
    });
    bench.add("af-xdp", "x", options);
    // Our socket is at the second place, where that program looks for the second queue's.
    Flows::new(&mut bench, &veth).expect_some();
    drop((pinned, link));
    finish(bench, veth);
}

#[test]
fn given_sockets_serve_one_queue_each() {
    need!(root, tun, "ethtool");
    let mut bench = Bench::new();
    let veth = Veth::new(&bench, "l", 2, 1500);
    let (program, link) = program_of_others(&bench, "l");
    let socket = |_| {
        rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .expect("root may")
    };
    let sockets: Vec<OwnedFd> = bench.framewire.home().run(|| (0..2).map(socket).collect());
    for ((place, name), socket) in [(0, "xsk0"), (1, "xsk1")].into_iter().zip(&sockets) {
        put_socket(program.sockets.as_fd(), place, socket.as_fd()).expect("any AF_XDP socket is taken");
        bench.qmp.getfd(name, socket.as_fd());
    }
    bench.add("af-xdp", "x", json!({ "ifname": "l", "queues": 2, "inhibit": true, "sock-fds": "xsk0:xsk1" }));
    drop(sockets);
    Flows::new(&mut bench, &veth).expect_all();
    assert_eq!(steering(&bench, "x"), Value::Null, "the program is not ours to tell about");
    drop(link);
    finish(bench, veth);
}
