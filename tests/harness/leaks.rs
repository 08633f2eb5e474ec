//! What a process holds: descriptors, threads. Taken before and after something that must leave nothing behind.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::wait::wait_for;

/// The kernel shows times to programs in hundredths of a second, on every machine that this runs on.
const MILLISECONDS_PER_TICK: u64 = 10;

/// What one process held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// What its descriptors lead to (`socket`, `/dev/net/tun`, `anon_inode:[eventfd]`), and how many of each.
    pub descriptors: BTreeMap<String, usize>,
    /// Names of its threads, sorted.
    pub threads: Vec<String>,
}

impl Holdings {
    /// Looks at a process now. One that has ended holds nothing.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        Self { descriptors: descriptors(pid), threads: threads(pid) }
    }

    /// What a process holds once that does not change any more: connections that were just given up are gone then.
    ///
    /// # Panics
    /// If it goes on changing.
    #[must_use]
    pub fn settled_of(pid: u32) -> Self {
        let (mut last, mut since) = (Self::of(pid), Instant::now());
        wait_for("a process to hold the same for a while", crate::wait::PATIENCE, || {
            let now = Self::of(pid);
            if now != last {
                (last, since) = (now, Instant::now());
            }
            (since.elapsed() > Duration::from_millis(200)).then(|| last.clone())
        })
    }
}

/// The process must come back to what it held `before`, soon: what a reply promises is done when it arrives, but
/// threads and connections of other clients take a moment to go.
#[track_caller]
pub fn expect_same(what: &str, pid: u32, before: &Holdings) {
    let mut now = Holdings::of(pid);
    let end = Instant::now() + Duration::from_secs(2);
    while now != *before && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
        now = Holdings::of(pid);
    }
    assert!(
        now == *before,
        "{what} (pid {pid}) does not hold what it held before\nbefore {before:#?}\nafter {now:#?}"
    );
}

/// Resident memory in KiB.
#[must_use]
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Processor time that a process has used since its start, user and system together.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    let stat = wait_for("a process's times", Duration::from_secs(1), || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()
    });
    // Behind the program's name, which may hold blanks and brackets: state is field 3, utime and stime 14 and 15.
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields: Vec<u64> = rest.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
    let ticks = fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0);
    Duration::from_millis(ticks * MILLISECONDS_PER_TICK)
}

fn descriptors(pid: u32) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return found };
    for entry in entries.flatten() {
        // A descriptor may be closed between listing and reading.
        if let Ok(target) = std::fs::read_link(entry.path()) {
            *found.entry(kind_of(&target.to_string_lossy())).or_insert(0) += 1;
        }
    }
    found
}

/// `socket:[1234]` and `pipe:[77]` lose their numbers: a new connection may have taken the place of an old one.
fn kind_of(target: &str) -> String {
    for kind in ["socket", "pipe"] {
        if target.strip_prefix(kind).is_some_and(|rest| rest.starts_with(":[")) {
            return kind.to_owned();
        }
    }
    target.to_owned()
}

fn threads(pid: u32) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok());
    let mut names: Vec<String> = names.map(|name| name.trim_end().to_owned()).collect();
    names.sort();
    names
}
