//! Frames straight from and to an interface by AF_PACKET: the kernel's side of a tap, or one end of a veth.
//!
//! It receives what comes *into* the host on that interface (for a tap: what the device wrote), and what it sends
//! goes out of it (for a tap: the device reads it).

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use super::datagram::Datagram;
use super::enlarge_buffers;
use crate::calls::{IntOption, bind_to_interface, set_option};
use crate::frame::Template;

pub(super) fn open(interface: &str, ethertype: u16, template: Template) -> io::Result<Datagram> {
    Ok(Datagram::new(socket_on(interface, ethertype, IntOption::PacketQdiscBypass)?, template, &[]))
}

/// A socket for the frames of one type on one interface. Also for the segmented kind.
pub(super) fn socket_on(interface: &str, ethertype: u16, option: IntOption) -> io::Result<OwnedFd> {
    // Protocol 0 until bound: otherwise frames of all interfaces would come in between.
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let index = netdevice::name_to_index(&socket, interface)?;
    set_option(socket.as_fd(), option)?;
    set_option(socket.as_fd(), IntOption::PacketIgnoreOutgoing)?;
    enlarge_buffers(&socket)?;
    bind_to_interface(socket.as_fd(), index, ethertype)?;
    Ok(socket)
}
