//! Connections and datagrams between a guest and servers on the host's loopback.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};

use framewire_tests::namespace::Namespace;
use framewire_tests::need;
use framewire_tests::wait::{PATIENCE, wait_until};
use serde_json::json;

use super::{GUEST, Guest, ROUTER};

/// Bytes that differ from place to place.
fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from((at * 31 + at / 251 + seed) % 256).expect("below 256")).collect()
}

fn listen(home: &Namespace) -> (TcpListener, u16) {
    let listener = home.run(|| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    let port = listener.local_addr().expect("it is bound").port();
    (listener, port)
}

pub(super) fn connect(from: &Namespace, to: &str) -> std::io::Result<TcpStream> {
    let address: SocketAddr = to.parse().expect("an address");
    let stream = from.run(|| TcpStream::connect_timeout(&address, PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(super) fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let (stream, peer) = listener.accept().expect("somebody connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
    (stream, peer)
}

/// Says everything, hears everything, to both ends.
fn exchange(mut stream: TcpStream, says: &[u8]) -> Vec<u8> {
    let mut speaking = stream.try_clone().expect("a descriptor is free");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            speaking.write_all(says).expect("the other end takes it");
            speaking.shutdown(Shutdown::Write).expect("it is still there");
        });
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).expect("the other end speaks");
        heard
    })
}

/// Both ends of a connection say so much at the same time.
fn exchange_both(one: TcpStream, other: TcpStream, bytes: usize) {
    let (ours, theirs) = (pattern(bytes, 1), pattern(bytes, 2));
    std::thread::scope(|scope| {
        let other_end = scope.spawn(|| exchange(other, &theirs));
        assert!(exchange(one, &ours) == theirs, "what the guest heard differs");
        assert!(other_end.join().expect("no panic") == ours, "what the host heard differs");
    });
}

/// Connects to the host and exchanges so many bytes, behind a tap with these options.
fn exchanges(tap: serde_json::Value, bytes: usize) {
    let guest = Guest::with(json!({}), tap);
    let (listener, port) = listen(guest.bench.framewire.home());
    let client = connect(&guest.namespace, &format!("{ROUTER}:{port}")).expect("the host listens");
    let (server, peer) = accept(&listener);
    assert!(peer.ip().is_loopback(), "{peer}");
    exchange_both(client, server, bytes);
    guest.finish();
}

#[test]
fn a_connection_carries_every_byte_both_ways_at_once() {
    need!(root, tun);
    exchanges(json!({ "vnet_hdr": true }), 30_000_000);
}

#[test]
fn so_does_one_of_a_guest_without_offloads() {
    need!(root, tun);
    exchanges(json!({ "vnet_hdr": false }), 10_000_000);
}

#[test]
fn a_slow_reader_closes_the_window_and_opens_it_again() {
    need!(root, tun);
    let guest = Guest::new(json!({}));
    let (listener, port) = listen(guest.bench.framewire.home());
    for guest_reads in [true, false] {
        let client = connect(&guest.namespace, &format!("{ROUTER}:{port}")).expect("the host listens");
        let (server, _peer) = accept(&listener);
        let (mut reader, mut writer) = if guest_reads { (client, server) } else { (server, client) };
        let said = pattern(24_000_000, 3);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                writer.write_all(&said).expect("it is read in the end");
                writer.shutdown(Shutdown::Write).expect("it is still there");
            });
            // Long enough for every buffer on the way to fill up.
            std::thread::sleep(std::time::Duration::from_millis(1500));
            let mut heard = Vec::new();
            reader.read_to_end(&mut heard).expect("it goes on");
            assert!(heard == said, "guest reads: {guest_reads}");
        });
    }
    guest.finish();
}

#[test]
fn a_closed_port_refuses() {
    need!(root, tun);
    let guest = Guest::new(json!({}));
    // One where nobody has ever listened: a child of another test may hold a socket for a moment after it was closed.
    let error = connect(&guest.namespace, &format!("{ROUTER}:9")).expect_err("nobody listens");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    guest.finish();
}

#[test]
fn breaking_off_is_passed_on_both_ways() {
    need!(root, tun);
    let guest = Guest::new(json!({}));
    let (listener, port) = listen(guest.bench.framewire.home());
    for guest_breaks in [true, false] {
        let client = connect(&guest.namespace, &format!("{ROUTER}:{port}")).expect("the host listens");
        let (server, _peer) = accept(&listener);
        let (breaker, mut other) = if guest_breaks { (client, server) } else { (server, client) };
        let linger = Some(std::time::Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&breaker, linger).expect("it can be set");
        drop(breaker);
        let error = other.read(&mut [0]).expect_err("it was broken off");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "guest breaks: {guest_breaks}");
    }
    guest.finish();
}

#[test]
fn many_connections_come_and_go() {
    need!(root, tun);
    let guest = Guest::new(json!({}));
    let (listener, port) = listen(guest.bench.framewire.home());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _nth in 0..300 {
                let (mut server, _peer) = accept(&listener);
                let mut word = [0; 4];
                server.read_exact(&mut word).expect("the guest speaks");
                server.write_all(&word).expect("the guest hears");
            }
        });
        for nth in 0..300u32 {
            let mut client =
                connect(&guest.namespace, &format!("{ROUTER}:{port}")).expect("the host listens");
            client.write_all(&nth.to_be_bytes()).expect("the host hears");
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).expect("the host answers");
            assert_eq!(heard, nth.to_be_bytes());
        }
    });
    guest.finish();
}

#[test]
fn a_restricted_guest_is_refused_and_has_no_well() {
    need!(root, tun);
    let guest = Guest::new(json!({ "restrict": true }));
    let (_listener, port) = listen(guest.bench.framewire.home());
    let error = connect(&guest.namespace, &format!("{ROUTER}:{port}")).expect_err("it is restricted");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    guest.finish();
}

fn datagrams(of: &Namespace, address: &str) -> UdpSocket {
    let socket = of.run(|| UdpSocket::bind(address).expect("it is free"));
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    socket
}

#[test]
fn datagrams_are_answered_by_whoever_likes() {
    need!(root, tun);
    let guest = Guest::new(json!({}));
    let home = guest.bench.framewire.home();
    let (server, other) = (datagrams(home, "127.0.0.1:0"), datagrams(home, "127.0.0.1:0"));
    let client = datagrams(&guest.namespace, "0.0.0.0:0");
    let port = server.local_addr().expect("it is bound").port();
    let mut heard = [0; 65_536];
    let mut ask = |bytes: usize| {
        let said = pattern(bytes, bytes);
        // The first may be lost while sockets are on their way.
        let mut from = None;
        wait_until("a datagram to arrive", || {
            client.send_to(&said, (ROUTER, port)).expect("it goes");
            server.set_read_timeout(Some(std::time::Duration::from_millis(500))).expect("it can be set");
            from = server.recv_from(&mut heard).ok();
            from.is_some()
        });
        let (len, from) = from.expect("just heard");
        assert!(heard[..len] == said, "{bytes} bytes");
        for answering in [&server, &other] {
            answering.send_to(&said, from).expect("it goes");
            let (len, shown) = client.recv_from(&mut heard).expect("it is answered");
            assert!(heard[..len] == said, "{bytes} bytes back");
            assert_eq!(shown.ip(), ROUTER.parse::<IpAddr>().expect("an address"));
            assert_eq!(shown.port(), answering.local_addr().expect("it is bound").port());
        }
    };
    [0, 1, 100, 1400, 1472].into_iter().for_each(&mut ask);
    // What comes back in pieces is put together by the guest.
    let long = pattern(9000, 7);
    client.send_to(b"?", (ROUTER, port)).expect("it goes");
    server.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    let (_len, from) = server.recv_from(&mut heard).expect("it arrives");
    server.send_to(&long, from).expect("it goes");
    let (len, _shown) = client.recv_from(&mut heard).expect("it is answered");
    assert!(heard[..len] == long);
    guest.finish();
}

#[test]
fn ports_of_the_host_lead_to_the_guest() {
    need!(root, tun);
    let rules = [json!({ "str": "tcp:127.0.0.1:7007-:7008" }), json!({ "str": "tcp::7009-10.0.2.15:9" })];
    let guest = Guest::new(json!({ "hostfwd": rules }));
    let listener = guest.namespace.run(|| TcpListener::bind((GUEST, 7008)).expect("it is free"));
    let home = guest.bench.framewire.home();
    let client = connect(home, "127.0.0.1:7007").expect("it is forwarded");
    let (server, peer) = accept(&listener);
    assert_eq!(peer.ip(), ROUTER.parse::<IpAddr>().expect("an address"));
    exchange_both(client, server, 5_000_000);
    // The host's end is accepted before the guest is asked; a guest that refuses breaks it off.
    // That may be as soon as it is connected.
    let outcome = connect(home, "127.0.0.1:7009").and_then(|mut client| client.read(&mut [0]));
    let error = outcome.expect_err("the guest refuses");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    guest.finish();
}
