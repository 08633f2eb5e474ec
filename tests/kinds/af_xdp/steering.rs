//! Who steers frames: our program on an interface that the host uses as well, or somebody else's.

use std::os::fd::{AsFd, OwnedFd};

use framewire_bpf::{Place, Program, put_socket};
use framewire_tests::bench::Bench;
use framewire_tests::frames::{ETHERTYPE_TEST, ethernet};
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::scratch::Scratch;
use framewire_tests::traffic::pings;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::json;

use super::{LEFT, RIGHT, Veth, info};

pub(super) const STATION: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
pub(super) const FAR: [u8; 6] = [0x52, 0x54, 0, 9, 9, 9];

/// A program that somebody else has attached to an interface of Framewire's home.
pub(super) fn program_of_others(bench: &Bench, interface: &str) -> (Program, OwnedFd) {
    bench.framewire.home().run(|| {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None);
        let socket = socket.expect("any socket knows interfaces");
        let index = rustix::net::netdevice::name_to_index(&socket, interface).expect("it is there");
        let program = Program::load(None).expect("root may load programs");
        let link = program.attach(index, Place::Driver).expect("a veth takes programs");
        (program, link)
    })
}

/// Frames go both ways between a tap and the far end of a veth.
fn expect_frames_to_cross(bench: &mut Bench, veth: &Veth) -> PacketSocket {
    let (tap, far) = (bench.tap("t", json!({})), veth.packets());
    bench.join("x", "t");
    let (there, back) =
        (ethernet(STATION, FAR, ETHERTYPE_TEST, &[1; 46]), ethernet(FAR, STATION, ETHERTYPE_TEST, &[2; 46]));
    far.send(&there);
    tap.expect(&there);
    tap.send(&back);
    far.expect(&back);
    tap
}

#[test]
fn host_keeps_its_frames_on_a_shared_interface() {
    need!(root, tun, "ethtool", "ping");
    let mut bench = Bench::new();
    let veth = Veth::new(&bench, "l", 1, 1500);
    bench.framewire.home().ip(&format!("address add {LEFT}/24 dev l"));
    let far = veth.address(RIGHT);
    bench.add("af-xdp", "x", json!({ "ifname": "l", "x-station": [{ "str": "52:54:00:01:02:03" }] }));
    // The host answers, and finds others: its address resolution is by broadcast.
    assert!(pings(far, LEFT, 5) && pings(bench.framewire.home(), RIGHT, 5));
    let tap = expect_frames_to_cross(&mut bench, &veth);
    // What is another's does not come to us.
    veth.packets().send(&ethernet(FAR, FAR, ETHERTYPE_TEST, &[3; 46]));
    tap.expect_silence();
    drop(tap);
    bench.delete("t");
    assert!(pings(far, LEFT, 5));
    bench.delete("x");
    bench.framewire.home().ip("link del dev l");
    bench.finish();
}

#[test]
fn given_sockets_are_used_and_somebody_elses_program_is_left_alone() {
    need!(root, tun, "ethtool");
    let mut bench = Bench::new();
    let veth = Veth::new(&bench, "l", 1, 1500);
    let (program, link) = program_of_others(&bench, "l");
    let flags = SocketFlags::CLOEXEC;
    let socket = bench.framewire.home().run(|| {
        rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, flags, None).expect("root may")
    });
    // As QEMU wants it: the sockets are in the map already, and nothing else was done to them.
    put_socket(program.sockets.as_fd(), 0, socket.as_fd()).expect("any AF_XDP socket is taken");
    bench.qmp.getfd("xsk", socket.as_fd());
    bench.add("af-xdp", "x", json!({ "ifname": "l", "inhibit": true, "sock-fds": "xsk" }));
    drop(socket);
    drop(expect_frames_to_cross(&mut bench, &veth));
    bench.delete("t");
    bench.delete("x");
    let text = bench.framewire.home().ip("link show dev l");
    assert!(text.contains("xdp"), "the program is gone: {text}");
    drop(link);
    bench.framewire.home().ip("link del dev l");
    bench.finish();
}

#[test]
fn pinned_map_gets_our_sockets() {
    need!(root, tun, "ethtool");
    let mut bench = Bench::new();
    let veth = Veth::new(&bench, "l", 1, 1500);
    let (program, link) = program_of_others(&bench, "l");
    let pinned = Pinned::new(&program.sockets);
    let options = json!({ "ifname": "l", "inhibit": true, "map-path": pinned.path, "map-start-index": 0 });
    bench.add("af-xdp", "x", options);
    drop(expect_frames_to_cross(&mut bench, &veth));
    bench.delete("t");
    bench.delete("x");
    drop((pinned, link));
    bench.framewire.home().ip("link del dev l");
    bench.finish();
}

/// A map under a name, in a file system for such, as long as this is held.
pub(super) struct Pinned {
    pub(super) path: String,
    folder: Scratch,
}

impl Pinned {
    pub(super) fn new(map: &OwnedFd) -> Self {
        let folder = Scratch::new();
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("bpf", folder.path(), "bpf", none, None).expect("root may mount");
        let path = folder.file("sockets").display().to_string();
        framewire_bpf::pin(map.as_fd(), std::path::Path::new(&path)).expect("it is mounted");
        Self { path, folder }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Without it the folder could not be removed.
        let _ = rustix::mount::unmount(self.folder.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn wrong_options_are_refused_and_leave_nothing() {
    need!(root, "ethtool");
    let mut bench = Bench::new();
    let veth = Veth::new(&bench, "l", 1, 1500);
    let refusals = [
        (json!({ "ifname": "nowhere" }), "failed to get ifindex for 'nowhere': No such device"),
        (json!({ "ifname": "l", "queues": 0 }), "invalid number of queues (0) for 'l'"),
        (
            json!({ "ifname": "l", "queues": 2 }),
            "failed to create AF_XDP socket for l queue_id: 1: Invalid argument",
        ),
        (
            json!({ "ifname": "l", "inhibit": true, "map-path": "/nowhere/map" }),
            "could not open the XDP map '/nowhere/map': No such file or directory",
        ),
        (json!({ "ifname": "l", "inhibit": true }), "'inhibit=on' requires 'sock-fds' or 'map-path'"),
        (json!({ "ifname": "l", "x-station": [{ "str": "x" }] }), "invalid syntax for ethernet address"),
    ];
    for (options, wanted) in refusals {
        assert_eq!(bench.refused("af-xdp", "x", options), wanted);
    }
    let text = bench.framewire.home().ip("link show dev l");
    assert!(!text.contains("xdp"), "the program is still there: {text}");
    bench.framewire.home().ip("link del dev l");
    drop(veth);
    bench.finish();
}

#[test]
fn tap_and_interface_exchange_what_they_carry() {
    need!(root, tun, "ethtool", "socat");
    let mut bench = Bench::new();
    let veth = Veth::new(&bench, "l", 1, 1500);
    bench.add("af-xdp", "x", json!({ "ifname": "l" }));
    drop(bench.tap("t", json!({})));
    bench.join("x", "t");
    let near = framewire_tests::namespace::Namespace::new();
    bench.framewire.home().give("t", &near, &format!("{LEFT}/24"));
    let far = veth.address(RIGHT);
    // From a tap frames come large and without checksums: all of that is done on the way out.
    framewire_tests::traffic::transfer(&near, far, RIGHT, 10_000_000);
    framewire_tests::traffic::transfer(far, &near, LEFT, 10_000_000);
    drop(near);
    bench.delete("t");
    bench.delete("x");
    bench.framewire.home().ip("link del dev l");
    bench.finish();
}

#[test]
fn checksums_are_left_to_the_interface_where_that_was_asked_for() {
    need!(root, tun, "ethtool", "socat");
    let mut bench = Bench::new();
    let veth = Veth::new(&bench, "l", 1, 1500);
    bench.add("af-xdp", "x", json!({ "ifname": "l", "x-tx-checksum": true }));
    // On a kernel that knows no such requests they are made by us, and it says so.
    assert!(info(&bench, "x").contains(",x-tx-checksum="), "{}", info(&bench, "x"));
    drop(bench.tap("t", json!({})));
    bench.join("x", "t");
    let near = framewire_tests::namespace::Namespace::new();
    bench.framewire.home().give("t", &near, &format!("{LEFT}/24"));
    let far = veth.address(RIGHT);
    // An interface that says it makes them, and one for which the kernel has to: the far end checks what comes.
    for tx in ["on", "off"] {
        bench.framewire.home().call(&format!("ethtool -K l tx {tx}"));
        framewire_tests::traffic::transfer(&near, far, RIGHT, 3_000_000);
        framewire_tests::traffic::transfer(far, &near, LEFT, 1_000_000);
    }
    drop(near);
    bench.delete("t");
    bench.delete("x");
    bench.framewire.home().ip("link del dev l");
    bench.finish();
}
