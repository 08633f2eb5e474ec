//! Starts a well: the process that makes sockets for a network that is made up (`src/bin/framewire-well.rs`).
//!
//! It is nobody's child: it ends when the network does, whichever of our processes is left by then, and nobody has to
//! wait for it. So it is started by a shell of itself that forks and ends.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use framewire_shared::driver::user::STOCKS;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};

use super::process::start_detached;

/// The program, beside our own.
const WELL: &str = "framewire-well";

/// What a pipe holds: a few messages. Descriptors on their way count against a user's limit.
const PIPE_BYTES: usize = 4096;

/// Starts one. Returns where its sockets come out, in the order of the stocks.
///
/// # Errors
/// If the program is missing, or the kernel makes no pipes.
pub fn start() -> io::Result<Vec<OwnedFd>> {
    let (mut ours, mut theirs) = (Vec::with_capacity(STOCKS), Vec::with_capacity(STOCKS));
    for _stock in 0..STOCKS {
        let (out, into) = pair()?;
        sockopt::set_socket_send_buffer_size(&into, PIPE_BYTES)?;
        ours.push(out);
        theirs.push(into);
    }
    let (parent, child) = pair()?;
    let rights: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STOCKS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&rights));
    rustix::net::sendmsg(&parent, &[io::IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)?;
    start_detached(&program()?, child)?;
    Ok(ours)
}

fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

fn program() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.with_file_name(WELL))
}
