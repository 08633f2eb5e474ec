//! Two guests face each other: no kernel of ours in between.

use framewire_tests::bench::Bench;
use framewire_tests::machine::{Machine, Parts};
use framewire_tests::need;
use serde_json::json;

use super::echo;

const OTHER: &str = "10.9.0.3";

/// Two NICs on a hub of their own.
fn nics(bench: &mut Bench) {
    for nic in ["vn0", "vn1"] {
        let port = format!("port-{nic}");
        bench.add("hubport", &port, json!({ "hubid": 1 }));
        bench.qmp.command("device_add", json!({ "driver": "virtio-net-pci", "id": nic, "netdev": port }));
    }
}

#[test]
fn guests_send_each_other_what_they_have_with_different_offloads() {
    need!(root, tun, guests);
    let mut bench = Bench::new();
    nics(&mut bench);
    let socket = |nic: &str| bench.framewire.runtime_dir().join(format!("nic-{nic}.sock"));
    let mut one = Machine::boot(&Parts::default().nic(0, &socket("vn0"), 1, ",packed=on"));
    // The other takes nothing that is unfinished: it is finished for it, and for nobody else.
    let plain = ",mrg_rxbuf=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off";
    let mut other = Machine::boot(&Parts::default().nic(1, &socket("vn1"), 1, plain));
    echo::serve(&mut other, OTHER);
    one.call("ip link set eth0 up && ip address add 10.9.0.2/24 dev eth0");
    one.call(&format!("ping -c 1 -w 60 {OTHER}"));
    for change in ["tso on", "tso off gso off", "tx off"] {
        one.call(&format!("ethtool -K eth0 {change}"));
        let sums = one.call(&format!(
            "head -c 2000000 /dev/urandom >/tmp/file; sha256sum </tmp/file; nc {OTHER} 7 </tmp/file | sha256sum"
        ));
        let sums: Vec<_> = sums.lines().collect();
        assert!(sums.len() == 2 && sums[0] == sums[1], "{change}: {sums:?}");
    }
}
