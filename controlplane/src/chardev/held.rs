//! Character devices that exist, and the sockets that they own until somebody uses them.
//!
//! A server listens as soon as it is made, so that its clients may connect and wait. A client that is not to try
//! again is there once it has connected, because the command must tell if it cannot: until then it is an [`Attempt`]. A
//! client that may try again does so by itself ([`Remote`]). `wait` does not make the command wait: all other clients of this process would wait with it, for as long
//! as somebody else likes.
//!
//! Monitors are character devices as well, always in use: clients see them in `query-chardev`.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketAddrUnix, SocketType, sockopt};

use super::attempt::Attempt;
use super::remote::Remote;
use super::{Checked, Role, Socket};
use crate::connection::{Opened, Whereabouts, endpoints, whereabouts};
use crate::host::lookup::{Answer, Question};
use crate::host::stream_socket::{self, Endpoint, Started};
use crate::host::words;
use crate::kind::ChardevNature;
use crate::qmp::types::socket_address::{SocketAddress, Text, UnixSocketAddress};

/// What a character device has.
#[derive(Debug)]
pub enum Held {
    /// Nothing, and needs nothing.
    Null,
    /// It listens.
    Listener(Listener),
    /// It is connected.
    Connection(Connection),
    /// It was connected, and is not to be again.
    Over(SocketAddress),
    /// It connects, again and again.
    Remote(Box<Remote>),
}

/// A connection that was made once.
#[derive(Debug)]
pub struct Connection {
    /// Its socket.
    pub socket: OwnedFd,
    /// Where it leads, as given.
    pub place: SocketAddress,
}

/// A socket that listens. Its path, if it has one, goes with it.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: Option<PathBuf>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Whoever removed it already did what we wanted.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What opening came to.
#[derive(Debug)]
pub enum Opening {
    /// It is there.
    Done(Held),
    /// It will be there, or not.
    Underway(Attempt),
}

/// The name that is to be looked up before this device is opened, if there is one.
#[must_use]
pub fn question(checked: &Checked) -> Option<Question> {
    let Checked::Socket(Socket { address, role, .. }) = heeded(checked.clone()) else { return None };
    let is_server = match role {
        Role::Server { .. } => true,
        Role::Client { reconnect_ms: None } => false,
        // It looks names up by itself: that one is unknown is no reason not to have it.
        Role::Client { reconnect_ms: Some(_) } => return None,
    };
    match whereabouts(&address, is_server) {
        Ok(Whereabouts::Ask(question)) => Some(question),
        Ok(Whereabouts::Known(_)) | Err(_) => None,
    }
}

/// Without what QEMU overlooks: that a server's address is to be kept alive, and that a client's is a number.
fn heeded(mut checked: Checked) -> Checked {
    if let Checked::Socket(Socket { address: SocketAddress::Inet(inet), role, .. }) = &mut checked {
        match role {
            Role::Server { .. } => inet.keep_alive = None,
            Role::Client { .. } => inet.numeric = None,
        }
    }
    checked
}

/// Opens what a character device has. `given` finds the descriptor of a number or name; `look_up` knows names.
///
/// # Errors
/// In QEMU's words; nothing is left behind.
pub fn open(
    checked: Checked,
    given: impl FnOnce(&str) -> Result<OwnedFd, String>,
    look_up: impl FnOnce(&Question) -> Answer,
) -> Result<Opening, String> {
    let Checked::Socket(Socket { address, role, nodelay }) = heeded(checked) else {
        return Ok(Opening::Done(Held::Null));
    };
    let held = match (address, role) {
        (SocketAddress::Fd(fd), role) => {
            let socket = given(&fd.str)?;
            adopt(fd, socket, role)?
        }
        (address, Role::Client { reconnect_ms: Some(ms) }) => {
            Held::Remote(Box::new(Remote::begin(address, Duration::from_millis(ms), nodelay)))
        }
        (SocketAddress::Unix(unix), Role::Server { .. }) => listen_unix(&unix)?,
        (SocketAddress::Unix(unix), Role::Client { .. }) => connect_unix(&unix)?,
        (address, Role::Server { .. }) => listen(found(&address, true, look_up)?)?,
        (address, Role::Client { reconnect_ms: None }) => {
            let found = found(&address, false, look_up)?;
            return Ok(Opening::Underway(Attempt::begin(address, found, nodelay)));
        }
    };
    Ok(Opening::Done(held))
}

impl Held {
    /// What a vhost-user netdev must know.
    #[must_use]
    pub fn nature(&self) -> ChardevNature {
        let socket = match self {
            Held::Null => return ChardevNature::NoSocket,
            Held::Remote(remote) => return nature_of(remote.address()),
            Held::Over(place) => return nature_of(place),
            Held::Listener(Listener { socket, .. }) | Held::Connection(Connection { socket, .. }) => socket,
        };
        match rustix::net::getsockname(socket).map(SocketAddrUnix::try_from) {
            Ok(Ok(_unix)) => ChardevNature::UnixSocket,
            Ok(Err(_)) | Err(_) => ChardevNature::OtherSocket,
        }
    }

    /// Where it is or leads, in QEMU's words; whether whoever uses it has a connection of it.
    #[must_use]
    pub fn filename(&self, is_connected: bool) -> String {
        match self {
            Held::Null => "null".to_owned(),
            Held::Listener(Listener { socket, .. }) => {
                let state = if is_connected { "" } else { "disconnected:" };
                format!("{state}{},server=on", listening_name(socket))
            }
            // The end of a connection that connects has no name.
            Held::Over(_) | Held::Remote(_) if is_connected => "unix:".to_owned(),
            Held::Connection(Connection { socket, .. }) if !has_gone(socket) => connected_name(socket),
            Held::Connection(Connection { place, .. }) | Held::Over(place) => disconnected_name(place),
            Held::Remote(remote) => match remote.connection() {
                Some(socket) => connected_name(socket),
                None => disconnected_name(remote.address()),
            },
        }
    }

    /// What a port that is to use it begins with; it has it from [`lend`](Self::lend) on.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn offer(&self) -> std::io::Result<Opened> {
        Ok(match self {
            Held::Listener(Listener { socket, .. }) => Opened::Listener(socket.try_clone()?),
            Held::Connection(Connection { socket, .. }) => Opened::Arrived(socket.try_clone()?),
            Held::Remote(remote) => match remote.connection() {
                Some(socket) => Opened::Arrived(socket.try_clone()?),
                None => Opened::Nothing,
            },
            Held::Null | Held::Over(_) => {
                Opened::Failed("it has no connection, and will not have one".to_owned())
            }
        })
    }

    /// Somebody else looks after its connection from now on.
    pub fn lend(&mut self) {
        match std::mem::replace(self, Held::Null) {
            Held::Connection(Connection { place, .. }) => *self = Held::Over(place),
            Held::Remote(mut remote) => {
                remote.release();
                *self = Held::Remote(remote);
            }
            other @ (Held::Null | Held::Over(_) | Held::Listener(_)) => *self = other,
        }
    }

    /// One that somebody uses who was there before this process; `listener` is what that one listens at.
    ///
    /// # Errors
    /// In words, if it cannot be.
    pub fn recalled(checked: Checked, listener: Option<OwnedFd>) -> Result<Self, String> {
        let Checked::Socket(Socket { address, role, nodelay }) = checked else { return Ok(Held::Null) };
        match role {
            Role::Server { .. } => {
                let socket = listener.ok_or("nobody listens any more")?;
                let path = if let SocketAddress::Unix(unix) = address
                    && unix.is_abstract != Some(true)
                {
                    Some(unix.path.into())
                } else {
                    None
                };
                Ok(Held::Listener(Listener { socket, path }))
            }
            Role::Client { reconnect_ms: None } => Ok(Held::Over(address)),
            Role::Client { reconnect_ms: Some(ms) } => {
                let remote = Remote::resting(address, Duration::from_millis(ms), nodelay);
                Ok(Held::Remote(Box::new(remote)))
            }
        }
    }

    /// When [`look`](Self::look) is to be called.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        match self {
            Held::Remote(remote) => Some(remote.due()),
            Held::Null | Held::Listener(_) | Held::Connection(_) | Held::Over(_) => None,
        }
    }

    /// Does what is due.
    pub fn look(&mut self) {
        match self {
            Held::Remote(remote) => remote.look(),
            Held::Null | Held::Listener(_) | Held::Connection(_) | Held::Over(_) => {}
        }
    }

    /// Whether it has connections that may hang.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        match self {
            Held::Null => false,
            Held::Listener(_) | Held::Connection(_) | Held::Over(_) | Held::Remote(_) => true,
        }
    }

    /// Tears off its connection, if it has one.
    pub fn tear_off(&self) {
        let socket = match self {
            Held::Null | Held::Listener(_) | Held::Over(_) => None,
            Held::Connection(Connection { socket, .. }) => Some(socket),
            Held::Remote(remote) => remote.connection(),
        };
        if let Some(socket) = socket {
            // One that the peer was faster to close is torn off already.
            let _ = rustix::net::shutdown(socket, Shutdown::Both);
        }
    }
}

fn nature_of(place: &SocketAddress) -> ChardevNature {
    match place {
        // Only of a unix socket has a descriptor been taken from here.
        SocketAddress::Unix(_) | SocketAddress::Fd(_) => ChardevNature::UnixSocket,
        SocketAddress::Inet(_) | SocketAddress::Vsock(_) => ChardevNature::OtherSocket,
    }
}

/// Whether the other side of a connection has closed it.
fn has_gone(socket: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
    let polls = rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polls.is_ok_and(|ready| ready > 0)
}

fn disconnected_name(place: &SocketAddress) -> String {
    match place {
        SocketAddress::Unix(unix) => format!("disconnected:unix:{}", unix.path),
        SocketAddress::Inet(inet) => format!("disconnected:tcp:{}:{}", inet.host, inet.port),
        SocketAddress::Vsock(vsock) => format!("disconnected:vsock:{}:{}", vsock.cid, vsock.port),
        SocketAddress::Fd(fd) => format!("disconnected:fd:{}", fd.str),
    }
}

/// Where a socket is, and where it leads.
fn connected_name(socket: &OwnedFd) -> String {
    let peer = rustix::net::getpeername(socket).ok().flatten();
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    let peer = peer.map_or(String::new(), |peer| format!(" <-> {peer}"));
    format!("{}{peer}", local_name(socket))
}

/// Where a socket listens: other than of a connection, an address of IPv6 has no brackets here.
fn listening_name(socket: &OwnedFd) -> String {
    let inet = rustix::net::getsockname(socket).ok().and_then(|any| SocketAddr::try_from(any).ok());
    inet.map_or_else(|| local_name(socket), |inet| format!("tcp:{}:{}", inet.ip(), inet.port()))
}

/// Where a socket is.
fn local_name(socket: &OwnedFd) -> String {
    let Ok(any) = rustix::net::getsockname(socket) else { return "unknown".to_owned() };
    if let Ok(inet) = SocketAddr::try_from(any.clone()) {
        return format!("tcp:{inet}");
    }
    match SocketAddrUnix::try_from(any) {
        Ok(unix) => format!("unix:{}", unix_name(&unix)),
        Err(_other_family) => "unknown".to_owned(),
    }
}

fn unix_name(unix: &SocketAddrUnix) -> String {
    let name = unix.path_bytes().or(unix.abstract_name());
    String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
}

fn adopt(fd: Text, socket: OwnedFd, role: Role) -> Result<Held, String> {
    if sockopt::socket_type(&socket) != Ok(SocketType::STREAM) {
        return Err(format!("File descriptor '{}' is not a socket", fd.str));
    }
    match role {
        Role::Client { .. } => Ok(Held::Connection(Connection { socket, place: SocketAddress::Fd(fd) })),
        Role::Server { .. } => {
            let failed = |errno| format!("Failed to listen on fd socket: {}", words(errno));
            rustix::net::listen(&socket, 1).map_err(failed)?;
            rustix::io::ioctl_fionbio(&socket, true).map_err(failed)?;
            Ok(Held::Listener(Listener { socket, path: None }))
        }
    }
}

fn unix_address(unix: &UnixSocketAddress) -> Result<UnixAddr, String> {
    /// One byte of the address is the zero in front of the name.
    const NAME_MAX_BYTES: usize = 107;
    let too_long = |_error| format!("UNIX socket path '{}' is too long", unix.path);
    if unix.is_abstract != Some(true) {
        return UnixAddr::from_pathname(&unix.path).map_err(too_long);
    }
    let mut name = unix.path.clone().into_bytes();
    if unix.tight == Some(false) && name.len() < NAME_MAX_BYTES {
        name.resize(NAME_MAX_BYTES, 0);
    }
    UnixAddr::from_abstract_name(name).map_err(too_long)
}

fn listen_unix(unix: &UnixSocketAddress) -> Result<Held, String> {
    use std::os::unix::fs::FileTypeExt as _;
    let address = unix_address(unix)?;
    let path = address.as_pathname().map(PathBuf::from);
    // A socket that somebody left there is removed, as QEMU does; anything else is not ours to remove.
    if let Some(path) = &path
        && path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket())
    {
        // If it fails, so does the binding, which says why.
        let _ = std::fs::remove_file(path);
    }
    let failed = |error| format!("Failed to bind socket to {}: {}", unix.path, reason(&error));
    let socket = UnixListener::bind_addr(&address).map_err(failed)?;
    // Whoever takes clients from it never waits for one.
    socket.set_nonblocking(true).map_err(failed)?;
    Ok(Held::Listener(Listener { socket: socket.into(), path }))
}

/// Never waits: a server whose queue of clients is full has no time for us either.
fn connect_unix(unix: &UnixSocketAddress) -> Result<Held, String> {
    let failed = |errno| format!("Failed to connect to '{}': {}", unix.path, words(errno));
    let address = SocketAddress::Unix(unix.clone());
    let Whereabouts::Known(endpoints) = whereabouts(&address, false)? else {
        return Err(failed(Errno::INVAL));
    };
    let endpoint = endpoints.first().ok_or_else(|| failed(Errno::INVAL))?;
    match stream_socket::connect(endpoint).map_err(failed)? {
        Started::Connected(socket) => Ok(Held::Connection(Connection { socket, place: address })),
        Started::Underway(_socket) => Err(failed(Errno::INPROGRESS)),
    }
}

/// At the first address of a place that can be had.
fn listen(found: Vec<Endpoint>) -> Result<Held, String> {
    let mut last = Errno::ADDRNOTAVAIL;
    for endpoint in found {
        match stream_socket::listen(&endpoint) {
            Ok(socket) => return Ok(Held::Listener(Listener { socket, path: None })),
            Err(errno) => last = errno,
        }
    }
    let doing =
        if last == Errno::ADDRINUSE { "Failed to find an available port" } else { "Failed to bind socket" };
    Err(format!("{doing}: {}", words(last)))
}

/// Where a place is.
fn found(
    place: &SocketAddress,
    is_server: bool,
    look_up: impl FnOnce(&Question) -> Answer,
) -> Result<Vec<Endpoint>, String> {
    match (whereabouts(place, is_server)?, place) {
        (Whereabouts::Known(endpoints), _) => Ok(endpoints),
        (Whereabouts::Ask(question), SocketAddress::Inet(inet)) => {
            let unresolved = |why| format!("address resolution failed for {}: {why}", in_words(place));
            Ok(endpoints(inet, look_up(&question).map_err(unresolved)?))
        }
        (Whereabouts::Ask(_), _nothing_to_ask) => Ok(Vec::new()),
    }
}

pub(super) fn in_words(place: &SocketAddress) -> String {
    match place {
        SocketAddress::Inet(inet) => format!("{}:{}", inet.host, inet.port),
        SocketAddress::Vsock(vsock) => format!("{}:{}", vsock.cid, vsock.port),
        SocketAddress::Unix(unix) => unix.path.clone(),
        SocketAddress::Fd(fd) => fd.str.clone(),
    }
}

/// What the kernel said.
fn reason(error: &std::io::Error) -> String {
    Errno::from_io_error(error).map_or_else(|| error.to_string(), words)
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::qmp::types::chardev::ChardevAdd;

    fn opened(text: &str) -> Result<Held, String> {
        let checked = ChardevAdd::from_option(text).unwrap().check().unwrap();
        let null = |_name: &str| Ok(std::fs::File::open("/dev/null").unwrap().into());
        match open(checked, null, crate::host::lookup::look_up)? {
            Opening::Done(held) => Ok(held),
            Opening::Underway(attempt) => attempt.wait(Duration::from_secs(10)),
        }
    }

    #[test]
    fn a_server_listens_as_long_as_it_exists() {
        let path = std::env::temp_dir().join(format!("framewire-chardev-{}", std::process::id()));
        let text = format!("socket,id=c,path={},server=on", path.display());
        let first = opened(&text).unwrap();
        // What a killed server has left behind does not disturb the next.
        std::mem::forget(first);
        let server = opened(&text).unwrap();
        assert_eq!(server.filename(false), format!("disconnected:unix:{},server=on", path.display()));
        assert_eq!(server.nature(), ChardevNature::UnixSocket);
        let client = opened(&format!("socket,id=d,path={}", path.display())).unwrap();
        assert_eq!(
            (client.filename(false), client.nature()),
            ("unix:".to_owned(), ChardevNature::UnixSocket)
        );
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn a_server_of_a_network_says_which_port_it_got() {
        let server = opened("socket,id=c,host=127.0.0.1,port=0,server=on").unwrap();
        let name = server.filename(false);
        let port = name.strip_prefix("disconnected:tcp:127.0.0.1:").unwrap().strip_suffix(",server=on");
        let port: u16 = port.unwrap().parse().unwrap();
        assert_ne!(port, 0);
        assert_eq!(server.nature(), ChardevNature::OtherSocket);
        let taken = opened(&format!("socket,id=d,host=127.0.0.1,port={port},server=on")).unwrap_err();
        assert_eq!(taken, "Failed to find an available port: Address already in use");
        let client = opened(&format!("socket,id=e,host=127.0.0.1,port={port}")).unwrap();
        assert!(
            client.filename(false).ends_with(&format!(" <-> 127.0.0.1:{port}")),
            "{}",
            client.filename(false)
        );
    }

    #[test]
    fn what_cannot_be_opened_is_refused_in_words() {
        for (text, wanted) in [
            ("socket,id=c,path=/nowhere/x", "Failed to connect to '/nowhere/x': No such file or directory"),
            (
                "socket,id=c,path=/nowhere/x,server=on",
                "Failed to bind socket to /nowhere/x: No such file or directory",
            ),
            ("socket,id=c,fd=9", "File descriptor '9' is not a socket"),
            (
                "socket,id=c,host=127.0.0.1,port=x",
                "address resolution failed for 127.0.0.1:x: Servname not supported for ai_socktype",
            ),
        ] {
            assert_eq!(opened(text).unwrap_err(), wanted);
        }
    }

    #[test]
    fn what_qemu_overlooks_is_overlooked() {
        let json = |data: &str| {
            let addr =
                r#""addr":{"type":"inet","data":{"host":"::1","port":"0","keep-alive":true,"numeric":true}}"#;
            format!(r#"{{"id":"c","backend":{{"type":"socket","data":{{{addr},{data}}}}}}}"#)
        };
        let server = opened(&json(r#""server":true"#)).unwrap().filename(false);
        assert!(server.starts_with("disconnected:tcp:::1:"), "{server}");
        assert!(opened("socket,id=c,host=127.0.0.1,port=1,ipv4=off,reconnect=1").is_ok());
        let other_family = opened("socket,id=c,host=::1,port=1,ipv6=off").unwrap_err();
        assert!(other_family.starts_with("address resolution failed for ::1:1: "), "{other_family}");
    }

    #[test]
    fn a_client_that_may_try_again_need_not_succeed_at_once() {
        let client = opened("socket,id=c,path=/nowhere/x,reconnect=1").unwrap();
        assert_eq!(client.filename(false), "disconnected:unix:/nowhere/x");
        assert_eq!(opened("null,id=c").unwrap().nature(), ChardevNature::NoSocket);
    }
}
