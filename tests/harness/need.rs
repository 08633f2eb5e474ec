//! Loud skips. A test that needs what this machine does not have must not look like one that passed.
//!
//! Rust's test runner knows no skip at run time and swallows the output of tests that pass. So a skip is written past
//! it, to the real standard error, and is added to the file that `FRAMEWIRE_SKIPPED` names; `make test` lists and
//! counts those at its end.

use std::io::Write;
use std::path::Path;

/// What a test may need of the machine.
#[derive(Debug, Clone, Copy)]
pub enum Need {
    /// The rights of root: network namespaces and interfaces are made.
    Root,
    /// `/dev/net/tun` opens.
    Tun,
    /// io_uring is there and not switched off.
    IoUring,
    /// IPv6 on the loopback interface.
    Ipv6,
    /// The Python packages of `tests/python.txt`.
    QemuQmp,
    /// What guests boot, as `tests/scripts/guests.sh` makes it.
    Guests,
    /// A program in the PATH.
    Program(&'static str),
}

impl Need {
    /// Why the need is not met, or nothing.
    #[must_use]
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Root => (!rustix::process::geteuid().is_root()).then(|| "needs root".into()),
            Self::Tun => cannot_open("/dev/net/tun"),
            Self::IoUring => io_uring_is_off(),
            Self::Ipv6 => {
                std::net::UdpSocket::bind("[::1]:0").err().map(|e| format!("needs IPv6 on loopback: {e}"))
            }
            Self::QemuQmp => (!crate::programs::python().with_file_name("qmp-shell").exists())
                .then(|| "needs the Python package qemu.qmp (make packages)".into()),
            Self::Guests => (!crate::programs::guests().join("made").exists()).then(|| {
                "needs a kernel and a QEMU for guests (make packages says why there are none)".into()
            }),
            Self::Program(name) => {
                find_program(name).is_none().then(|| format!("needs the program {name} (make packages)"))
            }
        }
    }
}

fn cannot_open(path: &str) -> Option<String> {
    let opened = std::fs::File::options().read(true).write(true).open(path);
    opened.err().map(|e| format!("needs {path}: {e}"))
}

fn io_uring_is_off() -> Option<String> {
    let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    (setting.trim() == "2").then(|| "needs io_uring: sysctl kernel.io_uring_disabled is 2".into())
}

fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// True if the test must not go on; it has said so then. Called by [`need!`](crate::need).
#[must_use]
pub fn skip_unless(needs: &[Need]) -> bool {
    let Some(why) = needs.iter().find_map(|need| need.missing()) else { return false };
    // The test runner names its threads after the tests.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("test");
    let _ = std::io::stderr().write_all(format!("SKIPPED: {test}: {why}\n").as_bytes());
    count("test", test, &why);
    true
}

/// Notes that a part of a test could not run. It is listed, but the test itself still counts.
pub fn note_skip(part: &str, why: &str) {
    let _ = std::io::stderr().write_all(format!("SKIPPED: {part}: {why}\n").as_bytes());
    count("part", part, why);
}

fn count(what: &str, name: &str, why: &str) {
    if let Some(list) = std::env::var_os("FRAMEWIRE_SKIPPED") {
        add_line(Path::new(&list), &format!("{what} {name}: {why}\n"));
    }
}

fn add_line(list: &Path, line: &str) {
    // One write of one line in append mode: tests of several processes may do this at once.
    let file = std::fs::File::options().append(true).create(true).open(list);
    file.and_then(|mut f| f.write_all(line.as_bytes())).expect("the list of skipped tests can be written");
}

/// Ends the test early, loudly, if the machine lacks something: `need!(root, tun, "socat")`.
#[macro_export]
macro_rules! need {
    ($($need:tt),+ $(,)?) => {
        if $crate::need::skip_unless(&[$($crate::need!(@one $need)),+]) {
            return;
        }
    };
    (@one root) => { $crate::need::Need::Root };
    (@one tun) => { $crate::need::Need::Tun };
    (@one io_uring) => { $crate::need::Need::IoUring };
    (@one ipv6) => { $crate::need::Need::Ipv6 };
    (@one guests) => { $crate::need::Need::Guests };
    (@one qemu_qmp) => { $crate::need::Need::QemuQmp };
    (@one $program:literal) => { $crate::need::Need::Program($program) };
}
