//! Runs the replay and reads its report.

use std::io::Write;
use std::process::Command;

use framewire_tests::scratch::Scratch;
use framewire_tests::{need, process, programs};
use serde_json::Value;

use crate::deviations::Deviations;

/// Which vectors share a server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Servers {
    /// None.
    OnePerVector,
    /// Those of one file and profile.
    OnePerFile,
}

/// What became of the vectors of one file.
#[derive(Debug)]
pub(crate) struct Report {
    vectors: Vec<Outcome>,
    /// How many passed, failed, were skipped.
    pub(crate) totals: Totals,
}

#[derive(Debug)]
struct Outcome {
    name: String,
    group: String,
    result: String,
    why: String,
}

/// Counts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// Replays a file below `tests/qmp` against this checkout's Framewire.
#[track_caller]
pub(crate) fn replay(file: &str, servers: Servers) -> Report {
    let folder = programs::checkout().join("tests/qmp");
    let scratch = Scratch::new();
    let (json, log) = (scratch.file("report"), scratch.file("log"));
    let server = format!(
        "{} run --qmp unix:{{sock}},server=on,wait=off --runtime-dir {{tmp}}/run {{profile_args}}",
        programs::framewire().display()
    );
    let mut command = Command::new("python3");
    command.arg(folder.join("replay")).args(["--quiet", "--netns", "--server", &server]);
    command.args(["--fresh", servers.option(), "--scale", "3", "--json"]).arg(&json);
    command.arg("--log").arg(&log).arg(folder.join(file));
    // It ends with status 1 when a vector fails; whether that is wrong is decided here.
    let mut replay = process::Process::start(command);
    replay.wait(std::time::Duration::from_secs(600));
    let report = std::fs::read_to_string(&json);
    Report::parse(&report.unwrap_or_else(|e| panic!("{file} was not replayed: {e}\n{}", replay.log())))
}

impl Servers {
    fn option(self) -> &'static str {
        match self {
            Self::OnePerVector => "vector",
            Self::OnePerFile => "file",
        }
    }
}

impl Report {
    fn parse(text: &str) -> Self {
        let report: Value = serde_json::from_str(text).expect("the replay writes JSON");
        let vectors: Vec<Outcome> =
            report["vectors"].as_array().expect("it lists vectors").iter().map(Outcome::parse).collect();
        let count = |result: &str| vectors.iter().filter(|outcome| outcome.result == result).count();
        let totals = Totals { passed: count("pass"), failed: count("fail"), skipped: count("skip") };
        assert_eq!(totals.passed + totals.failed + totals.skipped, vectors.len(), "a result is unknown");
        Self { vectors, totals }
    }

    /// How many were replayed at all.
    pub(crate) fn ran(&self) -> usize {
        self.totals.passed + self.totals.failed
    }

    /// All that failed, and why.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failed().map(Outcome::describe).collect()
    }

    /// Those that failed without being listed.
    pub(crate) fn undeclared(&self, deviations: &Deviations) -> Vec<String> {
        let unlisted = self.failed().filter(|outcome| !deviations.excuse(&outcome.group, &outcome.name));
        unlisted.map(Outcome::describe).collect()
    }

    /// Those that are listed as different and yet passed.
    pub(crate) fn declared_but_equal(&self, deviations: &Deviations) -> Vec<String> {
        let passed = self.vectors.iter().filter(|outcome| outcome.result == "pass");
        let stale = passed.filter(|outcome| deviations.lists(&outcome.name));
        stale.map(|outcome| format!("{}: listed in deviations.json, but passes", outcome.name)).collect()
    }

    /// One line past the test runner's capture, so that the totals are seen; skips go to the list of skips.
    pub(crate) fn announce(&self, test: &str, deviations: &Deviations) {
        let Totals { passed, failed, skipped } = self.totals;
        let excused =
            self.failed().filter(|outcome| deviations.excuse(&outcome.group, &outcome.name)).count();
        let line = format!(
            "qmp {test}: {passed} pass, {} fail, {excused} listed as different or not built, {skipped} skipped\n",
            failed - excused
        );
        let _ = std::io::stderr().write_all(line.as_bytes());
        for outcome in self.vectors.iter().filter(|outcome| outcome.result == "skip") {
            need::note_skip(&format!("qmp {test} {}", outcome.name), &outcome.why);
        }
    }

    fn failed(&self) -> impl Iterator<Item = &Outcome> {
        self.vectors.iter().filter(|outcome| outcome.result == "fail")
    }
}

impl Outcome {
    fn parse(vector: &Value) -> Self {
        let text = |member: &str| vector[member].as_str().unwrap_or_default().to_owned();
        Self { name: text("name"), group: text("group"), result: text("result"), why: text("why") }
    }

    fn describe(&self) -> String {
        format!("{} {}: {}", self.group, self.name, self.why)
    }
}
