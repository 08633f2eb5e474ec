//! The process that makes sockets: what it can do besides, which is nothing.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use framewire_tests::namespace::Namespace;
use framewire_tests::need;
use framewire_tests::wait::PATIENCE;
use framewire_tests::wait::{wait_for, wait_until};
use serde_json::json;

use super::flows::{accept, connect};
use super::{Guest, ROUTER};

/// Those that live in this network. They are nobody's children, and have no path once their root is empty.
fn wells(home: &Namespace) -> Vec<u32> {
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.ino());
    let network = inode(Path::new(&home.path()));
    let all = std::fs::read_dir("/proc").expect("/proc is mounted");
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_well = |pid: &u32| {
        let process = Path::new("/proc").join(pid.to_string());
        let name = std::fs::read_to_string(process.join("comm"));
        name.is_ok_and(|name| name.trim() == "framewire-well") && inode(&process.join("ns/net")) == network
    };
    pids.filter(is_well).collect()
}

fn only_well(home: &Namespace) -> u32 {
    wait_for("a well", PATIENCE, || match wells(home)[..] {
        [pid] => Some(pid),
        _ => None,
    })
}

/// A line of what the kernel tells about a process, if that is still there.
fn status(pid: u32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
}

#[test]
fn a_well_has_the_network_and_nothing_else_and_ends_with_it() {
    need!(root, tun);
    let mut guest = Guest::new(json!({}));
    let pid = only_well(guest.bench.framewire.home());
    // The filter is the last wall.
    wait_until("the well's filter", || status(pid, "Seccomp:").as_deref() == Some("2"));
    assert_eq!(status(pid, "NoNewPrivs:").as_deref(), Some("1"));
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(status(pid, set).as_deref(), Some("0000000000000000"), "{set}");
    }
    assert_eq!(status(pid, "Uid:").as_deref(), Some("65534\t65534\t65534\t65534"));
    let root = std::fs::read_dir(format!("/proc/{pid}/root")).expect("the well runs");
    let seen: Vec<_> = root.map(|entry| entry.expect("it can be read").file_name()).collect();
    assert!(seen.is_empty(), "{seen:?}");
    // All that it made before may be used up by now: it goes on behind its walls.
    let listener =
        guest.bench.framewire.home().run(|| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    let port = listener.local_addr().expect("it is bound").port();
    for _nth in 0..200 {
        let client = connect(&guest.namespace, &format!("{ROUTER}:{port}")).expect("the host listens");
        drop((client, accept(&listener)));
    }
    guest.bench.delete("u");
    wait_until("the well to end", || wells(guest.bench.framewire.home()).is_empty());
    guest.bench.add("user", "u", json!({ "restrict": true }));
    assert_eq!(wells(guest.bench.framewire.home()), [0; 0], "a restricted network has none");
    guest.finish();
}

#[test]
fn a_well_that_is_killed_is_replaced_also_after_the_control_plane() {
    need!(root, tun);
    let mut guest = Guest::new(json!({}));
    let listener =
        guest.bench.framewire.home().run(|| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    let port = listener.local_addr().expect("it is bound").port();
    let open = connect(&guest.namespace, &format!("{ROUTER}:{port}")).expect("the host listens");
    let (mut open_there, _peer) = accept(&listener);
    for control_is_killed in [false, true] {
        if control_is_killed {
            guest.bench.framewire.kill_control();
            guest.bench.framewire.restart_control();
            guest.bench.qmp = guest.bench.framewire.qmp();
        }
        let home = guest.bench.framewire.home();
        let old = only_well(home);
        let pid = rustix::process::Pid::from_raw(i32::try_from(old).expect("a pid")).expect("not 0");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
        wait_until("another well", || matches!(wells(home)[..], [new] if new != old));
        // More than were at hand, and on their way.
        for _nth in 0..300 {
            let client = connect(&guest.namespace, &format!("{ROUTER}:{port}")).expect("the host listens");
            drop((client, accept(&listener)));
        }
    }
    // What was open before is open still.
    std::io::Write::write_all(&mut &open, b"!").expect("it goes");
    std::io::Read::read_exact(&mut open_there, &mut [0]).expect("it arrives");
    let Guest { bench, namespace } = guest;
    drop((bench, namespace));
}
