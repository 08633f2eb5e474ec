//! Nova, through libvirt's pass-through: the line `announce_self` for people, several times after a migration.

use framewire_tests::framewire::Framewire;
use framewire_tests::need;
use serde_json::json;

use crate::wire::{Wire, done};

#[test]
fn guests_are_announced_by_a_line_of_the_monitor_for_people() {
    need!(root);
    let framewire = Framewire::new();
    let (mut wire, _greeting) = Wire::open(&framewire.qmp_path());
    assert_eq!(
        wire.ask("{\"execute\":\"qmp_capabilities\",\"id\":\"libvirt-1\"}\r\n"),
        done(&json!("libvirt-1"))
    );
    for number in 2..5 {
        let id = format!("libvirt-{number}");
        let line = format!(
            "{{\"execute\":\"human-monitor-command\",\"arguments\":{{\"command-line\":\"announce_self\",\"cpu-index\":0}},\"id\":\"{id}\"}}\r\n"
        );
        assert_eq!(wire.ask(&line), json!({ "return": "", "id": id }));
    }
}

/// The migration helpers of others use the command for programs.
#[test]
fn guests_are_announced_by_the_command() {
    need!(root);
    let framewire = Framewire::new();
    let (mut wire, _greeting) = Wire::open(&framewire.qmp_path());
    wire.ask(r#"{"execute":"qmp_capabilities"}"#);
    let announce =
        r#"{"execute":"announce-self","arguments":{"initial":50,"max":550,"rounds":10,"step":50},"id":10}"#;
    assert_eq!(wire.ask(announce), done(&json!(10)));
}
