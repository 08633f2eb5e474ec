//! Rigs that test virtual machines: a free place on PCI is looked for, a NIC is plugged, and whether it is there is read
//! from the monitor for people, where its id has to occur; ids that are taken have to be refused.

use framewire_tests::framewire::Framewire;
use framewire_tests::need;
use serde_json::{Value, json};

use crate::wire::{Wire, desc, done};

fn network(wire: &mut Wire) -> String {
    let line = r#"{"execute":"human-monitor-command","arguments":{"command-line":"info network"},"id":"i"}"#;
    let reply = wire.ask(&format!("{line}\n"));
    reply["return"].as_str().unwrap_or_else(|| panic!("no text: {reply}")).to_owned()
}

#[test]
fn a_nic_is_plugged_where_nothing_is_and_found_by_its_id() {
    need!(root);
    let framewire = Framewire::new();
    let (mut wire, _greeting) = Wire::open(&framewire.qmp_path());
    wire.ask("{\"execute\":\"qmp_capabilities\"}\n");
    // As of a machine without PCI: no bus, and so none that is full.
    let buses = wire.ask("{\"execute\":\"query-pci\",\"id\":\"p\"}\n");
    assert_eq!(buses, json!({ "return": [], "id": "p" }));
    let netdev = r#"{"execute":"netdev_add","arguments":{"type":"none","id":"idVx8Jq2"},"id":"n"}"#;
    let device = r#"{"execute":"device_add","arguments":{"driver":"virtio-net-pci","netdev":"idVx8Jq2","mac":"9a:11:22:33:44:55","id":"idPq3Lw7"},"id":"d"}"#;
    for (line, id) in [(netdev, "n"), (device, "d")] {
        assert_eq!(wire.ask(line), done(&json!(id)));
    }
    let text = network(&mut wire);
    assert!(text.contains("idVx8Jq2") && text.contains("idPq3Lw7"), "{text}");
    let refused = |reply: Value| desc(&reply).to_owned();
    assert_eq!(refused(wire.ask(netdev)), "Duplicate ID 'idVx8Jq2'");
    assert_eq!(refused(wire.ask(device)), "Duplicate device ID 'idPq3Lw7'");
    let unplug = r#"{"execute":"device_del","arguments":{"id":"idPq3Lw7"},"id":"u"}"#;
    assert_eq!(wire.ask(unplug), done(&json!("u")));
    while wire.event("DEVICE_DELETED")["device"] != "idPq3Lw7" {}
    let gone = r#"{"execute":"netdev_del","arguments":{"id":"idVx8Jq2"},"id":"g"}"#;
    assert_eq!(wire.ask(gone), done(&json!("g")));
    assert!(!network(&mut wire).contains("idVx8Jq2"));
}
