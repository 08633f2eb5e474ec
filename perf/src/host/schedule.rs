//! Who had the processor, and who waited for it.
//!
//! A rate measured while somebody else held the core is the other's figure. The kernel counts for each thread how
//! long it ran and how long it was ready but waited (`schedstat`): a window in which a watched thread waited for 3 %
//! of the time or more is set aside.
//!
//! Raising the priority of one process does little: the scheduler weighs sessions (autogroups) against each other
//! first. So what is measured gets a session of its own, and that session the heaviest weight.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::error::{Doing as _, Error, Result};

/// The weight of a session, in terms of nice.
const HEAVIEST: &str = "-20";

/// What each thread of some processes has used so far.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Nanoseconds run and waited, by thread.
    threads: BTreeMap<u32, (u64, u64)>,
}

/// What was used between two snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Processor time of all threads together.
    pub cpu: Duration,
    /// The longest that any one thread waited for a core.
    pub waited: Duration,
}

impl Snapshot {
    /// Reads the kernel's counters of all threads of `processes`; one that has ended has none.
    pub fn take(processes: &[u32]) -> Snapshot {
        let threads = processes.iter().flat_map(|process| threads_of(*process));
        Snapshot { threads: threads.filter_map(|thread| Some((thread.id, thread.times()?))).collect() }
    }

    /// What was used since `earlier`. A thread that is new counts from its beginning.
    pub fn since(&self, earlier: &Snapshot) -> Used {
        let mut used = Used::default();
        for (thread, (ran, waited)) in &self.threads {
            let (ran_before, waited_before) = earlier.threads.get(thread).copied().unwrap_or_default();
            used.cpu += Duration::from_nanos(ran.saturating_sub(ran_before));
            used.waited = used.waited.max(Duration::from_nanos(waited.saturating_sub(waited_before)));
        }
        used
    }

    /// Processor time of each thread since `earlier`, with the thread's number.
    pub fn by_thread(&self, earlier: &Snapshot) -> Vec<(u32, Duration)> {
        let ran_before = |thread| earlier.threads.get(&thread).map_or(0, |times: &(u64, u64)| times.0);
        self.threads
            .iter()
            .map(|(thread, times)| {
                (*thread, Duration::from_nanos(times.0.saturating_sub(ran_before(*thread))))
            })
            .collect()
    }
}

/// What the host took from the processor that it was taken most from, since this machine started.
#[derive(Debug, Clone, Default)]
pub struct Stolen {
    /// In the kernel's ticks, by processor.
    ticks: Vec<u64>,
}

impl Stolen {
    /// Reads the kernel's counters.
    pub fn take() -> Stolen {
        const STEAL_COLUMN: usize = 8;
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let processors = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
        let ticks = |line: &str| line.split_ascii_whitespace().nth(STEAL_COLUMN)?.parse().ok();
        Stolen { ticks: processors.map(|line| ticks(line).unwrap_or(0)).collect() }
    }

    /// The most that was taken from one processor since `earlier`.
    pub fn since(&self, earlier: &Stolen) -> Duration {
        // Ticks that user programs see are a hundredth of a second on every machine that we run on.
        const TICK: Duration = Duration::from_millis(10);
        let taken = self.ticks.iter().zip(&earlier.ticks).map(|(now, before)| now.saturating_sub(*before));
        TICK * taken.max().and_then(|ticks| u32::try_from(ticks).ok()).unwrap_or(0)
    }
}

struct Thread {
    process: u32,
    id: u32,
}

impl Thread {
    fn times(&self) -> Option<(u64, u64)> {
        let text = fs::read_to_string(format!("/proc/{}/task/{}/schedstat", self.process, self.id)).ok()?;
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

fn threads_of(process: u32) -> Vec<Thread> {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.map(|id| Thread { process, id }).collect()
}

/// The name of a thread.
pub fn thread_name(process: u32, thread: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{process}/task/{thread}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// Lets this process run on `cpus` only.
///
/// # Errors
/// If there are no such processors.
pub fn pin(cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(Error::Usage(format!("there is no processor {cpu}")));
        }
        set.set(*cpu);
    }
    sched_setaffinity(None, &set).doing(format!("running on processors {cpus:?}"))
}

/// Gives this process a session of its own with the heaviest weight. Without the privilege it stays as it is, and
/// the windows tell.
pub fn own_group() {
    // A session leader already has its own.
    let _ = rustix::process::setsid();
    let _ = rustix::process::nice(-20);
    let _ = fs::write("/proc/self/autogroup", HEAVIEST);
}

/// Gives the sessions of `processes` the same weight: a device may have put some of them in sessions of their own.
pub fn weigh_heavily(processes: &[u32]) {
    for process in processes {
        let _ = fs::write(format!("/proc/{process}/autogroup"), HEAVIEST);
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn work_shows_as_processor_time_of_this_thread() {
        let me = std::process::id();
        let before = Snapshot::take(&[me]);
        let (begun, mut after) = (std::time::Instant::now(), before.clone());
        while after.since(&before).cpu < Duration::from_millis(10) {
            assert!(begun.elapsed() < Duration::from_secs(20), "no time shows");
            after = Snapshot::take(&[me]);
        }
        let sum: Duration = after.by_thread(&before).iter().map(|(_, cpu)| *cpu).sum();
        assert_eq!(sum, after.since(&before).cpu);
    }

    #[test]
    fn the_processor_taken_from_most_counts() {
        let earlier = Stolen { ticks: vec![5, 100] };
        let now = Stolen { ticks: vec![8, 101] };
        assert_eq!(now.since(&earlier), Duration::from_millis(30));
        assert!(!Stolen::take().ticks.is_empty());
    }

    #[test]
    fn process_that_is_gone_has_used_nothing() {
        assert_eq!(Snapshot::take(&[u32::MAX]).since(&Snapshot::default()), Used::default());
    }
}
