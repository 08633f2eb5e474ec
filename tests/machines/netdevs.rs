//! A guest behind QEMU's own netdevs, one NIC at each, and ours at their other ends: whatever QEMU puts on a wire, a kernel
//! behind us reads, and the other way round.

use framewire_tests::bench::Bench;
use framewire_tests::machine::{Machine, Parts};
use framewire_tests::need;
use framewire_tests::port;
use framewire_tests::vde;
use serde_json::{Value, json};

use super::echo;

/// What crosses each of them, both ways.
const BYTES: usize = 1 << 17;

/// Our end and QEMU's.
struct Link {
    kind: &'static str,
    ours: Value,
    theirs: String,
}

fn streams(bench: &Bench) -> Vec<Link> {
    let file = |name: &str| bench.framewire.file(name).display().to_string();
    let [listening, listened, classic] = std::array::from_fn(|_| port::unused());
    vec![
        Link {
            kind: "stream",
            ours: json!({ "server": true, "addr": { "type": "unix", "path": file("s") } }),
            theirs: format!("stream,server=off,addr.type=unix,addr.path={}", file("s")),
        },
        Link {
            kind: "stream",
            ours: json!({ "server": true, "addr": inet(listening) }),
            theirs: format!("stream,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port={listening}"),
        },
        Link {
            kind: "stream",
            ours: json!({ "addr": inet(listened), "reconnect-ms": 100 }),
            theirs: format!("stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port={listened}"),
        },
        Link {
            kind: "socket",
            ours: json!({ "listen": format!("127.0.0.1:{classic}") }),
            theirs: format!("socket,connect=127.0.0.1:{classic}"),
        },
    ]
}

fn datagrams(bench: &Bench) -> Vec<Link> {
    let file = |name: &str| bench.framewire.file(name).display().to_string();
    let [ours, theirs, our_old, their_old, our_tunnel, their_tunnel] =
        std::array::from_fn(|_| port::unused());
    vec![
        Link {
            kind: "dgram",
            ours: json!({ "local": inet(ours), "remote": inet(theirs) }),
            theirs: format!(
                "dgram,local.type=inet,local.host=127.0.0.1,local.port={theirs},\
                 remote.type=inet,remote.host=127.0.0.1,remote.port={ours}"
            ),
        },
        Link {
            kind: "dgram",
            ours: json!({
                "local": { "type": "unix", "path": file("d0") }, "remote": { "type": "unix", "path": file("d1") },
            }),
            theirs: format!(
                "dgram,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                file("d1"),
                file("d0")
            ),
        },
        Link {
            kind: "socket",
            ours: json!({
                "udp": format!("127.0.0.1:{their_old}"), "localaddr": format!("127.0.0.1:{our_old}"),
            }),
            theirs: format!("socket,udp=127.0.0.1:{our_old},localaddr=127.0.0.1:{their_old}"),
        },
        Link {
            kind: "l2tpv3",
            ours: json!({
                "src": "127.0.0.1", "dst": "127.0.0.1", "udp": true, "counter": true,
                "srcport": our_tunnel.to_string(), "dstport": their_tunnel.to_string(),
                "txsession": 1, "rxsession": 2, "txcookie": 3, "rxcookie": 4,
            }),
            theirs: format!(
                "l2tpv3,src=127.0.0.1,dst=127.0.0.1,udp=on,counter=on,srcport={their_tunnel},\
                 dstport={our_tunnel},txsession=2,rxsession=1,txcookie=4,rxcookie=3"
            ),
        },
        Link {
            kind: "l2tpv3",
            ours: json!({ "src": "127.0.0.1", "dst": "127.0.0.2", "txsession": 1, "rxsession": 2 }),
            theirs: "l2tpv3,src=127.0.0.2,dst=127.0.0.1,txsession=2,rxsession=1".to_owned(),
        },
        Link {
            kind: "vde",
            ours: json!({ "sock": file("switch") }),
            theirs: format!("vde,sock={}", file("switch")),
        },
    ]
}

fn inet(port: u16) -> Value {
    json!({ "type": "inet", "host": "127.0.0.1", "port": port.to_string() })
}

#[test]
fn guest_talks_through_every_netdev_of_qemus_that_has_a_counterpart() {
    need!(root, tun, guests, "qemu-system-x86_64", "vde_switch");
    let mut bench = Bench::new();
    let _switch = vde::switch(bench.framewire.home(), &bench.framewire.file("switch"));
    let mut links = streams(&bench);
    links.extend(datagrams(&bench));
    let mut parts = Parts { is_installed_qemu: true, ..Parts::default() };
    for (number, link) in links.iter().enumerate() {
        let (end, tap) = (format!("n{number}"), format!("t{number}"));
        bench.add(link.kind, &end, link.ours.clone());
        // Nobody looks at the tap's frames but its kernel.
        drop(bench.tap(&tap, json!({})));
        bench.join(&end, &tap);
        bench.framewire.home().ip(&format!("address add 10.9.{number}.1/24 dev {tap}"));
        parts = parts.netdev(number, &link.theirs);
    }
    let mut guest = Machine::boot_in(bench.framewire.home(), &parts);
    echo::serve(&mut guest, "10.9.0.2");
    for number in 1..links.len() {
        guest.call(&format!(
            "ip address add 10.9.{number}.2/24 dev eth{number} && ip link set eth{number} up"
        ));
    }
    for (number, link) in links.iter().enumerate() {
        let (status, printed) = guest.run(&format!("ping -c 3 -i 0.2 -w 60 10.9.{number}.1"));
        assert_eq!(status, 0, "{}: {printed}", link.theirs);
        let last = u8::try_from(number).expect("there are few");
        echo::whole(bench.framewire.home(), [10, 9, last, 2], BYTES);
    }
}
