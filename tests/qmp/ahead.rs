//! Replays that run ahead of the tests that ask for them.
//!
//! A replay mostly waits: whether a server says more than was recorded shows only in its silence. The test runner has as
//! many threads as there are processors, so at two replays at a time the machine would be idle for minutes. So the first
//! test that asks for a replay starts, on lanes of its own, all those that the runner was told to run; each stays what it
//! was, a process and a network namespace of its own. A test whose replay was not begun yet makes it itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};

use crate::report::{Report, Servers, replay};

/// Replays at a time, beside those of the runner's own threads.
const LANES: usize = 6;

/// A test's replay.
pub(crate) struct Job {
    /// As the runner calls the test.
    pub(crate) test: &'static str,
    /// The file below `tests/qmp`.
    pub(crate) file: &'static str,
    /// Which vectors share a server.
    pub(crate) servers: Servers,
    report: OnceLock<Report>,
}

impl Job {
    /// A replay that was not begun.
    pub(crate) fn new(test: &'static str, file: &'static str, servers: Servers) -> Self {
        Self { test, file, servers, report: OnceLock::new() }
    }

    /// What the replay came to; waits for it, or makes it.
    #[track_caller]
    pub(crate) fn report(&'static self, all: &'static [Job]) -> &'static Report {
        static LANES_BEGUN: Once = Once::new();
        LANES_BEGUN.call_once(|| run_ahead(all));
        self.make()
    }

    /// A replay that fails on a lane, by panicking, is made again by its test, which fails then.
    fn make(&self) -> &Report {
        self.report.get_or_init(|| replay(self.file, self.servers))
    }
}

fn run_ahead(all: &'static [Job]) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // Words of the runner's command line that are no options select tests by a part of their name.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |job: &Job| words.is_empty() || words.iter().any(|word| job.test.contains(word.as_str()));
    let wanted: &'static [&'static Job] = all.iter().filter(|job| is_wanted(job)).collect::<Vec<_>>().leak();
    for _lane in 0..LANES.min(wanted.len()) {
        std::thread::spawn(|| {
            while let Some(job) = wanted.get(NEXT.fetch_add(1, Ordering::Relaxed)) {
                job.make();
            }
        });
    }
}
