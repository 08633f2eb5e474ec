//! `user`: the guest is the kernel's own network stack, in a namespace behind a tap.

mod beyond;
mod flows;
mod forwards;
mod well;

use framewire_tests::bench::Bench;
use framewire_tests::namespace::Namespace;
use framewire_tests::need;
use framewire_tests::traffic::pings;
use framewire_tests::wait::wait_until;
use serde_json::{Value, json};

/// The guest's address, and that of the router, which stands for the host.
const GUEST: &str = "10.0.2.15";
const ROUTER: &str = "10.0.2.2";

/// A guest on a made-up network: a namespace whose only interface is a tap of ours.
pub(crate) struct Guest {
    pub(crate) bench: Bench,
    pub(crate) namespace: Namespace,
}

impl Guest {
    /// Behind a `user` netdev `u` with these options.
    #[track_caller]
    pub(crate) fn new(options: Value) -> Self {
        Self::with(options, json!({}))
    }

    /// The same with options of its tap.
    #[track_caller]
    pub(crate) fn with(options: Value, tap: Value) -> Self {
        Self::on(Bench::new(), options, tap)
    }

    /// The same on a Framewire that is there.
    #[track_caller]
    pub(crate) fn on(mut bench: Bench, options: Value, tap: Value) -> Self {
        bench.add("user", "u", options);
        drop(bench.tap("t", tap));
        bench.join("u", "t");
        let namespace = Namespace::new();
        bench.framewire.home().give("t", &namespace, &format!("{GUEST}/24"));
        namespace.ip(&format!("route add default via {ROUTER}"));
        Self { bench, namespace }
    }

    /// All is taken down, and nothing may be left over.
    #[track_caller]
    pub(crate) fn finish(self) {
        let Self { mut bench, namespace } = self;
        bench.delete("u");
        bench.delete("t");
        drop(namespace);
        bench.finish();
    }
}

#[test]
fn router_and_name_server_answer_pings() {
    need!(root, tun, "ping");
    let guest = Guest::new(json!({}));
    for address in [ROUTER, "10.0.2.3"] {
        wait_until("an answer", || pings(&guest.namespace, address, 1));
    }
    let neighbours = guest.namespace.ip("neigh show dev t");
    assert!(neighbours.contains("10.0.2.2 lladdr 52:55:0a:00:02:02"), "{neighbours}");
    guest.finish();
}

#[test]
fn a_restricted_guest_is_answered_by_the_router_all_the_same() {
    need!(root, tun, "ping");
    let guest = Guest::new(json!({ "restrict": true }));
    wait_until("an answer", || pings(&guest.namespace, ROUTER, 1));
    guest.finish();
}

#[test]
fn set_link_down_stops_it_and_up_resumes() {
    need!(root, tun, "ping");
    let mut guest = Guest::new(json!({}));
    for downed in ["u", "t"] {
        guest.bench.set_link(downed, false);
        assert!(!guest.namespace.succeeds(&format!("ping -c 1 -W 1 {ROUTER}")), "{downed} is down");
        guest.bench.set_link(downed, true);
        // The guest has given the router's address up meanwhile, and asks for it in its own time.
        wait_until("the router to answer again", || pings(&guest.namespace, ROUTER, 1));
    }
    guest.finish();
}

#[test]
fn wrong_options_are_refused_in_qemus_words() {
    need!(root);
    let mut bench = Bench::new();
    let text = bench.refused("user", "u", json!({ "host": "192.0.2.1" }));
    assert_eq!(text, "Host doesn't belong to network");
    bench.finish();
}
