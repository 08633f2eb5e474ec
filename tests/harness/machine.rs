//! A virtual machine with a real guest: Debian's kernel in QEMU, whose own processor is enough, so that it runs wherever
//! the tests do.
//!
//! What it boots is made by `tests/scripts/guests.sh`. It takes orders by a virtio-serial port, which is no network, so
//! that they arrive whatever happens to its NICs: a script goes in, what it printed and its exit status come back
//! (`tests/guests/init`). Rejected: a shell on the serial console, where the kernel's own words come in between.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::namespace::Namespace;
use crate::process::Process;
use crate::programs;
use crate::qmp::Qmp;
use crate::scratch::Scratch;
use crate::wait::wait_for;

/// How long anything may take that a guest does: emulated, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often a guest is started that does not boot.
const BOOTS_MAX: usize = 3;

const QEMU: &str = "qemu-system-x86_64";

/// Megabytes of memory.
const MEMORY: u32 = 192;

const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check tsc=reliable \
                                random.trust_cpu=on cryptomgr.notests rcupdate.rcu_expedited=1 audit=0 net.ifnames=0";

/// What a machine is made of.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// More of QEMU's arguments.
    pub arguments: Vec<String>,
    /// Where it waits for another one that moves in, instead of booting.
    pub incoming: Option<PathBuf>,
    /// The QEMU of this machine, of the version that ours speaks like, instead of the newer one.
    pub is_installed_qemu: bool,
}

impl Parts {
    /// Adds a NIC that is served at a socket, number `number` of this machine.
    #[must_use]
    pub fn nic(mut self, number: usize, socket: &Path, queues: usize, more: &str) -> Self {
        let mq = if queues > 1 { format!(",mq=on,vectors={}", 2 * queues + 2) } else { String::new() };
        let socket = socket.display();
        let words = [
            "-chardev".to_owned(),
            format!("socket,id=c{number},path={socket},reconnect-ms=1000"),
            "-netdev".to_owned(),
            format!("vhost-user,id=n{number},chardev=c{number},queues={queues}"),
            "-device".to_owned(),
            format!(
                "virtio-net-pci,id=nic{number},netdev=n{number},mac=52:54:00:00:00:{number:02x}{mq}{more}"
            ),
        ];
        self.arguments.extend(words);
        self
    }

    /// Adds a NIC at a netdev of QEMU's own, which `words` describe; number `number` of this machine.
    #[must_use]
    pub fn netdev(mut self, number: usize, words: &str) -> Self {
        let nic = format!("virtio-net-pci,netdev=n{number},mac=52:54:00:00:00:{number:02x}");
        let words = ["-netdev".to_owned(), format!("{words},id=n{number}"), "-device".to_owned(), nic];
        self.arguments.extend(words);
        self
    }
}

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    process: Process,
    port: BufReader<UnixStream>,
    orders: u32,
    scratch: Scratch,
}

impl Machine {
    /// Starts one; [`Machine::ready`] waits until it has booted.
    #[track_caller]
    #[must_use]
    pub fn start(parts: &Parts) -> Self {
        Self::start_at(None, parts)
    }

    fn start_at(home: Option<&Namespace>, parts: &Parts) -> Self {
        let scratch = Scratch::new();
        let process = Process::start_in(home.map(AsFd::as_fd), command(parts, &scratch));
        let path = scratch.file("port");
        let port = wait_for("QEMU to open the port", PATIENCE, || {
            assert!(process.is_running(), "{}", process.log());
            UnixStream::connect(&path).ok()
        });
        Self { process, port: BufReader::new(port), orders: 0, scratch }
    }

    /// The same, and waits until the guest takes orders. On a machine that is very busy an emulated processor may miss
    /// what a kernel waits for while it boots; then another one is started, if QEMU still answers: whoever serves its
    /// NICs has not held it up.
    #[track_caller]
    #[must_use]
    pub fn boot(parts: &Parts) -> Self {
        Self::boot_at(None, parts)
    }

    /// The same with its QEMU in a namespace.
    #[track_caller]
    #[must_use]
    pub fn boot_in(home: &Namespace, parts: &Parts) -> Self {
        Self::boot_at(Some(home), parts)
    }

    #[track_caller]
    fn boot_at(home: Option<&Namespace>, parts: &Parts) -> Self {
        for _attempt in 1..BOOTS_MAX {
            let mut machine = Self::start_at(home, parts);
            if machine.is_ready_within(PATIENCE / 2) {
                return machine;
            }
            machine.qmp().command("query-status", serde_json::json!({}));
        }
        let mut machine = Self::start_at(home, parts);
        machine.ready();
        machine
    }

    /// Waits until the guest has booted.
    #[track_caller]
    pub fn ready(&mut self) {
        let is_ready = self.is_ready_within(PATIENCE);
        assert!(is_ready, "the guest does not boot:\n{}\n{}", self.process.log(), self.console());
    }

    #[track_caller]
    fn is_ready_within(&mut self, patience: Duration) -> bool {
        loop {
            match self.line_within(patience) {
                Some(line) if line == "READY" => return true,
                Some(_noise) => {}
                None => return false,
            }
        }
    }

    /// Its QEMU's monitor, negotiated.
    #[track_caller]
    #[must_use]
    pub fn qmp(&self) -> Qmp {
        Qmp::connect(&self.scratch.file("qmp"))
    }

    /// Its QEMU.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Has the guest run a script, of one line. Its exit status, and what it printed.
    #[track_caller]
    pub fn run(&mut self, script: &str) -> (i32, String) {
        self.orders += 1;
        let order = format!("{} {script}\n", self.orders);
        self.port.get_mut().write_all(order.as_bytes()).expect("QEMU takes it");
        let mut printed = String::new();
        loop {
            let line = self.line();
            if let Some(text) = line.strip_prefix("| ") {
                printed.push_str(text);
                printed.push('\n');
            } else if let Some(end) = line.strip_prefix("= ") {
                let (number, status) = end.split_once(' ').expect("a number and a status");
                assert_eq!(number, self.orders.to_string(), "an answer to something else");
                return (status.parse().expect("a number"), printed);
            }
        }
    }

    /// The same, of a script that must go well.
    #[track_caller]
    pub fn call(&mut self, script: &str) -> String {
        let (status, printed) = self.run(script);
        assert_eq!(status, 0, "in the guest: {script}\n{printed}\n{}", self.console());
        printed
    }

    /// The guest of this machine has moved to another, which takes its orders now.
    #[must_use]
    pub fn moved_to(self, mut other: Machine) -> Machine {
        other.orders = self.orders;
        other
    }

    fn console(&self) -> String {
        let text = std::fs::read(self.scratch.file("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let start = text.len().saturating_sub(3000);
        text.get(start..).unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let line = self.line_within(PATIENCE);
        line.unwrap_or_else(|| panic!("the guest says nothing:\n{}\n{}", self.process.log(), self.console()))
    }

    #[track_caller]
    fn line_within(&mut self, patience: Duration) -> Option<String> {
        self.port.get_ref().set_read_timeout(Some(patience)).expect("a socket has a timeout");
        let mut line = Vec::new();
        match self.port.read_until(b'\n', &mut line) {
            Ok(1..) => Some(String::from_utf8_lossy(&line).trim_end().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Ok(0) => panic!("QEMU has ended:\n{}\n{}", self.process.log(), self.console()),
            Err(error) => {
                panic!("its port is broken: {error}\n{}\n{}", self.process.log(), self.console())
            }
        }
    }
}

fn command(parts: &Parts, scratch: &Scratch) -> Command {
    let guests = programs::guests();
    let mut command = if parts.is_installed_qemu {
        Command::new(QEMU)
    } else {
        let mut run = Command::new(programs::checkout().join("tests/guests/run.sh"));
        run.arg(guests.join("qemu")).arg(QEMU);
        run
    };
    let path = |name: &str| scratch.file(name).display().to_string();
    let line = format!(
        "-nodefaults -no-user-config -display none -machine q35,accel=tcg,memory-backend=mem -cpu max \
         -m {MEMORY} -object memory-backend-memfd,id=mem,size={MEMORY}M,share=on \
         -serial file:{console} -chardev socket,id=port,path={port},server=on,wait=off \
         -device virtio-serial-pci,id=serial -device virtserialport,bus=serial.0,chardev=port,name=framewire.test \
         -qmp unix:{qmp},server=on,wait=off",
        console = path("console"),
        port = path("port"),
        qmp = path("qmp"),
    );
    command.args(line.split_whitespace());
    command.arg("-kernel").arg(guests.join("kernel")).arg("-initrd").arg(guests.join("initrd"));
    command.arg("-append").arg(KERNEL_ARGUMENTS);
    command.args(&parts.arguments);
    if let Some(path) = &parts.incoming {
        command.arg("-incoming").arg(format!("unix:{}", path.display()));
    }
    command
}
