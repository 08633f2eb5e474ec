use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A client of a session whose commands are all executed at once: each returns its own name.
#[derive(Default)]
struct Client {
    connection: Connection,
    executed: Vec<String>,
}

impl Client {
    fn negotiated(enable: &[&str]) -> Self {
        let mut client = Self::default();
        client.lines();
        client.send(&json!({"execute": "qmp_capabilities", "arguments": {"enable": enable}}).to_string());
        client.run();
        assert_eq!(client.lines(), ["{\"return\": {}}"]);
        client
    }

    fn send(&mut self, text: &str) {
        self.connection.receive(text.as_bytes());
    }

    fn answer(&mut self, asked: Asked) {
        self.executed.push(asked.name.clone());
        self.connection.answer(asked.oob, asked.id, Ok(Value::from(asked.name)));
    }

    /// Executes until there is nothing to do.
    fn run(&mut self) {
        loop {
            match self.connection.turn() {
                Turn::Asked(asked) => self.answer(asked),
                Turn::Answered => {}
                Turn::Idle => return,
            }
        }
    }

    /// The next request, after whatever needs no execution.
    fn asked(&mut self) -> Option<Asked> {
        loop {
            match self.connection.turn() {
                Turn::Asked(asked) => return Some(asked),
                Turn::Answered => {}
                Turn::Idle => return None,
            }
        }
    }

    /// Takes all lines that are to be sent.
    fn lines(&mut self) -> Vec<String> {
        let mut text = Vec::new();
        while !self.connection.is_flushed() {
            let slices = self.connection.output();
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.connection.sent(bytes.len());
            text.extend(bytes);
        }
        String::from_utf8(text).unwrap().split_terminator("\r\n").map(str::to_owned).collect()
    }

    fn ask(&mut self, text: &str) -> Vec<String> {
        self.send(text);
        self.run();
        self.lines()
    }
}

#[test]
fn a_client_is_greeted_first() {
    let greeting = Client::default().lines();
    let package = concat!("\"package\": \"framewire-", env!("CARGO_PKG_VERSION"), "\"");
    assert_eq!(
        greeting,
        [format!(
            "{{\"QMP\": {{\"version\": {{\"qemu\": {{\"major\": 7, \"minor\": 2, \"micro\": 22}}, {package}}}, \
         \"capabilities\": [\"oob\"]}}}}"
        )]
    );
}

#[test]
fn nothing_but_negotiation_is_executed_before_it() {
    let mut client = Client::default();
    client.lines();
    let refused = client.ask("{'execute':'stop','id':1}{'exec-oob':'yank'}{'id':2}");
    assert_eq!(
        refused,
        [
            "{\"id\": 1, \"error\": {\"class\": \"CommandNotFound\", \"desc\": \
         \"Expecting capabilities negotiation with 'qmp_capabilities'\"}}",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"QMP input member 'exec-oob' is unexpected\"}}",
            "{\"id\": 2, \"error\": {\"class\": \"GenericError\", \"desc\": \"QMP input lacks member 'execute'\"}}",
        ]
    );
    assert!(client.executed.is_empty());
}

#[test]
fn failed_negotiation_may_be_repeated() {
    let mut client = Client::default();
    client.lines();
    let lines = client.ask(
        "{'execute':'qmp_capabilities','arguments':{'enable':['foo']}}
         {'execute':'qmp_capabilities','arguments':{'enable':['oob',1]}}
         {'execute':'qmp_capabilities','arguments':{'enable':'oob'}}
         {'execute':'qmp_capabilities','arguments':{'disable':[]}}
         {'execute':'qmp_capabilities','arguments':{'enable':['oob','oob']},'id':[]}
         {'execute':'qmp_capabilities'}",
    );
    let error = |desc: &str| format!("{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"{desc}\"}}}}");
    assert_eq!(
        lines,
        [
            error("Parameter 'null' does not accept value 'foo'"),
            error("Invalid parameter type for 'enable[1]', expected: string"),
            error("Invalid parameter type for 'enable', expected: array"),
            error("Parameter 'disable' is unexpected"),
            "{\"return\": {}, \"id\": []}".to_owned(),
            error("Capabilities negotiation is already complete, command ignored")
                .replace("GenericError", "CommandNotFound"),
        ]
    );
}

#[test]
fn without_oob_the_next_request_is_not_read_before_the_reply() {
    let mut client = Client::negotiated(&[]);
    client.send("{'execute':'a'}{'execute':'b'}");
    let first = client.asked().unwrap();
    assert!(!client.connection.wants_input());
    assert_eq!((first.name.as_str(), first.end), ("a", client.connection.position));
    assert_eq!(client.asked(), None, "one request at a time");
    client.answer(first);
    assert_eq!(client.asked().unwrap().name, "b");
}

#[test]
fn parse_errors_keep_their_place() {
    let mut client = Client::negotiated(&[]);
    let lines = client.ask("{'execute':'a','id':0} {] {'execute':'b'} {'id':2} {'execute':'c','id':3}\n");
    assert_eq!(
        lines,
        [
            "{\"return\": \"a\", \"id\": 0}",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error, expecting value\"}}",
            "{\"return\": \"b\"}",
            "{\"id\": 2, \"error\": {\"class\": \"GenericError\", \"desc\": \"QMP input lacks member 'execute'\"}}",
            "{\"return\": \"c\", \"id\": 3}",
        ]
    );
}

#[test]
fn with_oob_eight_requests_are_read_ahead() {
    let mut client = Client::negotiated(&["oob"]);
    for _ in 0..QUEUE_MAX - 1 {
        client.send("{'execute':'a'}");
    }
    assert!(client.connection.wants_input());
    client.send("{'execute':'a'}{'exec-oob':'late'}");
    assert!(!client.connection.wants_input(), "the eighth suspends input");
    let first = client.asked().unwrap();
    assert_eq!(first.name, "a");
    assert_eq!(client.asked().unwrap().name, "late", "one was taken off, so the next was read");
    client.answer(first);
    client.run();
    assert_eq!(client.executed.len(), QUEUE_MAX);
}

#[test]
fn out_of_band_overtakes_what_is_queued_and_what_is_executed() {
    let mut client = Client::negotiated(&["oob"]);
    client.send("{'execute':'slow','id':1}{'execute':'queued','id':2}");
    let slow = client.asked().unwrap();
    client.send("{'exec-oob':'urgent','id':3}");
    assert!(!client.connection.wants_input(), "nothing is read while it waits");
    let urgent = client.asked().unwrap();
    assert!(urgent.oob);
    client.answer(urgent);
    assert_eq!(client.asked(), None, "`slow` is still in progress");
    client.answer(slow);
    client.run();
    assert_eq!(client.executed, ["urgent", "slow", "queued"]);
}

#[test]
fn negotiation_itself_cannot_be_out_of_band() {
    let mut client = Client::negotiated(&["oob"]);
    let lines = client.ask("{'exec-oob':'qmp_capabilities'}");
    assert!(lines[0].contains("The command qmp_capabilities does not support OOB"), "{lines:?}");
}

#[test]
fn events_go_only_to_those_who_negotiated() {
    let mut client = Client::default();
    client.connection.event("early\r\n").unwrap();
    assert_eq!(client.lines().len(), 1, "the greeting");
    let mut client = Client::negotiated(&[]);
    client.connection.event("late\r\n").unwrap();
    assert_eq!(client.lines(), ["late"]);
}

#[test]
fn a_client_that_reads_nothing_stops_being_read() {
    let mut client = Client::negotiated(&[]);
    let mut sent = 0;
    while client.connection.wants_input() {
        client.send(&"}".repeat(1 << 16));
        client.run();
        sent += 1;
        assert!(sent < 100, "input must stop");
    }
    // All errors are delivered once it reads.
    let mut errors = 0;
    while !client.connection.is_flushed() || client.connection.has_work() {
        errors += client.lines().len();
        client.run();
    }
    assert_eq!(errors, sent << 16);
    assert!(client.connection.wants_input());
}

#[test]
fn large_requests_are_not_read_ahead() {
    let mut client = Client::negotiated(&["oob"]);
    let large = format!("{{'execute':'a','arguments':{{'x':'{}'}}}}", "x".repeat(TOKEN_TEXT_MAX_BYTES / 2));
    client.send(&large);
    assert!(client.connection.wants_input());
    client.send(&large);
    assert!(!client.connection.wants_input(), "two of half the limit are enough");
    client.run();
    assert!(client.connection.wants_input());
}

/// What a client may send, in its session's terms.
#[derive(Debug, Clone, Copy)]
enum Said {
    Request,
    Nonsense,
    Urgent,
}

fn say(said: Said, n: usize) -> String {
    match said {
        Said::Request => format!("{{'execute':'a','id':{n}}}"),
        Said::Nonsense => format!("{{'id':{n}}}\n"),
        Said::Urgent => format!("{{'exec-oob':'o','id':{n}}}"),
    }
}

proptest! {
    /// Whatever the pieces in which bytes come, everything is answered once; in order, but for what is out of band.
    #[test]
    fn every_message_is_answered_once_and_in_order(
        said in prop::collection::vec(prop::sample::select(vec![Said::Request, Said::Nonsense, Said::Urgent]), 0..40),
        piece in 1usize..50,
        oob in any::<bool>(),
    ) {
        let mut client = Client::negotiated(if oob { &["oob"] } else { &[] });
        let text: String = said.iter().enumerate().map(|(n, &said)| say(said, n)).collect();
        let mut lines = Vec::new();
        for bytes in text.as_bytes().chunks(piece) {
            while !client.connection.wants_input() {
                client.run();
            }
            client.connection.receive(bytes);
        }
        client.run();
        lines.extend(client.lines());
        prop_assert_eq!(client.connection.received(), client.connection.position);
        let ids: Vec<usize> = lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap().try_into().unwrap())
            .collect();
        let in_band = |id: &&usize| !oob || !matches!(said[**id], Said::Urgent);
        prop_assert!(ids.iter().filter(in_band).is_sorted(), "{:?}", ids);
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..said.len()).collect::<Vec<_>>());
    }
}
