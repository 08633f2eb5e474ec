//! Sockets, as far as the standard library does not make them.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use rustix::process::Pid;

/// What a datagram socket holds while nobody reads it. The default (208 KiB) is 140 frames: one wake-up late,
/// and they are lost. Half of this is what the kernel's own overhead leaves.
const BUFFER_BYTES: usize = 4 << 20;

/// Larger buffers, as large as the kernel lets us: past the limit of the system where we have the privilege.
pub fn enlarge_buffers(socket: &OwnedFd) {
    use rustix::net::sockopt;
    // As far as it goes: smaller buffers lose frames earlier, and are no reason to refuse.
    let _ = sockopt::set_socket_recv_buffer_size_force(socket, BUFFER_BYTES)
        .or_else(|_unprivileged| sockopt::set_socket_recv_buffer_size(socket, BUFFER_BYTES));
    let _ = sockopt::set_socket_send_buffer_size_force(socket, BUFFER_BYTES)
        .or_else(|_unprivileged| sockopt::set_socket_send_buffer_size(socket, BUFFER_BYTES));
}

/// Lets the kernel hand over runs of equal datagrams as one (`UDP_GRO`). Whether it does.
#[must_use]
pub fn gather_datagrams(socket: &OwnedFd) -> bool {
    let on: libc::c_int = 1;
    let bytes = libc::socklen_t::try_from(size_of_val(&on)).expect("an int is small");
    let on: *const libc::c_int = &raw const on;
    // SAFETY: the option is an int, read before the call returns.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_GRO, on.cast(), bytes) };
    done == 0
}

/// `struct sockaddr_in` or `struct sockaddr_in6`.
#[must_use]
pub fn kernel_address(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    let family = |family: AddressFamily| family.as_raw().to_ne_bytes();
    match address {
        SocketAddr::V4(v4) => [&family(AddressFamily::INET)[..], &port, &v4.ip().octets(), &[0; 8]].concat(),
        SocketAddr::V6(v6) => {
            let (flow, scope) = (v6.flowinfo().to_ne_bytes(), v6.scope_id().to_ne_bytes());
            [&family(AddressFamily::INET6)[..], &port, &flow, &v6.ip().octets(), &scope].concat()
        }
    }
}

/// A socket on which the data plane waits for a next control plane; what was at the path before is replaced.
///
/// # Errors
/// As the kernel says.
pub fn listen_seqpacket(path: &Path) -> Result<OwnedFd, Errno> {
    // What is not there needs no removing.
    let _ = std::fs::remove_file(path);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    // Whoever connects is given everything: nobody but the owner may, whatever the directory's mode.
    rustix::fs::chmod(path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    rustix::net::listen(&socket, 1)?;
    Ok(socket)
}

/// Connects to such a socket.
///
/// # Errors
/// As the kernel says: `ENOENT` and `ECONNREFUSED` if nobody is there.
pub fn connect_seqpacket(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Who sent the message that waits on this socket, as the kernel knows it (`SO_PEERCRED` of an accepted
/// connection tells who made the *listener*, which is another). Credentials must be asked for before the
/// message is sent.
///
/// # Errors
/// As the kernel says.
pub fn sender_of_next_message(socket: impl AsFd) -> Result<Option<Pid>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0_u8; 1];
    let mut buffers = [std::io::IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(&socket, &mut buffers, &mut ancillary, RecvFlags::PEEK | RecvFlags::CMSG_CLOEXEC)?;
    let mut sender = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmCredentials(credentials) = message {
            sender = Some(credentials.pid);
        }
    }
    Ok(sender)
}

#[cfg(test)]
mod test {
    use super::*;
    use framewire_shared::handover::{self, Message};

    #[test]
    fn kernel_tells_who_sent_and_the_message_stays() {
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (left, right) = rustix::net::socketpair(kind.0, kind.1, SocketFlags::CLOEXEC, None).unwrap();
        let (passed, _other) = std::io::pipe().unwrap();
        rustix::net::sockopt::set_socket_passcred(&left, true).unwrap();
        handover::send(&right, &Message::Recall, &[passed.as_fd()]).unwrap();
        assert_eq!(sender_of_next_message(&left).unwrap(), Some(rustix::process::getpid()));
        rustix::net::sockopt::set_socket_passcred(&left, false).unwrap();
        let (message, descriptors) = handover::receive(&left).unwrap();
        assert_eq!((message, descriptors.len()), (Message::Recall, 1));
    }

    #[test]
    fn addresses_are_laid_out_as_the_kernel_has_them() {
        let v4 = kernel_address("127.0.0.1:4660".parse().unwrap());
        let v6 = kernel_address("[::1]:4660".parse().unwrap());
        let family = |bytes: &[u8]| u16::from_ne_bytes([bytes[0], bytes[1]]);
        assert_eq!((family(&v4), v4.len()), (AddressFamily::INET.as_raw(), size_of::<libc::sockaddr_in>()));
        assert_eq!((family(&v6), v6.len()), (AddressFamily::INET6.as_raw(), size_of::<libc::sockaddr_in6>()));
        assert_eq!((&v4[2..8], &v6[2..4]), (&[0x12, 0x34, 127, 0, 0, 1][..], &[0x12, 0x34][..]));
        assert_eq!((v6[23], v6[24..].iter().sum::<u8>()), (1, 0));
    }

    #[test]
    fn kernel_gathers_datagrams_of_inet_sockets_only() {
        let socket = |family| rustix::net::socket(family, SocketType::DGRAM, None).unwrap();
        assert!(gather_datagrams(&socket(AddressFamily::INET)));
        assert!(!gather_datagrams(&socket(AddressFamily::UNIX)));
    }
}
