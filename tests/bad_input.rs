//! What a user or a machine gets wrong: a clear error that names the remedy, and nothing half-made left behind.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use framewire_tests::bench::Bench;
use framewire_tests::framewire::{Framewire, run_command};
use framewire_tests::namespace::Namespace;
use framewire_tests::need;
use framewire_tests::process::Process;
use framewire_tests::programs;
use framewire_tests::scratch::Scratch;
use framewire_tests::wait::PATIENCE;
use serde_json::json;

/// Runs framewire until it gives up; what it said.
#[track_caller]
fn gives_up(mut command: Command) -> String {
    command.env_remove("NOTIFY_SOCKET");
    let mut process = Process::start(command);
    let status = process.wait(PATIENCE);
    let words = process.log();
    assert!(!status.success(), "it should have given up, but said: {words}");
    assert!(!words.contains("panicked"), "{words}");
    words
}

fn framewire(arguments: &[&str]) -> Command {
    let mut command = Command::new(programs::directory().join("framewire"));
    command.args(arguments);
    command
}

/// `framewire run` in a scratch directory with these further arguments.
fn run(scratch: &Scratch, arguments: &[&str]) -> Command {
    let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
    run_command(programs::directory(), scratch.path(), &arguments)
}

#[test]
fn wrong_arguments_are_named() {
    let scratch = Scratch::new();
    for (arguments, wanted) in [
        (&["--poll-us", "often"][..], "--poll-us"),
        (&["--workers", "0"], "--workers"),
        (&["--workers", "many"], "--workers"),
        (&["--cpus", "9999"], "--cpus"),
        (&["--colour", "red"], "--colour"),
        (&["--netdev", "tap"], "id"),
        (&["--netdev", "teleport,id=n"], "teleport"),
        (&["--netdev", "hubport,id=h"], "hubid"),
        (&["--qmp", "carrier-pigeon:coop"], "carrier-pigeon"),
    ] {
        let words = gives_up(run(&scratch, arguments));
        assert!(words.contains(wanted), "{arguments:?}: {words}");
        assert!(words.lines().count() <= 3, "{arguments:?} is answered by a wall of text: {words}");
        assert!(!scratch.file("run").exists(), "{arguments:?}: a runtime directory was made");
    }
}

#[test]
fn wrong_arguments_of_other_subcommands_are_named() {
    for (arguments, wanted) in [
        (&["status", "-o", "xml"][..], "xml"),
        (&["status", "--sokket", "x"], "--sokket"),
        (&["qmp", "--sokket", "x"], "--sokket"),
        (&["qmp", "--wait-event"], "--wait-event"),
        (&["completions", "clam"], "clam"),
    ] {
        let words = gives_up(framewire(arguments));
        assert!(words.contains(wanted), "{arguments:?}: {words}");
    }
}

#[test]
fn unknown_commands_point_to_the_help() {
    let words = gives_up(framewire(&["fly"]));
    assert!(words.contains("fly") && words.contains("--help"), "{words}");
}

#[test]
fn a_runtime_directory_that_cannot_be_made_is_named_with_the_remedy() {
    let mut command = framewire(&["run", "--qmp", "unix:/dev/null/qmp", "--runtime-dir", "/dev/null/run"]);
    command.env_remove("XDG_RUNTIME_DIR");
    let words = gives_up(command);
    assert!(words.contains("/dev/null/run") && words.contains("--runtime-dir"), "{words}");
}

#[test]
fn qmp_without_a_server_says_where_it_looked() {
    let scratch = Scratch::new();
    let path = scratch.file("nobody");
    let mut command = framewire(&["qmp", "--socket"]);
    command.arg(&path).arg("query-status");
    let words = gives_up(command);
    assert!(words.contains(&path.display().to_string()), "{words}");
}

/// A tap without CAP_NET_ADMIN. The rest works without it.
#[test]
fn missing_capability_is_named() {
    need!(root, tun, "setpriv");
    let (text, mut bench) =
        tap_refused_under(&["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
    assert!(text.starts_with("could not configure /dev/net/tun (t): Operation not permitted"), "{text}");
    let said = bench.framewire.control().log();
    assert!(
        text.contains("CAP_NET_ADMIN") || said.contains("CAP_NET_ADMIN"),
        "no remedy in {text} nor in: {said}"
    );
    bench.expect_nothing_left();
}

/// A machine, or a container, without the tun device.
#[test]
fn missing_tun_device_is_named() {
    need!(root, tun, "unshare");
    let hide = "mount -t tmpfs none /dev/net && exec \"$@\"";
    let (text, mut bench) = tap_refused_under(&["unshare", "--mount", "sh", "-c", hide, "sh"]);
    assert!(text.starts_with("could not open /dev/net/tun: No such file or directory"), "{text}");
    let said = bench.framewire.control().log();
    assert!(text.contains("modprobe") || said.contains("modprobe"), "no remedy in {text} nor in: {said}");
    bench.expect_nothing_left();
}

/// Starts Framewire under another program, and asks for a tap, which must fail; the text, and the bench.
#[track_caller]
fn tap_refused_under(wrapper: &[&str]) -> (String, Bench) {
    let mut bench = Bench::on(Framewire::under(wrapper, &[]));
    let text = bench.refused("tap", "t", json!({ "ifname": "t", "script": "no", "downscript": "no" }));
    bench.add("none", "n", json!({}));
    bench.delete("n");
    (text, bench)
}

/// As where `sysctl kernel.io_uring_disabled` is 2, but for this process alone: a system call filter refuses it.
#[test]
fn forbidden_io_uring_is_named_with_the_remedy() {
    need!(root);
    let scratch = Scratch::new();
    let mut command = run(&scratch, &[]);
    framewire_tests::denied::system_call(&mut command, libc::SYS_io_uring_setup);
    let words = gives_up(command);
    assert!(words.contains("io_uring") && words.contains("sysctl"), "{words}");
    expect_empty(&scratch.file("run"));
}

/// A ring is memory that cannot be swapped out, and only so much of that is allowed to those without CAP_IPC_LOCK.
#[test]
fn too_little_memory_that_may_be_locked_is_named_with_the_remedy() {
    need!(root, "setpriv", "prlimit");
    let scratch = Scratch::new();
    let run = run(&scratch, &[]);
    let mut command = Command::new("prlimit");
    command.args(["--memlock=0", "setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]);
    command.arg(run.get_program()).args(run.get_args());
    let words = gives_up(command);
    assert!(words.contains("io_uring") && words.contains("ulimit -l"), "{words}");
    expect_empty(&scratch.file("run"));
}

/// The tap was made before the start failed.
#[test]
fn a_failed_start_leaves_no_process_no_interface_and_no_file() {
    need!(root, tun);
    let (home, scratch) = (Namespace::new(), Scratch::new());
    let tap = "tap,id=a,ifname=a,script=no,downscript=no";
    let mut command = run(&scratch, &["--netdev", tap, "--netdev", "hubport,id=a,hubid=2"]);
    command.process_group(0);
    let mut process = home.start(command);
    let pid = process.pid();
    assert!(!process.wait(PATIENCE).success());
    assert!(process.log().contains("Duplicate ID 'a'"), "{}", process.log());
    framewire_tests::wait::wait_until("the data plane to end", || !group_has_processes(pid));
    assert!(!scratch.file("qmp").exists(), "the monitor's socket is left over");
    assert_eq!(home.interfaces(), Vec::<String>::new());
    expect_empty(&scratch.file("run"));
}

#[track_caller]
fn expect_empty(folder: &Path) {
    let left: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path()).collect();
    assert!(left.is_empty(), "left over: {left:?}");
}

fn group_has_processes(group: u32) -> bool {
    let group = i32::try_from(group).ok().and_then(rustix::process::Pid::from_raw).expect("a process group");
    rustix::process::test_kill_process_group(group).is_ok()
}

/// Whoever waits for a client must still hear that it is to end.
#[test]
fn a_start_that_waits_for_its_client_can_be_ended() {
    need!(root);
    let scratch = Scratch::new();
    let path = format!("unix:{},server=on,wait=on", scratch.file("waits").display());
    let mut process = Process::start(run(&scratch, &["--qmp", &path]));
    framewire_tests::wait::wait_until("it to wait", || process.log().contains("waiting for a QMP client"));
    assert!(process.terminate().success(), "{}", process.log());
    expect_empty(&scratch.file("run"));
}

/// The service manager is told when a client would be served, and when the end has begun.
#[test]
fn the_service_manager_is_told_of_the_start_and_of_the_end() {
    need!(root);
    let scratch = Scratch::new();
    let manager = std::os::unix::net::UnixDatagram::bind(scratch.file("notify")).expect("a scratch path");
    manager.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    let mut command = run(&scratch, &[]);
    command.env("NOTIFY_SOCKET", scratch.file("notify"));
    let mut process = Process::start(command);
    let told = || {
        let mut text = [0; 64];
        let length = manager.recv(&mut text).expect("it tells in time");
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    assert_eq!(told(), "READY=1");
    let mut client = std::os::unix::net::UnixStream::connect(scratch.file("qmp")).expect("it listens");
    let mut greeting = [0; 8];
    std::io::Read::read_exact(&mut client, &mut greeting).expect("it greets");
    assert!(process.terminate().success());
    assert_eq!(told(), "STOPPING=1");
}

/// Commands of a file are executed before anybody is served; the first that fails ends the start.
#[test]
fn a_file_of_commands_stops_at_the_first_that_fails_with_its_line() {
    need!(root);
    let scratch = Scratch::new();
    let file = scratch.file("commands");
    let add = r#"{"execute":"netdev_add","arguments":{"type":"none","id":"n0"}}"#;
    let wrong = r#"{"execute":"set_link","arguments":{"name":"nope","up":true}}"#;
    std::fs::write(&file, format!("# first\n{{\"execute\":\"qmp_capabilities\"}}\n\n{add}\n{wrong}\n"))
        .expect("a scratch file");
    let words = gives_up(run(&scratch, &["--config", &file.display().to_string()]));
    assert!(words.contains(&format!("{}:5: Device 'nope' not found", file.display())), "{words}");
    expect_empty(&scratch.file("run"));
    std::fs::write(&file, format!("{add}\n")).expect("a scratch file");
    let framewire = Framewire::with(&["--config", &file.display().to_string()]);
    let said = framewire.qmp().command("human-monitor-command", json!({ "command-line": "info network" }));
    assert_eq!(said, json!("n0: index=0,type=none,\r\n"));
}
