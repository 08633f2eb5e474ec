//! A whole Framewire: control plane, its data plane, a monitor socket, a runtime directory.
//!
//! Both processes end with the value. The data plane is built to outlive a killed control plane, so it is looked for
//! and held by a pidfd as soon as it is seen, and killed by that.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::namespace::Namespace;
use crate::process::{self, Process, Watched};
use crate::programs;
use crate::qmp::Qmp;
use crate::scratch::Scratch;
use crate::wait::{PATIENCE, wait_for, wait_until};

/// A running Framewire, in a network namespace of its own: taps are made there.
#[derive(Debug)]
pub struct Framewire {
    home: Namespace,
    arguments: Vec<String>,
    programs: PathBuf,
    wrapper: Vec<String>,
    control: Process,
    data: Option<Watched>,
    scratch: Scratch,
}

impl Framewire {
    /// Starts one, and waits until its monitor answers and its data plane runs.
    #[track_caller]
    #[must_use]
    #[allow(clippy::new_without_default, reason = "starts processes: too much for a default")]
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// The same with further arguments of `framewire run`.
    #[track_caller]
    #[must_use]
    pub fn with(arguments: &[&str]) -> Self {
        Self::launch(programs::directory().to_owned(), &[], arguments)
    }

    /// The same with other programs than those of the checkout's build.
    #[track_caller]
    #[must_use]
    pub fn from_programs(programs: PathBuf, arguments: &[&str]) -> Self {
        Self::launch(programs, &[], arguments)
    }

    /// The same under a program that changes what it may do, such as `setpriv`, and then becomes it.
    #[track_caller]
    #[must_use]
    pub fn under(wrapper: &[&str], arguments: &[&str]) -> Self {
        Self::launch(programs::directory().to_owned(), wrapper, arguments)
    }

    #[track_caller]
    fn launch(programs: PathBuf, wrapper: &[&str], arguments: &[&str]) -> Self {
        let (home, scratch) = (Namespace::new(), Scratch::new());
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
        let (arguments, wrapper) = (owned(arguments), owned(wrapper));
        let command = wrapped(&wrapper, run_command(&programs, scratch.path(), &arguments));
        let control = home.start(command);
        let mut framewire = Self { home, arguments, programs, wrapper, control, data: None, scratch };
        framewire.wait_until_ready();
        framewire
    }

    /// The namespace that it lives in.
    #[must_use]
    pub fn home(&self) -> &Namespace {
        &self.home
    }

    /// A new connection to its monitor, negotiated. A monitor serves one client at a time.
    #[track_caller]
    #[must_use]
    pub fn qmp(&self) -> Qmp {
        Qmp::connect(&self.qmp_path())
    }

    /// Path of the monitor's socket.
    #[must_use]
    pub fn qmp_path(&self) -> PathBuf {
        self.scratch.file("qmp")
    }

    /// The runtime directory.
    #[must_use]
    pub fn runtime_dir(&self) -> PathBuf {
        self.scratch.file("run")
    }

    /// A path beside them, for sockets and files of the test.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.file(name)
    }

    /// The control plane.
    #[must_use]
    pub fn control(&self) -> &Process {
        &self.control
    }

    /// The data plane. Looks for the present one: it may have been started anew.
    #[track_caller]
    pub fn data(&mut self) -> &Watched {
        self.look_for_data();
        self.data.as_ref().expect("just found")
    }

    /// What `framewire status -o json` says. It has a monitor of its own, so it may be asked beside a client.
    #[track_caller]
    #[must_use]
    pub fn status(&self) -> Value {
        let mut command = Command::new(self.programs.join("framewire"));
        command.args(["status", "-o", "json", "--runtime-dir"]).arg(self.runtime_dir());
        let text = process::run(None, command);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("status is not JSON: {e}\n{text}"))
    }

    /// The command that starts a control plane with the same arguments, for tests that want to see it refused.
    #[must_use]
    pub fn command(&self) -> Command {
        wrapped(&self.wrapper, run_command(&self.programs, self.scratch.path(), &self.arguments))
    }

    /// kill -9 of the control plane.
    pub fn kill_control(&mut self) {
        self.look_for_data();
        self.control.kill();
    }

    /// Starts a control plane on the same runtime directory, after [`Self::kill_control`].
    #[track_caller]
    pub fn restart_control(&mut self) {
        self.control = self.home.start(self.command());
        self.wait_until_ready();
    }

    /// Ends it as a client does, and checks that both processes are gone, soon and without complaint.
    #[track_caller]
    pub fn quit(mut self) {
        self.look_for_data();
        self.qmp().command("quit", serde_json::json!({}));
        let status = self.control.wait(PATIENCE);
        assert!(status.success(), "the control plane ended with {status}\n{}", self.control.log());
        let data = self.data.as_ref().expect("just looked for");
        assert!(data.ends_within(PATIENCE), "the data plane outlives a quit");
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let path = self.qmp_path();
        wait_until("the monitor to listen", || {
            assert!(self.control.is_running(), "framewire ended at once:\n{}", self.control.log());
            std::os::unix::net::UnixStream::connect(&path).is_ok()
        });
        self.look_for_data();
    }

    #[track_caller]
    fn look_for_data(&mut self) {
        if self.data.as_ref().is_some_and(Watched::is_running) {
            return;
        }
        let control = self.control.pid();
        self.data = Some(wait_for("a data plane", PATIENCE, || data_planes(control).pop()));
    }
}

impl Drop for Framewire {
    fn drop(&mut self) {
        // A new data plane may have been started since it was last looked at. The control plane goes first, so that
        // it cannot start another.
        let started = data_planes(self.control.pid());
        self.control.kill();
        for data in started.iter().chain(&self.data) {
            data.kill();
        }
    }
}

/// The data planes that this control plane has started and that still run.
fn data_planes(control: u32) -> Vec<Watched> {
    let found = process::children(control, "framewire-dataplane");
    found.into_iter().filter_map(Watched::find).filter(Watched::is_running).collect()
}

/// `framewire run` with the paths that belong to `folder`.
#[must_use]
pub fn run_command(programs: &Path, folder: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(programs.join("framewire"));
    command.arg("run");
    command.arg("--qmp").arg(format!("unix:{},server=on,wait=off", folder.join("qmp").display()));
    command.arg("--runtime-dir").arg(folder.join("run"));
    command.args(arguments);
    command
}

fn wrapped(wrapper: &[String], command: Command) -> Command {
    let Some((program, arguments)) = wrapper.split_first() else { return command };
    let mut outer = Command::new(program);
    outer.args(arguments).arg(command.get_program()).args(command.get_args());
    outer
}
