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
//! It has the host's network, and nothing else of the host's: no capability, no file, no call but those named below.

use std::error::Error;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use framewire_shared::confinement::{self, Network, Use};
use framewire_shared::driver::user::{STOCKS, Stock};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, ipproto,
};

/// Where the pipes are handed over.
const HANDOVER: i32 = 3;
/// Sockets in one message.
const BATCH: usize = 8;
/// How long to wait when the kernel has no more sockets, or too many are on their way.
const PAUSE: Duration = Duration::from_millis(20);

/// What it does, besides what any process needs.
const SYSTEM_CALLS: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_clock_nanosleep,
    libc::SYS_socket,
    libc::SYS_setsockopt,
    libc::SYS_sendmsg,
    libc::SYS_close,
];

/// Sockets of which kinds it makes, and what it sets in them. Which protocol belongs to a kind the kernel knows.
const USES: &[Use] = &[
    of_kind(&[(0, libc::AF_INET.unsigned_abs() as u64), (1, STREAM)]),
    of_kind(&[(0, libc::AF_INET.unsigned_abs() as u64), (1, DATAGRAM)]),
    of_kind(&[(0, libc::AF_INET6.unsigned_abs() as u64), (1, STREAM)]),
    of_kind(&[(0, libc::AF_INET6.unsigned_abs() as u64), (1, DATAGRAM)]),
    with_option(&[
        (1, libc::IPPROTO_TCP.unsigned_abs() as u64),
        (2, libc::TCP_NODELAY.unsigned_abs() as u64),
    ]),
    with_option(&[
        (1, libc::IPPROTO_IPV6.unsigned_abs() as u64),
        (2, libc::IPV6_V6ONLY.unsigned_abs() as u64),
    ]),
];
const STREAM: u64 = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).unsigned_abs() as u64;
const DATAGRAM: u64 = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).unsigned_abs() as u64;

const fn of_kind(arguments: &'static [(u8, u64)]) -> Use {
    Use { call: libc::SYS_socket, arguments }
}

const fn with_option(arguments: &'static [(u8, u64)]) -> Use {
    Use { call: libc::SYS_setsockopt, arguments }
}

fn main() -> ExitCode {
    // SAFETY: whoever starts this program passes the socket under this number; nothing else here uses it.
    let handover = unsafe { OwnedFd::from_raw_fd(HANDOVER) };
    let Some(pipes) = receive(&handover) else { return ExitCode::from(2) };
    drop(handover);
    if confine().is_err() {
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

/// Leaves it nothing but its pipes and the host's network, which is what it is for. Where the kernel allows no namespaces
/// it keeps sight of the file system, but the filter lets it open nothing there.
fn confine() -> Result<(), Box<dyn Error>> {
    confinement::give_up_privileges(Network::Starters)?;
    Ok(confinement::shut_the_door(&confinement::filter(SYSTEM_CALLS, USES)?)?)
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

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn filter_lets_every_stock_be_made_and_nothing_else() {
        // The filter holds for the thread that applies it, so the test's own ends with it.
        let outcome = std::thread::spawn(|| {
            let filter = confinement::filter(SYSTEM_CALLS, USES).unwrap();
            seccompiler::apply_filter(&filter).unwrap();
            let stocks = Stock::ALL.map(|stock| open(stock).err());
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let local = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
            let raw =
                rustix::net::socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(ipproto::ICMP));
            let stream = open(Stock::Tcp4).unwrap();
            let set = rustix::net::sockopt::set_socket_reuseaddr(&stream, true);
            let connected = rustix::net::connect(&stream, &std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
            let opened = rustix::fs::open("/", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
            (stocks, [local.err(), raw.err(), set.err(), connected.err(), opened.err()])
        });
        let (stocks, others) = outcome.join().unwrap();
        // What the host does not allow or have is refused by another number.
        assert!(!stocks.contains(&Some(Errno::PERM)), "{stocks:?}");
        assert_eq!(others, [Some(Errno::PERM); 5]);
    }
}
