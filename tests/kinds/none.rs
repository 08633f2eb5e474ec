//! `none`: takes every frame, and none comes back. (QEMU leaves this kind out of its builds; here it works.)

use framewire_tests::bench::Bench;
use framewire_tests::frames::numbered;
use framewire_tests::need;
use serde_json::json;

#[test]
fn frames_are_taken_and_nothing_comes_back() {
    need!(root, tun);
    let mut bench = Bench::new();
    bench.add("none", "n", json!({}));
    let tap = bench.tap("t", json!({}));
    bench.join("n", "t");
    for number in 0..100 {
        tap.send(&numbered(number, 100));
    }
    tap.expect_silence();
    drop(tap);
    bench.delete("n");
    bench.delete("t");
    bench.finish();
}

#[test]
fn it_takes_no_options() {
    need!(root);
    let mut bench = Bench::new();
    assert_eq!(bench.refused("none", "n", json!({ "hubid": 1 })), "Parameter 'hubid' is unexpected");
    bench.finish();
}

#[test]
fn link_goes_down_and_up() {
    need!(root);
    let mut bench = Bench::new();
    bench.add("none", "n", json!({}));
    bench.set_link("n", false);
    bench.set_link("n", true);
    bench.delete("n");
    bench.finish();
}
