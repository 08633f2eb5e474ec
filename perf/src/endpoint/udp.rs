//! One frame a UDP datagram: what QEMU calls `dgram` of type `inet`; behind a header, what it calls `l2tpv3`.

use std::io;
use std::net::UdpSocket;

use super::datagram::Datagram;
use super::enlarge_buffers;
use crate::frame::Template;

pub(super) fn open(local: &str, remote: &str, template: Template, header: &[u8]) -> io::Result<Datagram> {
    Ok(Datagram::new(connect(local, remote)?.into(), template, header))
}

/// A socket that takes datagrams from `remote` only. Also for the segmented kind.
pub(super) fn connect(local: &str, remote: &str) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(local)?;
    socket.connect(remote)?;
    enlarge_buffers(&socket)?;
    Ok(socket)
}
