//! One frame a unix datagram: what QEMU calls `dgram` of type `unix`.
//!
//! How many datagrams a receiver may have waiting is `net.unix.max_dgram_qlen` of the network namespace (10 unless
//! set), whatever the buffers: the sandbox sets 512.

use std::io;
use std::os::unix::net::UnixDatagram;

use super::datagram::Datagram;
use super::{enlarge_buffers, retried};
use crate::frame::Template;

pub(super) fn open(local: &str, remote: &str, template: Template) -> io::Result<Datagram> {
    // A path left from an earlier run cannot be bound.
    match std::fs::remove_file(local) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixDatagram::bind(local)?;
    retried(|| socket.connect(remote))?;
    enlarge_buffers(&socket)?;
    Ok(Datagram::new(socket.into(), template, &[]))
}
