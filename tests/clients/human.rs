//! The monitor for people, line by line beside a real QEMU's: both are given the same lines and must say the same.

use std::process::Command;

use framewire_tests::framewire::Framewire;
use framewire_tests::need;
use framewire_tests::process::Process;
use framewire_tests::qmp::Qmp;
use framewire_tests::scratch::Scratch;
use serde_json::{Value, json};

/// As scripts send them, right and wrong. What needs interfaces or ports of the machine is left to the tests of kinds.
const LINES: &str = r#"

set_link
set_link x
set_link x on
set_link x maybe
set_link x on y
bogus x
info nonsense
info network x
info usernet
info name
info status
netdev_add
netdev_add hubport
netdev_add hubport,id=h0
netdev_add bogus,id=x
netdev_add id=x
netdev_add hubport,id=h0,hubid=1
netdev_add hubport,id=h1,hubid=x
netdev_add type=hubport,id=h1,hubid=1
netdev_add hubport,id=h2,hubid=2,bogus=1
netdev_add hubport,id=q0,hubid=1 extra
netdev_add "hubport,id=h8,hubid=8"
info network
set_link h0 off
set_link "h0" on
set_link h0  off junk
announce_self
announce_self a,b
announce_self a b c
netdev_del
netdev_del nope
netdev_del h0 h1
netdev_del h0
hostfwd_add
hostfwd_add tcp::5555-:22
hostfwd_add h1 tcp::5555-:22
hostfwd_add nope tcp::5555-:22
hostfwd_remove
hostfwd_remove tcp::5555
hostfwd_remove h1 tcp::5555
info network
netdev_del "h1"
netdev_del h8;info network
"#;

fn qemu(scratch: &Scratch) -> (Process, Qmp) {
    let path = scratch.file("qmp");
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-machine", "none", "-nodefaults", "-display", "none", "-S", "-qmp"]);
    command.arg(format!("unix:{},server=on,wait=off", path.display()));
    (Process::start(command), Qmp::connect(&path))
}

#[test]
fn lines_for_people_are_answered_as_qemu_answers_them() {
    need!(root, "qemu-system-x86_64");
    let (framewire, scratch) = (Framewire::new(), Scratch::new());
    let (_process, mut theirs) = qemu(&scratch);
    let mut ours = framewire.qmp();
    for line in LINES.lines() {
        let say = |qmp: &mut Qmp| -> Value {
            qmp.command("human-monitor-command", json!({ "command-line": line }))
        };
        assert_eq!(say(&mut ours), say(&mut theirs), "left: ours, right: QEMU's; to '{line}'");
    }
}
