//! UDP sockets, with the options that no crate here wraps.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

/// A socket with as much room for what it receives as this process may ask for.
#[track_caller]
#[must_use]
pub fn bound(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap_or_else(|e| panic!("cannot bind to {address}: {e}"));
    let room = 8 << 20;
    let forced = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, room);
    let asked = forced.or_else(|_denied| rustix::net::sockopt::set_socket_recv_buffer_size(&socket, room));
    asked.unwrap_or_else(|e| panic!("SO_RCVBUF: {e}"));
    socket
}

/// Runs of datagrams are received as one.
#[track_caller]
pub fn receive_runs(socket: &UdpSocket) {
    set(socket, libc::UDP_GRO, 1);
}

/// Whatever is sent is cut into datagrams of this size.
#[track_caller]
pub fn send_runs(socket: &UdpSocket, datagram_bytes: i32) {
    set(socket, libc::UDP_SEGMENT, datagram_bytes);
}

#[track_caller]
fn set(socket: &UdpSocket, option: libc::c_int, value: libc::c_int) {
    let size = libc::socklen_t::try_from(size_of_val(&value)).expect("an int is small");
    // SAFETY: the pointer and the size describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, option, (&raw const value).cast(), size)
    };
    assert_eq!(result, 0, "UDP socket option {option}: {}", std::io::Error::last_os_error());
}

/// An IPv4 address as the kernel has it (`struct sockaddr_in`).
#[track_caller]
#[must_use]
pub fn address(address: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(v4) = address else { panic!("{address} is not IPv4") };
    let family = u16::try_from(libc::AF_INET).expect("address families are small").to_ne_bytes();
    [&family[..], &v4.port().to_be_bytes(), &v4.ip().octets(), &[0; 8]].concat()
}

/// Whether there is something to receive.
#[must_use]
pub fn readable(descriptor: RawFd) -> bool {
    let mut poll = libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready == 1
}
