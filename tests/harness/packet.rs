//! A packet socket on an interface: sends and receives exact frames, as the wire behind the interface sees them.
//!
//! On a tap interface that Framewire holds, what is sent here is what Framewire reads from the tap, and what Framewire
//! writes is what is received here. The socket takes one ethertype only, so the kernel's own chatter does not show, and
//! it does not hear what it sends itself.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::frames::{ETHERTYPE_TEST, hex};
use crate::namespace::Namespace;
use crate::wait::{PATIENCE, wait_until};

/// How long silence must last to count as silence.
const SILENCE: Duration = Duration::from_millis(200);

/// Room for what comes while a test is still sending: the default holds some hundred frames.
const RECEIVE_BUFFER_BYTES: usize = 32 << 20;

/// The socket.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    interface: String,
}

impl PacketSocket {
    /// Opens one for test frames on an interface of `namespace`, which must be up.
    #[track_caller]
    #[must_use]
    pub fn open(namespace: &Namespace, interface: &str) -> Self {
        Self::open_for(namespace, interface, ETHERTYPE_TEST)
    }

    /// Opens one for frames of this ethertype.
    #[track_caller]
    #[must_use]
    pub fn open_for(namespace: &Namespace, interface: &str, ethertype: u16) -> Self {
        wait_until("the interface to take frames", || takes_frames(namespace, interface));
        let opened = namespace.run(|| open(interface, ethertype));
        let fd = opened.unwrap_or_else(|e| panic!("cannot open a packet socket on {interface}: {e}"));
        Self { fd, interface: interface.to_owned() }
    }

    /// Sends one frame.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        let sent = rustix::io::write(&self.fd, frame);
        let sent = sent.unwrap_or_else(|e| panic!("{}: sending {} failed: {e}", self.interface, hex(frame)));
        assert_eq!(sent, frame.len(), "{}: a frame was cut while sending", self.interface);
    }

    /// The next frame, if one comes in time.
    #[must_use]
    pub fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + patience;
        let mut buffer = vec![0; 70_000];
        loop {
            match rustix::net::recv(&self.fd, &mut buffer[..], rustix::net::RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    buffer.truncate(length);
                    return Some(buffer);
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => panic!("{}: receiving failed: {error}", self.interface),
            }
            let left = end.checked_duration_since(Instant::now())?;
            let timeout = Timespec::try_from(left).expect("a test's patience is short");
            let _ = rustix::event::poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&timeout));
        }
    }

    /// The next frame must be this one, byte for byte.
    #[track_caller]
    pub fn expect(&self, frame: &[u8]) {
        let got = self.receive(PATIENCE);
        let got = got.unwrap_or_else(|| panic!("{}: no frame came, wanted {}", self.interface, hex(frame)));
        assert!(got == frame, "{}: wrong frame\n   got {}\nwanted {}", self.interface, hex(&got), hex(frame));
    }

    /// No frame may come.
    #[track_caller]
    pub fn expect_silence(&self) {
        if let Some(frame) = self.receive(SILENCE) {
            panic!("{}: silence was wanted, but {} came", self.interface, hex(&frame));
        }
    }
}

/// An interface whose link comes up when its peer does (a veth) is given its queueing discipline by a worker of the
/// kernel some time later; until then it swallows what is sent and reports success.
fn takes_frames(namespace: &Namespace, interface: &str) -> bool {
    !namespace.ip(&format!("-oneline link show dev {interface}")).contains(" qdisc noop ")
}

fn open(interface: &str, ethertype: u16) -> std::io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // Protocol 0: nothing is received before bind() names interface and ethertype.
    // SAFETY: takes three integers; the result is checked before use.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: socket() has just made it, and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    ignore_own(&fd)?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&fd, RECEIVE_BUFFER_BYTES)?;
    let index = rustix::net::netdevice::name_to_index(&fd, interface)?;
    bind(&fd, index, ethertype)?;
    Ok(fd)
}

/// The kernel else shows a packet socket what others send out by the interface, too.
fn ignore_own(fd: &OwnedFd) -> std::io::Result<()> {
    let on: libc::c_int = 1;
    let size = socklen(size_of_val(&on));
    // SAFETY: the pointer and the size describe `on`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            (&raw const on).cast(),
            size,
        )
    };
    check(result).map(drop)
}

fn bind(fd: &OwnedFd, index: u32, ethertype: u16) -> std::io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).expect("address families are small"),
        sll_protocol: ethertype.to_be(),
        sll_ifindex: i32::try_from(index).expect("interface numbers are small"),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let size = socklen(size_of_val(&address));
    // SAFETY: the pointer and the size describe `address`, which outlives the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) }).map(drop)
}

fn socklen(size: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(size).expect("socket addresses are small")
}

fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::frames::numbered;

    #[test]
    fn frames_cross_a_veth_byte_for_byte_and_are_not_heard_by_their_sender() {
        crate::need!(root);
        let namespace = Namespace::new();
        namespace.ip("link add v0 type veth peer name v1");
        namespace.ip("link set dev v0 up");
        namespace.ip("link set dev v1 up");
        let (a, b) = (PacketSocket::open(&namespace, "v0"), PacketSocket::open(&namespace, "v1"));
        a.send(&numbered(1, 60));
        b.send(&numbered(2, 1514));
        b.expect(&numbered(1, 60));
        a.expect(&numbered(2, 1514));
        a.expect_silence();
        b.expect_silence();
    }
}
