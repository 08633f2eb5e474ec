//! Real peers: QEMU's own l2tpv3 netdev with a kernel behind it, over every form of address and with all of its options.

use framewire_tests::bench::Bench;
use framewire_tests::need;
use serde_json::json;

use crate::kernels;

use super::FORMS;

/// Two kernels, a tap each, between them our tunnel and QEMU's: ping, and a file both ways.
#[track_caller]
fn two_kernels_talk(form: super::Form, ours: serde_json::Value, theirs: &str) {
    let mut bench = Bench::new();
    let ends = form.ends(&bench);
    bench.add("l2tpv3", "s", form.options(ends, ours));
    let [here, there] = ends;
    let ports = if form.is_udp {
        format!(",udp=on,srcport={},dstport={}", there.port(), here.port())
    } else {
        String::new()
    };
    let family = if form.is_v6 { ",ipv6=on" } else { "" };
    let home = bench.framewire.home();
    let netdev = format!("l2tpv3,id=s,src={},dst={}{ports}{family},{theirs}", there.ip(), here.ip());
    let qemu = kernels::qemu(home, &netdev);
    drop(crate::stream::join(&mut bench));
    let home = bench.framewire.home();
    home.ip("link set dev t mtu 1500");
    let _kernels = kernels::talk(home, ["t", "q"], 1_000_000);
    assert!(qemu.is_running(), "QEMU ended:\n{}", qemu.log());
}

#[test]
fn qemu_is_the_other_end_of_a_bare_tunnel() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    for form in FORMS {
        two_kernels_talk(form, json!({ "txsession": 258 }), "txsession=258");
    }
}

#[test]
fn qemu_is_the_other_end_of_a_tunnel_with_short_cookies_and_a_counter() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    for form in FORMS {
        let ours = json!({ "txsession": 1, "rxsession": 2, "txcookie": 3, "rxcookie": 0xffff_fffe_u32, "counter": true });
        let theirs = "txsession=2,rxsession=1,txcookie=0xfffffffe,rxcookie=3,counter=on";
        two_kernels_talk(form, ours, theirs);
    }
}

#[test]
fn qemu_is_the_other_end_of_a_tunnel_with_long_cookies_a_pinned_counter_and_an_offset() {
    need!(root, tun, "qemu-system-x86_64", "ping", "socat");
    for form in FORMS {
        let ours = json!({
            "txsession": 1, "rxsession": 2, "cookie64": true, "offset": 16, "counter": true, "pincounter": true,
            "txcookie": 0x0102_0304_0506_0708_u64, "rxcookie": 0x0908_0706_0504_0302_u64,
        });
        let theirs = "txsession=2,rxsession=1,cookie64=on,offset=16,counter=on,pincounter=on,\
                      txcookie=0x0908070605040302,rxcookie=0x0102030405060708";
        two_kernels_talk(form, ours, theirs);
    }
}
