use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use super::*;
use crate::host::stream_socket;
use crate::qmp::types::socket_address::{InetSocketAddress, UnixSocketAddress};

const PATIENCE: Duration = Duration::from_secs(5);

/// A folder that is removed again.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("framewire-connection-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self) -> String {
        self.0.join("s").to_str().unwrap().to_owned()
    }

    fn place(&self) -> SocketAddress {
        SocketAddress::Unix(UnixSocketAddress { path: self.path(), is_abstract: None, tight: None })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn inet(host: &str, port: u16) -> InetSocketAddress {
    InetSocketAddress { host: host.to_owned(), port: port.to_string(), ..InetSocketAddress::default() }
}

fn source(place: SocketAddress, role: Role) -> Source {
    Source { id: "n0".to_owned(), place: Some(place), role, is_announced: true, is_lent: false }
}

fn client(retry_ms: Option<u64>) -> Role {
    Role::Client { retry: retry_ms.map(Duration::from_millis) }
}

fn begun(source: Source, opened: Opened) -> Connections {
    let mut connections = Connections::new().unwrap();
    connections.begin(1, source, opened);
    connections
}

/// Attends until there is a change.
fn change(connections: &mut Connections) -> Change {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        connections.attend();
        if let Some(change) = connections.changes().pop() {
            return change;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("nothing has changed");
}

/// Attends for a while, in which nothing changes.
fn no_change(connections: &mut Connections) {
    for _round in 0..50 {
        connections.attend();
        assert!(connections.changes().is_empty());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The next connection, taken.
fn connection(connections: &mut Connections) -> (OwnedFd, Told) {
    let mut change = change(connections);
    if change.socket.is_none() {
        // A listener that the data plane is to keep.
        assert!(change.listener.is_some());
        assert_eq!(connections.settle(1, Outcome::Done).unwrap().1, Told::Nothing);
        change = self::change(connections);
    }
    let told = connections.settle(1, Outcome::Done).unwrap().1;
    (change.socket.unwrap(), told)
}

fn lose(connections: &mut Connections) {
    connections.lost(1, "because");
    assert!(change(connections).socket.is_none());
    assert_eq!(connections.settle(1, Outcome::Done).unwrap().1, Told::Disconnected);
}

#[test]
fn server_serves_one_client_and_then_the_next_that_has_waited() {
    let folder = Folder::new("server");
    let mut connections = begun(source(folder.place(), Role::Server), Opened::Nothing);
    change(&mut connections);
    let mut clients: Vec<UnixStream> = (0..3).map(|_| UnixStream::connect(folder.path()).unwrap()).collect();
    for client in &mut clients {
        let (socket, told) = connection(&mut connections);
        assert_eq!(told, Told::Connected(folder.place()));
        client.write_all(b"?").unwrap();
        UnixStream::from(socket).read_exact(&mut [0]).unwrap();
        no_change(&mut connections);
        lose(&mut connections);
    }
    connections.end(1);
    assert!(!std::path::Path::new(&folder.path()).exists(), "the path is removed with the port");
}

#[test]
fn client_that_finds_nobody_is_tried_again_only_if_it_is_to_be() {
    let folder = Folder::new("retry");
    let mut never = begun(source(folder.place(), client(None)), Opened::Nothing);
    let mut again = begun(source(folder.place(), client(Some(20))), Opened::Nothing);
    no_change(&mut never);
    no_change(&mut again);
    let listener = UnixListener::bind(folder.path()).unwrap();
    for _round in 0..3 {
        let (_socket, told) = connection(&mut again);
        assert_eq!(told, Told::Connected(folder.place()));
        drop(listener.accept().unwrap());
        lose(&mut again);
    }
    no_change(&mut never);
    assert_eq!(never.due(), None);
    again.end(1);
    assert!(std::path::Path::new(&folder.path()).exists(), "a server's path is not the client's to remove");
}

#[test]
fn full_backlog_of_a_unix_server_is_waited_for() {
    let folder = Folder::new("backlog");
    let listener = UnixListener::bind(folder.path()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _first = UnixStream::connect(folder.path()).unwrap();
    let mut connections = begun(source(folder.place(), client(None)), Opened::Nothing);
    no_change(&mut connections);
    drop(listener.accept().unwrap());
    connection(&mut connections);
}

#[test]
fn client_connects_by_number_and_by_name() {
    for host in ["127.0.0.1", "localhost"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let place = SocketAddress::Inet(inet(host, port));
        let mut connections = begun(source(place, client(None)), Opened::Nothing);
        let (_socket, told) = connection(&mut connections);
        let peer = InetSocketAddress { ipv4: Some(true), ..inet("127.0.0.1", port) };
        assert_eq!(told, Told::Connected(SocketAddress::Inet(peer)), "{host}");
    }
}

#[test]
fn refused_client_and_unknown_name_end_quietly() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for host in ["127.0.0.1", "no-such-host.invalid"] {
        let place = SocketAddress::Inet(inet(host, port));
        let mut connections = begun(source(place, client(None)), Opened::Nothing);
        no_change(&mut connections);
    }
}

#[test]
fn server_of_any_address_serves_both_families_and_tells_their_own_form() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    // The first port is taken: the next free one is found.
    let place = InetSocketAddress { to: Some(u16::MAX), ipv6: Some(false), ..inet("", taken) };
    let mut connections = begun(source(SocketAddress::Inet(place), Role::Server), Opened::Nothing);
    let listening = change(&mut connections).listener.unwrap();
    let port = TcpListener::from(listening).local_addr().unwrap().port();
    assert!(port > taken);
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (_socket, told) = connection(&mut connections);
    let own = client.local_addr().unwrap();
    let peer = InetSocketAddress { ipv4: Some(true), ..inet("127.0.0.1", own.port()) };
    assert_eq!(told, Told::Connected(SocketAddress::Inet(peer)));
}

#[test]
fn connection_waits_for_a_data_plane_and_is_dropped_if_none_can_have_it() {
    let folder = Folder::new("postponed");
    let mut connections = begun(source(folder.place(), Role::Server), Opened::Nothing);
    change(&mut connections);
    connections.settle(1, Outcome::Done);
    let mut client = UnixStream::connect(folder.path()).unwrap();
    change(&mut connections);
    assert_eq!(connections.settle(1, Outcome::Postponed).unwrap().1, Told::Nothing);
    assert!(connections.changes().is_empty(), "not at once again");
    drop(change(&mut connections));
    assert_eq!(connections.settle(1, Outcome::Failed).unwrap().1, Told::Nothing);
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "it is closed");
    let _next = UnixStream::connect(folder.path()).unwrap();
    connection(&mut connections);
}

#[test]
fn hang_up_that_nobody_tells_of_is_noticed() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let given = Source { place: None, ..source(SocketAddress::Inet(inet("", 0)), client(None)) };
    let mut connections = begun(given, Opened::InUse(ours.into()));
    no_change(&mut connections);
    drop(theirs);
    assert!(change(&mut connections).socket.is_none());
    assert_eq!(connections.settle(1, Outcome::Done).unwrap().1, Told::Disconnected);
    assert_eq!(connections.due(), None);
}

#[test]
fn next_control_plane_goes_on_with_what_was_kept() {
    let folder = Folder::new("recalled");
    let server = || source(folder.place(), Role::Server);
    let mut before = begun(server(), Opened::Nothing);
    let listener = change(&mut before).listener;
    before.settle(1, Outcome::Done);
    let mut waiting = UnixStream::connect(folder.path()).unwrap();
    // Killed: nothing is closed in order.
    std::mem::forget(before);
    let mut after = begun(server(), Opened::Recalled { socket: None, listener });
    let (socket, _told) = connection(&mut after);
    UnixStream::from(socket).write_all(b"!").unwrap();
    waiting.read_exact(&mut [0]).unwrap();

    let nothing = || Opened::Recalled { socket: None, listener: None };
    no_change(&mut begun(source(folder.place(), client(None)), nothing()));
    connection(&mut begun(source(folder.place(), client(Some(20))), nothing()));
}

#[test]
fn client_does_not_connect_to_itself() {
    // A port that the kernel may choose for us: bound, so that nobody listens, and then connected to itself.
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap()).unwrap();
    let own = std::net::SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
    rustix::net::connect(&socket, &own).unwrap();
    assert_eq!(stream_socket::finish(&socket), Err(Errno::CONNREFUSED));
}

#[test]
fn file_that_is_no_socket_is_not_removed() {
    let folder = Folder::new("file");
    std::fs::write(folder.path(), "precious").unwrap();
    no_change(&mut begun(source(folder.place(), Role::Server), Opened::Nothing));
    assert_eq!(std::fs::read_to_string(folder.path()).unwrap(), "precious");
}
