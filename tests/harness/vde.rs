//! A VDE switch that is not ours.

use std::path::Path;
use std::process::Command;

use crate::namespace::Namespace;
use crate::process::Process;
use crate::wait::wait_until;

/// A switch that floods like a hub, with its sockets in this folder.
#[track_caller]
#[must_use]
pub fn switch(home: &Namespace, folder: &Path) -> Process {
    // It ends when its console does; a pipe that it could write itself does not.
    let script = "rm -f $0.in; mkfifo $0.in && exec vde_switch -x -s $0 <> $0.in";
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(folder);
    let switch = home.start(command);
    wait_until("the switch", || {
        assert!(switch.is_running(), "the switch ended:\n{}", switch.log());
        listens(home, &folder.join("ctl"))
    });
    switch
}

/// Whether somebody listens there. Asked of the kernel: a connection that ends before it has said anything makes a switch
/// forget to remove what it made for the next one.
fn listens(home: &Namespace, path: &Path) -> bool {
    const ACCEPTS: &str = "00010000";
    let table = home.run(|| std::fs::read_to_string("/proc/thread-self/net/unix"));
    let table = table.expect("it can always be read");
    table.lines().any(|line| line.contains(ACCEPTS) && line.ends_with(path.to_str().expect("plain letters")))
}
