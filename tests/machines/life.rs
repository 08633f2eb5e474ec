//! One guest, from its first boot on: two queue pairs, all its offloads, and everything that happens to a NIC in its life.

use framewire_tests::bench::Bench;
use framewire_tests::machine::{Machine, Parts};
use framewire_tests::need;
use serde_json::json;

use super::echo;

const HOST: &str = "10.9.0.1";
const GUEST: &str = "10.9.0.2";
const GUEST_BYTES: [u8; 4] = [10, 9, 0, 2];

/// What goes to the guest and back to see that it is there.
const SOME: usize = 1 << 19;
/// What is on its way while something happens.
const MUCH: usize = 8 << 20;

/// A guest at a NIC that faces a tap, both of so many queues.
struct Scene {
    bench: Bench,
    guest: Machine,
}

impl Scene {
    #[track_caller]
    fn new(queues: u8) -> Self {
        let mut bench = Bench::new();
        // Nobody looks at the tap's frames but its kernel.
        drop(bench.tap("t", json!({ "queues": queues })));
        bench.framewire.home().ip(&format!("address add {HOST}/24 dev t"));
        let nic = json!({ "driver": "virtio-net-pci", "id": "vn0", "netdev": "t", "mq": queues > 1 });
        bench.qmp.command("device_add", nic);
        let socket = bench.framewire.runtime_dir().join("nic-vn0.sock");
        let guest = Machine::boot(&Parts::default().nic(0, &socket, queues.into(), ""));
        bench.qmp.event("NETDEV_VHOST_USER_CONNECTED");
        // Whatever it took to boot.
        bench.qmp.events();
        let mut scene = Scene { bench, guest };
        echo::serve(&mut scene.guest, GUEST);
        scene
    }

    #[track_caller]
    fn talk(&mut self) {
        self.guest.call(&format!("ping -c 1 -w 60 {HOST}"));
        echo::whole(self.bench.framewire.home(), GUEST_BYTES, SOME);
    }
}

/// Interrupts of each of the NIC's rings, by name.
fn interrupts(guest: &mut Machine, ring: &str) -> u64 {
    let table = guest.call("cat /proc/interrupts");
    let line = table.lines().find(|line| line.ends_with(ring));
    let line = line.unwrap_or_else(|| panic!("no ring {ring} in\n{table}"));
    line.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok()).sum()
}

#[test]
fn two_queue_pairs_carry_frames_with_and_without_offloads() {
    need!(root, tun, guests);
    let mut scene = Scene::new(2);
    scene.guest.call("ethtool -L eth0 combined 2");
    // Which pair a connection takes is the kernels' to choose: it is another one soon.
    let mut connections = 0;
    let rings = ["input.0", "output.0", "input.1", "output.1"];
    while rings.iter().any(|ring| interrupts(&mut scene.guest, ring) == 0) {
        assert!(connections < 64, "some ring carries nothing");
        scene.talk();
        connections += 1;
    }
    for change in ["tso off gso off", "tx off", "rx off", "gro off", "tx on tso on gso on gro on"] {
        // What a guest receives cannot be switched by every driver at any time; what it says must stand.
        scene.guest.run(&format!("ethtool -K eth0 {change}"));
        scene.talk();
    }
    scene.guest.call("ethtool -L eth0 combined 1");
    scene.talk();
    scene.bench.framewire.home().ip("link set dev t mtu 9000");
    scene.guest.call(&format!("ip link set eth0 mtu 9000 && ping -c 1 -w 60 -s 8972 {HOST}"));
    scene.talk();
    for change in ["promisc on", "promisc off", "allmulticast on", "down", "up"] {
        scene.guest.call(&format!("ip link set eth0 {change}"));
    }
    scene.talk();
}

#[test]
fn guest_keeps_its_connections_whatever_happens() {
    need!(root, tun, guests);
    let mut scene = Scene::new(1);
    scene.talk();
    // Its data plane is killed, twice, with a connection under way.
    let Scene { bench, .. } = &mut scene;
    for _round in 0..2 {
        let data = framewire_tests::process::Watched::find(bench.framewire.data().pid()).expect("it runs");
        echo::during(bench.framewire.home(), GUEST_BYTES, MUCH, || data.kill());
        bench.qmp.event("X_DATAPLANE_STARTED");
    }
    // Its link goes down and up.
    scene.bench.set_link("vn0", false);
    let (status, _printed) = scene.guest.run(&format!("ping -c 1 -W 1 {HOST}"));
    assert_ne!(status, 0, "a ping comes through a link that is down");
    scene.bench.set_link("vn0", true);
    scene.talk();
    assert!(!scene.bench.qmp.events().iter().any(|event| event == "NETDEV_VHOST_USER_DISCONNECTED"));
    // Its driver is taken away and comes back.
    scene.guest.call("killall nc; rmmod virtio_net && modprobe virtio_net");
    echo::serve(&mut scene.guest, GUEST);
    scene.talk();
    // It boots again.
    scene.guest.qmp().command("system_reset", json!({}));
    scene.guest.ready();
    echo::serve(&mut scene.guest, GUEST);
    scene.talk();
    // Its QEMU is killed, and there is nothing left of it.
    let Scene { mut bench, guest } = scene;
    drop(guest);
    bench.qmp.event("NETDEV_VHOST_USER_DISCONNECTED");
    bench.qmp.command("cont", json!({}));
    bench.qmp.command("device_del", json!({ "id": "vn0" }));
    bench.qmp.event("DEVICE_DELETED");
    bench.delete("t");
    bench.finish();
}
