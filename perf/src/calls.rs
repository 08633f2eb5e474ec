//! The kernel calls of this crate that rustix does not wrap.
//!
//! Batched socket calls are in `mmsg.rs`; these two files hold all of the crate's unsafe code.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// `AF_PACKET` in the type that an address holds it in.
const PACKET_FAMILY: libc::sa_family_t = 17;
const _: () = assert!(PACKET_FAMILY as libc::c_int == libc::AF_PACKET);

/// From `linux/if_packet.h`; libc does not have it.
const PACKET_VNET_HDR: libc::c_int = 15;

/// Options that take an int and that rustix does not know.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IntOption {
    /// The kernel cuts what is sent into datagrams of this many bytes.
    UdpSegment(u16),
    /// The kernel hands over runs of datagrams of one size as one.
    UdpGro,
    /// Frames go to the driver without queueing.
    PacketQdiscBypass,
    /// Each frame sent or received has a `virtio_net_hdr` before it.
    PacketVnetHeader,
    /// What this host sends on the interface is not received.
    PacketIgnoreOutgoing,
}

impl IntOption {
    fn parts(self) -> (libc::c_int, libc::c_int, libc::c_int) {
        match self {
            IntOption::UdpSegment(size) => (libc::IPPROTO_UDP, libc::UDP_SEGMENT, libc::c_int::from(size)),
            IntOption::UdpGro => (libc::IPPROTO_UDP, libc::UDP_GRO, 1),
            IntOption::PacketQdiscBypass => (libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1),
            IntOption::PacketVnetHeader => (libc::SOL_PACKET, PACKET_VNET_HDR, 1),
            IntOption::PacketIgnoreOutgoing => (libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1),
        }
    }
}

/// Sets one option of a socket.
pub(crate) fn set_option(socket: BorrowedFd<'_>, option: IntOption) -> io::Result<()> {
    let (level, name, value) = option.parts();
    // SAFETY: `value` is an int that lives through the call, and its own size is passed.
    let answer = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len_of(&value))
    };
    checked(answer)
}

/// Binds an AF_PACKET socket to the frames of one type on one interface.
pub(crate) fn bind_to_interface(socket: BorrowedFd<'_>, interface: u32, ethertype: u16) -> io::Result<()> {
    // SAFETY: all zeroes is a valid sockaddr_ll: it holds integers only.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = PACKET_FAMILY;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex =
        i32::try_from(interface).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: `address` is a whole sockaddr_ll that lives through the call, and its own size is passed.
    let answer = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len_of(&address)) };
    checked(answer)
}

/// What a process can have of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Namespaces {
    /// Process numbers: its children's, not its own.
    Processes,
    /// Network and mounts.
    NetworkAndMounts,
    /// The network.
    Network,
}

/// Gives this process its own.
pub(crate) fn unshare(namespaces: Namespaces) -> io::Result<()> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    let flags = match namespaces {
        Namespaces::Processes => UnshareFlags::NEWPID,
        Namespaces::NetworkAndMounts => UnshareFlags::NEWNET | UnshareFlags::NEWNS,
        Namespaces::Network => UnshareFlags::NEWNET,
    };
    // SAFETY: only unsharing the descriptor table can invalidate descriptors, and that flag is not among these.
    unsafe { unshare_unsafe(flags) }.map_err(Into::into)
}

fn len_of<T>(value: &T) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of_val(value)).expect("an int or an address")
}

fn checked(answer: libc::c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
