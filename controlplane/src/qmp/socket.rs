//! The sockets of monitors: how they come to be, and how blocks and descriptors are read from them.
//!
//! Reading blocks has a catch. The kernel never gives descriptors of two messages at once, but it does give the
//! bytes of messages without descriptors together with those of the message with, and does not say where in the block
//! the latter begins. QEMU avoids this by reading one byte at a time, some 15 microseconds each. We look before we
//! read: a peek without room for descriptors says whether any are on their way, and shows the bytes. Only if some
//! are, bytes are taken request by request, so that it is known which request they came with.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, fchmod, statat, unlink};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{
    set_socket_reuseaddr, set_tcp_nodelay, socket_acceptconn, socket_domain, socket_error,
};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendFlags, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    listen, recvmsg, sendmsg, shutdown, socket_with,
};

use super::endpoint::Address;
use super::names;

/// Descriptors taken from one message; the kernel closes those beyond. QEMU's number.
const DESCRIPTORS_MAX: usize = 16;

/// Clients that may wait for the one being served.
const BACKLOG: i32 = 16;

/// Who may speak to us through the socket's path: its owner. Whoever is meant to be let in can be by a group of the
/// folder, or by changing the mode after the start.
const SOCKET_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A monitor's socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody listens there.
    #[error("socket '{0}' is in use by a running process")]
    InUse(String),
    /// A file that we did not make and will not remove.
    #[error("'{0}' exists and is not a socket")]
    NotASocket(String),
    /// Refused by the kernel.
    #[error("{doing} '{what}': {source}")]
    Refused {
        /// In QEMU's words.
        doing: &'static str,
        /// The address.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The host is not known.
    #[error("address resolution failed for {host}:{port}: {source}")]
    Unresolved {
        /// As given.
        host: String,
        /// As given.
        port: u16,
        /// The resolver's reason.
        source: io::Error,
    },
    /// Clients of such a socket cannot be served.
    #[error("descriptor {0} is not a stream socket")]
    NotAStream(RawFd),
}

fn refused(doing: &'static str, what: &str, source: Errno) -> Error {
    Error::Refused { doing, what: what.to_owned(), source: source.into() }
}

/// Waits for clients. Its path, if it has one, goes with it.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
    _path: Option<BoundPath>,
}

/// A socket's path that we made, removed in the end unless somebody put something else there.
#[derive(Debug)]
struct BoundPath {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity)
            && let Err(error) = unlink(&self.path)
        {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Device and inode.
fn identity(path: &Path) -> rustix::io::Result<(u64, u64)> {
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// What an inherited socket is.
#[derive(Debug)]
pub(super) enum Inherited {
    Listener(Listener),
    Stream(Stream),
}

impl Listener {
    /// Listens. Must not be asked for an inherited socket.
    pub(super) fn open(address: &Address) -> Result<Self, Error> {
        let Address::Unix(path) = address else { return Self::open_pathless(address) };
        let unix = SocketAddrUnix::new(path.as_str()).map_err(|error| refused("bad path", path, error))?;
        let socket = new_socket(AddressFamily::UNIX).map_err(|error| refused("cannot make", path, error))?;
        // The mode that the path will get: of the unbound socket it can be set before anybody can connect.
        fchmod(&socket, SOCKET_MODE).map_err(|error| refused("cannot restrict", path, error))?;
        match bind(&socket, &unix) {
            Err(Errno::ADDRINUSE) => {
                remove_dead(path, &unix)?;
                bind(&socket, &unix)
            }
            result => result,
        }
        .map_err(|error| refused("Failed to bind socket to", path, error))?;
        listen(&socket, BACKLOG).map_err(|error| refused("Failed to listen on socket", path, error))?;
        let path = PathBuf::from(path);
        let bound = identity(&path).ok().map(|identity| BoundPath { path, identity });
        Ok(Self { socket, _path: bound })
    }

    fn open_pathless(address: &Address) -> Result<Self, Error> {
        let mut last = None;
        for (name, address) in resolve(address)? {
            match listen_on(&address) {
                Ok(socket) => return Ok(Self { socket, _path: None }),
                Err(error) => last = Some(refused("Failed to bind socket to", &name, error)),
            }
        }
        Err(last.unwrap_or_else(|| refused("Failed to bind socket to", "", Errno::ADDRNOTAVAIL)))
    }

    /// The next client, if one waits.
    pub(super) fn accept(&self) -> io::Result<Option<Stream>> {
        match accept_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => Ok(Some(Stream::new(socket)?)),
            // A client that left while it waited.
            Err(Errno::WOULDBLOCK | Errno::CONNABORTED | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn listen_on(address: &SocketAddrAny) -> rustix::io::Result<OwnedFd> {
    let socket = new_socket(address.address_family())?;
    if address.address_family() != AddressFamily::UNIX {
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Takes over a socket that we were started with.
pub(super) fn inherit(number: RawFd) -> Result<Inherited, Error> {
    let socket = names::duplicate(number).map_err(|source| Error::Refused {
        doing: "cannot use descriptor",
        what: number.to_string(),
        source,
    })?;
    let listens = socket_acceptconn(&socket).map_err(|_| Error::NotAStream(number))?;
    rustix::io::ioctl_fionbio(&socket, true).map_err(|_| Error::NotAStream(number))?;
    if listens {
        return Ok(Inherited::Listener(Listener { socket, _path: None }));
    }
    Stream::new(socket).map(Inherited::Stream).map_err(|_| Error::NotAStream(number))
}

/// Removes a socket file that nobody listens on any more.
fn remove_dead(path: &str, address: &SocketAddrUnix) -> Result<(), Error> {
    let probe = new_socket(AddressFamily::UNIX).map_err(|error| refused("cannot make", path, error))?;
    match connect(&probe, address) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::CONNREFUSED) if is_socket(path) => {
            unlink(path).map_err(|error| refused("Failed to unlink socket", path, error))
        }
        Err(Errno::CONNREFUSED) => Err(Error::NotASocket(path.to_owned())),
        // Served, or about to be, or of another type: all mean that it lives.
        Ok(()) | Err(Errno::WOULDBLOCK | Errno::PROTOTYPE) => Err(Error::InUse(path.to_owned())),
        Err(error) => Err(refused("Failed to connect to", path, error)),
    }
}

fn is_socket(path: &str) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// A connection that is being made.
#[derive(Debug)]
pub(super) struct Attempt {
    socket: OwnedFd,
}

impl Attempt {
    /// Begins to connect, to the first of the address's forms for which that is possible.
    pub(super) fn begin(address: &Address) -> Result<Self, Error> {
        let mut last = None;
        for (name, address) in resolve(address)? {
            match begin_connect(&address) {
                Ok(socket) => return Ok(Self { socket }),
                Err(error) => last = Some(refused("Failed to connect to", &name, error)),
            }
        }
        Err(last.unwrap_or_else(|| refused("Failed to connect to", "", Errno::ADDRNOTAVAIL)))
    }

    /// The connection, if the attempt succeeded. To be asked once the socket is writable.
    pub(super) fn finish(self) -> io::Result<Stream> {
        socket_error(&self.socket)??;
        Stream::new(self.socket)
    }
}

fn begin_connect(address: &SocketAddrAny) -> rustix::io::Result<OwnedFd> {
    let socket = new_socket(address.address_family())?;
    match connect(&socket, address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

fn new_socket(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
}

/// What an address may stand for, each with a name for messages.
fn resolve(address: &Address) -> Result<Vec<(String, SocketAddrAny)>, Error> {
    match address {
        Address::Unix(path) => {
            let unix =
                SocketAddrUnix::new(path.as_str()).map_err(|error| refused("bad path", path, error))?;
            Ok(vec![(path.clone(), unix.into())])
        }
        Address::Abstract { name, tight } => {
            // One byte of the address is the zero in front of the name.
            const NAME_MAX_BYTES: usize = 107;
            let mut bytes = name.clone().into_bytes();
            if !tight && bytes.len() < NAME_MAX_BYTES {
                bytes.resize(NAME_MAX_BYTES, 0);
            }
            let unix = SocketAddrUnix::new_abstract_name(&bytes)
                .map_err(|error| refused("bad name", name, error))?;
            Ok(vec![(name.clone(), unix.into())])
        }
        Address::Tcp { host, port } => {
            let unresolved = |source| Error::Unresolved { host: host.clone(), port: *port, source };
            let found: Vec<SocketAddr> = if host.is_empty() {
                vec![(Ipv4Addr::UNSPECIFIED, *port).into()]
            } else {
                (host.as_str(), *port).to_socket_addrs().map_err(unresolved)?.collect()
            };
            Ok(found.into_iter().map(|address| (address.to_string(), address.into())).collect())
        }
        Address::Inherited(number) => Err(Error::NotAStream(*number)),
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for Attempt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What there is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// None of them: the client sends no more.
    pub(super) bytes: usize,
    /// There are descriptors, with these bytes or with later ones.
    pub(super) descriptors: bool,
}

/// The connection to a client.
#[derive(Debug)]
pub(super) struct Stream {
    socket: OwnedFd,
}

impl Stream {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        if socket_domain(&socket)? != AddressFamily::UNIX {
            set_tcp_nodelay(&socket, true)?;
        }
        Ok(Self { socket })
    }

    /// Shows what there is to read, without taking it.
    pub(super) fn peek(&self, block: &mut [u8]) -> io::Result<Seen> {
        let mut no_room = RecvAncillaryBuffer::default();
        let message = retry_on_intr(|| {
            recvmsg(&self.socket, &mut [IoSliceMut::new(block)], &mut no_room, RecvFlags::PEEK)
        })?;
        Ok(Seen { bytes: message.bytes, descriptors: message.flags.contains(ReturnFlags::CTRUNC) })
    }

    /// Takes bytes that were seen, all of them, and the newest descriptors that came with any of these.
    pub(super) fn take(&self, mut seen: &mut [u8]) -> io::Result<Vec<OwnedFd>> {
        let mut newest = Vec::new();
        while !seen.is_empty() {
            let (bytes, descriptors) = self.take_some(seen)?;
            if !descriptors.is_empty() {
                newest = descriptors;
            }
            if bytes == 0 {
                // Only if somebody else reads from this socket too.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            seen = &mut seen[bytes..];
        }
        Ok(newest)
    }

    fn take_some(&self, block: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let message = retry_on_intr(|| {
            recvmsg(&self.socket, &mut [IoSliceMut::new(block)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        })?;
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        // Alignment makes room for more than was asked for.
        descriptors.truncate(DESCRIPTORS_MAX);
        Ok((message.bytes, descriptors))
    }

    /// Sends what fits.
    pub(super) fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut nothing = SendAncillaryBuffer::default();
        Ok(retry_on_intr(|| sendmsg(&self.socket, slices, &mut nothing, SendFlags::NOSIGNAL))?)
    }

    /// Ends the connection also where others hold duplicates of the socket, as after an inherited one.
    pub(super) fn close(self) {
        // A peer that was faster is no error.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod test;
