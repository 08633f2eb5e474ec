//! Two kernels that talk through what a test is about: a tap of ours on one side, a peer program's on the other.

use framewire_tests::namespace::Namespace;
use framewire_tests::process::{Process, command};
use framewire_tests::traffic::{pings, transfer};
use framewire_tests::wait::wait_until;

const LEFT: &str = "192.0.2.1";
const RIGHT: &str = "192.0.2.2";

/// QEMU with this netdev, whose id is `s`, on a hub with a tap `q`. The tap is there.
#[track_caller]
pub(crate) fn qemu(home: &Namespace, netdev: &str) -> Process {
    let qemu = home.start(command(&format!(
        "qemu-system-x86_64 -machine none -nodefaults -display none \
         -netdev {netdev} -netdev tap,id=t,ifname=q,script=no,downscript=no \
         -netdev hubport,id=p0,hubid=0,netdev=s -netdev hubport,id=p1,hubid=0,netdev=t"
    )));
    expect_tap(home, "q", &qemu);
    qemu
}

/// Waits until the peer has made its tap.
#[track_caller]
pub(crate) fn expect_tap(home: &Namespace, tap: &str, peer: &Process) {
    wait_until("the peer's tap", || {
        assert!(peer.is_running(), "the peer ended:\n{}", peer.log());
        home.interfaces().iter().any(|name| name == tap)
    });
}

/// Puts our tap and the peer's into namespaces with addresses: ping, and a file of so many bytes both ways. The taps
/// go with the namespaces.
#[track_caller]
#[must_use]
pub(crate) fn talk(home: &Namespace, [ours, theirs]: [&str; 2], file_bytes: usize) -> [Namespace; 2] {
    let (left, right) = (Namespace::new(), Namespace::new());
    home.give(ours, &left, &format!("{LEFT}/24"));
    home.give(theirs, &right, &format!("{RIGHT}/24"));
    wait_until("the first ping", || pings(&left, RIGHT, 1));
    transfer(&left, &right, RIGHT, file_bytes);
    transfer(&right, &left, LEFT, file_bytes);
    [left, right]
}
