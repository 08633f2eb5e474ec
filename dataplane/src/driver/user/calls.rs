//! System calls of flows: receiving into frames, sending out of them, and what sockets are asked and told.
//!
//! Addresses are made and read here, so that nothing else knows `sockaddr`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use crate::frame::Segment;
use crate::kernel::{enter, message, number_of};

/// System calls made here and by the flows, for the data plane's filter.
pub(in crate::driver) const SYSTEM_CALLS: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_close,
    libc::SYS_connect,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_fcntl,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
];

const NO_WAIT: usize = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as usize;

/// A socket address as the kernel has it: of IPv4 or IPv6.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy)]
pub(super) struct KernelAddress {
    bytes: [u8; 28],
    len: u32,
}

impl KernelAddress {
    fn empty() -> Self {
        KernelAddress { bytes: [0; 28], len: 28 }
    }

    /// Of an address.
    pub(super) fn of(address: SocketAddr) -> Self {
        let mut it = KernelAddress::empty();
        it.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(address) => {
                it.bytes[..2].copy_from_slice(&family(libc::AF_INET));
                it.bytes[4..8].copy_from_slice(&address.ip().octets());
                it.len = 16;
            }
            SocketAddr::V6(address) => {
                it.bytes[..2].copy_from_slice(&family(libc::AF_INET6));
                it.bytes[8..24].copy_from_slice(&address.ip().octets());
                it.bytes[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
            }
        }
        it
    }

    /// Back to an address, if it is one.
    fn get(&self) -> Option<SocketAddr> {
        let port = u16::from_be_bytes([self.bytes[2], self.bytes[3]]);
        let kind = [self.bytes[0], self.bytes[1]];
        if kind == family(libc::AF_INET) {
            let address: [u8; 4] = *self.bytes[4..].first_chunk()?;
            Some(SocketAddr::new(Ipv4Addr::from(address).into(), port))
        } else if kind == family(libc::AF_INET6) {
            let address: [u8; 16] = *self.bytes[8..].first_chunk()?;
            Some(SocketAddrV6::new(Ipv6Addr::from(address), port, 0, 0).into())
        } else {
            None
        }
    }
}

fn family(number: i32) -> [u8; 2] {
    u16::try_from(number).expect("families are small").to_ne_bytes()
}

/// Connects, without waiting.
///
/// # Errors
/// As the kernel's: `EINPROGRESS` if it will tell later.
pub(super) fn connect(socket: &OwnedFd, to: SocketAddr) -> Result<(), Errno> {
    let address = KernelAddress::of(to);
    let at = &raw const address as usize;
    // SAFETY: `address` begins with its bytes, of which the kernel reads `len`.
    let done =
        unsafe { enter(libc::SYS_connect, [number_of(socket.as_fd()), at, address.len as usize, 0, 0, 0]) };
    done.map(|_zero| ())
}

/// Accepts a connection, and tells from whom.
///
/// # Errors
/// As the kernel's.
pub(super) fn accept(listener: BorrowedFd<'_>) -> Result<(OwnedFd, Option<SocketAddr>), Errno> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::accept_with(listener, flags)?;
    let peer = rustix::net::getpeername(&socket).ok().flatten();
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    Ok((socket, peer))
}

/// Sends segments, as many bytes as the socket has room for. To an address, if it is not connected.
///
/// # Errors
/// As the kernel's.
pub(super) fn send(socket: &OwnedFd, from: &[Segment], to: Option<SocketAddr>) -> Result<usize, Errno> {
    let mut address = to.map(KernelAddress::of);
    let mut message = message(from);
    if let Some(address) = &mut address {
        message.msg_name = (&raw mut address.bytes).cast();
        message.msg_namelen = address.len;
    }
    let at = &raw const message as usize;
    // SAFETY: the message names segments, for whose bytes their makers vouched, and the address, which lives until
    // the call has returned. The kernel only reads.
    unsafe { enter(libc::SYS_sendmsg, [number_of(socket.as_fd()), at, NO_WAIT, 0, 0, 0]) }
}

/// Looks at what a connection has received, from where the last look ended (`SO_PEEK_OFF`). 0 is its end.
///
/// # Errors
/// As the kernel's.
pub(super) fn peek(socket: &OwnedFd, into: Segment) -> Result<usize, Errno> {
    const FLAGS: usize = (libc::MSG_DONTWAIT | libc::MSG_PEEK) as usize;
    let arguments = [number_of(socket.as_fd()), into.base() as usize, into.len(), FLAGS, 0, 0];
    // SAFETY: the segment's maker vouched for its bytes, and that nobody refers to them.
    unsafe { enter(libc::SYS_recvfrom, arguments) }
}

/// Who has noticed that something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The host itself.
    Local,
    /// Somebody on the way, over IPv4.
    Icmp,
    /// Somebody on the way, over IPv6.
    Icmp6,
}

/// What went wrong with a packet that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueuedError {
    /// Where the packet went.
    pub(super) to: SocketAddr,
    /// Who has noticed.
    pub(super) origin: Origin,
    /// What they have said, if they are not the host.
    pub(super) kind_and_code: [u8; 2],
    /// The kernel's number for it.
    pub(super) errno: u32,
    /// What belongs to it: the largest packet that fits, for one.
    pub(super) info: u32,
    /// Whoever has said so.
    pub(super) offender: Option<IpAddr>,
}

/// Takes what is oldest of a socket's error queue, with as much of the packet's payload as fits.
///
/// # Errors
/// As the kernel's: `EAGAIN` if there is nothing.
pub(super) fn receive_error(socket: &OwnedFd, payload: &mut [u8]) -> Result<(QueuedError, usize), Errno> {
    const FLAGS: usize = (libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE) as usize;
    let mut address = KernelAddress::empty();
    let mut control = ControlSpace([0; CONTROL_BYTES_MAX]);
    let mut piece = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    let mut message = message(&[]);
    (message.msg_iov, message.msg_iovlen) = (&raw mut piece, 1);
    message.msg_name = (&raw mut address.bytes).cast();
    message.msg_namelen = address.len;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = CONTROL_BYTES_MAX;
    let at = &raw mut message as usize;
    // SAFETY: the message names `payload`, `address` and `control` with their sizes; all live until the call has returned.
    let bytes = unsafe { enter(libc::SYS_recvmsg, [number_of(socket.as_fd()), at, FLAGS, 0, 0, 0]) }?;
    let control = &control.0[..message.msg_controllen.min(CONTROL_BYTES_MAX)];
    let error = address.get().and_then(|to| read_error(control, to)).ok_or(Errno::BADMSG)?;
    Ok((error, bytes.min(payload.len())))
}

/// Room for what comes beside a message, aligned as the kernel has it.
#[repr(C, align(8))]
struct ControlSpace([u8; CONTROL_BYTES_MAX]);

const CONTROL_BYTES_MAX: usize = 256;
/// `struct cmsghdr` and `struct sock_extended_err`.
const CONTROL_HEADER_BYTES: usize = 16;
const EXTENDED_BYTES: usize = 16;

/// Finds the error among what came beside a message.
fn read_error(mut control: &[u8], to: SocketAddr) -> Option<QueuedError> {
    loop {
        let (header, rest) = control.split_first_chunk::<CONTROL_HEADER_BYTES>()?;
        let [len, kind] =
            [&header[..8], &header[8..]].map(|word| word.try_into().map(u64::from_ne_bytes).ok());
        let len = usize::try_from(len?).ok()?;
        let body = rest.get(..len.checked_sub(CONTROL_HEADER_BYTES)?)?;
        let is_error = [true, false].into_iter().any(|is_ipv4| {
            let (level, name) = error_option(is_ipv4);
            kind == Some(u64::from(level.unsigned_abs()) | u64::from(name.unsigned_abs()) << 32)
        });
        if is_error {
            return read_extended(body, to);
        }
        control = control.get(len.next_multiple_of(8)..)?;
    }
}

fn read_extended(body: &[u8], to: SocketAddr) -> Option<QueuedError> {
    let (extended, offender) = body.split_first_chunk::<EXTENDED_BYTES>()?;
    let word = |at: usize| extended[at..at + 4].try_into().map(u32::from_ne_bytes).unwrap_or(0);
    let origin = match extended[4] {
        1 => Origin::Local,
        2 => Origin::Icmp,
        3 => Origin::Icmp6,
        _other => return None,
    };
    let mut address = KernelAddress::empty();
    let bytes = offender.len().min(address.bytes.len());
    address.bytes[..bytes].copy_from_slice(&offender[..bytes]);
    Some(QueuedError {
        to,
        origin,
        kind_and_code: [extended[5], extended[6]],
        errno: word(0),
        info: word(8),
        offender: address.get().map(|offender| offender.ip()),
    })
}

/// Forgets the first `bytes` bytes that a connection has received. UNIX sockets have no way but to read them.
pub(super) fn forget(socket: &OwnedFd, bytes: usize, is_unix: bool) {
    if is_unix {
        return read_away(socket, bytes);
    }
    const FLAGS: usize = (libc::MSG_DONTWAIT | libc::MSG_TRUNC) as usize;
    // SAFETY: with MSG_TRUNC the kernel writes nothing on a stream socket; there is no buffer.
    let _ = unsafe { enter(libc::SYS_recvfrom, [number_of(socket.as_fd()), 0, bytes, FLAGS, 0, 0]) };
}

fn read_away(socket: &OwnedFd, mut bytes: usize) {
    let mut nowhere = [0; 16 << 10];
    while bytes > 0 {
        let most = bytes.min(nowhere.len());
        match rustix::net::recv(socket, &mut nowhere[..most], rustix::net::RecvFlags::DONTWAIT) {
            Ok((read @ 1.., _)) => bytes -= read.min(bytes),
            Ok((0, _)) | Err(_) => return,
        }
    }
}

/// Receives one datagram, and tells from whom.
///
/// # Errors
/// As the kernel's.
pub(super) fn receive_from(
    socket: BorrowedFd<'_>,
    into: Segment,
) -> Result<(usize, Option<SocketAddr>), Errno> {
    let mut address = KernelAddress::empty();
    let mut message = message(std::slice::from_ref(&into));
    message.msg_name = (&raw mut address.bytes).cast();
    message.msg_namelen = address.len;
    let at = &raw mut message as usize;
    // SAFETY: the message names one segment, for which its maker vouched, and `address` with its size; both live
    // until the call has returned.
    let bytes = unsafe { enter(libc::SYS_recvmsg, [number_of(socket), at, NO_WAIT, 0, 0, 0]) }?;
    if message.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(Errno::MSGSIZE);
    }
    Ok((bytes, address.get()))
}

/// Sets an option that is a number. What a kernel does not know stays as it is.
pub(super) fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> Result<(), Errno> {
    let [level, name] = [level, name].map(|number| usize::try_from(number).unwrap_or(0));
    let at = &raw const value as usize;
    // SAFETY: the kernel reads the four bytes of `value`.
    let done =
        unsafe { enter(libc::SYS_setsockopt, [number_of(socket), level, name, at, size_of::<i32>(), 0]) };
    done.map(|_zero| ())
}

/// Moves the place of the next [`peek`].
pub(super) fn seek(socket: &OwnedFd, offset: u32) -> Result<(), Errno> {
    set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_PEEK_OFF, offset.cast_signed())
}

/// Has the kernel keep what is heard about datagrams, for [`receive_error`].
pub(super) fn want_errors(socket: BorrowedFd<'_>, is_ipv4: bool) {
    let (level, name) = error_option(is_ipv4);
    let _ = set_option(socket, level, name, 1);
}

fn error_option(is_ipv4: bool) -> (i32, i32) {
    if is_ipv4 { (libc::IPPROTO_IP, libc::IP_RECVERR) } else { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) }
}

/// How many hops a socket's packets make.
pub(super) fn set_ttl(socket: BorrowedFd<'_>, is_ipv4: bool, ttl: u8) {
    let (level, name) = if is_ipv4 {
        (libc::IPPROTO_IP, libc::IP_TTL)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS)
    };
    let _ = set_option(socket, level, name, ttl.into());
}

/// The next close throws away what was not sent, and tells the peer so.
pub(super) fn make_abortive(socket: &OwnedFd) {
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO));
}

/// How many bytes a connection's send buffer has room for, with a margin for what the kernel needs besides; and
/// whether that is so little that the kernel would tell when it is more.
pub(super) fn send_room(socket: &OwnedFd, is_unix: bool) -> (usize, bool) {
    // SO_MEMINFO's numbers; the send buffer's size and what is queued in it are among them. UNIX sockets have the latter
    // at another place.
    const WMEM_ALLOC: usize = 2;
    const SNDBUF: usize = 3;
    const WMEM_QUEUED: usize = 5;
    let mut numbers = [0u32; 9];
    let mut len = libc::socklen_t::try_from(size_of_val(&numbers)).expect("36");
    let (at, len_at) = (&raw mut numbers as usize, &raw mut len as usize);
    let [level, name] = [libc::SOL_SOCKET, libc::SO_MEMINFO].map(|n| usize::try_from(n).unwrap_or(0));
    // SAFETY: the kernel writes at most `len` bytes to `numbers`, and their count to `len`.
    let asked =
        unsafe { enter(libc::SYS_getsockopt, [number_of(socket.as_fd()), level, name, at, len_at, 0]) };
    match asked {
        Ok(_zero) => {
            let queued = if is_unix { numbers[WMEM_ALLOC] } else { numbers[WMEM_QUEUED] } as usize;
            let room = (numbers[SNDBUF] as usize).saturating_sub(queued);
            (room / 8 * 7, room < queued / 2)
        }
        Err(_errno) => (0, true),
    }
}

/// What happens to sockets, by the number that each was watched with.
#[derive(Debug)]
pub(super) struct Watcher {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// Something happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// To whom.
    pub(super) number: u64,
    /// There is something to receive, or an end.
    pub(super) can_receive: bool,
    /// There is room to send, or a connection.
    pub(super) can_send: bool,
    /// It has failed, or something about it is to be read from its error queue.
    pub(super) has_failed: bool,
}

/// What is told of each socket, once a change.
const WATCHED: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// Events that are taken at once.
const EVENTS_MAX: usize = 64;

impl Watcher {
    /// Watches nothing.
    ///
    /// # Errors
    /// As the kernel's.
    pub(super) fn new() -> rustix::io::Result<Self> {
        let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC)?;
        Ok(Watcher { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX] })
    }

    /// Its descriptor, readable when something has happened.
    pub(super) fn descriptor(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Watches a socket: each change is told once. It is forgotten when it is closed.
    ///
    /// # Errors
    /// As the kernel's.
    pub(super) fn watch(&self, socket: BorrowedFd<'_>, number: u64) -> rustix::io::Result<()> {
        use rustix::event::epoll::{EventData, add};
        add(&self.epoll, socket, EventData::new_u64(number), WATCHED)
    }

    /// Watches a socket no more. Only needed where others have the same one: the last that is closed ends it, too.
    pub(super) fn leave(&self, socket: BorrowedFd<'_>) {
        let _ = rustix::event::epoll::delete(&self.epoll, socket);
    }

    /// Looks at a socket anew: what holds already is told once more.
    pub(super) fn look_again(&self, socket: &OwnedFd, number: u64) {
        use rustix::event::epoll::{EventData, modify};
        let _ = modify(&self.epoll, socket, EventData::new_u64(number), WATCHED);
    }

    /// Takes what has happened, without waiting. Returns how many; [`Watcher::event`] has them.
    pub(super) fn look(&mut self) -> usize {
        let [epoll, at] = [number_of(self.epoll.as_fd()), self.events.as_mut_ptr() as usize];
        // SAFETY: `events` has room for so many, and there is no signal mask.
        unsafe { enter(libc::SYS_epoll_pwait, [epoll, at, EVENTS_MAX, 0, 0, 8]) }.unwrap_or(0)
    }

    /// One of those that [`Watcher::look`] has counted.
    pub(super) fn event(&self, place: usize) -> Event {
        let libc::epoll_event { events, u64: number } = self.events[place];
        let has = |flags: i32| events & flags.cast_unsigned() != 0;
        Event {
            number,
            can_receive: has(libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP),
            can_send: has(libc::EPOLLOUT),
            has_failed: has(libc::EPOLLERR),
        }
    }
}
