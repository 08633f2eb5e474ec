//! Ports of the host that lead to the guest, made and removed while the network is in use.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use framewire_tests::bench::Bench;
use framewire_tests::namespace::Namespace;
use framewire_tests::need;
use framewire_tests::port;
use framewire_tests::wait::{PATIENCE, wait_until};
use serde_json::{Value, json};

use super::flows::{accept, connect};
use super::{GUEST, Guest, ROUTER};

/// The port at which the guest listens.
const SERVICE: u16 = 7008;

/// A line of the human monitor; what it prints.
#[track_caller]
fn human(bench: &mut Bench, line: &str) -> String {
    let said = bench.qmp.command("human-monitor-command", json!({ "command-line": line }));
    said.as_str().expect("it is a text").to_owned()
}

fn serve(guest: &Guest) -> TcpListener {
    guest.namespace.run(|| TcpListener::bind((GUEST, SERVICE)).expect("it is free"))
}

/// One byte each way.
#[track_caller]
fn echo(mut one: impl Read + Write, mut other: impl Read + Write, byte: u8) {
    let mut heard = [0];
    one.write_all(&[byte]).expect("it goes");
    other.read_exact(&mut heard).expect("it arrives");
    other.write_all(&heard).expect("it goes back");
    one.read_exact(&mut heard).expect("it comes back");
    assert_eq!(heard, [byte]);
}

/// A connection from the host to the guest by this port.
#[track_caller]
fn forwarded(guest: &Guest, listener: &TcpListener, port: u16) -> (TcpStream, TcpStream) {
    let client =
        connect(guest.bench.framewire.home(), &format!("127.0.0.1:{port}")).expect("it is forwarded");
    let (server, _peer) = accept(listener);
    (client, server)
}

fn is_refused(guest: &Guest, port: u16) -> bool {
    let refused = connect(guest.bench.framewire.home(), &format!("127.0.0.1:{port}")).err();
    refused.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn forwards_come_and_go_and_what_is_open_goes_on() {
    need!(root, tun);
    let mut guest = Guest::new(json!({}));
    let listener = serve(&guest);
    let [first, second] = [port::unused(), port::unused()];
    let rule = |port| format!("tcp:127.0.0.1:{port}-:{SERVICE}");
    assert_eq!(human(&mut guest.bench, &format!("hostfwd_add {}", rule(first))), "");
    let (client, server) = forwarded(&guest, &listener, first);
    echo(&client, &server, 1);
    guest.bench.qmp.command("x-hostfwd-add", json!({ "netdev": "u", "rule": rule(second) }));
    echo(&client, &server, 2);
    let (other_client, other_server) = forwarded(&guest, &listener, second);
    let table = human(&mut guest.bench, "info usernet");
    assert_eq!(table.matches("TCP[ESTABLISHED]").count(), 2, "{table}");
    assert_eq!(table.matches("TCP[HOST_FORWARD]").count(), 2, "{table}");
    let removed = human(&mut guest.bench, &format!("hostfwd_remove u tcp:127.0.0.1:{first}"));
    assert_eq!(removed, format!("host forwarding rule for tcp:127.0.0.1:{first} removed\r\n"));
    assert!(is_refused(&guest, first), "nobody listens there any more");
    echo(&client, &server, 3);
    echo(&other_client, &other_server, 4);
    // The port is free for others at once.
    let home = guest.bench.framewire.home();
    drop(home.run(|| TcpListener::bind(("127.0.0.1", first)).expect("nobody has it")));
    guest.bench.qmp.command("x-hostfwd-remove", json!({ "rule": format!("tcp:127.0.0.1:{second}") }));
    let networks = guest.bench.qmp.command("x-query-usernet", json!({ "netdev": "u" }));
    assert_eq!(networks[0]["forwards"], json!([]));
    assert_eq!(networks[0]["flows"].as_array().map(Vec::len), Some(2), "{networks}");
    guest.finish();
}

#[test]
fn forwards_outlive_either_process() {
    need!(root, tun);
    let mut guest = Guest::new(json!({}));
    let listener = serve(&guest);
    let [given, taken] = [port::unused(), port::unused()];
    for port in [given, taken] {
        let said = human(&mut guest.bench, &format!("hostfwd_add u tcp:127.0.0.1:{port}-:{SERVICE}"));
        assert_eq!(said, "");
    }
    human(&mut guest.bench, &format!("hostfwd_remove u tcp:127.0.0.1:{taken}"));
    let check = |guest: &mut Guest| {
        // A network that was built anew knows nobody's address yet, and asks.
        let (client, server) = forwarded(guest, &listener, given);
        echo(&client, &server, 5);
        assert!(is_refused(guest, taken));
        let table = human(&mut guest.bench, "info usernet");
        assert_eq!(table.matches("HOST_FORWARD").count(), 1, "{table}");
    };
    check(&mut guest);
    let old = guest.bench.framewire.data().pid();
    guest.bench.framewire.data().kill();
    assert_ne!(guest.bench.framewire.data().pid(), old, "another data plane");
    check(&mut guest);
    guest.bench.framewire.kill_control();
    guest.bench.framewire.restart_control();
    guest.bench.qmp = guest.bench.framewire.qmp();
    check(&mut guest);
    // What the next control plane has adopted can be removed.
    human(&mut guest.bench, &format!("hostfwd_remove u tcp:127.0.0.1:{given}"));
    assert!(is_refused(&guest, given));
    let Guest { bench, namespace } = guest;
    drop((bench, namespace));
}

#[test]
fn a_path_leads_to_the_guest_and_goes_with_the_network() {
    need!(root, tun);
    let mut guest = Guest::new(json!({}));
    let listener = serve(&guest);
    let path = guest.bench.framewire.file("to-the-guest");
    let rule = format!("unix:{}-:{SERVICE}", path.display());
    guest.bench.qmp.command("x-hostfwd-add", json!({ "netdev": "u", "rule": rule }));
    let mut peers = Vec::new();
    for _nth in 0..3 {
        let mut client = UnixStream::connect(&path).expect("it is forwarded");
        client.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        let (mut server, peer) = accept(&listener);
        assert_eq!(peer.ip().to_string(), ROUTER);
        // More than any buffer on the way holds, both ways.
        let said: Vec<u8> = (0..3_000_000_u32).map(|at| u8::try_from(at % 251).expect("small")).collect();
        std::thread::scope(|scope| {
            let (said, mut speaking) = (&said, client.try_clone().expect("a descriptor is free"));
            scope.spawn(move || {
                speaking.write_all(said).expect("it is taken");
                speaking.shutdown(std::net::Shutdown::Write).expect("it is still there");
            });
            scope.spawn(move || {
                let mut heard = Vec::new();
                server.read_to_end(&mut heard).expect("it arrives");
                server.write_all(&heard).expect("it goes back");
            });
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).expect("it comes back");
            assert!(heard == *said);
        });
        peers.push(peer);
    }
    peers.dedup();
    assert_eq!(peers.len(), 3, "each has a port of its own");
    guest.bench.delete("u");
    assert!(!path.exists());
    let Guest { mut bench, namespace } = guest;
    bench.delete("t");
    drop(namespace);
    bench.finish();
}

fn datagrams(of: &Namespace, address: &str) -> UdpSocket {
    let socket = of.run(|| UdpSocket::bind(address).expect("it is free"));
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout can be set");
    socket
}

/// Sends until it is answered: the first datagram may be lost while the guest is looked for.
#[track_caller]
fn is_answered(client: &UdpSocket, server: &UdpSocket, to: &str) -> SocketAddr {
    let mut peer = None;
    wait_until("an answer", || {
        client.send_to(b"ping", to).expect("it goes");
        let Ok((4, from)) = server.recv_from(&mut [0; 9]) else { return false };
        peer = Some(from);
        server.send_to(b"pong!", from).expect("it goes");
        let mut heard = [0; 9];
        matches!(client.recv_from(&mut heard), Ok((5, from)) if from.to_string() == to)
    });
    peer.expect("just heard")
}

#[test]
fn datagrams_reach_the_guest_and_are_answered_even_if_it_is_restricted() {
    need!(root, tun);
    for is_restricted in [false, true] {
        let [one, other] = [port::unused(), port::unused()];
        let rules: Vec<Value> = [one, other]
            .iter()
            .map(|port| json!({ "str": format!("udp:127.0.0.1:{port}-:{SERVICE}") }))
            .collect();
        let guest = Guest::new(json!({ "restrict": is_restricted, "hostfwd": rules }));
        let server = datagrams(&guest.namespace, &format!("{GUEST}:{SERVICE}"));
        let home = guest.bench.framewire.home();
        let clients = [datagrams(home, "127.0.0.1:0"), datagrams(home, "127.0.0.1:0")];
        for client in &clients {
            let peer = is_answered(client, &server, &format!("127.0.0.1:{one}"));
            assert_eq!(
                peer,
                format!("{ROUTER}:{}", client.local_addr().expect("bound").port()).parse().unwrap()
            );
        }
        // A second port that leads to the same one of the guest is heard as well.
        wait_until("a datagram by the other port", || {
            clients[0].send_to(b"other", ("127.0.0.1", other)).expect("it goes");
            matches!(server.recv_from(&mut [0; 9]), Ok((5, _peer)))
        });
        if is_restricted {
            let silent = datagrams(home, "127.0.0.1:0");
            let to = (ROUTER, silent.local_addr().expect("bound").port());
            server.send_to(b"!", to).expect("it goes");
            // An answer that is allowed, behind it on the same way.
            is_answered(&clients[0], &server, &format!("127.0.0.1:{one}"));
            silent.set_nonblocking(true).expect("it can be set");
            assert!(
                silent.recv_from(&mut [0; 9]).is_err(),
                "a guest speaks to those alone who have spoken to it"
            );
        }
        guest.finish();
    }
}

#[test]
fn forwards_are_of_either_family_on_either_side() {
    need!(root, tun);
    let mut guest = Guest::new(json!({}));
    guest.bench.framewire.home().allow_loopback_v6();
    guest.namespace.set("net/ipv6/conf/t/disable_ipv6", "0");
    guest.namespace.ip("-6 address add fec0::15/64 dev t nodad");
    let six = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0x15);
    let listeners =
        [serve(&guest), guest.namespace.run(|| TcpListener::bind((six, SERVICE)).expect("it is free"))];
    let guests = [String::new(), "[fec0::15]".to_owned()];
    let home = guest.bench.framewire.home();
    for (listener, to) in listeners.iter().zip(&guests) {
        for host in ["127.0.0.1", "[::1]"] {
            let at = format!("{host}:{}", port::unused());
            let rule = format!("tcp:{at}-{to}:{SERVICE}");
            guest.bench.qmp.command("x-hostfwd-add", json!({ "rule": rule }));
            let client = connect(home, &at).expect("it is forwarded");
            let (server, peer) = accept(listener);
            let shown = if to.is_empty() { ROUTER } else { "fec0::2" };
            assert_eq!(peer.ip().to_string(), shown, "{rule}");
            echo(&client, &server, 6);
        }
    }
    let server = datagrams(&guest.namespace, &format!("[fec0::15]:{SERVICE}"));
    let at = format!("[::1]:{}", port::unused());
    let rule = format!("udp:{at}-[fec0::15]:{SERVICE}");
    guest.bench.qmp.command("x-hostfwd-add", json!({ "rule": rule }));
    is_answered(&datagrams(home, "[::1]:0"), &server, &at);
    guest.finish();
}

#[test]
fn a_rule_that_cannot_be_carried_out_changes_nothing() {
    need!(root, tun);
    let mut guest = Guest::new(json!({}));
    let port = port::unused();
    let rule = format!("tcp:127.0.0.1:{port}-:{SERVICE}");
    guest.bench.qmp.command("x-hostfwd-add", json!({ "rule": rule }));
    let (class, text) = guest.bench.qmp.refused("x-hostfwd-add", json!({ "rule": rule }));
    assert_eq!(class, "GenericError");
    assert_eq!(text, format!("Could not set up host forwarding rule '{rule}'"));
    let (class, _text) = guest.bench.qmp.refused("x-query-usernet", json!({ "netdev": "nope" }));
    assert_eq!(class, "DeviceNotFound");
    let (_class, text) = guest.bench.qmp.refused("x-hostfwd-add", json!({ "netdev": "t", "rule": rule }));
    assert_eq!(text, "user mode network stack not in use");
    let listener = serve(&guest);
    let (client, server) = forwarded(&guest, &listener, port);
    echo(&client, &server, 7);
    guest.finish();
}
