//! Character devices as the peers of real sockets: connecting again, being torn off, outliving their process.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use framewire_tests::framewire::Framewire;
use framewire_tests::need;
use framewire_tests::qmp::Qmp;
use framewire_tests::wait::wait_until;
use serde_json::{Value, json};

fn add(qmp: &mut Qmp, id: &str, path: &Path, options: &Value) {
    let mut data = json!({ "addr": { "type": "unix", "data": { "path": path } } });
    data.as_object_mut().expect("an object").extend(options.as_object().expect("an object").clone());
    let backend = json!({ "type": "socket", "data": data });
    qmp.command("chardev-add", json!({ "id": id, "backend": backend }));
}

fn filename(qmp: &mut Qmp, id: &str) -> Option<String> {
    let list = qmp.command("query-chardev", json!({}));
    let found = list.as_array().expect("a list").iter().find(|info| info["label"] == id);
    found.map(|info| info["filename"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_client_finds_its_server_late_and_again_and_after_being_torn_off() {
    need!(root);
    let framewire = Framewire::new();
    let mut qmp = framewire.qmp();
    let path = framewire.file("server");
    add(&mut qmp, "c0", &path, &json!({ "server": false, "reconnect-ms": 20 }));
    let (connected, waiting) = ("unix:".to_owned(), format!("disconnected:unix:{}", path.display()));
    assert_eq!(filename(&mut qmp, "c0"), Some(waiting.clone()));
    let listener = UnixListener::bind(&path).expect("a scratch path");
    wait_until("the first connection", || filename(&mut qmp, "c0").as_ref() == Some(&connected));
    drop(listener.accept().expect("it connected"));
    let (_second, _name) = listener.accept().expect("it connects again");
    let instances = qmp.command("query-yank", json!({}));
    assert_eq!(
        instances,
        json!([{ "type": "chardev", "id": "compat_monitor0" }, { "type": "chardev", "id": "c0" }])
    );
    qmp.command("yank", json!({ "instances": [{ "type": "chardev", "id": "c0" }] }));
    let (_third, _name) = listener.accept().expect("it connects again");
    let (class, _text) = qmp.refused("yank", json!({ "instances": [{ "type": "chardev", "id": "c1" }] }));
    assert_eq!(class, "DeviceNotFound");
    qmp.command("chardev-remove", json!({ "id": "c0" }));
}

#[test]
fn character_devices_outlive_a_killed_control_plane() {
    need!(root);
    let mut framewire = Framewire::new();
    let (server, remote) = (framewire.file("server"), framewire.file("remote"));
    let mut qmp = framewire.qmp();
    add(&mut qmp, "s0", &server, &json!({ "server": true, "wait": false }));
    add(&mut qmp, "c0", &remote, &json!({ "server": false, "reconnect": 1 }));
    add(&mut qmp, "gone", &framewire.file("gone"), &json!({ "server": true, "wait": false }));
    qmp.command("chardev-remove", json!({ "id": "gone" }));
    framewire.kill_control();
    framewire.restart_control();
    let mut qmp = framewire.qmp();
    assert_eq!(filename(&mut qmp, "s0"), Some(format!("disconnected:unix:{},server=on", server.display())));
    assert_eq!(filename(&mut qmp, "c0"), Some(format!("disconnected:unix:{}", remote.display())));
    assert_eq!(filename(&mut qmp, "gone"), None);
    drop(UnixStream::connect(&server).expect("it listens"));
    qmp.command("chardev-remove", json!({ "id": "s0" }));
    assert!(!server.exists(), "its path is left over");
    drop(qmp);
    let list = framewire.runtime_dir().join("chardevs");
    framewire.quit();
    assert!(!list.exists(), "the list is left over");
}
