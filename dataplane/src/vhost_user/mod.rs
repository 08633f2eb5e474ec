//! vhost-user, the back end's side: how a front end tells what a guest's NIC is made of.
//!
//! **Problem.** The front end is hostile, or its guest has taken it over. It may send anything, with any
//! descriptors, a byte at a time, and change its mind while frames flow; and the thread that listens to it serves all
//! other guests as well.
//!
//! **Rejected.** The `vhost` crates: they block on the socket, run a thread for each connection, and hand out memory
//! tables behind traits that the rings here do not need. One function that does it all: every back end that began so
//! has one of seven hundred lines.
//!
//! **Chosen.** Four steps, each its own file. A [`connection`] reads bytes without ever waiting; a [`request`] is
//! what they say, with exactly the descriptors that belong to it; a [`device`] is what has been agreed on, and says what a
//! request changes; a [`session`] has the workers give back the queues that a request disturbs, changes the device,
//! makes the queues anew and answers. So nothing changes under a worker's hands, and no lock is needed.
//!
//! A front end may leave the guest's own configuration to us as well: its [`control`] queue is a ring whose commands are
//! requests like the front end's.
//!
//! What must not be lost with this process lies in the session's [`safe`].

pub mod choice;
mod config;
pub mod connection;
mod control;
pub mod device;
mod offers;
pub mod request;
mod ring;
mod safe;
pub mod seats;
pub mod session;
mod sessions;
mod words;

pub use sessions::Sessions;

/// System calls made here, for the data plane's filter.
pub const SYSTEM_CALLS: &[libc::c_long] =
    &[libc::SYS_recvmsg, libc::SYS_sendmsg, libc::SYS_shutdown, libc::SYS_fstat, libc::SYS_ioctl];
