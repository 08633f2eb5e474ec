//! The ways into a device under test: each is a [`Endpoint`], named by a word such as `udp:127.0.0.1:5002:127.0.0.1:5001`.
//!
//! All of them are polled and never block: one thread on one core serves both sides of the device, so that the time
//! a frame takes is not a matter of when a thread was woken.

mod datagram;
mod interface_counter;
mod packet;
mod segmented_packet;
mod segmented_udp;
mod stream;
mod udp;
mod unix_datagram;
mod vde;

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Doing as _, Error, Result};
use crate::frame::{Shape, Side, Template};
use crate::guest::Place;
use crate::guest::port::Port;
use crate::tally::Sink;

pub use vde::Socket;

/// One side of the device under test.
pub trait Endpoint: Send {
    /// Sends up to `count` frames numbered from `first_sequence` on; returns how many were taken.
    ///
    /// # Errors
    /// If the endpoint is broken; a peer that takes nothing now is not an error.
    fn send(&mut self, first_sequence: u64, count: usize) -> io::Result<usize>;

    /// Hands what has arrived to `sink`; returns how many frames that were.
    ///
    /// # Errors
    /// If the endpoint is broken or the peer has gone for good.
    fn receive(&mut self, sink: &mut dyn Sink) -> io::Result<usize>;
}

/// How a user names an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// One frame a datagram between two IPv4 addresses; `udpgso` hands the kernel many at once.
    Udp {
        /// Our address and port.
        local: String,
        /// The device's.
        remote: String,
        /// Whether runs of frames are sent and received as one (`UDP_SEGMENT`, `UDP_GRO`).
        segmented: bool,
        /// Whether each frame is in an L2TPv3 tunnel: behind eight bytes that say session 1.
        is_tunnel: bool,
    },
    /// One frame a datagram between two unix sockets.
    UnixDatagram {
        /// Our path.
        local: String,
        /// The device's.
        remote: String,
    },
    /// A unix stream, each frame behind its length; the device listens.
    UnixStream {
        /// The device's path.
        path: String,
    },
    /// The same over TCP.
    Tcp {
        /// The device's address and port.
        remote: String,
    },
    /// A guest at a NIC that is served over vhost-user.
    Guest(Place),
    /// A port of a VDE switch.
    VdePlug {
        /// The switch's folder.
        folder: String,
    },
    /// Frames straight from and to an interface, for instance the kernel's side of a tap.
    Packet {
        /// The interface's name.
        interface: String,
        /// Whether runs of frames are sent as one that the kernel cuts.
        segmented: bool,
    },
    /// A sink that reads nothing: the interface's own counter of frames received.
    InterfaceCounter {
        /// The interface's name.
        interface: String,
    },
}

impl Address {
    /// Reads a user's word.
    ///
    /// # Errors
    /// If it names no endpoint.
    pub fn parse(text: &str) -> Result<Address> {
        let words: Vec<&str> = text.split(':').collect();
        let address = match words[..] {
            [kind @ ("udp" | "udpgso" | "l2tp" | "l2tpgso"), local, local_port, remote, remote_port] => {
                Address::Udp {
                    local: format!("{local}:{local_port}"),
                    remote: format!("{remote}:{remote_port}"),
                    segmented: kind.ends_with("gso"),
                    is_tunnel: kind.starts_with("l2tp"),
                }
            }
            ["unixd", local, remote] => Address::UnixDatagram { local: local.into(), remote: remote.into() },
            ["stream", path] => Address::UnixStream { path: path.into() },
            [kind @ ("vhost" | "vhostpacked"), socket] => {
                Address::Guest(Place { socket: socket.into(), packed: kind == "vhostpacked" })
            }
            ["vde", folder] => Address::VdePlug { folder: folder.into() },
            ["tcp", host, port] => Address::Tcp { remote: format!("{host}:{port}") },
            [kind @ ("packet" | "packetgso"), interface] => {
                Address::Packet { interface: interface.into(), segmented: kind == "packetgso" }
            }
            ["ifrx", interface] => Address::InterfaceCounter { interface: interface.into() },
            _ => return Err(Error::Usage(format!("'{text}' names no endpoint"))),
        };
        Ok(address)
    }

    /// Opens the endpoint for frames of `shape` that leave from `side`.
    ///
    /// # Errors
    /// If the system refuses, or the device is not there within two seconds.
    pub fn open(&self, shape: Shape, side: Side) -> Result<Box<dyn Endpoint>> {
        let template = Template::new(shape, side);
        let doing = || format!("opening {self:?}");
        Ok(match self {
            Address::Udp { local, remote, segmented: false, is_tunnel } => {
                Box::new(udp::open(local, remote, template, header(*is_tunnel)).doing(doing())?)
            }
            Address::Udp { local, remote, segmented: true, is_tunnel } => {
                Box::new(segmented_udp::open(local, remote, template, header(*is_tunnel)).doing(doing())?)
            }
            Address::UnixDatagram { local, remote } => {
                Box::new(unix_datagram::open(local, remote, template).doing(doing())?)
            }
            Address::UnixStream { path } => Box::new(stream::open_unix(path, template).doing(doing())?),
            Address::Tcp { remote } => Box::new(stream::open_tcp(remote, template).doing(doing())?),
            Address::Guest(place) => Box::new(Port::open(place, template)?),
            Address::VdePlug { folder } => Box::new(vde::plug(Path::new(folder), template).doing(doing())?),
            Address::Packet { interface, segmented: false } => {
                Box::new(packet::open(interface, shape.ethertype(), template).doing(doing())?)
            }
            Address::Packet { interface, segmented: true } => {
                Box::new(segmented_packet::open(interface, shape, side).doing(doing())?)
            }
            Address::InterfaceCounter { interface } => {
                Box::new(interface_counter::open(interface).doing(doing())?)
            }
        })
    }
}

/// What is before each frame: of a tunnel, version 3 and session 1.
fn header(is_tunnel: bool) -> &'static [u8] {
    if is_tunnel { &[0, 3, 0, 0, 0, 0, 0, 1] } else { &[] }
}

/// Large kernel buffers, so that the generator's own sockets are not where frames are lost.
fn enlarge_buffers(socket: impl AsFd) -> io::Result<()> {
    const BUFFER_BYTES: usize = 4 << 20;
    rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, BUFFER_BYTES)?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
    Ok(())
}

/// Tries until the device is there, or two seconds are over.
fn retried<T>(mut connect: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        match connect() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            answer => return answer,
        }
    }
}

/// Sorts out the errors that only say that nothing could be sent now: full buffers, a device that is restarting.
fn taken(answer: io::Result<usize>) -> io::Result<usize> {
    let Err(error) = answer else { return answer };
    let for_now = matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused
    ) || error.raw_os_error() == Some(libc::ENOBUFS);
    if for_now { Ok(0) } else { Err(error) }
}

#[cfg(test)]
mod test;
