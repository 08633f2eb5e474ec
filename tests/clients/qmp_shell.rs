//! The shell that people use, with what they type on its standard input.

use std::io::Write as _;
use std::process::{Command, Stdio};

use framewire_tests::framewire::Framewire;
use framewire_tests::{need, programs};

/// What the shell prints when this is typed. It ends at the end of its input.
#[track_caller]
fn typed(framewire: &Framewire, options: &[&str], lines: &str) -> String {
    let shell = programs::python().with_file_name("qmp-shell");
    let home = framewire.file("home");
    std::fs::create_dir_all(&home).expect("a scratch folder");
    let mut command = Command::new(shell);
    // It keeps a history in the home of whoever types.
    command.args(options).arg(framewire.qmp_path()).env("HOME", home);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the shell is there");
    child.stdin.take().expect("it was asked for").write_all(lines.as_bytes()).expect("the shell reads");
    let output = child.wait_with_output().expect("it ends with its input");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_session_with_the_shell_adds_links_asks_deletes_and_hears() {
    need!(root, tun, qemu_qmp);
    let framewire = Framewire::new();
    let said = typed(
        &framewire,
        &[],
        "netdev_add type=tap id=n0 ifname=n0 script=no downscript=no\n\
         set_link name=n0 up=false\n\
         query-status\n\
         cont\n\
         \n\
         netdev_del id=n0\n\
         netdev_del id=n0\n",
    );
    assert_eq!(said.matches("{\"return\": {}}").count(), 4, "{said}");
    assert!(said.contains("\"status\": \"prelaunch\""), "{said}");
    assert!(said.contains("'event': 'RESUME'") || said.contains("\"event\": \"RESUME\""), "{said}");
    assert!(said.contains("Device 'n0' not found"), "{said}");
}

#[test]
fn the_shell_for_people_shows_the_network() {
    need!(root, qemu_qmp);
    let framewire = Framewire::new();
    let said = typed(
        &framewire,
        &["--hmp"],
        "netdev_add none,id=n0\ninfo network\nset_link n0 off\nnetdev_del n0\ninfo network\n",
    );
    assert_eq!(said.matches("n0: index=0,type=none").count(), 1, "{said}");
}
