//! `bridge`: peers are a bridge of the kernel with a veth on it, and QEMU's own bridge helper.

use framewire_tests::bench::Bench;
use framewire_tests::frames::numbered;
use framewire_tests::framewire::Framewire;
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use serde_json::{Value, json};

/// Runs Framewire where no helper is installed.
const WITHOUT_HELPER: &str = "mount -t tmpfs none /usr/lib/qemu; exec \"$0\" \"$@\"";
/// Runs Framewire where QEMU's helper lets everybody use every bridge.
const WITH_POLICY: &str =
    "mount -t tmpfs none /etc; mkdir /etc/qemu; echo allow all >/etc/qemu/bridge.conf; exec \"$0\" \"$@\"";

/// A helper of a few lines: makes a tap called `helped`, in no bridge, and sends it.
const SMALL_HELPER: &str = r#"#!/usr/bin/env python3
import array, fcntl, os, socket, struct, sys
options = dict(word[2:].partition("=")[::2] for word in sys.argv[1:])
assert "use-vnet" in options and options["br"] == "kb0", sys.argv
open_ones = {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2}
assert len(open_ones) == 2, open_ones  # the socket, and the one that lists
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"helped", 0x5002))
rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [tap]))]
socket.socket(fileno=int(options["fd"])).sendmsg([b"\0"], rights)
"#;

/// A Framewire with a bridge `kb0` in its namespace, on it the veth `v0`, whose other end is `v1`.
fn bench(script: &str) -> Bench {
    let framewire = Framewire::under(&["unshare", "--mount", "sh", "-c", script], &[]);
    let home = framewire.home();
    home.ip("link add kb0 type bridge");
    home.ip("link add v0 mtu 1400 type veth peer name v1 mtu 1400");
    home.ip("link set dev v0 master kb0");
    for interface in ["kb0", "v0", "v1"] {
        home.ip(&format!("link set dev {interface} up"));
    }
    Bench::on(framewire)
}

/// Puts a netdev into the bridge and looks at what comes out of it, both ways; then nothing may be left.
fn crosses_the_bridge(mut bench: Bench, kind: &str, options: Value) {
    bench.add(kind, "b", options);
    let tap = bench.tap("t", json!({}));
    bench.join("b", "t");
    let home = bench.framewire.home();
    let port = home.interfaces().into_iter().find(|name| name.starts_with("tap")).expect("a port was made");
    let details = home.ip(&format!("link show dev {port}"));
    assert!(details.contains("master kb0") && details.contains("mtu 1400"), "{details}");
    assert!(details.contains("link/ether fe:"), "{details}");
    let veth = PacketSocket::open(home, "v1");
    for (number, length) in [(1, 60), (2, 100), (3, 1414)] {
        tap.send(&numbered(number, length));
        veth.expect(&numbered(number, length));
        veth.send(&numbered(number + 10, length));
        tap.expect(&numbered(number + 10, length));
    }
    bench.set_link("b", false);
    tap.send(&numbered(4, 60));
    veth.expect_silence();
    bench.set_link("b", true);
    tap.send(&numbered(5, 60));
    veth.expect(&numbered(5, 60));
    drop((tap, veth));
    bench.delete("b");
    bench.delete("t");
    bench.framewire.home().ip("link delete dev v0");
    bench.framewire.home().ip("link delete dev kb0");
    bench.finish();
}

#[test]
fn frames_cross_a_bridge_that_qemus_helper_put_it_into() {
    need!(root, tun, "qemu-system-x86_64");
    crosses_the_bridge(bench(WITH_POLICY), "bridge", json!({ "br": "kb0" }));
}

#[test]
fn frames_cross_a_bridge_without_a_helper() {
    need!(root, tun);
    crosses_the_bridge(bench(WITHOUT_HELPER), "bridge", json!({ "br": "kb0" }));
}

#[test]
fn a_tap_takes_a_helper_too() {
    need!(root, tun, "qemu-system-x86_64");
    let helper = "/usr/lib/qemu/qemu-bridge-helper";
    crosses_the_bridge(bench(WITH_POLICY), "tap", json!({ "br": "kb0", "helper": helper }));
}

#[test]
fn a_helper_is_given_its_socket_and_nothing_else() {
    need!(root, tun, "python3");
    let mut bench = Bench::new();
    let helper = bench.framewire.file("helper");
    std::fs::write(&helper, SMALL_HELPER).expect("a helper can be written");
    let line = format!("python3 {}", helper.display());
    bench.add("bridge", "b", json!({ "br": "kb0", "helper": line }));
    assert_eq!(bench.framewire.home().interfaces(), ["helped"]);
    bench.delete("b");
    bench.finish();
}

#[test]
fn what_fails_is_refused_and_leaves_nothing() {
    need!(root, tun);
    let mut bench = Bench::with(&[]);
    for helper in ["/nonexistent/helper", "/bin/false", "exit 3 #"] {
        assert_eq!(bench.refused("bridge", "b", json!({ "helper": helper })), "bridge helper failed");
    }
    assert_eq!(
        bench.refused("bridge", "b", json!({ "helper": "/bin/true" })),
        "Unable to query TUNGETIFF on FD 0: Inappropriate ioctl for device"
    );
    assert_eq!(bench.refused("bridge", "b", json!({ "ifname": "x" })), "Parameter 'ifname' is unexpected");
    bench.finish();
}

#[test]
fn a_bridge_that_is_not_there_is_refused() {
    need!(root, tun);
    let mut bench = Bench::on(Framewire::under(&["unshare", "--mount", "sh", "-c", WITHOUT_HELPER], &[]));
    assert_eq!(bench.refused("bridge", "b", json!({})), "bridge helper failed");
    bench.finish();
}
