//! Either process may be killed at any time. What must hold then: frames go on, or go on again at once; no interface
//! goes away; nothing that QMP answered is forgotten; and nothing piles up however often it happens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use framewire_tests::bench::Bench;
use framewire_tests::flow::{Flow, Pace};
use framewire_tests::framewire::Framewire;
use framewire_tests::leaks::{Holdings, expect_same, resident_kib};
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::precedence::take_precedence;
use framewire_tests::process::Process;
use framewire_tests::programs;
use framewire_tests::scratch::Scratch;
use framewire_tests::wait::{PATIENCE, wait_until};
use serde_json::{Value, json};

const KILLS: usize = 10;
/// For how long frames may stand still when a data plane is replaced.
const PAUSE: Duration = Duration::from_millis(100);
/// How many frames a data plane has at once.
const BURST: usize = 64;
const EVERY_MS: Pace = Pace::Every(Duration::from_millis(1));

/// Two taps joined by a cable.
fn cable() -> (Bench, PacketSocket, PacketSocket) {
    let mut bench = Bench::with(&["--log", "debug"]);
    let (a, b) = (bench.tap("a", json!({})), bench.tap("b", json!({})));
    bench.join("a", "b");
    (bench, a, b)
}

/// Kills the data plane and waits until another works.
fn kill_data_plane(framewire: &mut Framewire) {
    let old = framewire.data().pid();
    framewire.data().kill();
    assert_ne!(framewire.data().pid(), old, "another data plane");
}

#[test]
fn killed_data_plane_is_replaced_within_a_tenth_of_a_second_under_load() {
    need!(root, tun);
    take_precedence();
    let (mut bench, a, b) = cable();
    let indices = bench.framewire.home().ip("-oneline link show");
    let mut pauses = Vec::new();
    for kill in 0..KILLS {
        let (flow, ()) = Flow::during(&a, &b, EVERY_MS, 200, || {
            std::thread::sleep(Duration::from_millis(50));
            kill_data_plane(&mut bench.framewire);
            std::thread::sleep(Duration::from_millis(150));
        });
        pauses.push(flow.longest_delay());
        let lost = flow.lost();
        assert!(lost <= BURST, "kill {kill}: {lost} frames were lost, more than the data plane can have had");
        assert_eq!(flow.damaged, 0, "kill {kill}: frames were damaged");
        assert_eq!(flow.out_of_order(), 0, "kill {kill}: frames came out of order");
    }
    pauses.sort_unstable();
    // The kernel may take its time to bury a process on a machine that is busy, whatever comes before what.
    let (last, most) = pauses.split_last().expect("there were kills");
    assert!(most.iter().all(|pause| *pause < PAUSE), "frames stood still for {most:?}");
    assert!(*last < 10 * PAUSE, "frames stood still for {last:?}");
    // A tap that lost its descriptor would be another interface, with another number.
    assert_eq!(bench.framewire.home().ip("-oneline link show"), indices, "an interface was made anew");
    bench.qmp.command("query-status", json!({}));
}

#[test]
fn ten_killed_data_planes_leave_nothing_in_the_control_plane() {
    need!(root, tun);
    let (mut bench, a, b) = cable();
    // The first replacement may make what is then kept for all others.
    kill_data_plane(&mut bench.framewire);
    // The answer shows that the start is over, so that nothing passing is in the picture.
    bench.qmp.command("query-status", json!({}));
    let control = bench.framewire.control().pid();
    let (before, resident) = (Holdings::of(control), resident_kib(control));
    for _ in 0..KILLS {
        kill_data_plane(&mut bench.framewire);
        bench.qmp.command("query-status", json!({}));
    }
    expect_same("the control plane", control, &before);
    let grown = resident_kib(control).saturating_sub(resident);
    assert!(grown < 512, "the control plane has grown by {grown} KiB");
    drop((a, b));
    bench.delete("a");
    bench.delete("b");
    assert_eq!(bench.framewire.home().interfaces(), Vec::<String>::new());
}

#[test]
fn an_event_tells_that_the_data_plane_was_replaced() {
    need!(root);
    let mut bench = Bench::new();
    kill_data_plane(&mut bench.framewire);
    bench.qmp.event("X_DATAPLANE_STARTED");
}

#[test]
fn commands_during_a_replacement_take_effect() {
    need!(root, tun);
    let (mut bench, a, b) = cable();
    for _ in 0..KILLS {
        bench.framewire.data().kill();
        bench.set_link("a", false);
        bench.set_link("a", true);
    }
    wait_until("frames to cross again", || {
        a.send(&framewire_tests::frames::numbered(7, 60));
        b.receive(Duration::from_millis(20)).is_some()
    });
}

/// A data plane that cannot live at all: it is not started for ever, the log says why, and QMP goes on answering.
#[test]
fn data_plane_that_dies_at_once_is_not_restarted_for_ever() {
    need!(root);
    let programs = Scratch::new();
    copy_programs(programs.path());
    let mut framewire = Framewire::from_programs(programs.path().to_owned(), &[]);
    let mut qmp = framewire.qmp();
    replace(&programs.file("framewire-dataplane"), Path::new("/bin/false"));
    framewire.data().kill();
    std::thread::sleep(Duration::from_secs(3));
    let log = framewire.control().log();
    let starts = log.matches("another is started").count();
    assert!((2..20).contains(&starts), "{starts} starts within three seconds:\n{log}");
    assert!(log.contains("ended with exit status 1"), "the log does not say why:\n{log}");
    qmp.command("query-status", json!({}));
    let (class, text) = qmp.refused("netdev_add", json!({ "type": "none", "id": "n" }));
    assert_eq!(class, "GenericError");
    assert!(
        text.contains("data plane") && text.contains("exit status 1"),
        "the error does not say why: {text}"
    );
    // Once it can live, it does.
    replace(&programs.file("framewire-dataplane"), &programs::directory().join("framewire-dataplane"));
    framewire_tests::wait::wait_for("a data plane that works", 3 * PATIENCE, || {
        qmp.try_command("netdev_add", json!({ "type": "none", "id": "n" })).ok()
    });
}

fn copy_programs(to: &Path) {
    for name in ["framewire", "framewire-dataplane"] {
        std::fs::copy(programs::directory().join(name), to.join(name)).expect("programs can be copied");
    }
}

/// By renaming: a program that runs cannot be written to.
fn replace(program: &Path, by: &Path) {
    let new = program.with_extension("new");
    std::fs::copy(by, &new).expect("a program can be copied");
    std::fs::rename(&new, program).expect("a file can be renamed");
}

#[test]
fn killed_control_plane_costs_no_frame_and_the_next_one_goes_on() {
    need!(root, tun);
    let (mut bench, a, b) = cable();
    let data = bench.framewire.data().pid();
    let (flow, ()) = Flow::during(&a, &b, EVERY_MS, 200, || {
        for _ in 0..KILLS {
            bench.framewire.kill_control();
            bench.framewire.restart_control();
        }
    });
    flow.expect_whole();
    assert_eq!(bench.framewire.data().pid(), data, "the data plane went on");
    let mut qmp = bench.framewire.qmp();
    qmp.command("set_link", json!({ "name": "a", "up": false }));
    a.send(&framewire_tests::frames::numbered(1, 60));
    b.expect_silence();
    qmp.command("netdev_del", json!({ "id": "port-a" }));
    drop((a, b));
    for id in ["a", "port-b", "b"] {
        qmp.command("netdev_del", json!({ "id": id }));
    }
    assert_eq!(bench.framewire.home().interfaces(), Vec::<String>::new());
}

/// In the middle of a stream of commands. What the next control plane reports is what there is.
#[test]
fn control_plane_killed_amid_commands_reports_what_the_data_plane_carries() {
    need!(root, tun);
    let (bench, a, b) = cable();
    // Each kill has a client of its own, and a monitor serves one at a time.
    let Bench { mut framewire, qmp, .. } = bench;
    drop(qmp);
    let (flow, ()) = Flow::during(&a, &b, EVERY_MS, 200, || {
        for kill in 0..KILLS {
            kill_amid_commands(&mut framewire, kill);
        }
    });
    flow.expect_whole();
}

fn kill_amid_commands(framewire: &mut Framewire, kill: usize) {
    let mut qmp = framewire.qmp();
    let commands: String = (0..50)
        .map(|n| {
            let id = format!("x{kill}-{n}");
            let add = json!({ "execute": "netdev_add", "arguments": {
                "type": "tap", "id": id, "ifname": id, "script": "no", "downscript": "no" } });
            let del = json!({ "execute": "netdev_del", "arguments": { "id": id } });
            // Every third stays.
            if n % 3 == 0 { format!("{add}\n") } else { format!("{add}\n{del}\n") }
        })
        .collect();
    qmp.send(&commands, &[]);
    std::thread::sleep(Duration::from_millis(3 + 7 * u64::try_from(kill).expect("small")));
    framewire.kill_control();
    framewire.restart_control();
    expect_ports_to_be_interfaces(framewire);
}

/// Each tap that is reported exists, and each that exists is reported; the data plane carries these and no others, and
/// the control plane keeps no others.
#[track_caller]
fn expect_ports_to_be_interfaces(framewire: &mut Framewire) {
    let status = framewire.status();
    let ports = status["ports"].as_array().unwrap_or_else(|| panic!("no ports in {status}"));
    let taps = ports.iter().filter(|port| port["kind"] == "tap");
    let mut reported: Vec<String> =
        taps.map(|port| port["id"].as_str().expect("a port has an id").to_owned()).collect();
    reported.sort();
    assert_eq!(reported, framewire.home().interfaces());
    for pid in [framewire.data().pid(), framewire.control().pid()] {
        let held = Holdings::of(pid).descriptors.get("/dev/net/tun").copied();
        assert_eq!(held, Some(reported.len()), "queues of process {pid}, of {reported:?}");
    }
}

/// Killed in the middle of writing: the command that was not answered is as if it had never been sent.
#[test]
fn torn_inventory_is_noticed_and_the_last_whole_one_used() {
    need!(root, tun);
    let (bench, a, b) = cable();
    let Bench { mut framewire, mut qmp, .. } = bench;
    for cut in [1, 40, 200] {
        let older = newest_inventory(&framewire.runtime_dir());
        let before = std::fs::read(&older).expect("it is there");
        qmp.command("netdev_add", third_tap());
        framewire.kill_control();
        // The change was written to the one file, and then to the other: back to the middle of the first.
        let newer = newest_inventory(&framewire.runtime_dir());
        std::fs::write(&newer, before).expect("it can be written");
        tear(&newest_inventory(&framewire.runtime_dir()), cut);
        framewire.restart_control();
        a.send(&framewire_tests::frames::numbered(cut, 60));
        b.expect(&framewire_tests::frames::numbered(cut, 60));
        assert_eq!(framewire.home().interfaces(), ["a", "b"]);
        expect_ports_to_be_interfaces(&mut framewire);
        qmp = framewire.qmp();
    }
}

#[test]
fn what_was_answered_survives_the_loss_of_the_newest_inventory() {
    need!(root, tun);
    let (bench, _a, _b) = cable();
    let Bench { mut framewire, mut qmp, .. } = bench;
    for cut in [1, 40, 200] {
        qmp.command("netdev_add", third_tap());
        framewire.kill_control();
        tear(&newest_inventory(&framewire.runtime_dir()), cut);
        framewire.restart_control();
        assert_eq!(framewire.home().interfaces(), ["a", "b", "c"]);
        expect_ports_to_be_interfaces(&mut framewire);
        qmp = framewire.qmp();
        qmp.command("netdev_del", json!({ "id": "c" }));
    }
}

fn third_tap() -> Value {
    json!({ "type": "tap", "id": "c", "ifname": "c", "script": "no", "downscript": "no" })
}

/// The file that was written last.
fn newest_inventory(runtime_dir: &Path) -> PathBuf {
    let files = ["inventory.0", "inventory.1"].map(|name| runtime_dir.join(name));
    let generation = |file: &PathBuf| -> Option<u64> {
        std::fs::read_to_string(file).ok()?.split(' ').nth(1)?.parse().ok()
    };
    files.into_iter().max_by_key(generation).expect("there are two")
}

/// What a kill in the middle of writing leaves.
fn tear(file: &Path, cut: u32) {
    let file = std::fs::File::options().write(true).open(file).expect("it can be opened");
    let length = file.metadata().expect("it is open").len();
    file.set_len(length.saturating_sub(u64::from(cut))).expect("it can be cut");
}

#[test]
fn second_run_on_a_directory_in_use_is_refused_and_does_no_harm() {
    need!(root, tun);
    let (bench, a, b) = cable();
    let mut second: Process = bench.framewire.home().start(bench.framewire.command());
    let status = second.wait(PATIENCE);
    assert!(!status.success());
    let words = second.log();
    assert!(words.contains("in use") && words.contains("--runtime-dir"), "the remedy is not named: {words}");
    a.send(&framewire_tests::frames::numbered(1, 60));
    b.expect(&framewire_tests::frames::numbered(1, 60));
    assert!(bench.framewire.qmp_path().exists(), "the second one took the first one's monitor away");
}
