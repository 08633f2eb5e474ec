//! What a guest says by its control queue, as clients hear of it: what QEMU answered and told when its guest did the
//! same was recorded, and is asked for here line by line.

use framewire_shared::session::feature;
use framewire_tests::bench::Bench;
use framewire_tests::guest::{Controller, Shape};
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::wait::{PATIENCE, wait_for};
use serde_json::{Value, json};

use super::guest::{Machine, connect};
use super::tap;

/// As QEMU told it. A line is what its guest did, with QEMU's answer and events, or what a client asked.
const RECORDED: &str = include_str!("../../qmp/transcripts/guest_events.jsonl");

const MAC: &str = "52:54:00:aa:bb:01";
const FEATURES: u64 = feature::CTRL_VQ
    | feature::CTRL_RX
    | feature::CTRL_VLAN
    | feature::CTRL_RX_EXTRA
    | feature::CTRL_MAC_ADDR
    | feature::GUEST_ANNOUNCE;

/// A guest whose front end leaves the control queue to us.
struct Guest {
    _machine: Machine,
    controller: Controller,
}

impl Guest {
    fn start(bench: &Bench, nic: &str, more_features: u64) -> Guest {
        let mut machine = Machine::start(connect(bench, nic), FEATURES | more_features);
        let controller = Controller::new(&machine.memory, 1, Shape::plain(false, 64));
        machine.front.start(2, (&controller.ring, 64), 0, &controller.bells);
        machine.front.enable(2, true);
        Guest { _machine: machine, controller }
    }

    #[track_caller]
    fn ask(&mut self, command: &[u8]) -> u8 {
        self.controller.ask(command, 4096, false);
        wait_for("an answer to the guest", PATIENCE, || self.controller.answer())
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

/// What clients were told by now about the guest. What a guest was answered before, is told by then.
fn told(bench: &mut Bench) -> Value {
    bench.qmp.command("query-status", json!({}));
    let events = bench.qmp.take_events().into_iter();
    let about_guest =
        |event: &Value| event["event"] == "NIC_RX_FILTER_CHANGED" || event["event"] == "FAILOVER_NEGOTIATED";
    let events = events.filter(about_guest);
    events.map(|event| json!({ "event": event["event"], "data": event["data"] })).collect()
}

fn ask_recorded(guest: &mut Guest, line: &Value) -> Value {
    let head = ["cls", "cmd"].map(|word| line[word].as_u64().and_then(|byte| u8::try_from(byte).ok()));
    let head = head.map(|byte| byte.expect("a line of the guest's has both"));
    let data = bytes(line["data"].as_str().expect("and data"));
    guest.ask(&[&head[..], &data].concat()).into()
}

fn with_nics() -> (Bench, PacketSocket) {
    let mut bench = Bench::new();
    let tap = tap(&mut bench);
    let nic = json!({ "driver": "virtio-net-pci", "id": "vn0", "netdev": "t", "mac": MAC, "failover": true });
    bench.qmp.command("device_add", nic);
    bench.qmp.command("device_add", json!({ "driver": "virtio-net-pci" }));
    (bench, tap)
}

#[test]
fn clients_hear_what_those_of_qemu_heard() {
    need!(root, tun);
    let (mut bench, tap) = with_nics();
    let mut lines = RECORDED.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
    // The first one is about features.
    let first = lines.next().expect("there are lines");
    let mut guest = Guest::start(&bench, "vn0", feature::STANDBY);
    assert_eq!(told(&mut bench), first["events"]);
    let mut unnamed = None;
    for line in lines {
        if let Some(wanted) = line.get("query") {
            let got = bench.qmp.command("query-rx-filter", json!({ "name": "vn0" }));
            assert_eq!(got, json!([wanted]));
            continue;
        }
        let is_unnamed = line["guest"].as_str().is_some_and(|text| text.ends_with("without id"));
        let guest =
            if is_unnamed { unnamed.insert(Guest::start(&bench, "virtio-net-pci.1", 0)) } else { &mut guest };
        assert_eq!(ask_recorded(guest, &line), line["ack"], "{}", line["guest"]);
        assert_eq!(told(&mut bench), line["events"], "{}", line["guest"]);
    }
    drop((guest, unnamed, tap));
    let Bench { framewire, qmp, .. } = bench;
    drop(qmp);
    framewire.quit();
}

#[test]
fn what_a_guest_lets_through_outlives_both_processes() {
    need!(root, tun);
    let (mut bench, tap) = with_nics();
    let fresh = bench.qmp.command("query-rx-filter", json!({ "name": "vn0" }));
    let mut guest = Guest::start(&bench, "vn0", 0);
    let table = bytes("0100010000000200000000010100000001005e000001");
    for command in [&[0, 0, 0], &table[..], &[2, 0, 5, 0]] {
        assert_eq!(guest.ask(command), 0);
    }
    assert_eq!(told(&mut bench).as_array().map(Vec::len), Some(1));
    let wanted = bench.qmp.command("query-rx-filter", json!({ "name": "vn0" }));
    assert_eq!(wanted[0]["unicast-table"], json!(["02:00:00:00:00:01"]));
    assert_eq!(wanted[0]["vlan-table"], json!([5]));
    bench.framewire.data().kill();
    // A client need not wait for the next one.
    assert_eq!(bench.qmp.command("query-rx-filter", json!({ "name": "vn0" })), wanted);
    bench.framewire.kill_control();
    bench.framewire.restart_control();
    bench.qmp = bench.framewire.qmp();
    assert_eq!(bench.qmp.command("query-rx-filter", json!({ "name": "vn0" })), wanted);
    assert_eq!(guest.ask(&[0, 0, 1]), 0);
    let event = json!({ "name": "vn0", "path": "/machine/peripheral/vn0/virtio-backend" });
    assert_eq!(told(&mut bench), json!([{ "event": "NIC_RX_FILTER_CHANGED", "data": event }]));
    // A guest that has gone has chosen nothing.
    drop(guest);
    bench.qmp.event("NETDEV_VHOST_USER_DISCONNECTED");
    assert_eq!(bench.qmp.command("query-rx-filter", json!({ "name": "vn0" })), fresh);
    // Nor has one whose front end keeps the queue.
    let mut machine = Machine::start(connect(&bench, "vn0"), FEATURES);
    let mut answer = bench.qmp.command("query-rx-filter", json!({}));
    assert_eq!(answer[0].take(), fresh[0]);
    machine.front.stop(0);
    drop((machine, tap));
    let Bench { framewire, qmp, .. } = bench;
    drop(qmp);
    framewire.quit();
}
