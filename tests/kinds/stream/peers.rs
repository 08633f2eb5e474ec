//! Real peers: QEMU's own stream netdev with a kernel behind it, at every address form and from either side; socat
//! between two ports, cutting the stream into small pieces.

use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use framewire_tests::bench::Bench;
use framewire_tests::need;
use framewire_tests::port;
use framewire_tests::process::{Process, command};
use framewire_tests::wait::wait_until;
use serde_json::{Value, json};

use crate::kernels;

use super::{CONNECTED, DISCONNECTED, add, inet, join, unix};

/// QEMU with a stream netdev of these options on a hub with a tap `q`.
#[track_caller]
fn qemu(bench: &Bench, options: &str) -> Process {
    kernels::qemu(bench.framewire.home(), &format!("stream,id=s,{options}"))
}

/// Puts both taps into namespaces with addresses: ping, and a file both ways. Then QEMU ends, and we hear of it.
#[track_caller]
fn two_kernels_talk(mut bench: Bench, mut qemu: Process) {
    bench.qmp.event(CONNECTED);
    drop(join(&mut bench));
    let home = bench.framewire.home();
    home.ip("link set dev t mtu 1500");
    let _kernels = kernels::talk(home, ["t", "q"], 2_000_000);
    qemu.kill();
    bench.qmp.event(DISCONNECTED);
}

#[test]
fn qemu_connects_to_our_path() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    let mut bench = Bench::new();
    let path = super::unix_server(&mut bench);
    let qemu = qemu(&bench, &format!("server=off,addr.type=unix,addr.path={}", path.display()));
    two_kernels_talk(bench, qemu);
}

#[test]
fn we_connect_to_qemus_path_as_soon_as_it_is_there() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    let mut bench = Bench::new();
    let path = bench.framewire.file("q");
    add(&mut bench, &json!({ "addr": unix(&path), "reconnect-ms": 50 }));
    let qemu = qemu(&bench, &format!("server=on,addr.type=unix,addr.path={}", path.display()));
    two_kernels_talk(bench, qemu);
}

#[test]
fn qemu_connects_to_our_abstract_name() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    for tight in [true, false] {
        let mut bench = Bench::new();
        let name = format!("framewire-qemu-{}-{tight}", std::process::id());
        let addr = json!({ "type": "unix", "path": name, "abstract": true, "tight": tight });
        add(&mut bench, &json!({ "addr": addr, "server": true }));
        let tight = if tight { "on" } else { "off" };
        let options =
            format!("server=off,addr.type=unix,addr.path={name},addr.abstract=on,addr.tight={tight}");
        let qemu = qemu(&bench, &options);
        two_kernels_talk(bench, qemu);
    }
}

#[test]
fn we_connect_to_qemus_abstract_name() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    let mut bench = Bench::new();
    let name = format!("framewire-qemu-server-{}", std::process::id());
    let addr = json!({ "type": "unix", "path": name, "abstract": true });
    add(&mut bench, &json!({ "addr": addr, "reconnect-ms": 50 }));
    let qemu = qemu(&bench, &format!("server=on,addr.type=unix,addr.path={name},addr.abstract=on"));
    two_kernels_talk(bench, qemu);
}

#[test]
fn qemu_connects_to_our_port_by_either_family() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    for host in ["127.0.0.1", "::1"] {
        let mut bench = Bench::new();
        bench.framewire.home().allow_loopback_v6();
        let port = port::unused();
        add(&mut bench, &json!({ "addr": inet(host, port), "server": true }));
        let qemu = qemu(&bench, &format!("server=off,addr.type=inet,addr.host={host},addr.port={port}"));
        two_kernels_talk(bench, qemu);
    }
}

#[test]
fn we_connect_to_qemus_port_by_either_family_and_by_name() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    for (host, ours) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("127.0.0.1", "localhost")] {
        let mut bench = Bench::new();
        bench.framewire.home().allow_loopback_v6();
        let port = port::unused();
        let mut addr: Value = inet(ours, port);
        if ours == "localhost" {
            // Who has no address but the loopback interface's is told that there are no names either.
            bench.framewire.home().ip("address add 192.0.2.9/32 dev lo");
            addr["ipv4"] = json!(true);
        }
        add(&mut bench, &json!({ "addr": addr, "reconnect-ms": 50 }));
        let qemu = qemu(&bench, &format!("server=on,addr.type=inet,addr.host={host},addr.port={port}"));
        two_kernels_talk(bench, qemu);
    }
}

/// The connection is made by somebody else, as libvirt does, and given to us by name.
#[test]
fn given_connection_to_qemu_is_used() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    let mut bench = Bench::new();
    let name = format!("framewire-qemu-given-{}", std::process::id());
    let qemu = qemu(&bench, &format!("server=on,addr.type=unix,addr.path={name},addr.abstract=on"));
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let connection = bench.framewire.home().run(|| {
        let mut connected = None;
        wait_until("QEMU to listen", || {
            connected = UnixStream::connect_addr(&address).ok();
            connected.is_some()
        });
        connected.expect("just seen")
    });
    bench.qmp.getfd("fd0", connection.as_fd());
    drop(connection);
    add(&mut bench, &json!({ "addr": { "type": "fd", "str": "fd0" } }));
    two_kernels_talk(bench, qemu);
}

/// Two taps, each joined with a stream, and a socat between the streams that passes on at most seven bytes at once: no
/// read ever brings a whole frame.
#[test]
fn socat_that_cuts_the_stream_into_small_pieces_is_between() {
    need!(root, tun, "socat", "ping");
    let mut bench = Bench::new();
    let paths = ["a", "b"].map(|id| bench.framewire.file(id));
    for (id, path) in ["a", "b"].into_iter().zip(&paths) {
        bench.add("stream", id, json!({ "addr": unix(path), "server": true }));
    }
    let [a, b] = &paths;
    let line = format!("socat -b 7 UNIX-CONNECT:{} UNIX-CONNECT:{}", a.display(), b.display());
    let socat = bench.framewire.home().start(command(&line));
    for (stream, tap) in [("a", "t"), ("b", "u")] {
        bench.qmp.event(CONNECTED);
        drop(bench.tap(tap, json!({})));
        bench.join(stream, tap);
    }
    let home = bench.framewire.home();
    let _kernels = kernels::talk(home, ["t", "u"], 500_000);
    assert!(socat.is_running(), "socat ended:\n{}", socat.log());
}
