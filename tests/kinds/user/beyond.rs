//! What is beyond the router: hosts that are there or not, and the host's name servers.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use framewire_tests::bench::Bench;
use framewire_tests::framewire::Framewire;
use framewire_tests::namespace::Namespace;
use framewire_tests::need;
use framewire_tests::scratch::Scratch;
use framewire_tests::traffic::pings;
use framewire_tests::wait::{PATIENCE, wait_until};
use serde_json::json;

use super::{Guest, ROUTER};

/// A host beyond the host, and one that no host has.
const BEYOND: &str = "192.0.2.2";
const NOBODY: &str = "192.0.2.77";

/// A guest whose host has a neighbour, and lets everybody ping.
fn guest_and_beyond() -> (Guest, Namespace) {
    let bench = Bench::new();
    let (home, far) = (bench.framewire.home(), Namespace::new());
    home.set("net/ipv4/ping_group_range", "0 2147483647");
    home.ip("link add near type veth peer name far");
    home.ip("address add 192.0.2.1/24 dev near");
    home.ip("link set dev near up");
    home.give("far", &far, &format!("{BEYOND}/24"));
    (Guest::on(bench, json!({}), json!({})), far)
}

/// What `ping` prints, whether it was answered or not.
fn ping(from: &Namespace, arguments: &str) -> String {
    let output = from.run(|| Command::new("ping").args(arguments.split_whitespace()).output());
    String::from_utf8_lossy(&output.expect("ping is there").stdout).into_owned()
}

#[test]
fn hosts_beyond_are_pinged_and_their_absence_is_told() {
    need!(root, tun, "ping");
    let (mut guest, far) = guest_and_beyond();
    // The first may be lost while sockets are on their way.
    wait_until("an answer", || pings(&guest.namespace, BEYOND, 1));
    let heard = ping(&guest.namespace, &format!("-c 3 -i 0.2 -s 1400 -W 10 {BEYOND}"));
    assert!(heard.contains("3 received"), "{heard}");
    let table = guest.bench.qmp.command("x-query-usernet", json!({})).to_string();
    assert!(table.contains("icmp") && table.contains(BEYOND), "{table}");
    // The host asks for such a neighbour for some seconds before it gives up.
    let heard = ping(&guest.namespace, &format!("-c 1 -W 20 {NOBODY}"));
    assert!(heard.contains("Destination Host Unreachable"), "{heard}");
    let heard = ping(&guest.namespace, "-c 1 -W 20 203.0.113.9");
    assert!(heard.contains(&format!("From {ROUTER}")) && heard.contains("Net Unreachable"), "{heard}");
    // Hops count: the router is one.
    let heard = ping(&guest.namespace, &format!("-c 1 -t 1 -W 20 {BEYOND}"));
    assert!(heard.contains(&format!("From {ROUTER}")) && heard.contains("exceeded"), "{heard}");
    let heard = ping(&guest.namespace, &format!("-c 1 -t 2 -W 20 {BEYOND}"));
    assert!(heard.contains("1 received"), "{heard}");
    // Of a namespace that goes, interfaces go some time later.
    guest.bench.framewire.home().ip("link del dev near");
    drop(far);
    guest.finish();
}

/// Speaks from a connected socket until an error is told; which.
#[track_caller]
fn refusal(guest: &Guest, to: &str) -> std::io::Error {
    let socket = guest.namespace.run(|| UdpSocket::bind("0.0.0.0:0").expect("a port is free"));
    socket.connect(to).expect("there is a route");
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("it can be set");
    let mut told = None;
    wait_until("an error", || {
        let outcome = socket.send(b"?").and_then(|_sent| socket.recv(&mut [0; 9]));
        told = outcome.err().filter(|error| error.kind() != std::io::ErrorKind::WouldBlock);
        told.is_some()
    });
    told.expect("just told")
}

#[test]
fn datagrams_that_nobody_takes_are_refused() {
    need!(root, tun);
    let (guest, far) = guest_and_beyond();
    let refused = std::io::ErrorKind::ConnectionRefused;
    assert_eq!(refusal(&guest, &format!("{BEYOND}:9")).kind(), refused);
    assert_eq!(refusal(&guest, &format!("{ROUTER}:9")).kind(), refused);
    // Whoever has heard of it, goes on.
    let server = far.run(|| UdpSocket::bind((BEYOND, 7)).expect("it is free"));
    server.set_read_timeout(Some(Duration::from_millis(300))).expect("it can be set");
    let client = guest.namespace.run(|| UdpSocket::bind("0.0.0.0:0").expect("a port is free"));
    client.send_to(b"?", (BEYOND, 9)).expect("it goes");
    wait_until("a datagram", || {
        client.send_to(b"!", (BEYOND, 7)).expect("it goes");
        server.recv_from(&mut [0; 9]).is_ok()
    });
    // Of a namespace that goes, interfaces go some time later.
    guest.bench.framewire.home().ip("link del dev near");
    drop(far);
    guest.finish();
}

fn name_server(home: &Namespace, address: &str) -> UdpSocket {
    let socket = home.run(|| UdpSocket::bind((address, 53)).expect("it is free"));
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("it can be set");
    socket
}

/// A Framewire that has this file as `/etc/resolv.conf`.
fn with_name_servers(file: &Path) -> Bench {
    let script =
        format!("mount --make-rprivate / && mount --bind {} /etc/resolv.conf && exec \"$@\"", file.display());
    Bench::on(Framewire::under(&["unshare", "-m", "sh", "-c", &script, "sh"], &[]))
}

#[test]
fn name_servers_are_followed_as_they_change() {
    need!(root, tun, "unshare");
    let scratch = Scratch::new();
    let file = scratch.file("resolv.conf");
    std::fs::write(&file, "nameserver 127.0.0.1\n").expect("it can be written");
    let guest = Guest::on(with_name_servers(&file), json!({}), json!({}));
    let home = guest.bench.framewire.home();
    let servers = [name_server(home, "127.0.0.1"), name_server(home, "127.0.0.2")];
    let client = guest.namespace.run(|| UdpSocket::bind("0.0.0.0:0").expect("a port is free"));
    client.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    let asks = |server: &UdpSocket| {
        client.send_to(b"who?", ("10.0.2.3", 53)).expect("it goes");
        server.recv_from(&mut [0; 9]).ok().map(|(_bytes, from)| from)
    };
    wait_until("a question", || asks(&servers[0]).is_some());
    std::fs::write(&file, "# another\nnameserver 127.0.0.2\n").expect("it can be written");
    let mut from = None;
    wait_until("the other server to be asked", || {
        from = asks(&servers[1]);
        from.is_some()
    });
    servers[1].send_to(b"he", from.expect("just asked")).expect("it goes");
    let (bytes, from) = client.recv_from(&mut [0; 9]).expect("it is answered");
    assert_eq!((bytes, from.to_string()), (2, "10.0.2.3:53".to_owned()));
    guest.finish();
}
