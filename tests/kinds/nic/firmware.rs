//! A front end and a driver that we did not write, through the whole system: QEMU's vhost-user, and the network boot in
//! its firmware, which asks for an address over the tap that the NIC faces.
//!
//! QEMU's own processor is enough; without vectors, since QEMU 7.2 ends when it has vhost-user, vectors and no KVM.

use framewire_tests::bench::Bench;
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::process::{Process, command};
use framewire_tests::wait::wait_until;
use serde_json::json;

const ADDRESS: [u8; 6] = [0x52, 0x54, 0, 0x11, 0x22, 0x33];
const IPV4: u16 = 0x0800;

fn qemu(bench: &Bench) -> Process {
    let socket = bench.framewire.runtime_dir().join("nic-vn0.sock");
    bench.framewire.home().start(command(&format!(
        "qemu-system-x86_64 -nodefaults -display none -machine q35,accel=tcg,memory-backend=mem -m 128 \
         -object memory-backend-memfd,id=mem,size=128M,share=on -chardev socket,id=c,path={} \
         -netdev vhost-user,id=n,chardev=c -boot n \
         -device virtio-net-pci,netdev=n,mac=52:54:00:11:22:33,vectors=0",
        socket.display()
    )))
}

/// Whether this is a guest that asks for an address.
fn is_discover(frame: &[u8]) -> bool {
    frame.len() > 42 && frame[..6] == [0xff; 6] && frame[6..12] == ADDRESS && frame[34..38] == [0, 68, 0, 67]
}

#[track_caller]
fn expect_discover(tap: &PacketSocket, guest: &Process) {
    wait_until("the firmware asks for an address", || {
        assert!(guest.is_running(), "{}", guest.log());
        tap.receive(std::time::Duration::from_millis(100)).is_some_and(|frame| is_discover(&frame))
    });
}

#[test]
fn firmware_of_qemu_asks_for_an_address_whoever_is_killed() {
    need!(root, tun, "qemu-system-x86_64");
    let mut bench = Bench::new();
    bench.tap("t", json!({}));
    let tap = PacketSocket::open_for(bench.framewire.home(), "t", IPV4);
    bench.qmp.command("device_add", json!({ "driver": "virtio-net-pci", "id": "vn0", "netdev": "t" }));
    // QEMU is killed, and started again.
    for _round in 0..2 {
        let guest = qemu(&bench);
        bench.qmp.event("NETDEV_VHOST_USER_CONNECTED");
        expect_discover(&tap, &guest);
        drop(guest);
        bench.qmp.event("NETDEV_VHOST_USER_DISCONNECTED");
    }
    let guest = qemu(&bench);
    expect_discover(&tap, &guest);
    bench.framewire.data().kill();
    bench.qmp.event("X_DATAPLANE_STARTED");
    expect_discover(&tap, &guest);
    bench.qmp.command("cont", json!({}));
    bench.qmp.command("device_del", json!({ "id": "vn0" }));
    bench.qmp.event("DEVICE_DELETED");
    drop((guest, tap));
    bench.delete("t");
    bench.finish();
}
