//! Starting what is measured: pinned, in a session of its own, ended when this process ends.
//!
//! All that must happen between fork and exec, where Rust allows next to nothing. So the tool starts itself with the
//! word `launch`, does it there at leisure, and becomes the program wanted.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::calls::{self, Namespaces};
use crate::error::{Doing as _, Error, Result};
use crate::host::schedule;

/// The first word of the command line that [`become_program`] reads; users have no need of it.
pub const LAUNCH: &str = "launch";

/// Which network a program sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Ours.
    Shared,
    /// A new, empty one.
    New,
    /// That of another process.
    Of(u32),
}

/// A program to be started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// Processors that it may run on.
    pub cpus: Vec<usize>,
    /// The network that it sees.
    pub network: Network,
    /// Where its output goes.
    pub log: PathBuf,
}

/// A program that runs; ended when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Launch {
    /// Starts it. What it says goes to the log.
    ///
    /// # Errors
    /// If the log cannot be made or the tool not be started; that the program itself cannot shows in the log.
    pub fn start(&self) -> Result<Running> {
        let tool = std::env::current_exe().doing("finding this program")?;
        let log = File::create(&self.log).doing(format!("making {}", self.log.display()))?;
        let errors = log.try_clone().doing("copying a descriptor")?;
        let name = self.argv[0].to_string_lossy().into_owned();
        let cpus: Vec<String> = self.cpus.iter().map(usize::to_string).collect();
        let network = match self.network {
            Network::Shared => "shared".to_owned(),
            Network::New => "new".to_owned(),
            Network::Of(process) => process.to_string(),
        };
        let child = Command::new(tool)
            .args([LAUNCH, &cpus.join(","), &network])
            .args(&self.argv)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .doing(format!("starting {name}"))?;
        Ok(Running { child, name, log: self.log.clone() })
    }
}

impl Running {
    /// Its process number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it has ended, with what it said last.
    ///
    /// # Errors
    /// If it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait().doing("looking at a child")? {
            None => Ok(()),
            Some(status) => {
                let reason = format!("ended ({status}): {}", self.said());
                Err(Error::Program { program: self.name.clone(), reason })
            }
        }
    }

    /// Waits for its end; returns what it said.
    ///
    /// # Errors
    /// If it fails, or takes longer than `patience`.
    pub fn finish(mut self, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait().doing("looking at a child")? {
                Some(status) if status.success() => return Ok(self.said()),
                Some(_) => self.check()?,
                None if Instant::now() > deadline => {
                    let reason = format!("took longer than {patience:?}: {}", self.said());
                    return Err(Error::Program { program: self.name.clone(), reason });
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let deadline = Instant::now() + PATIENCE;
        if let Some(process) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(process, Signal::TERM);
        }
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The child's side of [`Launch::start`]: `args` are processors, network, and the program with its arguments.
/// Returns only if it fails.
pub fn become_program(args: &[OsString]) -> Error {
    match prepare(args) {
        Err(error) => error,
        Ok(command) => {
            let error = Command::new(&command[0]).args(&command[1..]).exec();
            Error::System { doing: format!("running {}", Path::new(&command[0]).display()), source: error }
        }
    }
}

fn prepare(args: &[OsString]) -> Result<&[OsString]> {
    let bad = || Error::Usage("launch PROCESSORS NETWORK PROGRAM [ARGUMENT...]".into());
    let [cpus, network, command @ ..] = args else { return Err(bad()) };
    if command.is_empty() {
        return Err(bad());
    }
    set_parent_process_death_signal(Some(Signal::KILL)).doing("ending with the parent")?;
    schedule::own_group();
    let cpus: Option<Vec<usize>> = cpus.to_string_lossy().split(',').map(|cpu| cpu.parse().ok()).collect();
    schedule::pin(&cpus.ok_or_else(bad)?)?;
    match &*network.to_string_lossy() {
        "shared" => {}
        "new" => calls::unshare(Namespaces::Network).doing("making a network")?,
        process => {
            let path = format!("/proc/{process}/ns/net");
            let namespace = File::open(&path).doing(format!("opening {path}"))?;
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind)
                .doing("entering a network")?;
        }
    }
    Ok(command)
}
