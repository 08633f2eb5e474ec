//! The table against what QEMU's table says: its schema as recorded, and what libvirt looks for in it.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;

/// A schema by name of entry.
struct Entries(HashMap<String, Value>);

impl Entries {
    fn ours() -> Self {
        Self::of(schema().print())
    }

    fn recorded() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/qmp/qapi-schema.json");
        Self::of(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    fn of(schema: Value) -> Self {
        let Value::Array(entries) = schema else { panic!("a schema is a list") };
        let count = entries.len();
        let name = |entry: &Value| entry["name"].as_str().unwrap().to_owned();
        let by_name: HashMap<_, _> = entries.into_iter().map(|entry| (name(&entry), entry)).collect();
        assert_eq!(by_name.len(), count, "names are unique");
        Self(by_name)
    }

    fn get(&self, name: &Value) -> &Value {
        let name = name.as_str().unwrap();
        self.0.get(name).unwrap_or_else(|| panic!("type {name} has no entry"))
    }
}

/// What this product has beyond QEMU 7.2: members, values and variants by their place.
const ADDITIONS: &[&str] = &[
    "chardev-add:backend.socket.data.reconnect-ms",
    "netdev_add:type=af-xdp",
    "netdev_add:type=vmnet-bridged",
    "netdev_add:type=vmnet-host",
    "netdev_add:type=vmnet-shared",
    "netdev_add:variants+af-xdp",
    "netdev_add:variants+vmnet-bridged",
    "netdev_add:variants+vmnet-host",
    "netdev_add:variants+vmnet-shared",
    "netdev_add:stream.reconnect",
    "netdev_add:stream.reconnect-ms",
];

/// What QEMU 7.2 has beyond this product: kinds of character devices.
const OMISSIONS: &[&str] = &["chardev-add:backend.type=", "chardev-add:backend.variants+"];

/// Compares two schemas by what their types are, since names mean nothing.
struct Comparison {
    ours: Entries,
    recorded: Entries,
    additions: Vec<String>,
    /// Types that are being compared: one may contain itself.
    begun: Vec<(String, String)>,
}

impl Comparison {
    fn types(&mut self, place: &str, ours: &Value, recorded: &Value) {
        let pair = (ours.to_string(), recorded.to_string());
        if self.begun.contains(&pair) {
            return;
        }
        self.begun.push(pair);
        self.contents(place, ours, recorded);
        self.begun.pop();
    }

    fn contents(&mut self, place: &str, ours: &Value, recorded: &Value) {
        let ours = self.ours.get(ours).clone();
        let recorded = self.recorded.get(recorded).clone();
        assert_eq!(ours["meta-type"], recorded["meta-type"], "{place}");
        match ours["meta-type"].as_str().unwrap() {
            "builtin" => assert_eq!(ours, recorded, "{place}"),
            "array" => {
                self.types(&format!("{place}[]"), &ours["element-type"], &recorded["element-type"]);
            }
            "enum" => self.values(place, &ours, &recorded),
            "object" => self.objects(place, &ours, &recorded),
            other => panic!("{place} is a {other}"),
        }
    }

    fn values(&mut self, place: &str, ours: &Value, recorded: &Value) {
        let names: Vec<Value> =
            ours["values"].as_array().unwrap().iter().map(|value| json!({"name": value})).collect();
        assert_eq!(ours["members"], json!(names), "{place}");
        self.pair_up(
            &format!("{place}="),
            &ours["values"],
            &recorded["values"],
            Value::clone,
            |_, _, _, _| {},
        );
    }

    fn objects(&mut self, place: &str, ours: &Value, recorded: &Value) {
        assert_eq!(ours["tag"], recorded["tag"], "{place}");
        let member = |entry: &Value| entry["name"].clone();
        let members = if place.ends_with(':') { place.to_owned() } else { format!("{place}.") };
        self.pair_up(
            &members,
            &ours["members"],
            &recorded["members"],
            member,
            |it, place, ours, recorded| {
                assert_eq!(ours.get("default"), recorded.get("default"), "{place}");
                assert_eq!(ours["features"], recorded["features"], "{place}");
                it.types(place, &ours["type"], &recorded["type"]);
            },
        );
        let case = |entry: &Value| entry["case"].clone();
        let variants = format!("{members}variants+");
        self.pair_up(
            &variants,
            &ours["variants"],
            &recorded["variants"],
            case,
            |it, place, ours, recorded| {
                let place = place.replace("variants+", "");
                it.types(&place, &ours["type"], &recorded["type"]);
            },
        );
    }

    /// Calls `compare` for each recorded entry with ours of the same key; notes what only we have.
    fn pair_up(
        &mut self,
        place: &str,
        ours: &Value,
        recorded: &Value,
        key: fn(&Value) -> Value,
        compare: impl Fn(&mut Self, &str, &Value, &Value),
    ) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let keyed = |value: &Value| -> Vec<(Value, Value)> {
            list(value).into_iter().map(|entry| (key(&entry), entry)).collect()
        };
        let (ours, recorded) = (keyed(ours), keyed(recorded));
        for (key, entry) in &recorded {
            let place = format!("{place}{}", key.as_str().unwrap());
            let Some((_, same)) = ours.iter().find(|(ours, _)| ours == key) else {
                assert!(OMISSIONS.iter().any(|omitted| place.starts_with(omitted)), "{place} is missing");
                continue;
            };
            compare(self, &place, same, entry);
        }
        let added = ours.iter().filter(|(key, _)| !recorded.iter().any(|(theirs, _)| theirs == key));
        self.additions.extend(added.map(|(key, _)| format!("{place}{}", key.as_str().unwrap())));
    }
}

#[test]
fn the_schema_is_qemus_but_for_listed_additions() {
    let recorded = Entries::recorded();
    let entries = recorded
        .0
        .values()
        .filter(|entry| ["command", "event"].contains(&entry["meta-type"].as_str().unwrap()));
    let entries: Vec<Value> = entries.cloned().collect();
    assert_eq!(entries.len(), 40);
    let mut comparison =
        Comparison { ours: Entries::ours(), recorded, additions: Vec::new(), begun: Vec::new() };
    for entry in entries {
        let name = entry["name"].as_str().unwrap();
        let ours = comparison.ours.get(&entry["name"]).clone();
        assert_eq!(ours["meta-type"], entry["meta-type"], "{name}");
        assert_eq!(ours["features"], entry["features"], "{name}");
        assert_eq!(ours["allow-oob"], entry["allow-oob"], "{name}");
        comparison.types(&format!("{name}:"), &ours["arg-type"], &entry["arg-type"]);
        if entry["meta-type"] == "command" {
            comparison.types(&format!("{name}->"), &ours["ret-type"], &entry["ret-type"]);
        }
    }
    let mut additions = comparison.additions;
    additions.sort();
    let mut expected: Vec<&str> = ADDITIONS.to_vec();
    expected.sort_unstable();
    assert_eq!(additions, expected);
}

#[test]
fn every_type_that_is_named_has_an_entry_and_every_entry_is_used() {
    let schema = Entries::ours();
    let mut named = Vec::new();
    for entry in schema.0.values() {
        for member in ["arg-type", "ret-type", "element-type"] {
            named.extend(entry[member].as_str());
        }
        let list = |name: &str| entry[name].as_array().into_iter().flatten();
        if entry["meta-type"] == "object" {
            named.extend(
                list("members").chain(list("variants")).map(|member| member["type"].as_str().unwrap()),
            );
        }
    }
    for name in &named {
        assert!(schema.0.contains_key(*name), "{name}");
    }
    for entry in schema.0.values() {
        let name = entry["name"].as_str().unwrap();
        let is_type = !["command", "event"].contains(&entry["meta-type"].as_str().unwrap());
        assert!(!is_type || named.contains(&name), "{entry}");
    }
}

/// Walks a path as libvirt writes them: `arg-type` and `ret-type`, members by name, `+variant`, `^value`, `$feature`.
fn finds(schema: &Entries, path: &str) -> bool {
    let mut steps = path.split('/');
    let Some(mut entry) = steps.next().and_then(|name| schema.0.get(name)) else { return false };
    for step in steps {
        while entry["meta-type"] == "array" {
            entry = schema.get(&entry["element-type"]);
        }
        let among = |list: &str, key: &str, value: &str| {
            let entries = entry[list].as_array().into_iter().flatten();
            entries.into_iter().find(|entry| entry[key] == value).map(|entry| entry["type"].clone())
        };
        let next = match step.split_at(1) {
            ("+", case) => among("variants", "case", case),
            ("^", value) => {
                return entry["values"].as_array().is_some_and(|values| values.contains(&json!(value)));
            }
            ("$", feature) => {
                return entry["features"]
                    .as_array()
                    .is_some_and(|features| features.contains(&json!(feature)));
            }
            _ if step == "arg-type" || step == "ret-type" => Some(entry[step].clone()),
            _ => among("members", "name", step),
        };
        let Some(name) = next else { return false };
        entry = schema.get(&name);
    }
    true
}

#[test]
fn libvirt_finds_what_it_looks_for() {
    let schema = Entries::ours();
    let paths = [
        "netdev_add/arg-type/+stream",
        "netdev_add/arg-type/+stream/reconnect",
        "netdev_add/arg-type/+stream/reconnect-ms",
        "netdev_add/arg-type/+stream/addr/+unix/path",
        "netdev_add/arg-type/+vhost-vdpa",
        "netdev_add/arg-type/+af-xdp/sock-fds",
        "netdev_add/arg-type/type/^dgram",
        "netdev_add/arg-type/type/^af-xdp",
        "chardev-add/arg-type/backend/+socket/data/reconnect",
        "chardev-add/arg-type/backend/+socket/data/reconnect-ms",
        "chardev-add/arg-type/backend/+socket/data/addr/+unix/data/path",
        "device_add/$json-cli",
        "device_add/$json-cli-hotplug",
        "human-monitor-command/$savevm-monitor-nodes",
        "query-rx-filter/ret-type/main-mac",
        "yank",
        "query-yank/ret-type/+chardev/id",
        "NETDEV_VHOST_USER_CONNECTED",
        "query-qmp-schema/ret-type/+object/members/default",
    ];
    for path in paths {
        assert!(finds(&schema, path), "{path}");
    }
    assert!(!finds(&schema, "netdev_add/arg-type/+passt"));
    assert!(!finds(&schema, "chardev-add/arg-type/backend/+pty"));
}

#[test]
fn commands_are_found_by_their_exact_names_only() {
    for name in ["set-link", "netdev-add", "QUIT", "quit ", ""] {
        let error = Entry::find(name).unwrap_err();
        assert_eq!(error.desc, format!("The command {name} has not been found"));
    }
    let unique: std::collections::HashSet<&str> = TABLE.iter().map(|entry| entry.name).collect();
    assert_eq!(unique.len(), TABLE.len());
    assert_eq!(list().len(), TABLE.len());
}

#[test]
fn only_yank_and_its_query_may_be_executed_out_of_band() {
    let allowed: Vec<&str> = TABLE.iter().filter(|entry| entry.allow_oob).map(|entry| entry.name).collect();
    assert_eq!(allowed, ["yank", "query-yank"]);
    assert_eq!(Entries::ours().get(&json!("yank"))["allow-oob"], json!(true));
}

#[test]
fn arguments_may_be_left_out_where_all_are_optional() {
    let read = |name: &str, arguments: Option<Value>| Entry::find(name).unwrap().read(arguments.as_ref());
    assert_eq!(read("quit", None), Ok(Command::Quit(Nothing {})));
    assert_eq!(read("netdev_del", None).unwrap_err().desc, "Parameter 'id' is missing");
    assert_eq!(read("query-version", Some(json!({"x": 1}))).unwrap_err().desc, "Parameter 'x' is unexpected");
}

#[test]
fn arguments_of_device_add_are_taken_as_they_come() {
    let arguments = json!({"driver": "virtio-net-pci", "mq": true, "vectors": 6, "romfile": ""});
    let command = Entry::find("device_add").unwrap().read(Some(&arguments)).unwrap();
    let Command::DeviceAdd(device) = command else { panic!("{command:?}") };
    assert_eq!(device.print(), arguments);
}

#[test]
fn objects_that_qemu_has_and_we_have_not_are_no_values() {
    let arguments = json!({"qom-type": "filter-dump", "id": "f0", "netdev": "n0", "file": "/tmp/x"});
    let error = Entry::find("object-add").unwrap().read(Some(&arguments)).unwrap_err();
    assert_eq!(error.desc, "Parameter 'qom-type' does not accept value 'filter-dump'");
}
