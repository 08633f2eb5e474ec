//! The tool as a user runs it, against QEMU.
#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

use std::process::Command;

use framewire_tests::need;
use serde_json::Value;

const TOOL: &str = env!("CARGO_BIN_EXE_framewire-perf");

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn figures_of_qemu_are_made_and_nothing_is_left_behind() {
    need!(root, tun, "qemu-system-x86_64", "ip");
    let path = std::env::temp_dir().join(format!("framewire-perf-test.{}.jsonl", std::process::id()));
    let run = Command::new(TOOL)
        .args(["compare", "--only", "qemu", "--starts", "1", "--seconds", "0.5", "--lines"])
        .arg(&path)
        .args(["dgram-inet:64", "dgram-unix:64", "tap:64", "tap:rtt", "dgram-unix:add"])
        .spawn()
        .unwrap();
    let tool = run.id();
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success());
    let lines = lines(&path);
    std::fs::remove_file(&path).unwrap();
    let starts: Vec<&Value> = lines.iter().filter(|line| line["line"] == "start").collect();
    assert_eq!(starts.len(), 5);
    for start in starts {
        assert!(start["best"].as_f64().is_some_and(|best| best > 0.0), "{start}");
        assert_eq!(start["faults"].as_array().map(Vec::len), Some(0), "{start}");
    }
    assert!(!std::env::temp_dir().join(format!("framewire-perf.{tool}")).exists());
}

#[test]
fn case_that_cannot_be_told_fails_the_check() {
    need!(root, "qemu-system-x86_64", "ip");
    // Without Framewire there is no ratio: that must not pass for one.
    let output = Command::new(TOOL)
        .args(["compare", "--check", "--only", "qemu", "--starts", "1", "--seconds", "0.3", "dgram-unix:64"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn bad_words_name_the_help() {
    let output = Command::new(TOOL).args(["compare", "--fast"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--help"));
}
