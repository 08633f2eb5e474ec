//! A guest beside a network interface of the host's, without the host's stack: the interface's other end is a kernel.

use framewire_tests::bench::Bench;
use framewire_tests::machine::{Machine, Parts};
use framewire_tests::namespace::Namespace;
use framewire_tests::need;
use framewire_tests::traffic::pings;
use serde_json::json;

use super::echo;

const GUEST: &str = "10.9.0.2";
const GUEST_BYTES: [u8; 4] = [10, 9, 0, 2];
const FAR: &str = "10.9.0.1";

/// A guest whose NIC is joined with `near`, over AF_XDP.
fn boot(bench: &mut Bench, far: &Namespace, options: &serde_json::Value) -> Machine {
    let home = bench.framewire.home();
    home.ip("link add name near type veth peer name far");
    home.ip(&format!("link set dev far netns {}", far.path()));
    home.ip("link set dev near up");
    // Checksums that this end leaves to whoever receives reach the guest without a word about them.
    far.call("ethtool -K far tx off");
    far.address("far", &format!("{FAR}/24"));
    bench.add("af-xdp", "n0", options.clone());
    bench.qmp.command("device_add", json!({ "driver": "virtio-net-pci", "id": "vn0", "netdev": "n0" }));
    let socket = bench.framewire.runtime_dir().join("nic-vn0.sock");
    let mut guest = Machine::boot(&Parts::default().nic(0, &socket, 1, ""));
    echo::serve(&mut guest, GUEST);
    guest
}

#[test]
fn guest_talks_to_a_kernel_at_the_other_end_of_an_interface() {
    need!(root, guests, "ethtool", "ping");
    let (mut bench, far) = (Bench::new(), Namespace::new());
    let mut guest = boot(&mut bench, &far, &json!({ "ifname": "near" }));
    assert!(pings(&far, GUEST, 60));
    guest.call(&format!("ping -c 1 -w 60 {FAR}"));
    echo::whole(&far, GUEST_BYTES, 4_000_000);
}
