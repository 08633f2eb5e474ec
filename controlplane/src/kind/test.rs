//! Recorded vectors, as far as reading and checking decide them.
//!
//! Each vector of the listed groups that sends one command goes through the command table and the checks. If QEMU
//! refused it, class and text must be the same; if QEMU took it, nothing may be refused. What only a system call
//! can find out is listed by name, and so is what differs on purpose.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;

use super::*;
use crate::qmp::command::{Command, Entry};

/// Groups whose vectors are about arguments.
const GROUPS: [&str; 15] = [
    "args",
    "types",
    "bridge",
    "chardev",
    "dgram",
    "hubport",
    "l2tpv3",
    "link",
    "socket",
    "stream",
    "tap",
    "user",
    "vde",
    "vhost-user",
    "vhost-vdpa",
];

/// Refusals by a system call, or by something else that happens after all checks.
const DECIDED_LATER: &[&str] = &[
    "bridge-failed-leaves-nothing",
    "bridge-helper-arguments",
    "bridge-helper-arguments-default-br",
    "bridge-helper-command-line",
    "bridge-helper-exits-1",
    "bridge-helper-missing",
    "chardev-add-client-no-listener",
    "chardev-add-duplicate",
    "chardev-add-server-no-directory",
    "dgram-inet-local-not-local",
    "dgram-mcast-local-fd-unknown",
    "dgram-mcast-no-local-no-route",
    "dgram-unix-local-is-directory",
    "l2tpv3-udp-bad-dst",
    "l2tpv3-udp-bad-src",
    "l2tpv3-udp-bad-srcport",
    "l2tpv3-udp-v4-with-v6-src",
    "socket-fd-consumed-on-failure",
    "socket-fd-empty",
    "socket-fd-name-unknown",
    "socket-fd-negative",
    "socket-fd-pipe",
    "socket-fd-seqpacket",
    "socket-listen-in-use",
    "socket-mcast-no-route",
    "socket-udp-localaddr-not-local",
    "tap-fd-empty",
    "tap-fd-not-tap",
    "tap-fd-number-bad",
    "tap-fd-number-huge",
    "tap-fd-socket",
    "tap-fds-second-unknown-consumes-first",
    "tap-fds-unknown",
    "tap-fds-vnet-inconsistent",
    "tap-helper-missing",
    "tap-helper-with-br",
    "tap-ifname-bad",
    "tap-vhost-and-force-no-device",
    "tap-vhostfd-not-vhost-force",
    "tap-vhostfd-unknown-force",
    "tap-vhostforce-no-device",
    "user-hostfwd-in-use",
    "user-hostfwd-same-twice",
    "user-smb-bad-dir",
    "vde-ctl-is-file",
    "vde-port-group-mode",
    "vdpa-fd-not-vdpa",
    "vdpa-fd-unknown",
    "vdpa-not-vdpa",
    "vu-chardev-remove-in-use",
];

/// Commands that look something up before they refuse; no check decides them.
const LOOKUPS: &[&str] = &["set_link", "netdev_del", "device_add", "chardev-remove"];

/// What QEMU 7.2 refuses and this product has.
const DEVIATIONS: &[&str] = &[
    "add-type-af-xdp",
    "add-type-nic",
    "add-type-none",
    "add-type-vmnet-bridged",
    "add-type-vmnet-host",
    "stream-reconnect-not-in-7.2",
];

/// The world as the set-up of a vector left it.
#[derive(Default)]
struct World {
    netdevs: HashMap<String, Neighbour>,
    chardevs: HashMap<String, ChardevNature>,
}

impl Surroundings for World {
    fn netdev(&self, id: &str) -> Option<Neighbour> {
        self.netdevs.get(id).copied()
    }

    fn chardev(&self, id: &str) -> Option<ChardevNature> {
        self.chardevs.get(id).copied()
    }

    fn look_up(&self, question: &Question) -> Answer {
        let localhost = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        if question.host == "localhost" { Ok(vec![localhost]) } else { Err("no such name".to_owned()) }
    }
}

impl World {
    fn after(steps: &Value) -> Self {
        let mut world = Self::default();
        for step in steps.as_array().into_iter().flatten() {
            let arguments = &step["arguments"];
            let id = arguments["id"].as_str().unwrap_or_default().to_owned();
            match step["execute"].as_str() {
                Some("netdev_add") => drop(world.netdevs.insert(id, Neighbour::Free)),
                Some("chardev-add") => drop(world.chardevs.insert(id, nature(&arguments["backend"]))),
                _ => {}
            }
        }
        world
    }
}

fn nature(backend: &Value) -> ChardevNature {
    match (backend["type"].as_str(), backend["data"]["addr"]["type"].as_str()) {
        (Some("socket"), Some("unix")) => ChardevNature::UnixSocket,
        (Some("socket"), _) => ChardevNature::OtherSocket,
        _ => ChardevNature::NoSocket,
    }
}

/// What reading and checking say to one command.
fn outcome(send: &Value, world: &World) -> Result<(), QmpError> {
    let entry = Entry::find(send["execute"].as_str().unwrap())?;
    let command = entry.read(send.get("arguments"))?;
    if let Command::NetdevAdd(arguments) = &command {
        arguments.check(world)?;
    } else if let Command::ChardevAdd(arguments) = &command {
        arguments.check()?;
    }
    Ok(())
}

fn vectors(group: &str) -> Vec<Value> {
    let path = format!("{}/../tests/qmp/vectors/{group}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let text = text.replace("${TMP}", "/tmp/x").replace("${P1}", "4711").replace("${P2}", "4712");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn recorded_refusals_have_qemus_class_and_text() {
    let mut compared = 0;
    for vector in GROUPS.iter().flat_map(|group| vectors(group)) {
        let name = vector["name"].as_str().unwrap();
        let command = vector["send"]["execute"].as_str();
        if DEVIATIONS.contains(&name) || command.is_none_or(|command| LOOKUPS.contains(&command)) {
            continue;
        }
        let outcome = outcome(&vector["send"], &World::after(&vector["setup"]));
        let is_unbuilt = outcome.as_ref().is_err_and(|error| error.desc.ends_with("into this binary"));
        let expected = &vector["expect"]["error"];
        if expected.is_null() || DECIDED_LATER.contains(&name) {
            assert!(outcome.is_ok() || is_unbuilt, "{name}: {outcome:?}");
            continue;
        }
        let error = outcome.expect_err(name);
        assert_eq!(expected["class"], error.class.name(), "{name}");
        assert_eq!(expected["desc"], error.desc.as_str(), "{name}");
        compared += 1;
    }
    assert!(compared > 250, "only {compared} refusals were compared");
}

#[test]
fn what_differs_on_purpose_is_not_refused_as_in_qemu() {
    let world = World::default();
    let of_group = |group| vectors(group).into_iter();
    for vector in of_group("args").chain(of_group("stream")) {
        if !DEVIATIONS.contains(&vector["name"].as_str().unwrap()) {
            continue;
        }
        if let Err(error) = outcome(&vector["send"], &world) {
            assert_ne!(vector["expect"]["error"]["desc"], error.desc.as_str());
        }
    }
}

#[test]
fn what_kills_qemu_is_refused() {
    let check = |text: &str| NetdevAdd::from_option(text).unwrap().check(&World::default());
    let desc = |text: &str| check(text).unwrap_err().desc;
    assert_eq!(desc("tap,id=n0,queues=0"), "tap number of queues must be in range [1, 1024]");
    assert_eq!(desc("tap,id=n0,fds="), "tap number of queues must be in range [1, 1024]");
    let mut world = World::default();
    world.netdevs.insert("n0".to_owned(), Neighbour::Taken);
    let port = NetdevAdd::from_option("hubport,id=h1,hubid=0,netdev=n0").unwrap();
    assert_eq!(port.check(&world).unwrap_err().desc, "netdev 'n0' is in use");
}

#[test]
fn both_option_syntaxes_and_json_lead_to_the_same_netdev() {
    let json = r#"{"type":"tap","id":"n0","ifname":"a,b","queues":4,"vnet_hdr":false,"sndbuf":1048576}"#;
    let opts = "tap,id=n0,ifname=a,,b,queues=0x4,novnet_hdr,sndbuf=1M";
    assert_eq!(NetdevAdd::from_option(opts).unwrap(), NetdevAdd::from_option(json).unwrap());
    let json = r#"{"type":"stream","id":"s","addr":{"type":"unix","path":"/a,b"},"server":true}"#;
    let keyval = "stream,id=s,addr.type=unix,addr.path=/a,,b,server=on";
    assert_eq!(NetdevAdd::from_option(keyval).unwrap(), NetdevAdd::from_option(json).unwrap());
    let json = r#"{"type":"user","id":"u","ipv6":false,"hostfwd":[{"str":"tcp::1-:2"},{"str":"x"}]}"#;
    let opts = "type=user,id=u,ipv6=off,hostfwd=tcp::1-:2,hostfwd=x";
    assert_eq!(NetdevAdd::from_option(opts).unwrap(), NetdevAdd::from_option(json).unwrap());
}

#[test]
fn options_are_refused_in_the_words_of_their_syntax() {
    let desc = |text: &str| NetdevAdd::from_option(text).unwrap_err().desc;
    assert_eq!(desc("tap,id=n0,bogus=1"), "Invalid parameter 'bogus'");
    assert_eq!(desc("tap,id=n0,vhost=5"), "Parameter 'vhost' expects 'on' or 'off'");
    assert_eq!(desc("tap,id=n0,queues=x"), "Parameter 'queues' expects a uint64 value");
    assert_eq!(desc("tap,id=n0,queues=-0"), "Parameter 'queues' expects a uint64 value");
    assert_eq!(desc("tap,id=0,bogus=1"), "Parameter 'id' expects an identifier");
    assert_eq!(desc("user,id=u,ipv6-net="), "Parameter 'ipv6-net' expects a valid IPv6 prefix");
    assert_eq!(desc("tap,id=n0,queues=4294967296"), "Parameter 'queues' expects uint32_t");
    assert_eq!(desc("hubport,id=n0"), "Parameter 'hubid' is missing");
    assert_eq!(desc("id=n0"), "Parameter 'type' is missing");
    assert_eq!(desc("foo,id=n0"), "Parameter 'type' does not accept value 'foo'");
    assert_eq!(desc("stream,id=n0,addr.type=fd,addr.str=1,x=y"), "Parameter 'x' is unexpected");
    assert_eq!(desc("stream,id=n0,addr.type=inet,addr.port=1"), "Parameter 'addr.host' is missing");
    assert_eq!(desc("stream,id=n0,addr=x"), "Invalid parameter type for 'addr', expected: object");
    assert_eq!(desc("stream,id=n0,ipv4"), "Expected '=' after parameter 'ipv4'");
    assert_eq!(desc("user,id=u,ipv6-net=fec0::/x"), "Parameter 'ipv6-prefixlen' expects a number");
    assert_eq!(desc("{\"type\":\"tap\""), "JSON parse error, premature EOI");
}

#[test]
fn a_short_prefix_is_prefix_and_length() {
    let netdev = NetdevAdd::from_option("user,id=u,ipv6-net=fd00::/48").unwrap();
    let json = r#"{"type":"user","id":"u","ipv6-prefix":"fd00::","ipv6-prefixlen":48}"#;
    assert_eq!(netdev, NetdevAdd::from_option(json).unwrap());
}

#[test]
fn a_netdev_survives_being_saved() {
    for vector in GROUPS.iter().flat_map(|group| vectors(group)) {
        let send = &vector["send"];
        let Some(Ok(entry)) = send["execute"].as_str().map(Entry::find) else { continue };
        let Ok(Command::NetdevAdd(netdev)) = entry.read(send.get("arguments")) else { continue };
        let saved = netdev.print();
        let again = NetdevAdd::visit(&Place::root(&saved, Dialect::Json)).unwrap();
        assert_eq!(netdev, again);
    }
}
