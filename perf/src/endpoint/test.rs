//! Every endpoint against itself, without a device between.

use super::*;
use crate::tally::{Counts, Tally};

/// Sends `count` frames from `a` to `b` and says what arrived.
fn cross(a: &mut dyn Endpoint, b: &mut dyn Endpoint, count: u64) -> Counts {
    let mut tally = Tally::new(1);
    let mut sent = 0;
    let deadline = Instant::now() + Duration::from_secs(5);
    while tally.counts().received < count && Instant::now() < deadline {
        let room = usize::try_from((count - sent).min(32)).unwrap();
        if room > 0 && tally.outstanding(sent) < 100 {
            sent += a.send(sent, room).unwrap() as u64;
        }
        b.receive(&mut tally).unwrap();
    }
    tally.expire(sent);
    tally.counts()
}

fn whole(received: u64) -> Counts {
    Counts { received, ..Counts::default() }
}

/// A free port, as far as can be told.
fn port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn udp_frames_cross_whole_plain_and_segmented_in_any_mix() {
    for (left_kind, right_kind) in [
        ("udp", "udp"),
        ("udpgso", "udp"),
        ("udp", "udpgso"),
        ("udpgso", "udpgso"),
        ("l2tp", "l2tpgso"),
        ("l2tpgso", "l2tp"),
    ] {
        for size in [64, 1500] {
            let (left, right) = (port(), port());
            let shape = Shape::bare(size);
            let a = Address::parse(&format!("{left_kind}:127.0.0.1:{left}:127.0.0.1:{right}")).unwrap();
            let b = Address::parse(&format!("{right_kind}:127.0.0.1:{right}:127.0.0.1:{left}")).unwrap();
            let mut a = a.open(shape, Side::A).unwrap();
            let mut b = b.open(shape, Side::B).unwrap();
            assert_eq!(cross(&mut *a, &mut *b, 2000), whole(2000), "{left_kind} to {right_kind}, {size}");
            assert_eq!(cross(&mut *b, &mut *a, 2000), whole(2000), "{right_kind} to {left_kind}, {size}");
        }
    }
}

#[test]
fn unix_datagrams_cross_whole() {
    let folder = std::env::temp_dir().join(format!("framewire-perf-unixd-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (left, right) = (folder.join("a"), folder.join("b"));
    let shape = Shape::bare(1500);
    let (left, right) = (left.display().to_string(), right.display().to_string());
    // Each waits for the other's path: one of them must open in a thread of its own.
    let (a, b) = std::thread::scope(|scope| {
        let other =
            scope.spawn(|| unix_datagram::open(&left, &right, Template::new(shape, Side::A)).unwrap());
        let b = unix_datagram::open(&right, &left, Template::new(shape, Side::B)).unwrap();
        (other.join().unwrap(), b)
    });
    let (mut a, mut b) = (a, b);
    assert_eq!(cross(&mut a, &mut b, 3000), whole(3000));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn stream_frames_cross_whole_however_they_are_cut() {
    use std::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let shape = Shape::bare(1500);
    let mut a = Address::parse(&format!("tcp:127.0.0.1:{port}")).unwrap().open(shape, Side::A).unwrap();
    let (mut device, _) = listener.accept().unwrap();
    let mut back = TcpStream::connect(device.local_addr().unwrap()).unwrap();
    let (behind, _) = listener.accept().unwrap();
    behind.set_nonblocking(true).unwrap();
    let mut b = stream::Stream::new(behind, Template::new(shape, Side::B)).unwrap();
    // The "device" copies in odd pieces, so that lengths and frames are cut everywhere.
    let copier = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let mut piece = [0; 977];
        while let Ok(len @ 1..) = device.read(&mut piece) {
            if back.write_all(&piece[..len]).is_err() {
                break;
            }
        }
    });
    assert_eq!(cross(&mut *a, &mut b, 3000), whole(3000));
    drop((a, b));
    copier.join().unwrap();
}

#[test]
fn words_that_name_no_endpoint_are_refused() {
    for word in ["", "udp", "udp:127.0.0.1:1", "stream", "packet:a:b", "vhosts:x"] {
        assert!(matches!(Address::parse(word), Err(Error::Usage(_))), "{word}");
    }
    assert_eq!(Address::parse("ifrx:lo").unwrap(), Address::InterfaceCounter { interface: "lo".into() });
    let place = Place { socket: "x".into(), packed: true };
    assert_eq!(Address::parse("vhostpacked:x").unwrap(), Address::Guest(place));
}

#[test]
fn interface_counter_only_counts() {
    let mut counter = interface_counter::open("lo").unwrap();
    assert_eq!(counter.send(0, 1).unwrap_err().kind(), io::ErrorKind::Unsupported);
    let mut tally = Tally::new(1);
    counter.receive(&mut tally).unwrap();
    let (a, b) = (std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), port());
    a.send_to(b"x", ("127.0.0.1", b)).unwrap();
    assert!(counter.receive(&mut tally).unwrap() >= 1);
    assert_eq!(tally.counts().corrupt, 0);
}

#[test]
fn switch_and_its_plugs_exchange_frames() {
    let folder = std::env::temp_dir().join(format!("framewire-perf-vde-{}", std::process::id()));
    let switch = Socket::new(&folder).unwrap();
    let shape = Shape::bare(1500);
    let plug = Address::parse(&format!("vde:{}", folder.display())).unwrap();
    let (mut port, mut plug) = std::thread::scope(|scope| {
        let port = scope.spawn(|| switch.plugged(Template::new(shape, Side::A)).unwrap());
        let plug = plug.open(shape, Side::B).unwrap();
        (port.join().unwrap(), plug)
    });
    assert_eq!(cross(&mut port, &mut *plug, 2000), whole(2000));
    assert_eq!(cross(&mut *plug, &mut port, 2000), whole(2000));
    std::fs::remove_dir_all(&folder).unwrap();
}
