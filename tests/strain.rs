//! When there is too much, or too little: a thousand ports, clients that do not read, no descriptors, no room on disk.
//!
//! Times have only the bounds that a busy machine can keep; what they really are is measured in `perf/`. Bounds of
//! memory are the product's own, with room for what an allocator keeps.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use framewire_tests::bench::Bench;
use framewire_tests::flow::{Flow, Pace};
use framewire_tests::framewire::Framewire;
use framewire_tests::leaks::resident_kib;
use framewire_tests::need;
use framewire_tests::qmp::Qmp;
use framewire_tests::scratch::Scratch;
use framewire_tests::wait::{PATIENCE, wait_until};
use serde_json::{Value, json};

const PORTS: usize = 1000;

/// Enough on their way that the cable never waits for the sender.
const FULL_LOAD: Pace = Pace::OnTheWay(500);

/// What all but one command in a hundred keep.
const ANSWER: Duration = Duration::from_millis(100);

/// A round in which other tests had the processors tells of them alone: so the best of some counts.
const ROUNDS: usize = 10;

#[test]
fn commands_are_quick_with_a_thousand_ports_under_full_load() {
    need!(root, tun);
    let mut bench = Bench::new();
    let (a, b) = (bench.tap("a", json!({})), bench.tap("b", json!({})));
    bench.join("a", "b");
    for number in 0..PORTS / 2 {
        bench.add("none", &format!("n{number}"), json!({}));
        bench.plug(&format!("n{number}"), 1000 + i32::try_from(number / 2).expect("small"));
    }
    let mut rounds = Vec::new();
    while rounds.len() < ROUNDS && rounds.last().is_none_or(|slow| *slow >= ANSWER) {
        let (flow, mut times) = Flow::during(&a, &b, FULL_LOAD, 200, || all_commands(&mut bench.qmp));
        flow.expect_whole();
        times.sort_unstable();
        rounds.push(times[(times.len() - 1) * 99 / 100]);
    }
    let best = rounds.iter().min().expect("there is a round");
    assert!(*best < ANSWER, "one command in a hundred took as long as this: {rounds:?}");
}

/// How long each command took.
fn all_commands(qmp: &mut Qmp) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut timed = |name: &str, arguments: Value| {
        let start = Instant::now();
        qmp.command(name, arguments);
        times.push(start.elapsed());
    };
    for number in 0..40 {
        let old = format!("n{number}");
        timed("netdev_add", json!({ "type": "none", "id": "new" }));
        timed("netdev_add", json!({ "type": "hubport", "id": "new-port", "hubid": 7, "netdev": "new" }));
        timed("set_link", json!({ "name": old, "up": false }));
        timed("set_link", json!({ "name": old, "up": true }));
        timed("netdev_del", json!({ "id": "new-port" }));
        timed("netdev_del", json!({ "id": "new" }));
        timed("x-query-status", json!({ "first": 0 }));
        timed("human-monitor-command", json!({ "command-line": "info network" }));
        for name in ["query-status", "query-chardev", "query-rx-filter", "query-commands", "query-fdsets"] {
            timed(name, json!({}));
        }
    }
    times
}

/// A Framewire with a second monitor, for a client that does not read; its path, and the folder that this is in.
fn with_second_monitor() -> (Framewire, PathBuf, Scratch) {
    let scratch = Scratch::new();
    let path = scratch.file("second");
    let option = format!("unix:{},server=on,wait=off", path.display());
    (Framewire::with(&["--qmp", &option]), path, scratch)
}

/// Connects, negotiates, and leaves everything unread.
fn silent_client(path: &Path) -> UnixStream {
    let mut client = UnixStream::connect(path).expect("the monitor listens");
    client.write_all(b"{'execute':'qmp_capabilities'}").expect("the monitor reads");
    client
}

fn grown_kib(framewire: &Framewire, before: u64) -> u64 {
    resident_kib(framewire.control().pid()).saturating_sub(before)
}

/// Events are kept up to 4 MiB; then the client is disconnected.
#[test]
fn a_client_that_reads_no_events_costs_a_bounded_amount_of_memory() {
    need!(root);
    let (framewire, second, _scratch) = with_second_monitor();
    let mut qmp = framewire.qmp();
    let mut silent = silent_client(&second);
    qmp.command("query-status", json!({}));
    let before = resident_kib(framewire.control().pid());
    for _turn in 0..20_000 {
        qmp.command("cont", json!({}));
        qmp.command("stop", json!({}));
    }
    let grown = grown_kib(&framewire, before);
    assert!(grown < 16 << 10, "it grew by {grown} KiB");
    // What was sent before is still there, and then the connection ends.
    silent.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    let mut rest = Vec::new();
    let ended = silent.read_to_end(&mut rest);
    assert!(ended.is_ok() && rest.len() < 8 << 20, "{ended:?}, {} bytes", rest.len());
}

/// No request is read while 4 MiB of replies are unread; the client finds them all when it reads again.
#[test]
fn a_client_that_reads_no_replies_costs_a_bounded_amount_of_memory_and_loses_none() {
    need!(root);
    let (framewire, second, _scratch) = with_second_monitor();
    let mut qmp = framewire.qmp();
    qmp.command("query-status", json!({}));
    let before = resident_kib(framewire.control().pid());
    let mut silent = silent_client(&second);
    const REQUESTS: usize = 500;
    let mut writer = silent.try_clone().expect("a descriptor is free");
    let asking = std::thread::spawn(move || {
        for _request in 0..REQUESTS {
            writer.write_all(b"{'execute':'query-qmp-schema'}").expect("the monitor reads in the end");
        }
    });
    for _turn in 0..200 {
        qmp.command("query-status", json!({}));
    }
    let grown = grown_kib(&framewire, before);
    assert!(grown < 32 << 10, "it grew by {grown} KiB");
    silent.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    let mut block = vec![0; 1 << 16];
    let mut lines = 0;
    // The greeting, the answer to negotiation, and one line for each request.
    while lines < REQUESTS + 2 {
        let length = silent.read(&mut block).expect("replies go on coming");
        assert!(length > 0, "it hung up after {lines} lines");
        lines += block[..length].iter().filter(|&&byte| byte == b'\n').count();
    }
    asking.join().expect("everything was asked");
}

/// A message may have two million tokens, and all of them are held until its end.
#[test]
fn a_client_that_never_ends_its_message_costs_a_bounded_amount_of_memory() {
    need!(root);
    let (framewire, second, _scratch) = with_second_monitor();
    let mut qmp = framewire.qmp();
    qmp.command("query-status", json!({}));
    let before = resident_kib(framewire.control().pid());
    let mut hostile = silent_client(&second);
    hostile.set_write_timeout(Some(PATIENCE)).expect("a time-out can be set");
    hostile.write_all(b"[").expect("the monitor reads");
    // Three tokens each, in pieces of 196608.
    let block = "[],".repeat(1 << 16);
    for _block in 0..10 {
        hostile.write_all(block.as_bytes()).expect("the monitor reads");
        qmp.command("query-status", json!({}));
    }
    let grown = grown_kib(&framewire, before);
    assert!(grown < 256 << 10, "it grew by {grown} KiB");
    drop(hostile);
    wait_until("the memory to be given back", || grown_kib(&framewire, before) < 64 << 10);
}

/// With no descriptor free, commands that need one are refused, the rest goes on; a client that connects meanwhile is
/// served as soon as there is one.
#[test]
fn without_a_free_descriptor_commands_are_refused_and_clients_wait() {
    need!(root, tun, "prlimit");
    let framewire = Framewire::under(&["prlimit", "--nofile=64"], &[]);
    let mut qmp = framewire.qmp();
    let null = std::fs::File::open("/dev/null").expect("it is always there");
    let mut given = 0;
    let getfd = |name: String| json!({ "execute": "getfd", "arguments": { "fdname": name } }).to_string();
    loop {
        qmp.send(&getfd(format!("fd{given}")), &[null.as_fd()]);
        if qmp.reply(PATIENCE).expect("it is answered").is_err() {
            break;
        }
        given += 1;
        assert!(given < 64, "there is always another one");
    }
    let tap = json!({ "type": "tap", "id": "t", "ifname": "t", "script": "no", "downscript": "no" });
    let (_class, refused) = qmp.refused("netdev_add", tap.clone());
    assert_eq!(refused, "could not open /dev/net/tun: Too many open files");
    let status = UnixStream::connect(framewire.runtime_dir().join("qmp.sock")).expect("it listens");
    // It was told that nobody can be taken, and told only once.
    wait_until("the complaint", || framewire.control().log().contains("cannot accept a QMP client"));
    qmp.command("query-status", json!({}));
    for name in 0..given {
        qmp.command("closefd", json!({ "fdname": format!("fd{name}") }));
    }
    status.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    let mut first = [0];
    assert!((&status).read(&mut first).is_ok_and(|length| length == 1), "the client is greeted");
    qmp.command("netdev_add", tap);
    qmp.command("netdev_del", json!({ "id": "t" }));
}

/// A runtime directory without room: what cannot be written down is not done, and what there is stays as it is.
#[test]
fn a_full_disk_refuses_changes_and_harms_nothing() {
    need!(root, "unshare");
    let tmpfs = "for word; do [ \"$last\" = --runtime-dir ] && folder=$word; last=$word; done; \
                 mkdir -p $folder && mount -t tmpfs -o size=32k none $folder && exec \"$@\"";
    let framewire = Framewire::under(&["unshare", "--mount", "sh", "-c", tmpfs, "sh"], &[]);
    let mut qmp = framewire.qmp();
    let mut made = 0;
    let refused = loop {
        let added = qmp.try_command("netdev_add", json!({ "type": "none", "id": format!("n{made}") }));
        match added {
            Ok(_nothing) => made += 1,
            Err(error) => break error["desc"].as_str().unwrap_or_default().to_owned(),
        }
        assert!(made < 1000, "there is always room");
    };
    assert!(refused.contains("No space left on device"), "{refused}");
    let ports = |qmp: &mut Qmp| {
        let text = qmp.command("human-monitor-command", json!({ "command-line": "info network" }));
        text.as_str().unwrap_or_default().matches("type=none").count()
    };
    assert_eq!(ports(&mut qmp), made);
    // Removing needs no room, and makes some.
    for number in 0..made {
        qmp.command("netdev_del", json!({ "id": format!("n{number}") }));
    }
    assert_eq!(ports(&mut qmp), 0);
    qmp.command("netdev_add", json!({ "type": "none", "id": "n" }));
}
