use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::SendAncillaryMessage;

use super::*;

/// A path that no other test has.
fn fresh_path() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("framewire-socket-{}-{n}", process::id()));
    path.to_str().unwrap().to_owned()
}

fn unix(path: &str) -> Address {
    Address::Unix(path.to_owned())
}

fn send_with_descriptors(client: &UnixStream, text: &str, descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    let sent = sendmsg(client, &[IoSlice::new(text.as_bytes())], &mut ancillary, SendFlags::empty()).unwrap();
    assert_eq!(sent, text.len());
}

fn pair() -> (UnixStream, Stream) {
    let (client, ours) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (client, Stream::new(ours.into()).unwrap())
}

#[test]
fn a_peek_tells_of_descriptors_without_taking_them() {
    let (mut client, stream) = pair();
    let null = fs::File::open("/dev/null").unwrap();
    let mut block = [0; 100];
    client.write_all(b"one ").unwrap();
    assert_eq!(stream.peek(&mut block).unwrap(), Seen { bytes: 4, descriptors: false });
    send_with_descriptors(&client, "two ", &[null.as_fd()]);
    client.write_all(b"three").unwrap();
    for _ in 0..2 {
        assert!(stream.peek(&mut block).unwrap().descriptors);
    }
    assert_eq!(stream.take(&mut block[..4]).unwrap().len(), 0);
    assert_eq!(stream.take(&mut block[..1]).unwrap().len(), 1, "they come with their first byte");
    assert_eq!(stream.peek(&mut block).unwrap(), Seen { bytes: 8, descriptors: false });
}

#[test]
fn of_several_sets_taken_at_once_the_newest_is_kept() {
    let (client, stream) = pair();
    let null = fs::File::open("/dev/null").unwrap();
    send_with_descriptors(&client, "one", &[null.as_fd()]);
    send_with_descriptors(&client, "two", &[null.as_fd(), null.as_fd()]);
    assert_eq!(stream.take(&mut [0; 6]).unwrap().len(), 2);
}

#[test]
fn of_too_many_descriptors_the_first_are_taken() {
    let (client, stream) = pair();
    let null = fs::File::open("/dev/null").unwrap();
    send_with_descriptors(&client, "x", &[null.as_fd(); 40]);
    assert_eq!(stream.take(&mut [0; 1]).unwrap().len(), DESCRIPTORS_MAX);
}

#[test]
fn the_end_is_seen_as_no_bytes() {
    let (client, stream) = pair();
    assert_eq!(stream.peek(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(client);
    assert_eq!(stream.peek(&mut [0; 1]).unwrap(), Seen { bytes: 0, descriptors: false });
}

#[test]
fn the_path_is_ours_alone_and_goes_with_the_listener() {
    let path = fresh_path();
    let listener = Listener::open(&unix(&path)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(listener);
    assert!(!fs::exists(&path).unwrap());
}

#[test]
fn a_path_that_somebody_else_made_later_stays() {
    let path = fresh_path();
    let listener = Listener::open(&unix(&path)).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "other").unwrap();
    drop(listener);
    assert_eq!(fs::read_to_string(&path).unwrap(), "other");
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_path_left_by_a_dead_process_is_replaced() {
    let path = fresh_path();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(fs::exists(&path).unwrap(), "the standard library leaves it");
    let listener = Listener::open(&unix(&path)).unwrap();
    UnixStream::connect(&path).unwrap();
    assert!(listener.accept().unwrap().is_some());
    assert!(listener.accept().unwrap().is_none());
}

#[test]
fn a_path_in_use_is_refused() {
    let path = fresh_path();
    let _first = Listener::open(&unix(&path)).unwrap();
    let refusal = Listener::open(&unix(&path)).unwrap_err();
    assert_eq!(refusal.to_string(), format!("socket '{path}' is in use by a running process"));
    assert!(fs::exists(&path).unwrap());
}

#[test]
fn a_file_that_is_no_socket_is_refused() {
    let path = fresh_path();
    fs::write(&path, "precious").unwrap();
    let refusal = Listener::open(&unix(&path)).unwrap_err();
    assert!(matches!(refusal, Error::NotASocket(_)), "{refusal}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_path_too_long_for_an_address_is_refused() {
    let path = format!("/tmp/{}", "x".repeat(200));
    assert!(matches!(Listener::open(&unix(&path)), Err(Error::Refused { .. })));
}

#[test]
fn abstract_names_and_tcp_are_listened_on_too() {
    let name = format!("framewire-test-{}", process::id());
    for tight in [true, false] {
        let address = Address::Abstract { name: name.clone(), tight };
        let listener = Listener::open(&address).unwrap();
        let _attempt = Attempt::begin(&address).unwrap();
        assert!(listener.accept().unwrap().is_some());
    }
    let listener = Listener::open(&Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 }).unwrap();
    let SocketAddr::V4(bound) = rustix::net::getsockname(&listener.socket).unwrap().try_into().unwrap()
    else {
        panic!("127.0.0.1 is IPv4")
    };
    let mut client = std::net::TcpStream::connect(bound).unwrap();
    let stream = listener.accept().unwrap().unwrap();
    stream.send(&[IoSlice::new(b"hello")]).unwrap();
    stream.close();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn inherited_sockets_are_told_apart() {
    let path = fresh_path();
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(inherit(listener.as_raw_fd()), Ok(Inherited::Listener(_))));
    let (client, _ours) = UnixStream::pair().unwrap();
    assert!(matches!(inherit(client.as_raw_fd()), Ok(Inherited::Stream(_))));
    let file = fs::File::open("/dev/null").unwrap();
    assert!(matches!(inherit(file.as_raw_fd()), Err(Error::NotAStream(_))));
    fs::remove_file(&path).unwrap();
}
