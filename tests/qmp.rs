//! Framewire's monitor against what QEMU's said: the recorded vectors, group by group, in two ways.
//!
//! On a fresh server for each vector nothing but the vector matters; on one server for a whole file, what a vector
//! leaves behind shows in those after it. Real clients live in the second world, so both have to pass.
//!
//! A vector may differ only if `qmp/deviations.json` lists it with a reason, and a listed one must really differ: the
//! list, and the page made from it, then say neither too little nor too much.

#[path = "qmp/ahead.rs"]
mod ahead;
#[path = "qmp/deviations.rs"]
mod deviations;
#[path = "qmp/report.rs"]
mod report;

use std::sync::LazyLock;

use ahead::Job;
use deviations::Deviations;
use framewire_tests::{need, programs};
use report::{Report, Servers};

/// One test per group and way, so that a failure names its group.
macro_rules! groups {
    ($($group:ident = $file:literal),+ $(,)?) => {
        static JOBS: LazyLock<Vec<Job>> = LazyLock::new(|| vec![
            $(
                Job::new(concat!("fresh::", stringify!($group)), concat!("vectors/", $file), Servers::OnePerVector),
                Job::new(concat!("shared::", stringify!($group)), concat!("vectors/", $file), Servers::OnePerFile),
            )+
            Job::new("what_kills_qemu_is_survived", "survive/qemu_crashes.jsonl", Servers::OnePerVector),
            Job::new("deviations_are_as_described", "own/deviations.jsonl", Servers::OnePerVector),
        ]);
        mod fresh { $(#[test] fn $group() { super::fresh(concat!("fresh::", stringify!($group))); })+ }
        mod shared { $(#[test] fn $group() { super::shared(concat!("shared::", stringify!($group))); })+ }
    };
}

groups!(
    announce = "announce.jsonl",
    args = "args.jsonl",
    bridge = "bridge.jsonl",
    chardev = "chardev.jsonl",
    dgram = "dgram.jsonl",
    fd = "fd.jsonl",
    general = "general.jsonl",
    greeting = "greeting.jsonl",
    hubport = "hubport.jsonl",
    id = "id.jsonl",
    l2tpv3 = "l2tpv3.jsonl",
    link = "link.jsonl",
    nic = "nic.jsonl",
    oob = "oob.jsonl",
    parse = "parse.jsonl",
    rxfilter = "rxfilter.jsonl",
    socket = "socket.jsonl",
    stream = "stream.jsonl",
    tap = "tap.jsonl",
    types = "types.jsonl",
    user = "user.jsonl",
    vde = "vde.jsonl",
    vhost_user = "vhost-user.jsonl",
    vhost_vdpa = "vhost-vdpa.jsonl",
    wire = "wire.jsonl",
);

/// The replay of a test.
#[track_caller]
fn replayed(test: &str) -> (&'static Job, &'static Report) {
    let job = JOBS.iter().find(|job| job.test == test).expect("every test has a replay");
    (job, job.report(&JOBS))
}

/// A server for each vector.
fn fresh(test: &str) {
    need!(root, "python3");
    let (job, report) = replayed(test);
    let mut wrong = report.undeclared(&Deviations::read());
    wrong.extend(report.declared_but_equal(&Deviations::read()));
    conclude(job, report, &wrong);
}

/// One server for the file. What needs a server to itself gets it here, too.
fn shared(test: &str) {
    need!(root, "python3");
    let (job, report) = replayed(test);
    conclude(job, report, &report.undeclared(&Deviations::read()));
}

/// Inputs that end QEMU: the server answers, and goes on answering.
#[test]
fn what_kills_qemu_is_survived() {
    shared("what_kills_qemu_is_survived");
}

/// What Framewire does where it deviates, in the same form.
#[test]
fn deviations_are_as_described() {
    need!(root, "python3");
    let (job, report) = replayed("deviations_are_as_described");
    conclude(job, report, &report.failures());
}

#[test]
fn every_vector_file_has_its_test() {
    let folder = programs::checkout().join("tests/qmp/vectors");
    let entries = std::fs::read_dir(folder).expect("the vectors are there");
    for entry in entries {
        let name = entry.expect("a folder can be listed").file_name().to_string_lossy().into_owned();
        let file = format!("vectors/{name}");
        assert!(
            JOBS.iter().any(|job| job.file == file),
            "tests/qmp/{file} is run by no test: add it to groups!"
        );
    }
}

/// `make deviations` writes the page anew.
#[test]
fn deviations_page_is_made_from_the_list() {
    let page = programs::checkout().join("docs/DEVIATIONS.md");
    let wanted = Deviations::read().page();
    if std::env::var_os("FRAMEWIRE_WRITE_DEVIATIONS").is_some() {
        std::fs::write(&page, &wanted).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/DEVIATIONS.md differs from tests/qmp/deviations.json: run `make deviations`"
    );
}

/// Says what the group came to, past the runner's capture, and fails if something was wrong.
#[track_caller]
fn conclude(job: &Job, report: &Report, wrong: &[String]) {
    report.announce(job.test, &Deviations::read());
    assert!(report.ran() > 0, "no vector of {} ran: {:?}", job.file, report.totals);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), report.ran(), wrong.join("\n"));
}
