//! Children: the data plane, which must not die with us, and scripts, which are waited for.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::signals;

/// A process that was started, or found.
#[derive(Debug)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It was not our child, so nobody tells us.
    Unknown,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            End::Exited(status) => write!(f, "exit status {status}"),
            End::Signalled(number) => match signal_name(number) {
                Some(name) => write!(f, "signal {number} ({name})"),
                None => write!(f, "signal {number}"),
            },
            End::Unknown => f.write_str("status unknown: it was started by another control plane"),
        }
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGILL => "SIGILL",
        libc::SIGFPE => "SIGFPE",
        _other => return None,
    })
}

/// The number under which the data plane finds its socket.
const HANDOVER: i32 = 3;

impl Process {
    /// Starts a program with one descriptor besides the standard three, in a process group of its own: neither
    /// a terminal's interrupt nor our own end reaches it. It stays in our session, since the scheduler weighs
    /// sessions against each other, and whoever gave ours a weight meant all of Framewire.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(program: &Path, descriptor: OwnedFd) -> io::Result<Self> {
        // SAFETY: it does nothing.
        let child = unsafe { spawn(program, descriptor, || Ok(())) }?;
        let pid = Pid::from_child(&child);
        // Its number is ours until we wait for it, so this finds no other process.
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Process { pid, pidfd })
    }

    /// Finds a process that somebody else has started.
    ///
    /// # Errors
    /// If it has ended.
    pub fn find(pid: Pid) -> io::Result<Self> {
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Process { pid, pidfd })
    }

    /// Ends it without asking.
    pub fn kill(&self) {
        // It may have ended by itself.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// How it ended; `None` as long as it runs.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            Ok(None) => None,
            Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(status), _) => End::Exited(status),
                (None, Some(signal)) => End::Signalled(signal),
                (None, None) => End::Unknown,
            }),
            // Not our child. Its pidfd becomes readable all the same.
            Err(_errno) => is_readable(&self.pidfd).then_some(End::Unknown),
        }
    }
}

fn is_readable(descriptor: &OwnedFd) -> bool {
    let mut poll = [rustix::event::PollFd::new(descriptor, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut poll, Some(&rustix::time::Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// As [`Process::start`], but the process is nobody's child: it may end when it likes, and nobody needs to wait for it.
///
/// # Errors
/// If it cannot be started.
pub fn start_detached(program: &Path, descriptor: OwnedFd) -> io::Result<()> {
    // SAFETY: it only makes system calls.
    unsafe { spawn(program, descriptor, leave_to_a_child) }?.wait().map(|_the_one_between| ())
}

/// Starts a program with a descriptor under its number; `last` is done right before it runs.
///
/// # Safety
/// `last` runs between fork and exec: it may make system calls, but must not allocate or take a lock.
unsafe fn spawn(
    program: &Path,
    descriptor: OwnedFd,
    last: impl Fn() -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<Child> {
    // The standard library reports a failed exec through a pipe of its own, which must not get the number
    // that `place` is about to overwrite: this takes the number if it is free.
    let _taken = rustix::io::fcntl_dupfd_cloexec(&descriptor, HANDOVER)?;
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begin = move || {
        rustix::process::setpgid(None, None)?;
        signals::unblock_all()?;
        place(&descriptor)?;
        last()
    };
    // SAFETY: between fork and exec it only makes system calls, and the caller vouches for `last`: no allocation,
    // no lock.
    unsafe { command.pre_exec(begin) };
    command.spawn()
}

/// Goes on in a child of this process, and ends this one. Runs between fork and exec.
fn leave_to_a_child() -> io::Result<()> {
    // SAFETY: the process has one thread, being a child that has not executed anything yet; so has the new one.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(()),
        // SAFETY: ends at once, as a child that did not become a program must.
        _child => unsafe { libc::_exit(0) },
    }
}

/// Puts the descriptor under its number, where it survives exec. Runs between fork and exec.
fn place(descriptor: &OwnedFd) -> io::Result<()> {
    use std::os::fd::{AsRawFd, FromRawFd};
    if descriptor.as_raw_fd() == HANDOVER {
        return Ok(rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?);
    }
    // SAFETY: whatever this number is in the child, nobody there uses it before exec; and the value is
    // forgotten below, so nothing closes it.
    let mut target = std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(HANDOVER) });
    Ok(rustix::io::dup2(descriptor, &mut target)?)
}

/// Lets a child have a descriptor, under the number that it has here, and signals as programs expect them.
pub fn lend(command: &mut Command, descriptor: OwnedFd) {
    let begin = move || {
        rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::empty())?;
        signals::unblock_all()
    };
    // SAFETY: between fork and exec it only makes system calls: no allocation, no lock.
    unsafe { command.pre_exec(begin) };
}

/// Runs a script of a tap with its interface's name, and waits for it.
///
/// # Errors
/// Its raw status, as `wait` tells it: what QEMU's text contains.
pub fn run_script(script: &str, interface: &str) -> Result<(), i32> {
    use std::os::unix::process::ExitStatusExt;
    let mut command = Command::new(script);
    command.arg(interface).stdin(Stdio::null());
    // SAFETY: between fork and exec it only makes a system call.
    unsafe { command.pre_exec(signals::unblock_all) };
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.into_raw()),
        // As if the child had got no further than exec.
        Err(error) => {
            log::warn!("{script}: {error}");
            Err(EXEC_FAILED)
        }
    }
}

/// The raw status of a child that could not become the script.
const EXEC_FAILED: i32 = 1 << 8;

#[cfg(test)]
mod test {
    use super::*;
    use rustix::event::{EventfdFlags, PollFd, PollFlags};

    fn ends(process: &Process) -> End {
        rustix::event::poll(&mut [PollFd::new(&process.pidfd, PollFlags::IN)], None).unwrap();
        process.ended().unwrap()
    }

    fn descriptor() -> OwnedFd {
        rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap()
    }

    #[test]
    fn child_that_was_killed_says_by_what() {
        let process = Process::start(Path::new("/bin/cat"), descriptor()).unwrap();
        // Its input is empty, so it may also have ended by itself by now.
        process.kill();
        assert!(matches!(ends(&process), End::Signalled(libc::SIGKILL) | End::Exited(0)));
        assert_eq!(End::Signalled(9).to_string(), "signal 9 (SIGKILL)");
    }

    #[test]
    fn signals_that_are_blocked_here_reach_children() {
        let outcome = std::thread::spawn(|| {
            let _blocked = signals::Signals::collect().unwrap();
            let script = std::env::temp_dir().join(format!("framewire-signal-{}", std::process::id()));
            std::fs::write(&script, "kill -TERM $$\n").unwrap();
            // Executed by its interpreter: nobody can execute what another thread's child still holds open.
            let outcome = run_script("/bin/sh", script.to_str().unwrap());
            std::fs::remove_file(script).unwrap();
            outcome
        });
        assert_eq!(outcome.join().unwrap(), Err(libc::SIGTERM));
    }

    #[test]
    fn program_that_is_missing_is_an_error() {
        let error = Process::start(Path::new("/nowhere/x"), descriptor()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn script_gets_the_interface_and_its_status_comes_back_raw() {
        assert_eq!(run_script("/bin/true", "n0"), Ok(()));
        assert_eq!(run_script("/bin/false", "n0"), Err(256));
        assert_eq!(run_script("/nowhere/x", "n0"), Err(256));
    }
}
