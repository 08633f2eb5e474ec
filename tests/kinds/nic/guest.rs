//! Guests attach to NICs: by a front end of our own, whose driver is in user space.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use framewire_shared::session::feature;
use framewire_tests::bench::Bench;
use framewire_tests::frames::numbered;
use framewire_tests::guest::front::Bells;
use framewire_tests::guest::{Front, GuestMemory, Layout, Manners, Receiver, Shape, Transmitter};
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::wait::{PATIENCE, wait_for, wait_until};
use rustix::event::{PollFd, PollFlags};
use serde_json::json;

const SIZE: u16 = 64;
const MANNERS: Manners = Manners { modern: true, mergeable: true };
const FEATURES: u64 = feature::VERSION_1 | feature::MRG_RXBUF;
const RECEIVEQ: usize = 0;
const TRANSMITQ: usize = 1;

/// A virtual machine with one queue pair.
pub(super) struct Machine {
    pub(super) front: Front,
    transmitter: Transmitter,
    receiver: Receiver,
    bells: [Bells; 2],
    pub(super) memory: Arc<GuestMemory>,
}

impl Machine {
    /// Its driver has started.
    pub(super) fn start(socket: UnixStream, more_features: u64) -> Self {
        let memory = GuestMemory::new(&[(0, 1 << 20), (1 << 32, 8 << 20)]);
        let shape = Shape::plain(false, SIZE);
        let transmitter = Transmitter::new(&memory, 1, shape, 2048);
        let receiver = Receiver::new(&memory, 1, shape, MANNERS, (2048, &Layout::default()));
        let bells = [Bells::default(), Bells::default()];
        let mut machine = Machine { front: Front::new(socket), transmitter, receiver, bells, memory };
        machine.front.negotiate(FEATURES | more_features);
        machine.front.set_memory(&machine.memory);
        machine.front.start(0, (&machine.receiver.ring, SIZE), 0, &machine.bells[RECEIVEQ]);
        machine.front.start(1, (&machine.transmitter.ring, SIZE), 0, &machine.bells[TRANSMITQ]);
        (0..2).for_each(|ring| machine.front.enable(ring, true));
        machine.refill();
        machine
    }

    fn kick(&self, ring: usize) {
        rustix::io::write(&self.bells[ring].kick, &1u64.to_ne_bytes()).expect("an eventfd takes a ring");
    }

    fn refill(&mut self) {
        self.receiver.refill(SIZE.into());
        if self.receiver.ring.publish() {
            self.kick(RECEIVEQ);
        }
    }

    fn send(&mut self, frame: &[u8]) {
        self.transmitter.reclaim();
        assert!(self.transmitter.send(&[0; 12], frame, &Layout::default()), "the ring is full");
        if self.transmitter.ring.publish() {
            self.kick(TRANSMITQ);
        }
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let received = self.receiver.receive().map(|received| received.frame);
        self.refill();
        received
    }

    /// One frame each way, to and from a tap.
    #[track_caller]
    pub(super) fn talk(&mut self, tap: &PacketSocket, number: u32) {
        let (out, back) = (numbered(number, 100), numbered(number + 1, 200));
        self.send(&out);
        tap.expect(&out);
        tap.send(&back);
        assert_eq!(wait_for("a frame in the guest", PATIENCE, || self.receive()), back);
    }
}

pub(super) fn connect(bench: &Bench, nic: &str) -> UnixStream {
    let path = bench.framewire.runtime_dir().join(format!("nic-{nic}.sock"));
    UnixStream::connect(path).expect("the NIC listens")
}

fn with_nic(properties: &serde_json::Value) -> (Bench, PacketSocket) {
    let mut bench = Bench::new();
    let tap = bench.tap("t", json!({}));
    let mut arguments = json!({ "driver": "virtio-net-pci", "id": "vn0", "netdev": "t" });
    let more = properties.as_object().expect("properties are an object").clone();
    arguments.as_object_mut().expect("so are arguments").extend(more);
    bench.qmp.command("device_add", arguments);
    (bench, tap)
}

fn is_hung_up(socket: &UnixStream) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
    rustix::event::poll(&mut polled, None).is_ok() && polled[0].revents().contains(PollFlags::HUP)
}

#[test]
fn guest_and_tap_talk_and_the_next_front_end_waits_its_turn() {
    need!(root, tun);
    let (mut bench, tap) = with_nic(&json!({}));
    let mut first = Machine::start(connect(&bench, "vn0"), 0);
    let connected = json!({ "netdev-id": "vn0", "chardev-id": "vn0" });
    assert_eq!(bench.qmp.event("NETDEV_VHOST_USER_CONNECTED"), connected);
    first.talk(&tap, 0);
    let second = connect(&bench, "vn0");
    first.talk(&tap, 2);
    drop(first);
    assert_eq!(bench.qmp.event("NETDEV_VHOST_USER_DISCONNECTED"), json!({ "netdev-id": "vn0" }));
    let mut second = Machine::start(second, 0);
    assert_eq!(bench.qmp.event("NETDEV_VHOST_USER_CONNECTED"), connected);
    second.talk(&tap, 4);
    bench.set_link("vn0", false);
    second.send(&numbered(6, 100));
    tap.expect_silence();
    bench.set_link("vn0", true);
    second.talk(&tap, 7);
    bench.qmp.command("cont", json!({}));
    bench.qmp.command("device_del", json!({ "id": "vn0" }));
    bench.qmp.event("DEVICE_DELETED");
    wait_until("the front end to be hung up on", || is_hung_up(second.front.socket()));
    drop((second, tap));
    bench.delete("t");
    bench.finish();
}

#[test]
fn session_outlives_both_processes() {
    need!(root, tun);
    let (mut bench, tap) = with_nic(&json!({}));
    let mut guest = Machine::start(connect(&bench, "vn0"), 0);
    bench.qmp.event("NETDEV_VHOST_USER_CONNECTED");
    guest.talk(&tap, 0);
    bench.framewire.data().kill();
    bench.qmp.event("X_DATAPLANE_STARTED");
    guest.talk(&tap, 2);
    bench.framewire.kill_control();
    guest.talk(&tap, 4);
    bench.framewire.restart_control();
    bench.qmp = bench.framewire.qmp();
    guest.talk(&tap, 6);
    bench.framewire.data().kill();
    bench.qmp.event("X_DATAPLANE_STARTED");
    guest.talk(&tap, 8);
    assert!(!bench.qmp.events().iter().any(|event| event.starts_with("NETDEV_VHOST_USER")));
    drop(guest);
    bench.qmp.event("NETDEV_VHOST_USER_DISCONNECTED");
    let mut next = Machine::start(connect(&bench, "vn0"), 0);
    next.talk(&tap, 10);
    let Bench { framewire, qmp, .. } = bench;
    drop(qmp);
    framewire.quit();
}

#[test]
fn guest_that_takes_a_stand_in_is_told_of() {
    need!(root, tun);
    let (mut bench, _tap) = with_nic(&json!({ "failover": true }));
    let _guest = Machine::start(connect(&bench, "vn0"), feature::STANDBY);
    assert_eq!(bench.qmp.event("FAILOVER_NEGOTIATED"), json!({ "device-id": "vn0" }));
}

#[test]
fn nic_connects_to_a_front_end_that_listens_and_tries_again() {
    need!(root, tun);
    let path = std::env::temp_dir().join(format!("framewire-front-{}", std::process::id()));
    let properties =
        json!({ "socket": path.to_string_lossy(), "socket-server": false, "socket-reconnect-ms": 50 });
    let (mut bench, tap) = with_nic(&properties);
    std::thread::sleep(Duration::from_millis(100));
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a path in the folder for such");
    for round in 0..2 {
        let (socket, _address) = listener.accept().expect("the NIC connects");
        Machine::start(socket, 0).talk(&tap, round * 2);
        bench.qmp.event("NETDEV_VHOST_USER_DISCONNECTED");
    }
    std::fs::remove_file(path).expect("it is there");
}
