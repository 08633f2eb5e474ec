//! Made-up networks against what libslirp answered: the recorded exchanges of `user/vectors`.
//!
//! An exchange may be answered otherwise only if `user/differences.json` says how and why. What that list says is
//! expected to the byte, too, so it can say neither too little nor too much.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use framewire_tests::scratch::Scratch;
use framewire_tests::{need, process, programs};
use serde_json::Value;

/// Counts of exchanges, past the test runner's capture.
fn announce(exchanges: &[Value]) {
    let count = |result: &str| exchanges.iter().filter(|exchange| exchange["result"] == result).count();
    let different = differences()["different"].as_array().map_or(0, Vec::len);
    let line = format!(
        "user: {} exchanges pass ({different} of them listed as different), {} fail, {} need what is not built\n",
        count("pass"),
        count("fail"),
        count("not built")
    );
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn folder() -> PathBuf {
    programs::checkout().join("tests/user")
}

fn differences() -> Value {
    let text = std::fs::read_to_string(folder().join("differences.json")).expect("the list is there");
    serde_json::from_str(&text).expect("it is JSON")
}

/// All files of exchanges, in order of their names.
fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder().join("vectors")).expect("the vectors are there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.sort();
    files
}

#[test]
fn recorded_exchanges_are_answered_as_they_were_or_as_listed() {
    need!(root, "python3");
    let scratch = Scratch::new();
    let report = scratch.file("report");
    let server = format!(
        "{} run --qmp unix:{{sock}},server=on,wait=off --runtime-dir {{tmp}}/run",
        programs::framewire().display()
    );
    let mut command = Command::new("python3");
    command.arg("-B").arg(folder().join("replay")).args(["--server", &server, "--json"]).arg(&report);
    command.arg("--differences").arg(folder().join("differences.json")).args(files());
    let mut replay = process::Process::start(command);
    replay.wait(Duration::from_secs(600));
    let text = std::fs::read_to_string(&report)
        .unwrap_or_else(|e| panic!("nothing was replayed: {e}\n{}", replay.log()));
    let report: Value = serde_json::from_str(&text).expect("the replay writes JSON");
    let exchanges = report["exchanges"].as_array().expect("it lists exchanges");
    announce(exchanges);
    let failed: Vec<String> = exchanges
        .iter()
        .filter(|exchange| exchange["result"] == "fail")
        .map(|exchange| format!("{}: {}", exchange["name"], exchange["why"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(exchanges.len(), 130, "an exchange is missing");
    assert!(failed.is_empty(), "{} exchanges:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn the_list_of_differences_names_exchanges_that_there_are() {
    let texts: Vec<String> = files().iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let exchanges: Vec<Value> =
        texts.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_there = |name: &str, member: &str| exchanges.iter().any(|exchange| exchange[member] == name);
    let list = differences();
    for name in list["not_built"].as_object().unwrap().keys() {
        assert!(is_there(name, "name") || is_there(name, "group"), "{name}: there is no such exchange");
    }
    for different in list["different"].as_array().unwrap() {
        let name = different["exchange"].as_str().unwrap();
        assert!(is_there(name, "name"), "{name}: there is no such exchange");
        assert!(!different["why"].as_str().unwrap().is_empty(), "{name}: why?");
    }
}
