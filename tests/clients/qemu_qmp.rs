//! The library that QEMU's own tests use.

use framewire_tests::framewire::Framewire;
use framewire_tests::{need, process, programs};

#[test]
fn a_session_with_the_library_adds_links_asks_deletes_and_hears() {
    need!(root, tun, qemu_qmp);
    let framewire = Framewire::new();
    let mut command = std::process::Command::new(programs::python());
    command.arg(programs::checkout().join("tests/clients/session.py")).arg(framewire.qmp_path());
    process::run(None, command);
}
