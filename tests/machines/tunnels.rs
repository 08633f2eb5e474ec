//! The kernel's own L2TP, in a guest, at the other end of our tunnels. Its underlay is a NIC and a tap that we serve too.

use framewire_tests::bench::Bench;
use framewire_tests::machine::{Machine, Parts};
use framewire_tests::need;
use serde_json::{Value, json};

use super::echo;

/// What crosses each tunnel, both ways.
const BYTES: usize = 1 << 16;

/// One form of tunnel.
#[derive(Debug, Clone, Copy)]
struct Form {
    is_udp: bool,
    is_v6: bool,
    cookie_bytes: usize,
}

/// What is sent to us, and by us.
const COOKIES: [u64; 2] = [0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff00];

impl Form {
    const fn all() -> [Form; 12] {
        let mut forms = [Form { is_udp: true, is_v6: false, cookie_bytes: 0 }; 12];
        let mut number = 0;
        while number < forms.len() {
            forms[number] = Form {
                is_udp: number.is_multiple_of(2),
                is_v6: (number / 2).is_multiple_of(2),
                cookie_bytes: number / 4 * 4,
            };
            number += 1;
        }
        forms
    }

    fn hosts(self) -> [&'static str; 2] {
        if self.is_v6 { ["fd01::1", "fd01::2"] } else { ["10.8.0.1", "10.8.0.2"] }
    }

    /// The two cookies, as long as this form's.
    fn cookies(self) -> [u64; 2] {
        COOKIES.map(|cookie| if self.cookie_bytes == 8 { cookie } else { cookie & 0xffff_ffff })
    }

    /// Our end of tunnel `number`.
    fn ours(self, number: usize) -> Value {
        let [ours, theirs] = self.hosts();
        let mut options = json!({
            "src": ours, "dst": theirs, "ipv6": self.is_v6, "udp": self.is_udp,
            "txsession": 100 + number, "rxsession": 200 + number,
        });
        if self.is_udp {
            options["srcport"] = json!((5000 + number).to_string());
            options["dstport"] = json!((6000 + number).to_string());
        }
        if self.cookie_bytes > 0 {
            let [received, sent] = self.cookies();
            options["rxcookie"] = json!(received);
            options["txcookie"] = json!(sent);
        }
        // Even a false one stands for long cookies.
        if self.cookie_bytes == 8 {
            options["cookie64"] = json!(true);
        }
        options
    }

    /// The guest's end: an interface `l` with its number.
    fn theirs(self, number: usize) -> String {
        let [ours, theirs] = self.hosts();
        let envelope = match self.is_udp {
            true => format!("encap udp udp_sport {} udp_dport {}", 6000 + number, 5000 + number),
            false => "encap ip".to_owned(),
        };
        let [sent, received] = self.cookies();
        let digits = 2 * self.cookie_bytes;
        let cookies = match self.cookie_bytes {
            0 => String::new(),
            _ => format!("cookie {sent:0digits$x} peer_cookie {received:0digits$x}"),
        };
        // Each address pair takes one tunnel over IP, so none is left for the next.
        format!(
            "ip l2tp add tunnel tunnel_id {tunnel} peer_tunnel_id {tunnel} {envelope} local {theirs} remote {ours} && \
             ip l2tp add session name l{number} tunnel_id {tunnel} session_id {} peer_session_id {} {cookies} \
             l2spec_type none && ip address add 10.10.{number}.2/24 dev l{number} && ip link set l{number} up mtu 1400",
            100 + number,
            200 + number,
            tunnel = number + 1,
        )
    }
}

/// A guest `10.8.0.2` and `fd01::2` whose NIC faces a tap with `10.8.0.1` and `fd01::1`.
fn underlay(bench: &mut Bench) -> Machine {
    drop(bench.tap("t", json!({})));
    let home = bench.framewire.home();
    home.set("net/ipv6/conf/t/disable_ipv6", "0");
    home.ip("address add 10.8.0.1/24 dev t");
    home.ip("address add fd01::1/64 dev t nodad");
    bench.qmp.command("device_add", json!({ "driver": "virtio-net-pci", "id": "vn0", "netdev": "t" }));
    let socket = bench.framewire.runtime_dir().join("nic-vn0.sock");
    let mut guest = Machine::boot(&Parts::default().nic(0, &socket, 1, ""));
    guest.call("modprobe l2tp_eth && modprobe l2tp_ip && modprobe l2tp_ip6");
    echo::serve(&mut guest, "10.8.0.2");
    guest.call("ip address add fd01::2/64 dev eth0 nodad");
    guest
}

#[test]
fn kernels_l2tp_is_the_other_end_of_every_form_of_tunnel() {
    need!(root, tun, guests);
    let mut bench = Bench::new();
    let mut guest = underlay(&mut bench);
    for (number, form) in Form::all().into_iter().enumerate() {
        let (end, tap) = (format!("n{number}"), format!("t{number}"));
        bench.add("l2tpv3", &end, form.ours(number));
        drop(bench.tap(&tap, json!({})));
        bench.join(&end, &tap);
        let home = bench.framewire.home();
        home.ip(&format!("link set dev {tap} mtu 1400"));
        home.ip(&format!("address add 10.10.{number}.1/24 dev {tap}"));
        guest.call(&form.theirs(number));
        let (status, printed) = guest.run(&format!("ping -c 3 -i 0.2 -w 60 -s 1200 10.10.{number}.1"));
        assert_eq!(status, 0, "{form:?}: {printed}\n{}", bench.qmp.command("x-query-status", json!({})));
        let third = u8::try_from(number).expect("there are few");
        echo::whole(bench.framewire.home(), [10, 10, third, 2], BYTES);
        let tunnel = number + 1;
        let session = 100 + number;
        guest.call(&format!(
            "ip l2tp del session tunnel_id {tunnel} session_id {session} && ip l2tp del tunnel tunnel_id {tunnel}"
        ));
        bench.delete(&end);
        bench.delete(&tap);
    }
}
