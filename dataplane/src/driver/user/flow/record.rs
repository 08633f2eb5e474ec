//! One flow: the host's socket, the way to the guest, and what its protocol must know. It holds no pointer.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::super::header::Path;
use super::super::tcp::Connection;

/// One flow.
#[derive(Debug)]
pub(in super::super) struct Flow {
    /// The host's end.
    pub(in super::super) socket: OwnedFd,
    /// The way to the guest.
    pub(in super::super) path: Path,
    /// The guest's port and the one that it sees at the other end.
    pub(in super::super) ports: [u16; 2],
    /// It waits to be asked for frames.
    pub(in super::super) is_ready: bool,
    /// When something is overdue; a timer that runs may be earlier.
    pub(in super::super) due_ns: u64,
    /// The rest.
    pub(in super::super) kind: Kind,
}

/// What a flow's protocol must know.
#[derive(Debug)]
pub(in super::super) enum Kind {
    /// A connection.
    Tcp(Tcp),
    /// All datagrams of one port of the guest.
    Udp(Udp),
    /// All echoes of one number of the guest.
    Ping(Ping),
}

/// A connection.
#[derive(Debug)]
pub(in super::super) struct Tcp {
    /// Its numbers.
    pub(in super::super) connection: Connection,
    /// It was the host that began.
    pub(in super::super) is_from_host: bool,
    /// The host's end is a UNIX socket.
    pub(in super::super) is_unix: bool,
    /// The host's end may have something to give, its end included.
    pub(in super::super) has_data: bool,
    /// The host's stream has ended.
    pub(in super::super) at_end: bool,
    /// The guest is to be told that the connection is open.
    pub(in super::super) owes_beginning: bool,
    /// The guest is to be told where we are,
    pub(in super::super) owes_answer: bool,
    /// and so many times in all, because of what it has said too early.
    pub(in super::super) duplicates: u8,
    /// What is peeked at next is not what is to be sent next.
    pub(in super::super) must_seek: bool,
}

impl Tcp {
    /// One that has nothing to say yet.
    pub(in super::super) fn new(connection: Connection, is_from_host: bool) -> Self {
        Tcp {
            connection,
            is_from_host,
            is_unix: false,
            has_data: false,
            at_end: false,
            owes_beginning: false,
            owes_answer: false,
            duplicates: 0,
            must_seek: false,
        }
    }
}

/// Datagrams.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Udp {
    /// Where the guest's last one went, as the guest sees it,
    pub(in super::super) destination: SocketAddr,
    /// and as the host does.
    pub(in super::super) host: SocketAddr,
    /// What the last one was.
    pub(in super::super) sent: Sent,
}

/// Echoes.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Ping {
    /// Whom the guest has asked last, as it sees them,
    pub(in super::super) destination: SocketAddr,
    /// and as the host does.
    pub(in super::super) host: SocketAddr,
    /// What the last one was.
    pub(in super::super) sent: Sent,
}

/// The last packet of a flow, as far as an error about it must say.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Sent {
    /// Hops that the host's socket gives packets.
    pub(in super::super) ttl: u8,
    /// The packet's number over IPv4.
    pub(in super::super) id: u16,
}

impl Sent {
    /// None yet: the hops are those that the kernel gives by itself.
    pub(in super::super) const NOTHING: Self = Sent { ttl: 64, id: 0 };
}
