//! One frame a UDP datagram: what QEMU calls `dgram` of type `inet`.

use std::io;
use std::net::UdpSocket;

use super::datagram::Datagram;
use super::enlarge_buffers;
use crate::frame::Template;

pub(super) fn open(local: &str, remote: &str, template: Template) -> io::Result<Datagram> {
    Ok(Datagram::new(connect(local, remote)?.into(), template))
}

/// A socket that takes datagrams from `remote` only. Also for the segmented kind.
pub(super) fn connect(local: &str, remote: &str) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(local)?;
    socket.connect(remote)?;
    enlarge_buffers(&socket)?;
    Ok(socket)
}
