//! The wire layer against QEMU itself: the same bytes to both, the same lines from both.
//!
//! Recorded conversations hold what somebody thought of. Here random bytes that are nearly requests are sent to a real
//! QEMU and to a session of ours (without a socket: every difference is one of meaning, not of timing), and each case
//! ends in bytes that bring both into a known state. What QEMU leaves to the order of its hash table is made equal
//! before the comparison: which of several faults of form is reported, and the order of members.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;

use controlplane::qmp::QmpError;
use controlplane::qmp::connection::{Connection, Turn};
use controlplane::qmp::json::{Reader, print};
use framewire_tests::need;
use framewire_tests::process::Process;
use framewire_tests::scratch::Scratch;
use framewire_tests::wait::{PATIENCE, wait_for};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

const CASES: u32 = 2000;

/// A stray byte discards whatever is open, a line end begins anew; then a request that shows where the answers end.
const SYNC: &str = "\u{1}\n{\"execute\":\"query-fdsets\",\"id\":\"sync\"}\n";

struct Qemu {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    _process: Process,
    _scratch: Scratch,
}

impl Qemu {
    fn start() -> Self {
        let scratch = Scratch::new();
        let path = scratch.file("qmp");
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-machine", "none", "-nodefaults", "-display", "none", "-S", "-qmp"]);
        command.arg(format!("unix:{},server=on,wait=off", path.display()));
        let process = Process::start(command);
        let stream = wait_for("QEMU's monitor", PATIENCE, || UnixStream::connect(&path).ok());
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
        let lines = BufReader::new(stream.try_clone().expect("a descriptor is free"));
        let mut qemu = Self { stream, lines, _process: process, _scratch: scratch };
        qemu.line();
        qemu.send(b"{'execute':'qmp_capabilities'}");
        qemu.line();
        qemu
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("QEMU is still there");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("QEMU answers");
        line.trim_end().to_owned()
    }

    fn exchange(&mut self, bytes: &[u8]) -> Vec<String> {
        self.send(bytes);
        self.send(SYNC.as_bytes());
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.contains("\"id\": \"sync\"")) {
            lines.push(self.line());
        }
        lines
    }
}

/// What our session says to the same. Two commands exist: the one of [`SYNC`], and negotiation.
fn ours(bytes: &[u8], piece: usize) -> Vec<String> {
    let mut connection = Connection::open();
    let mut said = Vec::new();
    let all = [b"{'execute':'qmp_capabilities'}", bytes, SYNC.as_bytes()].concat();
    for piece in all.chunks(piece) {
        while !connection.wants_input() {
            step(&mut connection);
        }
        connection.receive(piece);
        while connection.has_work() {
            step(&mut connection);
        }
        while !connection.is_flushed() {
            let before = said.len();
            said.extend(connection.output().iter().flat_map(|slice| slice.to_vec()));
            connection.sent(said.len() - before);
        }
    }
    let said = String::from_utf8(said).expect("output is ASCII");
    // Without the greeting and the answer to negotiation.
    said.lines().skip(2).map(str::to_owned).collect()
}

fn step(connection: &mut Connection) {
    if let Turn::Asked(asked) = connection.turn() {
        let outcome = match asked.name.as_str() {
            "query-fdsets" => Ok(json!([])),
            name => Err(QmpError::command_not_found(name)),
        };
        connection.answer(asked.oob, asked.id, outcome);
    }
}

/// A line in a form that does not depend on QEMU's hash table.
fn settled(line: &str) -> String {
    let Some(Ok(mut value)) = Reader::default().next(&mut line.as_bytes()) else {
        // An infinite number is printed as something that is no JSON.
        return line.to_owned();
    };
    value.sort_all_objects();
    if let Some(Value::String(desc)) = value.pointer_mut("/error/desc") {
        let of_form = ["QMP input member", "QMP input lacks"].iter().any(|begin| desc.starts_with(begin));
        if of_form {
            "a fault of form".clone_into(desc);
        }
    }
    print(&value)
}

/// What requests are made of, whole and in parts.
const TEXTS: &str = r#"{ } [ ] : , " ' \ 1 - 0 . e E+ true null fals "execute": "id": 'arguments': 'exec-oob': "query-fdsets"
 {"execute":"query-fdsets","id": {"id": "\u d83d \ude00 \u00e9 fffe" \n" \' 18446744073709551616 0.1 1e400 %d"#;

/// Characters and what is nearly one, and bytes that are none.
const BYTES: [&[u8]; 18] = [
    b" ",
    b"\n",
    b"\t",
    b"\xc3\xa9",
    b"\xc3",
    b"\xe2\x82\xac",
    b"\xf0\x9f\x98\x80",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\xff",
    b"\xfe",
    b"\x80",
    b"\0",
    b"\x01",
    b"\x7f",
    b"\xef\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
];

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let texts: Vec<_> = TEXTS.split_whitespace().collect();
    let piece = prop_oneof![
        12 => prop::sample::select(texts).prop_map(|text| text.as_bytes().to_vec()),
        3 => prop::sample::select(BYTES.to_vec()).prop_map(<[u8]>::to_vec),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A request that is right, with an id that may be anything.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let scalar = prop_oneof![
        any::<f64>().prop_map(|f| if f.is_finite() { format!("{f:e}") } else { "1e999".to_owned() }),
        any::<i64>().prop_map(|i| i.to_string()),
        any::<u64>().prop_map(|u| format!("{u}0")),
        any::<String>().prop_map(|text| Value::from(text).to_string()),
    ];
    prop::collection::vec(scalar, 1..4)
        .prop_map(|items| format!("{{'execute':'query-fdsets','id':[{}]}}", items.join(",")).into_bytes())
}

#[test]
fn whatever_is_sent_is_answered_as_qemu_answers() {
    need!("qemu-system-x86_64");
    let qemu = RefCell::new(Qemu::start());
    let cases = (prop_oneof![2 => pieces(), 1 => requests()], 1usize..40);
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let result = runner.run(&cases, |(bytes, piece)| {
        let theirs: Vec<_> = qemu.borrow_mut().exchange(&bytes).iter().map(|line| settled(line)).collect();
        let ours: Vec<_> = ours(&bytes, piece).iter().map(|line| settled(line)).collect();
        prop_assert_eq!(ours, theirs, "left: ours, right: QEMU's; to {}", bytes.escape_ascii());
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
