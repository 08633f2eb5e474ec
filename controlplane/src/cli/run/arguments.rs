//! The arguments of `framewire run`, read and checked before anything is touched.

use std::ffi::OsString;
use std::path::PathBuf;

use framewire_shared::limits::WORKERS_MAX;
use lexopt::prelude::{Long, Short, Value, ValueExt};
use rustix::thread::CpuSet;

use super::nic;
use crate::cli::{Failure, number};
use crate::host::runtime_dir;
use crate::kind::NetdevAdd;
use crate::qmp::endpoint::Endpoint;
use crate::qmp::types::chardev::ChardevAdd;
use crate::qmp::types::device::DeviceAdd;

/// How long a queue without work is polled, unless the operator says otherwise: measured as the point where a
/// request and its answer over a cable meet an awake worker, and an idle one costs nothing.
const POLL_US: u32 = 50;

/// What the command line asks for.
#[derive(Debug)]
pub(super) enum Asked {
    Help,
    Run(Box<Arguments>),
}

/// How to run.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) monitors: Vec<Endpoint>,
    pub(super) chardevs: Vec<ChardevAdd>,
    pub(super) netdevs: Vec<NetdevAdd>,
    pub(super) devices: Vec<DeviceAdd>,
    pub(super) config: Option<PathBuf>,
    pub(super) runtime_dir: PathBuf,
    /// The processor of each worker.
    pub(super) cpus: Vec<u16>,
    pub(super) poll_us: u32,
    pub(super) name: Option<String>,
    pub(super) log: log::LevelFilter,
}

/// Reads them.
pub(super) fn read(words: Vec<OsString>) -> Result<Asked, Failure> {
    let mut parser = lexopt::Parser::from_args(words);
    let (mut workers, mut cpus) = (None, None);
    let mut arguments = Arguments {
        monitors: Vec::new(),
        chardevs: Vec::new(),
        netdevs: Vec::new(),
        devices: Vec::new(),
        config: None,
        runtime_dir: runtime_dir::default_path(),
        cpus: Vec::new(),
        poll_us: POLL_US,
        name: None,
        log: log::LevelFilter::Info,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Asked::Help),
            Long("qmp") => arguments.monitors.push(monitor(&parser.value()?.string()?)?),
            Long("chardev") => arguments.chardevs.push(chardev(&parser.value()?.string()?)?),
            Long("netdev") => arguments.netdevs.push(netdev(&parser.value()?.string()?)?),
            Long("device") => arguments.devices.push(device(&parser.value()?.string()?)?),
            Long("nic") => arguments.add_nic(&parser.value()?.string()?)?,
            Long("config") => arguments.config = Some(PathBuf::from(parser.value()?)),
            Long("runtime-dir") => arguments.runtime_dir = PathBuf::from(parser.value()?),
            Long("workers") => workers = Some(worker_count(&parser.value()?.string()?)?),
            Long("cpus") => cpus = Some(cpu_list(&parser.value()?.string()?)?),
            Long("poll-us") => {
                let expected = "a number of microseconds from 0 (never) to 4294967295 (always)";
                arguments.poll_us = number("poll-us", &parser.value()?.string()?, expected)?;
            }
            Long("name") => arguments.name = Some(parser.value()?.string()?),
            Long("log") => {
                let expected = "error, warn, info, debug or off";
                arguments.log = number("log", &parser.value()?.string()?, expected)?;
            }
            other @ (Short(_) | Long(_) | Value(_)) => return Err(other.unexpected().into()),
        }
    }
    arguments.cpus = pins(workers, cpus.unwrap_or_else(allowed));
    Ok(Asked::Run(Box::new(arguments)))
}

fn monitor(text: &str) -> Result<Endpoint, Failure> {
    Endpoint::parse(text).map_err(|error| Failure::new(format!("--qmp {text}: {error}")))
}

fn netdev(text: &str) -> Result<NetdevAdd, Failure> {
    NetdevAdd::from_option(text).map_err(|error| Failure::new(format!("--netdev {text}: {error}")))
}

fn device(text: &str) -> Result<DeviceAdd, Failure> {
    DeviceAdd::from_option(text).map_err(|error| Failure::new(format!("--device {text}: {error}")))
}

impl Arguments {
    /// A netdev and a NIC at once.
    fn add_nic(&mut self, text: &str) -> Result<(), Failure> {
        let pair = nic::read(text, self.netdevs.len());
        let (netdev, device) = pair.map_err(|error| Failure::new(format!("--nic {text}: {error}")))?;
        self.netdevs.push(netdev);
        self.devices.push(device);
        Ok(())
    }
}

fn chardev(text: &str) -> Result<ChardevAdd, Failure> {
    ChardevAdd::from_option(text).map_err(|error| Failure::new(format!("--chardev {text}: {error}")))
}

fn worker_count(text: &str) -> Result<usize, Failure> {
    let expected = format!("a number from 1 to {WORKERS_MAX}");
    let count: usize = number("workers", text, &expected)?;
    if (1..=WORKERS_MAX).contains(&count) {
        return Ok(count);
    }
    Err(Failure::new(format!("--workers {text}: {expected} is expected")))
}

/// Processors that this process may use.
fn allowed() -> Vec<u16> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return vec![0] };
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).filter_map(|cpu| u16::try_from(cpu).ok()).collect()
}

/// `0-3,5`.
fn cpu_list(text: &str) -> Result<Vec<u16>, Failure> {
    let wrong = || Failure::new(format!("--cpus {text}: processors are expected as in 0-3,5"));
    let mut cpus = Vec::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) =
            (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
        cpus.extend(first..=last);
    }
    let allowed = allowed();
    match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        Some(cpu) => Err(Failure::new(format!(
            "--cpus {text}: processor {cpu} does not exist or may not be used here"
        ))),
        None if cpus.is_empty() => Err(wrong()),
        None => Ok(cpus),
    }
}

/// A processor for each worker, in turn.
fn pins(workers: Option<usize>, cpus: Vec<u16>) -> Vec<u16> {
    let workers = workers.unwrap_or(cpus.len()).clamp(1, WORKERS_MAX);
    cpus.into_iter().cycle().take(workers).collect()
}

#[cfg(test)]
mod test {
    use super::*;

    fn read_words(words: &[&str]) -> Result<Arguments, Failure> {
        match read(words.iter().map(OsString::from).collect())? {
            Asked::Run(arguments) => Ok(*arguments),
            Asked::Help => Err(Failure::new("help")),
        }
    }

    #[test]
    fn wrong_values_are_named_with_what_is_expected() {
        for (words, wanted) in [
            (["--workers", "0"], "--workers 0: a number from 1 to 64 is expected"),
            (["--cpus", "9999"], "--cpus 9999: processor 9999 does not exist"),
            (["--cpus", "3-1"], "processors are expected as in 0-3,5"),
            (["--poll-us", "often"], "--poll-us often: a number of microseconds"),
            (["--netdev", "teleport,id=n"], "teleport"),
            (["--nic", "tap,model=e1000"], "Unsupported NIC model: e1000"),
            (["--device", "{"], "JSON parse error"),
            (["--chardev", "pty,id=c"], "does not accept value 'pty'"),
            (["--qmp", "carrier-pigeon:coop"], "--qmp carrier-pigeon:coop"),
            (["--log", "loud"], "--log loud: error, warn"),
        ] {
            let failure = read_words(&words).unwrap_err().to_string();
            assert!(failure.contains(wanted), "{words:?}: {failure}");
        }
    }

    #[test]
    fn workers_take_the_processors_in_turn() {
        assert_eq!(pins(None, vec![2, 5]), [2, 5]);
        assert_eq!(pins(Some(3), vec![2, 5]), [2, 5, 2]);
        assert_eq!(pins(Some(1), vec![2, 5]), [2]);
    }

    #[test]
    fn help_is_help_wherever_it_stands() {
        assert!(read_words(&["--workers", "1", "--help"]).unwrap_err().to_string() == "help");
    }
}
