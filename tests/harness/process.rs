//! Processes that a test starts, and processes that those start.
//!
//! Each ends with the test: killed when its handle is dropped, and by the kernel when the test's thread dies without
//! dropping anything. What it prints is kept in a file and shown when the test fails. Another process, such as a data
//! plane that a control plane started, is held by a pidfd: a number alone may come to mean somebody else.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use rustix::thread::LinkNameSpaceType;

use crate::scratch::Scratch;

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// A process that this test started.
#[derive(Debug)]
pub struct Process {
    child: Child,
    watch: Watched,
    name: String,
    log: PathBuf,
    _scratch: Scratch,
}

impl Process {
    /// Starts `command` in the test's own network namespace.
    #[track_caller]
    #[must_use]
    pub fn start(command: Command) -> Self {
        Self::start_in(None, command)
    }

    /// Starts `command`, in the network namespace behind the descriptor if one is given.
    #[track_caller]
    #[must_use]
    pub fn start_in(namespace: Option<BorrowedFd<'_>>, mut command: Command) -> Self {
        let name = describe(&command);
        let scratch = Scratch::new();
        let log = scratch.file("log");
        let output = std::fs::File::create(&log).expect("a log file can be made");
        command.stdin(Stdio::null());
        command.stderr(output.try_clone().expect("a descriptor is free"));
        command.stdout(output);
        prepare(&mut command, namespace);
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        let watch = Watched::find(child.id()).expect("a child that was not waited for is there");
        Self { child, watch, name, log, _scratch: scratch }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.watch.pid()
    }

    /// What it printed so far, both streams together.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// False once it has ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.watch.is_running()
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        assert!(
            self.watch.ends_within(patience),
            "{} still runs after {patience:?}\n{}",
            self.name,
            self.log()
        );
        self.child.wait().expect("a child can be waited for")
    }

    /// Asks it to end, and insists if it does not.
    pub fn terminate(&mut self) -> ExitStatus {
        self.watch.signal(Signal::TERM);
        if !self.watch.ends_within(GRACE) {
            self.watch.signal(Signal::KILL);
        }
        self.child.wait().expect("a child can be waited for")
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) -> ExitStatus {
        self.watch.signal(Signal::KILL);
        self.child.wait().expect("a child can be waited for")
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "the test runner shows it beside the failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} (pid {}) printed:\n{}---", self.name, self.pid(), self.log());
        }
        self.kill();
    }
}

/// Runs `command` to its end and returns what it printed; panics if it fails.
#[track_caller]
pub fn run(namespace: Option<BorrowedFd<'_>>, mut command: Command) -> String {
    let name = describe(&command);
    command.stdin(Stdio::null());
    prepare(&mut command, namespace);
    let output = command.output().unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A command with its arguments in one line, split at blanks.
#[must_use]
pub fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a command has a name"));
    command.args(words);
    command
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Makes the child enter the namespace and die with the thread that starts it.
fn prepare(command: &mut Command, namespace: Option<BorrowedFd<'_>>) {
    let namespace = namespace.map(|fd| fd.try_clone_to_owned().expect("a descriptor is free"));
    let between_fork_and_exec = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if let Some(fd) = &namespace {
            rustix::thread::move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only calls that are safe in a signal handler are allowed; the closure makes two
    // system calls, and neither allocates nor takes a lock.
    unsafe { command.pre_exec(between_fork_and_exec) };
}

/// Any process, held so that its number cannot come to mean another one.
#[derive(Debug)]
pub struct Watched {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Watched {
    /// Holds the process with this number, if there is one.
    #[must_use]
    pub fn find(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { pid, pidfd })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// False once it has ended, even if nobody has waited for it yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.ends_within(Duration::ZERO)
    }

    /// Waits for its end; false if it still runs then.
    #[must_use]
    pub fn ends_within(&self, patience: Duration) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let timeout = Timespec::try_from(patience).expect("a test's patience is short");
        // An interrupted wait counts as "still runs": the callers ask with seconds in hand, or ask again.
        rustix::event::poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
    }

    /// Sends a signal; one that has ended already is left in peace.
    pub fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }

    /// kill -9, and waits until it is gone.
    #[track_caller]
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        assert!(self.ends_within(GRACE), "process {} survives kill -9", self.pid());
        // It may be our child if its parent died before it and this process adopts orphans.
        let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// The running processes whose parent is `parent` and whose program has this file name.
#[must_use]
pub fn children(parent: u32, program: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("/proc is mounted");
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| parent_of(pid) == Some(parent) && runs(pid, program)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn runs(pid: u32, program: &str) -> bool {
    let link = std::fs::read_link(format!("/proc/{pid}/exe"));
    link.is_ok_and(|path| Path::new(&path).file_name() == Some(OsStr::new(program)))
}
