//! Framewire's monitor against what QEMU's said: the recorded vectors, group by group, in two ways.
//!
//! On a fresh server for each vector nothing but the vector matters; on one server for a whole file, what a vector
//! leaves behind shows in those after it. Real clients live in the second world, so both have to pass.
//!
//! A vector may differ only if `qmp/deviations.json` lists it with a reason, and a listed one must really differ: the
//! list, and the page made from it, then say neither too little nor too much.

#[path = "qmp/deviations.rs"]
mod deviations;
#[path = "qmp/report.rs"]
mod report;

use deviations::Deviations;
use framewire_tests::{need, programs};
use report::{Report, Servers, replay};

/// One test per group and way, so that a failure names its group.
macro_rules! groups {
    ($($group:ident),+ $(,)?) => {
        const GROUPS: &[&str] = &[$(stringify!($group)),+];
        mod fresh { $(#[test] fn $group() { super::fresh(stringify!($group)); })+ }
        mod shared { $(#[test] fn $group() { super::shared(stringify!($group)); })+ }
    };
}

groups!(
    announce, args, bridge, chardev, dgram, fd, general, greeting, hubport, id, l2tpv3, link, nic, oob,
    parse, rxfilter, socket, stream, tap, types, user, vde, vhost_user, vhost_vdpa, wire
);

/// A server for each vector.
fn fresh(group: &str) {
    need!(root, "python3");
    let report = replay(&vectors_of(group), Servers::OnePerVector);
    let mut wrong = report.undeclared(&Deviations::read());
    wrong.extend(report.declared_but_equal(&Deviations::read()));
    conclude("fresh", group, &report, &wrong);
}

/// One server for the file. What needs a server to itself gets it here, too.
fn shared(group: &str) {
    need!(root, "python3");
    let report = replay(&vectors_of(group), Servers::OnePerFile);
    conclude("shared", group, &report, &report.undeclared(&Deviations::read()));
}

/// Inputs that end QEMU: the server answers, and goes on answering.
#[test]
fn what_kills_qemu_is_survived() {
    need!(root, "python3");
    let report = replay("survive/qemu_crashes.jsonl", Servers::OnePerVector);
    conclude("fresh", "survive", &report, &report.undeclared(&Deviations::read()));
}

/// What Framewire does where it deviates, in the same form.
#[test]
fn deviations_are_as_described() {
    need!(root, "python3");
    let report = replay("own/deviations.jsonl", Servers::OnePerVector);
    conclude("fresh", "own", &report, &report.failures());
}

#[test]
fn every_vector_file_has_its_test() {
    let folder = programs::checkout().join("tests/qmp/vectors");
    let entries = std::fs::read_dir(folder).expect("the vectors are there");
    for entry in entries {
        let name = entry.expect("a folder can be listed").file_name().to_string_lossy().into_owned();
        let group = name.strip_suffix(".jsonl").expect("vectors are *.jsonl").replace('-', "_");
        assert!(
            GROUPS.contains(&group.as_str()),
            "tests/qmp/vectors/{name} is run by no test: add it to groups!"
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

fn vectors_of(group: &str) -> String {
    format!("vectors/{}.jsonl", group.replace('_', "-"))
}

/// Says what the group came to, past the runner's capture, and fails if something was wrong.
#[track_caller]
fn conclude(way: &str, group: &str, report: &Report, wrong: &[String]) {
    report.announce(way, group, &Deviations::read());
    assert!(report.ran() > 0, "no vector of {group} ran: {:?}", report.totals);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), report.ran(), wrong.join("\n"));
}
