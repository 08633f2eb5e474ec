//! AF_XDP sockets: made, given memory and rings, bound.
//!
//! All that needs a privilege happens here, and once: the socket itself, its busy polling, and the memory, whose
//! pages are locked in the name of whoever registers them. Memory and rings are then mapped by the data plane.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use framewire_shared::region::Mapping;
use framewire_shared::xsk_memory::{
    CHUNK_BYTES, RECEIVE_CHUNKS, REQUEST_BYTES, SEND_CHUNKS, UMEM_BYTES, XskMemory,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// For how long a call that finds nothing looks at the interface, in microseconds.
const BUSY_POLL_US: libc::c_int = 20;
/// How many frames it then takes at most: a burst.
const BUSY_POLL_FRAMES: libc::c_int = 64;

/// What the kernel keeps free before each received frame.
const HEADROOM_BYTES: usize = 256;
/// Ethernet's header with a VLAN tag, which the MTU does not count.
const HEADER_BYTES: usize = 18;

/// How long queues may be another's, all of a port together. Clients wait meanwhile, so it is not long.
pub const BUSY_MAX: Duration = Duration::from_millis(200);
/// How long until one that is busy is asked for again.
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// `struct ifreq`, as far as the MTU is asked for.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    mtu: libc::c_int,
    rest: [u8; 20],
}

// The kernel copies as many bytes as its own structure has.
const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

/// A socket of this process's network namespace.
///
/// # Errors
/// As the kernel says: `EPERM` without `CAP_NET_RAW`.
pub fn socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)
}

/// The index of an interface of this process's network namespace. (AF_XDP sockets answer no such question.)
///
/// # Errors
/// `ENODEV` if there is none of that name.
pub fn index_of(interface: &str) -> Result<u32, Errno> {
    rustix::net::netdevice::name_to_index(asker()?, interface)
}

/// A socket to ask about interfaces.
fn asker() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}

/// Gives the socket its memory and rings. Returns the memory. With `requests`, the kernel looks before each frame to be
/// sent for what the interface shall do to it.
///
/// # Errors
/// As the kernel says: `ENOBUFS` if so much memory may not be locked, `EINVAL` or `EBUSY` if somebody else has
/// equipped the socket already; `EINVAL` too if a kernel before 6.11 knows no such requests.
pub fn equip(socket: &OwnedFd, requests: bool) -> Result<OwnedFd, Errno> {
    let memory = Mapping::<XskMemory>::create().map_err(|_error| Errno::NOMEM)?;
    let mapping = Mapping::<XskMemory>::writable(&memory).map_err(|_error| Errno::NOMEM)?;
    let registration = libc::xdp_umem_reg {
        addr: mapping.umem.0.base() as u64,
        len: UMEM_BYTES as u64,
        chunk_size: u32::try_from(CHUNK_BYTES).expect("small"),
        headroom: 0,
        flags: if requests { libc::XDP_UMEM_TX_METADATA_LEN } else { 0 },
        tx_metadata_len: if requests { u32::try_from(REQUEST_BYTES).expect("small") } else { 0 },
    };
    set(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)?;
    set(socket, libc::SOL_XDP, libc::XDP_UMEM_FILL_RING, &RECEIVE_CHUNKS)?;
    set(socket, libc::SOL_XDP, libc::XDP_RX_RING, &RECEIVE_CHUNKS)?;
    set(socket, libc::SOL_XDP, libc::XDP_UMEM_COMPLETION_RING, &SEND_CHUNKS)?;
    set(socket, libc::SOL_XDP, libc::XDP_TX_RING, &SEND_CHUNKS)?;
    Ok(memory)
}

/// Has calls on the socket poll the interface, and keeps interrupts from doing it meanwhile.
///
/// # Errors
/// As the kernel says: `EPERM` without `CAP_NET_ADMIN`, `ENOPROTOOPT` before 5.11.
pub fn prefer_busy_poll(socket: &OwnedFd) -> Result<(), Errno> {
    set(socket, libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL, &1)?;
    set(socket, libc::SOL_SOCKET, libc::SO_BUSY_POLL, &BUSY_POLL_US)?;
    set(socket, libc::SOL_SOCKET, libc::SO_BUSY_POLL_BUDGET, &BUSY_POLL_FRAMES)
}

/// What a socket is bound to, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The interface's memory access goes to our memory; nothing is copied.
    pub zero_copy: bool,
    /// Frames may lie in several chunks.
    pub several_chunks: bool,
    /// Why frames are copied although that was not asked for.
    pub why_copied: Option<Errno>,
}

/// Where a socket is to be bound.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The interface's name.
    pub interface: &'a str,
    /// Its index.
    pub index: u32,
    /// Which of its queues.
    pub queue: u32,
    /// Until when it may be another's.
    pub busy_until: Instant,
}

/// Binds the socket: without copying if the driver can (and `may_share`), in several chunks if the kernel can.
///
/// # Errors
/// As the kernel says: `EINVAL` if the interface has no such queue, `EBUSY` if another socket is bound to it.
pub fn bind(socket: &OwnedFd, place: Place<'_>, may_share: bool) -> Result<Bound, Errno> {
    let (share, copy) = (libc::XDP_ZEROCOPY, libc::XDP_COPY);
    let mut why_copied = None;
    if may_share {
        let one_chunk_suffices = mtu(place.interface)? + HEADER_BYTES + HEADROOM_BYTES <= CHUNK_BYTES;
        let attempts = [Some(libc::XDP_USE_SG), one_chunk_suffices.then_some(0)];
        for flags in attempts.into_iter().flatten() {
            match try_bind(socket, place, share | flags) {
                Ok(()) => return Ok(Bound { zero_copy: true, several_chunks: flags != 0, why_copied: None }),
                Err(errno) => why_copied = Some(errno),
            }
        }
    }
    match try_bind(socket, place, copy | libc::XDP_USE_SG) {
        Ok(()) => Ok(Bound { zero_copy: false, several_chunks: true, why_copied }),
        // A kernel before 6.6 does not know that flag.
        Err(Errno::INVAL) => {
            try_bind(socket, place, copy)?;
            Ok(Bound { zero_copy: false, several_chunks: false, why_copied })
        }
        Err(errno) => Err(errno),
    }
}

/// The kernel takes a queue from a socket that was closed only some milliseconds later, so one that is busy is asked
/// for again.
fn try_bind(socket: &OwnedFd, place: Place<'_>, flags: u16) -> Result<(), Errno> {
    loop {
        match bind_once(socket, place, flags) {
            Err(Errno::BUSY) if Instant::now() < place.busy_until => std::thread::sleep(BUSY_PAUSE),
            bound => return bound,
        }
    }
}

fn bind_once(socket: &OwnedFd, place: Place<'_>, flags: u16) -> Result<(), Errno> {
    let address = libc::sockaddr_xdp {
        sxdp_family: u16::try_from(libc::AF_XDP).expect("families are small"),
        sxdp_flags: flags | libc::XDP_USE_NEED_WAKEUP,
        sxdp_ifindex: place.index,
        sxdp_queue_id: place.queue,
        sxdp_shared_umem_fd: 0,
    };
    let bytes = libc::socklen_t::try_from(size_of_val(&address)).expect("small");
    let address: *const libc::sockaddr_xdp = &raw const address;
    // SAFETY: pointer and size describe `address`, which is read before the call returns.
    check(unsafe { libc::bind(socket.as_raw_fd(), address.cast(), bytes) })
}

fn mtu(interface: &str) -> Result<usize, Errno> {
    let mut request = Request { name: [0; libc::IFNAMSIZ], mtu: 0, rest: [0; 20] };
    // One byte is left for the zero at the end.
    let room = request.name[..libc::IFNAMSIZ - 1].get_mut(..interface.len()).ok_or(Errno::NODEV)?;
    room.copy_from_slice(interface.as_bytes());
    let (asker, argument): (_, *mut Request) = (asker()?, &raw mut request);
    // SAFETY: the request reads and writes at most a `struct ifreq`, which `Request` is as large as.
    check(unsafe { libc::ioctl(asker.as_raw_fd(), libc::SIOCGIFMTU, argument) })?;
    usize::try_from(request.mtu).map_err(|_negative| Errno::INVAL)
}

fn set<T>(socket: impl AsFd, level: libc::c_int, option: libc::c_int, value: &T) -> Result<(), Errno> {
    let bytes = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    let (socket, value): (BorrowedFd<'_>, *const T) = (socket.as_fd(), value);
    // SAFETY: the callers in this file pass each option as the kernel declares it; it is read before the call
    // returns. Registered memory is pinned by the kernel and outlives its mapping here.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.cast(), bytes) })
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(())
}
