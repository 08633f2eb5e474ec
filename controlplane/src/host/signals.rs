//! Signals as something to read, so that nothing ever runs in between.

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd};

/// The signals that end or disturb a daemon, blocked and collected.
#[derive(Debug)]
pub struct Signals {
    file: File,
}

/// What is asked of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To end (`SIGTERM`, `SIGINT`).
    End,
    /// Nothing: the terminal went away (`SIGHUP`).
    Nothing,
}

impl Signals {
    /// Blocks them for this thread and those that it starts. Children inherit this: see [`unblock_all`].
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn collect() -> io::Result<Self> {
        let mut set = empty_set();
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            // SAFETY: an initialised set and a valid number.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        // SAFETY: an initialised set; the old mask is not wanted.
        let blocked = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        // SAFETY: an initialised set; -1 asks for a new descriptor.
        let descriptor =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nothing else owns.
        let file = unsafe { File::from_raw_fd(descriptor) };
        Ok(Signals { file })
    }

    /// The next one that waits.
    pub fn take(&mut self) -> Option<Asked> {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        self.file.read_exact(&mut record).ok()?;
        // The record begins with the signal's number.
        let number = u32::from_ne_bytes(*record.first_chunk()?);
        let is_hangup = number == libc::SIGHUP.unsigned_abs();
        Some(if is_hangup { Asked::Nothing } else { Asked::End })
    }
}

/// Lets all signals through again: for children, between fork and exec, where nothing may be allocated.
///
/// # Errors
/// If the kernel refuses.
pub fn unblock_all() -> io::Result<()> {
    let set = empty_set();
    // SAFETY: an initialised set; the old mask is not wanted.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: initialises the set that it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the line above initialised it.
    unsafe { set.assume_init() }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn signals_are_read_and_do_not_end_the_process() {
        // Signals are blocked for the thread that collects them, so the test has its own.
        let outcome = std::thread::spawn(|| {
            let mut signals = Signals::collect().unwrap();
            // SAFETY: no arguments.
            let this_thread = unsafe { libc::pthread_self() };
            for signal in [libc::SIGHUP, libc::SIGTERM] {
                // SAFETY: sends a blocked signal to this thread alone, which lives.
                unsafe { libc::pthread_kill(this_thread, signal) };
            }
            [signals.take(), signals.take(), signals.take()]
        });
        assert_eq!(outcome.join().unwrap(), [Some(Asked::Nothing), Some(Asked::End), None]);
    }
}
