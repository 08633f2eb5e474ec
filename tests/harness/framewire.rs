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

/// How to start one.
#[derive(Debug, Default)]
pub struct Setup<'a> {
    /// Where it lives; taps are made there. Without one: where the test runs.
    pub namespace: Option<&'a Namespace>,
    /// Further arguments of `framewire run`.
    pub arguments: Vec<&'a str>,
}

/// A running Framewire.
#[derive(Debug)]
pub struct Framewire<'a> {
    setup: Setup<'a>,
    control: Process,
    data: Option<Watched>,
    scratch: Scratch,
}

impl<'a> Framewire<'a> {
    /// Starts one where the test runs.
    #[track_caller]
    #[must_use]
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    /// Starts one in a namespace.
    #[track_caller]
    #[must_use]
    pub fn start_in(namespace: &'a Namespace) -> Self {
        Self::with(Setup { namespace: Some(namespace), ..Setup::default() })
    }

    /// Starts one and waits until its monitor answers and its data plane runs.
    #[track_caller]
    #[must_use]
    pub fn with(setup: Setup<'a>) -> Self {
        let scratch = Scratch::new();
        let control = start_control(&setup, scratch.path());
        let mut framewire = Self { setup, control, data: None, scratch };
        framewire.wait_until_ready();
        framewire
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

    /// What `framewire status -o json` says.
    #[track_caller]
    #[must_use]
    pub fn status(&self) -> Value {
        let mut command = Command::new(programs::framewire());
        command.args(["status", "-o", "json", "--socket"]).arg(self.qmp_path());
        let text = process::run(None, command);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("status is not JSON: {e}\n{text}"))
    }

    /// kill -9 of the control plane.
    pub fn kill_control(&mut self) {
        self.look_for_data();
        self.control.kill();
    }

    /// Starts a control plane on the same runtime directory, after [`Self::kill_control`].
    #[track_caller]
    pub fn restart_control(&mut self) {
        self.control = start_control(&self.setup, self.scratch.path());
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
        self.data = Some(wait_for("a data plane", PATIENCE, || {
            let found = process::children(control, "framewire-dataplane");
            found.into_iter().find_map(Watched::find).filter(Watched::is_running)
        }));
    }
}

impl Drop for Framewire<'_> {
    fn drop(&mut self) {
        // A new data plane may have been started since it was last looked at; the control plane goes first, so that
        // it cannot start another.
        let started = process::children(self.control.pid(), "framewire-dataplane");
        let started: Vec<Watched> = started.into_iter().filter_map(Watched::find).collect();
        self.control.kill();
        for data in started.iter().chain(&self.data) {
            data.kill();
        }
    }
}

/// `framewire run` with the paths that belong to `folder`.
#[must_use]
pub fn run_command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(programs::framewire());
    command.arg("run");
    command.arg("--qmp").arg(format!("unix:{},server=on,wait=off", folder.join("qmp").display()));
    command.arg("--runtime-dir").arg(folder.join("run"));
    command.args(arguments);
    command
}

fn start_control(setup: &Setup<'_>, folder: &Path) -> Process {
    let command = run_command(folder, &setup.arguments);
    match setup.namespace {
        Some(namespace) => namespace.start(command),
        None => Process::start(command),
    }
}
