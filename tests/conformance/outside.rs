//! The other ends of queues: real kernel objects, with the test in the place of a peer.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use framewire_dataplane::driver::{AnyQueue, Queue};
use framewire_shared::driver::{
    Batching, Carrier, Cookies, Counter, DgramOptions, DriverOptions, L2tpv3Options, TapOptions,
};
use framewire_shared::region::Mapping;
use framewire_shared::stream_memory::StreamMemory;
use framewire_tests::frames::numbered;
use framewire_tests::namespace::Namespace;
use framewire_tests::packet::PacketSocket;
use framewire_tests::scratch::Scratch;
use framewire_tests::tun;
use framewire_tests::udp;
use framewire_tests::wait::wait_until;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::bench::{queue, queue_of};

/// Who is at the other end of a queue.
pub(crate) trait Outside {
    /// Sends a frame to the queue. It must have room.
    fn give(&mut self, frame: &[u8]);

    /// The next frame that the queue has sent, if there is one soon.
    fn take(&mut self) -> Option<Vec<u8>>;

    /// How many frames may be given before the queue must receive some.
    fn gives_at_most(&self) -> usize {
        200
    }
}

/// A queue and its other end.
pub(crate) type Subject = (AnyQueue, Box<dyn Outside>);

/// How long a frame may be under way inside the kernel.
const SOON: Duration = Duration::from_millis(500);

/// A socket of the test's own.
pub(crate) struct Socket(pub(crate) OwnedFd);

impl Outside for Socket {
    fn give(&mut self, frame: &[u8]) {
        assert_eq!(rustix::net::send(&self.0, frame, SendFlags::empty()).unwrap(), frame.len());
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 70_000];
        let timeout = Timespec::try_from(SOON).unwrap();
        rustix::event::poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)).unwrap();
        let (len, _all) = rustix::net::recv(&self.0, &mut bytes[..], RecvFlags::DONTWAIT).ok()?;
        bytes.truncate(len);
        Some(bytes)
    }

    fn gives_at_most(&self) -> usize {
        // `net.unix.max_dgram_qlen` is 10 unless somebody has changed it.
        10
    }
}

fn dgram(batching: Batching, remote: &[u8]) -> DriverOptions {
    DriverOptions::Dgram(DgramOptions::new(batching, remote).unwrap())
}

/// A connected pair of unix sockets.
pub(crate) fn unix_pair() -> Subject {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
    (unix_queue(ours), Box::new(Socket(theirs)))
}

/// A unix socket that names its peer with each datagram.
pub(crate) fn unix_named() -> Subject {
    let scratch = Scratch::new();
    let (ours, theirs) = (bound(&scratch.file("ours")), bound(&scratch.file("theirs")));
    rustix::net::connect(&theirs, &SocketAddrUnix::new(scratch.file("ours")).unwrap()).unwrap();
    let remote = unix_address(&scratch.file("theirs"));
    let outside = Named { socket: Socket(theirs), _scratch: scratch };
    (queue(&dgram(Batching::Single, &remote), ours), Box::new(outside))
}

struct Named {
    socket: Socket,
    _scratch: Scratch,
}

impl Outside for Named {
    fn give(&mut self, frame: &[u8]) {
        self.socket.give(frame);
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.socket.take()
    }

    fn gives_at_most(&self) -> usize {
        self.socket.gives_at_most()
    }
}

fn bound(path: &Path) -> OwnedFd {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

/// As the kernel has it: the family, the path, a zero.
fn unix_address(path: &Path) -> Vec<u8> {
    let family = u16::try_from(libc::AF_UNIX).unwrap().to_ne_bytes();
    [&family[..], path.as_os_str().as_bytes(), &[0]].concat()
}

/// The queues of two unix sockets that are each other's peer.
pub(crate) fn unix_queues() -> [AnyQueue; 2] {
    let (a, b) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
    [a, b].map(unix_queue)
}

/// The queue of a connected unix socket.
pub(crate) fn unix_queue(socket: OwnedFd) -> AnyQueue {
    queue(&dgram(Batching::Single, &[]), socket)
}

/// The queue of a connected UDP socket.
pub(crate) fn udp_connected_queue(socket: UdpSocket) -> AnyQueue {
    queue(&dgram(Batching::Udp, &[]), socket.into())
}

/// The queue of a UDP socket that sends to an address.
pub(crate) fn udp_queue(socket: UdpSocket, to: SocketAddr) -> AnyQueue {
    queue(&dgram(Batching::Udp, &udp::address(to)), socket.into())
}

/// A UDP socket that sends to an address, and takes and gives runs.
pub(crate) fn udp_runs() -> Subject {
    let (ours, theirs) = (udp::bound("127.0.0.1:0"), udp::bound("127.0.0.1:0"));
    udp::receive_runs(&ours);
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    let to = theirs.local_addr().unwrap();
    (udp_queue(ours, to), Box::new(Udp(Socket(theirs.into()))))
}

/// A connected UDP socket whose peer sends one datagram at a time.
pub(crate) fn udp_connected() -> Subject {
    let (ours, theirs) = (udp::bound("127.0.0.1:0"), udp::bound("127.0.0.1:0"));
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    ours.connect(theirs.local_addr().unwrap()).unwrap();
    (udp_connected_queue(ours), Box::new(Udp(Socket(theirs.into()))))
}

struct Udp(Socket);

impl Outside for Udp {
    fn give(&mut self, frame: &[u8]) {
        self.0.give(frame);
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.0.take()
    }
}

/// One end of a pseudowire over UDP with everything that a header may have.
pub(crate) fn l2tpv3_udp() -> Subject {
    let (ours, theirs) = (udp::bound("127.0.0.1:0"), udp::bound("127.0.0.1:0"));
    udp::receive_runs(&ours);
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    let dgram = DgramOptions::new(Batching::Udp, &udp::address(theirs.local_addr().unwrap())).unwrap();
    let options = L2tpv3Options::new(dgram, Carrier::Udp, 1, 2)
        .with_cookies(Cookies { send: 3, receive: 4, is_64_bit: true })
        .with_counter(Counter::Counting)
        .with_offset(100);
    (
        queue(&DriverOptions::L2tpv3(options), ours.into()),
        Box::new(Tunnel { socket: theirs.into(), received: 0 }),
    )
}

/// The other end.
struct Tunnel {
    socket: OwnedFd,
    received: u32,
}

impl Tunnel {
    fn header(session: u8, cookie: u8, counter: u32) -> Vec<u8> {
        let fixed = [0, 3, 0, 0, 0, 0, 0, session, 0, 0, 0, 0, 0, 0, 0, cookie];
        [&fixed[..], &counter.to_be_bytes(), &[0; 100]].concat()
    }
}

impl Outside for Tunnel {
    fn give(&mut self, frame: &[u8]) {
        let datagram = [&Self::header(2, 4, 0), frame].concat();
        assert_eq!(rustix::net::send(&self.socket, &datagram, SendFlags::empty()), Ok(datagram.len()));
    }

    /// Each has the number that follows.
    fn take(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 70_000];
        let timeout = Timespec::try_from(SOON).unwrap();
        rustix::event::poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)).unwrap();
        let (len, _all) = rustix::net::recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT).ok()?;
        self.received += 1;
        let header = Self::header(1, 3, self.received);
        assert_eq!(bytes[..header.len()], header);
        Some(bytes[header.len()..len].to_vec())
    }
}

/// A unix stream socket.
pub(crate) fn stream_unix() -> Subject {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    (stream_queue(ours.into()), Box::new(Framed { socket: Socket(theirs.into()), unread: Vec::new() }))
}

/// A TCP connection whose buffers are small.
pub(crate) fn stream_tcp() -> Subject {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 16 << 10).unwrap();
    let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    ours.set_nodelay(true).unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&ours, 16 << 10).unwrap();
    let (theirs, _address) = listener.accept().unwrap();
    theirs.set_nodelay(true).unwrap();
    (stream_queue(ours.into()), Box::new(Framed { socket: Socket(theirs.into()), unread: Vec::new() }))
}

/// The queue of a connected stream socket.
pub(crate) fn stream_queue(socket: OwnedFd) -> AnyQueue {
    queue_of(&DriverOptions::Stream, vec![socket, Mapping::<StreamMemory>::create().unwrap()])
}

/// A peer that puts each frame behind its length.
struct Framed {
    socket: Socket,
    unread: Vec<u8>,
}

impl Outside for Framed {
    fn give(&mut self, frame: &[u8]) {
        let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.socket.give(&[&len, frame].concat());
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((len, rest)) = self.unread.split_first_chunk()
                && let Some(frame) = rest.get(..u32::from_be_bytes(*len) as usize)
            {
                let frame = frame.to_vec();
                self.unread.drain(..4 + frame.len());
                return Some(frame);
            }
            self.unread.extend(self.socket.take()?);
        }
    }

    fn gives_at_most(&self) -> usize {
        // The kernel charges small pieces several times their size.
        8
    }
}

/// A tap in a network namespace of its own, with a packet socket on the interface.
pub(crate) struct TapOutside {
    pub(crate) namespace: Namespace,
    pub(crate) socket: PacketSocket,
}

impl Outside for TapOutside {
    fn give(&mut self, frame: &[u8]) {
        self.socket.send(frame);
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.socket.receive(SOON)
    }
}

/// A tap without a header before its frames.
pub(crate) fn tap_plain() -> Subject {
    let (queue, outside) = tap(false);
    (queue, Box::new(outside))
}

/// A tap with a virtio-net header before its frames.
pub(crate) fn tap_with_header() -> Subject {
    let (queue, outside) = tap(true);
    (queue, Box::new(outside))
}

pub(crate) fn tap(has_header: bool) -> (AnyQueue, TapOutside) {
    let namespace = Namespace::new();
    let queue = tap_queue(&namespace, "t0", has_header);
    namespace.ip("link set dev t0 up");
    let socket = PacketSocket::open(&namespace, "t0");
    (queue, TapOutside { namespace, socket })
}

/// A queue on a new tap, which is down.
pub(crate) fn tap_queue(namespace: &Namespace, name: &str, has_header: bool) -> AnyQueue {
    let descriptor = tun::open(namespace, name, tun::TAP | if has_header { tun::VNET_HDR } else { 0 });
    rustix::io::ioctl_fionbio(&descriptor, true).unwrap();
    queue(&DriverOptions::Tap(TapOptions { vnet_header: u32::from(has_header) }), descriptor)
}

/// A UDP socket behind an interface that sends slowly.
pub(crate) fn slow_udp() -> Subject {
    let (near, far) = (Namespace::new(), Namespace::new());
    slow_link(&near);
    near.give("v1", &far, "10.0.0.2/24");
    near.address("v0", "10.0.0.1/24");
    let ours = near.run(|| udp::bound("10.0.0.1:5000"));
    let theirs = far.run(|| udp::bound("10.0.0.2:5000"));
    ours.connect("10.0.0.2:5000").unwrap();
    // What waits for the neighbour's address is sent beside what comes after it, and may be overtaken.
    ours.send(&[0]).unwrap();
    wait_until("the neighbour", || theirs.recv(&mut [0]).is_ok());
    rustix::net::sockopt::set_socket_send_buffer_size(&ours, 8192).unwrap();
    let outside = Slow { outside: Udp(Socket(theirs.into())), _namespace: near };
    (udp_connected_queue(ours), Box::new(outside))
}

/// A tap bridged to an interface that sends slowly: what is written to it is charged to it until it has
/// left there.
pub(crate) fn slow_tap() -> Subject {
    let (near, far) = (Namespace::new(), Namespace::new());
    slow_link(&near);
    near.give("v1", &far, "10.0.0.2/24");
    let descriptor = tun::open(&near, "t0", tun::TAP | tun::VNET_HDR);
    rustix::io::ioctl_fionbio(&descriptor, true).unwrap();
    tun::limit_send_buffer(&descriptor, 8192);
    near.ip("link add br0 type bridge");
    for interface in ["t0", "v0", "br0"] {
        if interface != "br0" {
            near.ip(&format!("link set dev {interface} master br0"));
        }
        near.ip(&format!("link set dev {interface} up"));
    }
    let socket = PacketSocket::open(&far, "v1");
    // A new bridge drops frames until its interfaces are found to work.
    wait_until("the bridge to forward", || {
        let probe = [&[0; 10][..], &numbered(0, 60)].concat();
        rustix::io::write(&descriptor, &probe).unwrap();
        socket.receive(Duration::from_millis(20)).is_some()
    });
    while socket.receive(SOON).is_some() {}
    let outside = Slow { outside: TapOutside { namespace: far, socket }, _namespace: near };
    (queue(&DriverOptions::Tap(TapOptions { vnet_header: 1 }), descriptor), Box::new(outside))
}

fn slow_link(namespace: &Namespace) {
    namespace.ip("link add v0 type veth peer name v1");
    namespace.call("tc qdisc add dev v0 root tbf rate 8mbit burst 3000 limit 10000000");
}

struct Slow<O> {
    outside: O,
    _namespace: Namespace,
}

impl<O: Outside> Outside for Slow<O> {
    fn give(&mut self, frame: &[u8]) {
        self.outside.give(frame);
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.outside.take()
    }
}

/// Waits until the queue has something to receive.
pub(crate) fn wait_readable(queue: &AnyQueue) {
    let descriptor = queue.descriptor().expect("drivers of kernel objects have one");
    wait_until("the queue to have something", || udp::readable(descriptor));
}
