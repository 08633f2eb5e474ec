//! The well: makes sockets, and gives them to the data plane through pipes of sockets.
//!
//! **Problem.** Who parses what hostile guests send must not be able to open sockets: taken over, it could reach whatever
//! the host can. But every connection of a guest needs one, at once.
//!
//! **Rejected.** To ask the control plane for each: a round trip a connection, and none while it restarts. To let the data
//! plane make them behind a filter: it would have to live in the host's network.
//!
//! **Chosen.** This process makes sockets before anybody asks. It has no input but the pipes that it is born with, parses
//! nothing, keeps nothing. It puts some into each pipe until that is full, sleeps until there is room, and ends when the
//! other ends are gone: with the network that they belonged to. That a network is restricted means that it has no well.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use framewire_shared::driver::user::{STOCKS, Stock};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, ipproto,
};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Where the pipes are handed over.
const HANDOVER: i32 = 3;
/// Sockets in one message.
const BATCH: usize = 8;
/// Who is nobody, everywhere.
const NOBODY: u32 = 65534;
/// How long to wait when the kernel has no more sockets, or too many are on their way.
const PAUSE: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    // SAFETY: whoever starts this program passes the socket under this number; nothing else here uses it.
    let handover = unsafe { OwnedFd::from_raw_fd(HANDOVER) };
    let Some(pipes) = receive(&handover) else { return ExitCode::from(2) };
    drop(handover);
    if give_up_privileges().is_err() {
        return ExitCode::FAILURE;
    }
    serve(pipes.into_iter().zip(Stock::ALL).collect());
    ExitCode::SUCCESS
}

/// The pipes, in the order of [`Stock`].
fn receive(handover: &OwnedFd) -> Option<Vec<OwnedFd>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STOCKS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(handover, &mut [std::io::IoSliceMut::new(&mut byte)], &mut ancillary, flags).ok()?;
    let mut pipes = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            pipes.extend(rights);
        }
    }
    (pipes.len() == STOCKS).then_some(pipes)
}

/// Nobody, without capabilities, for good. It stays in the host's network: that is what it is for.
fn give_up_privileges() -> rustix::io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    if rustix::process::geteuid().is_root() {
        let (user, group) = (rustix::process::Uid::from_raw(NOBODY), rustix::process::Gid::from_raw(NOBODY));
        let changed = rustix::thread::set_thread_groups(&[])
            .and_then(|()| rustix::thread::set_thread_res_gid(group, group, group))
            .and_then(|()| rustix::thread::set_thread_res_uid(user, user, user));
        match changed {
            // In a user namespace that maps nobody.
            Err(Errno::INVAL | Errno::PERM) | Ok(()) => {}
            Err(errno) => return Err(errno),
        }
    }
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, none)
}

/// Keeps the pipes full until all of them are gone.
fn serve(mut pipes: Vec<(OwnedFd, Stock)>) {
    while !pipes.is_empty() {
        let mut polled: Vec<_> =
            pipes.iter().map(|(pipe, _stock)| PollFd::new(pipe, PollFlags::OUT)).collect();
        // Interrupted or not, each pipe is tried.
        let _ = rustix::event::poll(&mut polled, None);
        let mut is_short = false;
        pipes.retain(|(pipe, stock)| match fill(pipe.as_fd(), *stock) {
            Ok(()) | Err(Errno::AGAIN) => true,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::TOOMANYREFS) => {
                is_short = true;
                true
            }
            // Its other end is gone, or the kernel makes no such sockets for us: the other end finds it closed.
            Err(_errno) => false,
        });
        if is_short {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Puts sockets into a pipe until it is full.
fn fill(pipe: BorrowedFd<'_>, stock: Stock) -> rustix::io::Result<()> {
    loop {
        let sockets: Vec<OwnedFd> = (0..BATCH).map(|_nth| open(stock)).collect::<Result<_, _>>()?;
        let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&sockets));
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::sendmsg(pipe, &[IoSlice::new(&[0])], &mut ancillary, flags)?;
    }
}

fn open(stock: Stock) -> rustix::io::Result<OwnedFd> {
    let (family, kind, protocol) = match stock {
        Stock::Tcp4 => (AddressFamily::INET, SocketType::STREAM, None),
        Stock::Udp4 => (AddressFamily::INET, SocketType::DGRAM, None),
        Stock::Ping4 => (AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP)),
        Stock::Tcp6 => (AddressFamily::INET6, SocketType::STREAM, None),
        Stock::Udp6 => (AddressFamily::INET6, SocketType::DGRAM, None),
        Stock::Ping6 => (AddressFamily::INET6, SocketType::DGRAM, Some(ipproto::ICMPV6)),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, protocol)?;
    if kind == SocketType::STREAM {
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
    }
    if family == AddressFamily::INET6 {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}
