//! Traffic between two kernels: ping, a file over TCP, iperf3, and what an interface counted of it.

use std::fmt::Write;

use serde_json::Value;

use crate::namespace::Namespace;
use crate::process::{command, run};
use crate::scratch::Scratch;
use crate::wait::{PATIENCE, wait_until};

use std::os::fd::AsFd;

const PORT: u16 = 5201;

/// True if a ping from there to this address is answered within the given seconds.
#[must_use]
pub fn pings(from: &Namespace, address: &str, patience_s: u32) -> bool {
    from.succeeds(&format!("ping -n -c 1 -W {patience_s} {address}"))
}

/// Sends a file of so many bytes over TCP and compares it: whatever the offloads did on the way, the bytes must be
/// the same.
#[track_caller]
pub fn transfer(from: &Namespace, to: &Namespace, address: &str, length: usize) {
    let scratch = Scratch::new();
    let (sent, received) = (scratch.file("sent"), scratch.file("received"));
    std::fs::write(&sent, noise(length)).expect("a scratch file can be written");
    let listen = format!("socat -u TCP-LISTEN:{PORT} CREATE:{}", received.display());
    let mut receiver = to.start(command(&listen));
    wait_until("socat to listen", || listens(to));
    from.call(&format!("socat -u FILE:{} TCP:{address}:{PORT},connect-timeout=5", sent.display()));
    receiver.wait(PATIENCE);
    let same = std::fs::read(&sent).ok() == std::fs::read(&received).ok();
    assert!(same, "a file of {length} bytes arrived changed or cut");
}

/// Bits per second that one iperf3 run carried, with these further options of its client.
#[track_caller]
#[must_use]
pub fn iperf3(from: &Namespace, to: &Namespace, address: &str, options: &str) -> f64 {
    let report = iperf3_report(from, to, address, options);
    let rate = &report["end"]["sum_received"]["bits_per_second"];
    rate.as_f64().unwrap_or_else(|| panic!("iperf3 measured nothing: {report}"))
}

/// The whole report of an iperf3 client.
#[track_caller]
#[must_use]
pub fn iperf3_report(from: &Namespace, to: &Namespace, address: &str, options: &str) -> Value {
    let mut server = to.start(command(&format!("iperf3 --server --one-off --port {PORT}")));
    wait_until("iperf3 to listen", || listens(to));
    let text = from.call(&format!("iperf3 --client {address} --port {PORT} --json {options}"));
    server.wait(PATIENCE);
    serde_json::from_str(&text).expect("iperf3 writes JSON")
}

fn listens(there: &Namespace) -> bool {
    !run(Some(there.as_fd()), command(&format!("ss -Hltn sport = :{PORT}"))).is_empty()
}

/// What an interface has counted.
#[derive(Debug, Clone, Copy)]
pub struct InterfaceCounters {
    /// Frames that came in.
    pub received_frames: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames that went out.
    pub sent_frames: u64,
}

/// Reads an interface's counters.
#[track_caller]
#[must_use]
pub fn counters(there: &Namespace, interface: &str) -> InterfaceCounters {
    let text = there.ip(&format!("-json -statistics link show dev {interface}"));
    let links: Value = serde_json::from_str(&text).expect("ip writes JSON");
    let number = |way: &str, name: &str| {
        let found = links[0]["stats64"][way][name].as_u64();
        found.unwrap_or_else(|| panic!("no {way} {name} in {links}"))
    };
    InterfaceCounters {
        received_frames: number("rx", "packets"),
        received_bytes: number("rx", "bytes"),
        sent_frames: number("tx", "packets"),
    }
}

/// Text that does not repeat, so that a piece in the wrong place shows.
fn noise(length: usize) -> Vec<u8> {
    let mut text = String::with_capacity(length + 16);
    let mut number = 1_u64;
    while text.len() < length {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let _ = writeln!(text, "{:x}", number >> 16);
    }
    text.truncate(length);
    text.into_bytes()
}
