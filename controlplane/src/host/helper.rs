//! The bridge helper: a privileged program that makes a tap, puts it into a bridge and sends us its descriptor.
//!
//! The program is QEMU's, so is the way to call it: one end of a socket pair as `--fd=N`, on which one byte with one
//! descriptor is expected. QEMU waits for as long as the program likes; here everybody would wait with it, so a
//! program that takes too long is ended, with all that it has started.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use rustix::time::Timespec;

use super::process;

/// What a helper is to do.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The program; a command line for the shell if there is a blank in it.
    pub helper: &'a str,
    /// The bridge.
    pub bridge: &'a str,
    /// How long it may take.
    pub patience: Duration,
}

/// Why there is no descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The program cannot be run, failed, or did not end in time.
    Helper,
    /// It ended well and has sent none.
    NothingSent,
    /// The socket failed, or nothing came in time.
    Socket(Errno),
}

impl Task<'_> {
    /// Runs the program to its end.
    ///
    /// # Errors
    /// [`Failure`]. What is behind [`Failure::Helper`] is logged.
    pub fn run(&self) -> Result<OwnedFd, Failure> {
        let deadline = Instant::now() + self.patience;
        let kind = (AddressFamily::UNIX, SocketType::STREAM);
        let (ours, theirs) =
            socketpair(kind.0, kind.1, SocketFlags::CLOEXEC, None).map_err(Failure::Socket)?;
        let mut child = self.start(theirs).map_err(|error| self.failed(&error))?;
        let received = wait(&ours, deadline).and_then(|()| receive(&ours));
        drop(ours);
        let ended = end_by(&mut child, deadline).map_err(|error| self.failed(&error))?;
        match (received.map_err(Failure::Socket)?, ended.success()) {
            (_, false) => Err(self.failed(&ended)),
            (None, true) => Err(Failure::NothingSent),
            (Some(descriptor), true) => Ok(descriptor),
        }
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> Failure {
        log::warn!("bridge helper {}: {why}", self.helper);
        Failure::Helper
    }

    fn start(&self, socket: OwnedFd) -> io::Result<Child> {
        let mut command = self.command(socket.as_raw_fd());
        command.stdin(Stdio::null()).process_group(0);
        // Our copy of the socket goes with the command: when the program ends, the other side hears of it.
        process::lend(&mut command, socket);
        command.spawn()
    }

    fn command(&self, socket: RawFd) -> Command {
        let Self { helper, bridge, .. } = self;
        if !helper.contains([' ', '\t']) {
            let mut command = Command::new(helper);
            command.arg("--use-vnet").arg(format!("--fd={socket}")).arg(format!("--br={bridge}"));
            return command;
        }
        let mut line = format!("{helper} --use-vnet --fd={socket}");
        if !helper.contains("--br=") {
            line += &format!(" --br={bridge}");
        }
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(line);
        command
    }
}

/// Waits until there is something to read, an end at least.
fn wait(descriptor: &OwnedFd, deadline: Instant) -> Result<(), Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_too_long| Errno::INVAL)?;
        match poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn receive(socket: &OwnedFd) -> Result<Option<OwnedFd>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0_u8; 1];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptor = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut rights) = message {
            descriptor = rights.next();
        }
    }
    Ok(descriptor)
}

/// How the program ended; one that runs for too long is made to.
fn end_by(child: &mut Child, deadline: Instant) -> io::Result<std::process::ExitStatus> {
    let pid = Pid::from_child(child);
    let ended = pidfd_open(pid, PidfdFlags::empty()).and_then(|pidfd| wait(&pidfd, deadline));
    if ended.is_err() {
        // It is our child and was not waited for, so the number is still its own.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    child.wait()
}

#[cfg(test)]
mod test {
    use super::*;

    fn task(helper: &str) -> Task<'_> {
        Task { helper, bridge: "br7", patience: Duration::from_secs(60) }
    }

    fn words(helper: &str) -> String {
        format!("{:?}", task(helper).command(9))
    }

    #[test]
    fn a_blank_makes_it_a_command_line() {
        assert_eq!(words("/h"), r#""/h" "--use-vnet" "--fd=9" "--br=br7""#);
        assert_eq!(words("/h -x"), r#""/bin/sh" "-c" "/h -x --use-vnet --fd=9 --br=br7""#);
        assert_eq!(words("/h\t--br=b"), "\"/bin/sh\" \"-c\" \"/h\\t--br=b --use-vnet --fd=9\"");
    }

    #[test]
    fn the_ways_to_fail_are_told_apart() {
        assert_eq!(task("/nowhere/helper").run().unwrap_err(), Failure::Helper);
        assert_eq!(task("/bin/false").run().unwrap_err(), Failure::Helper);
        assert_eq!(task("/bin/true").run().unwrap_err(), Failure::NothingSent);
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let begin = Instant::now();
        let slow = Task { patience: Duration::from_millis(50), ..task("sleep 60; echo") };
        assert_eq!(slow.run().unwrap_err(), Failure::Socket(Errno::TIMEDOUT));
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
}
