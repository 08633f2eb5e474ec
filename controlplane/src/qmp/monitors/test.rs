use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::*;
use crate::qmp::qapi::Nothing;
use crate::qmp::types::event::DeviceDeleted;

/// Monitors and the loop around them. Every command is answered with its name, except `getfd` and `closefd`.
struct Server {
    poll: mio::Poll,
    monitors: Monitors,
    paths: Vec<String>,
    /// Requests that are kept instead of being answered.
    kept: Vec<Request>,
    keep: bool,
    executed: Vec<(usize, String)>,
}

const FIRST_TOKEN: usize = 7;

/// Opens monitors; nobody interrupts.
fn open(endpoints: impl IntoIterator<Item = Endpoint>) -> Result<Monitors, Error> {
    let (interruption, _interrupts) = io::pipe().unwrap();
    Monitors::open(endpoints, Token(FIRST_TOKEN), interruption.as_fd())
}

impl Server {
    /// Unix monitors, so many.
    fn listening(count: usize) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let fresh = |_| {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            std::env::temp_dir()
                .join(format!("framewire-qmp-{}-{n}", process::id()))
                .to_str()
                .unwrap()
                .to_owned()
        };
        let paths: Vec<_> = (0..count).map(fresh).collect();
        let mut server = Self::at(&paths.iter().map(|path| format!("unix:{path}")).collect::<Vec<_>>());
        server.paths = paths;
        server
    }

    fn at(endpoints: &[String]) -> Self {
        let endpoints = endpoints.iter().map(|text| Endpoint::parse(text).unwrap());
        let mut monitors = open(endpoints).unwrap();
        let poll = mio::Poll::new().unwrap();
        monitors.register(poll.registry()).unwrap();
        Self { poll, monitors, paths: Vec::new(), kept: Vec::new(), keep: false, executed: Vec::new() }
    }

    /// One turn of a main loop.
    fn turn(&mut self, wait: Duration) {
        let mut events = mio::Events::with_capacity(8);
        let wait = if self.monitors.is_busy() { Duration::ZERO } else { wait };
        self.poll.poll(&mut events, Some(wait)).unwrap();
        for event in &events {
            assert!(self.monitors.ready(event));
        }
        let Some(request) = self.monitors.next_request() else { return };
        self.executed.push((request.monitor.0, request.name.clone()));
        if self.keep {
            self.kept.push(request);
            return;
        }
        let outcome = self.execute(&request);
        self.monitors.answer(request, outcome);
    }

    fn execute(&mut self, request: &Request) -> Outcome {
        let fdname = request.arguments.as_ref().and_then(|arguments| arguments["fdname"].as_str());
        match (request.name.as_str(), fdname) {
            ("getfd", Some(fdname)) => self.monitors.getfd(request, fdname).map(|()| json!({})),
            ("closefd", Some(fdname)) => {
                self.monitors.names(request.monitor).close(fdname).map(|()| json!({}))
            }
            _ => Ok(Value::from(request.name.as_str())),
        }
    }

    /// Turns until nothing happens any more.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.turn(Duration::from_millis(1));
            while self.monitors.is_busy() {
                self.turn(Duration::ZERO);
            }
        }
    }

    fn client(&mut self, monitor: usize) -> Client {
        let client = Client::new(UnixStream::connect(&self.paths[monitor]).unwrap());
        self.settle();
        client
    }

    fn negotiated(&mut self, monitor: usize) -> Client {
        let mut client = self.client(monitor);
        client.send("{'execute':'qmp_capabilities'}");
        self.settle();
        assert!(client.line().starts_with("{\"QMP\""));
        assert_eq!(client.line(), "{\"return\": {}}");
        client
    }
}

struct Client {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn send_with(&mut self, text: &str, file: &str) {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        let file = std::fs::File::open(file).unwrap();
        let descriptors = [std::os::fd::AsFd::as_fd(&file)];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let slices = [std::io::IoSlice::new(text.as_bytes())];
        assert_eq!(sendmsg(&self.stream, &slices, &mut ancillary, SendFlags::empty()).unwrap(), text.len());
    }

    /// The next line without its end, or nothing: end of stream or nothing there.
    fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.reader.read_line(&mut line);
        line.trim_end().to_owned()
    }

    /// The server closed the connection.
    fn is_closed(&mut self) -> bool {
        matches!(self.reader.fill_buf(), Ok([]))
    }
}

#[test]
fn a_second_client_waits_until_the_first_has_gone() {
    let mut server = Server::listening(1);
    let first = server.negotiated(0);
    let mut second = server.client(0);
    assert_eq!(second.line(), "", "not even a greeting");
    drop(first);
    server.settle();
    assert!(second.line().starts_with("{\"QMP\""));
}

#[test]
fn negotiation_begins_again_and_names_stay_after_a_reconnection() {
    let mut server = Server::listening(2);
    let mut client = server.negotiated(0);
    client.send_with("{'execute':'getfd','arguments':{'fdname':'a'}}", "/dev/null");
    client.send_with("{'execute':'pending-is-dropped'}", "/dev/null");
    server.settle();
    assert_eq!(client.line(), "{\"return\": {}}");
    drop(client);
    let mut other = server.negotiated(1);
    other.send("{'execute':'closefd','arguments':{'fdname':'a'}}");
    let mut client = server.client(0);
    client.line();
    client.send("{'execute':'x'}{'execute':'qmp_capabilities'}");
    client.send(
        "{'execute':'getfd','arguments':{'fdname':'b'}}{'execute':'closefd','arguments':{'fdname':'a'}}",
    );
    server.settle();
    assert!(client.line().contains("Expecting capabilities negotiation"));
    assert_eq!(client.line(), "{\"return\": {}}");
    assert!(client.line().contains("No file descriptor supplied via SCM_RIGHTS"));
    assert_eq!(client.line(), "{\"return\": {}}");
    assert!(other.line().contains("File descriptor named 'a' not found"), "names are the monitor's");
}

#[test]
fn descriptors_belong_to_the_command_they_came_with() {
    let mut server = Server::listening(1);
    let mut client = server.negotiated(0);
    // All are in the socket before the server reads.
    client.send("{'execute':'getfd','arguments':{'fdname':'a'},'id':1}");
    client.send_with("{'execute':'getfd','arguments':{'fdname':'b'},'id':2}", "/dev/null");
    client.send("{'execute':'getfd','arguments':{'fdname':'c'},'id':3}");
    client.send_with("{'execute':'other','id':4}", "/dev/null");
    client.send("{'execute':'getfd','arguments':{'fdname':'d'},'id':5}");
    server.settle();
    assert!(client.line().starts_with("{\"id\": 1, \"error\""));
    assert_eq!(client.line(), "{\"return\": {}, \"id\": 2}");
    assert!(client.line().starts_with("{\"id\": 3, \"error\""));
    assert_eq!(client.line(), "{\"return\": \"other\", \"id\": 4}");
    assert_eq!(client.line(), "{\"return\": {}, \"id\": 5}");
}

#[test]
fn monitors_take_turns() {
    let mut server = Server::listening(2);
    let mut clients = [server.negotiated(0), server.negotiated(1)];
    for client in &mut clients {
        client.send(&"{'execute':'x'}".repeat(20));
    }
    server.settle();
    let order: Vec<_> = server.executed.iter().map(|(monitor, _)| *monitor).collect();
    assert!(order.chunks(2).all(|pair| pair[0] != pair[1]), "{order:?}");
}

#[test]
fn garbage_of_one_client_does_not_hold_up_another() {
    let mut server = Server::listening(2);
    let mut hostile = server.negotiated(0);
    let mut client = server.negotiated(1);
    hostile.send(&"}".repeat(100_000));
    client.send("{'execute':'x'}");
    let mut turns = 0;
    while server.executed.is_empty() {
        server.turn(Duration::from_millis(1));
        turns += 1;
    }
    assert!(turns < 10, "{turns}");
}

#[test]
fn events_go_to_all_who_negotiated() {
    let mut server = Server::listening(3);
    let mut clients = [server.negotiated(0), server.negotiated(1), server.client(2)];
    clients[2].line();
    server.monitors.broadcast(&Event::Stop(Nothing {}));
    for (i, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.line().contains("\"event\": \"STOP\""), i < 2);
    }
}

#[test]
fn a_client_that_reads_no_events_is_disconnected_and_others_are_not() {
    let mut server = Server::listening(2);
    let mut deaf = server.negotiated(0);
    let mut client = server.negotiated(1);
    let event = Event::DeviceDeleted(DeviceDeleted { device: None, path: "n".repeat(1000) });
    // Twice what is kept for it and what the kernel keeps.
    for _ in 0..2 * crate::qmp::EVENTS_MAX_BYTES / 1000 {
        server.monitors.broadcast(&event);
        assert!(client.line().contains("DEVICE_DELETED"));
    }
    server.settle();
    let mut read = 0;
    while !deaf.line().is_empty() {
        read += 1;
    }
    assert!(read > 0, "what the kernel had is still there");
    assert!(deaf.is_closed());
    client.send("{'execute':'x'}");
    server.settle();
    assert_eq!(client.line(), "{\"return\": \"x\"}");
}

#[test]
fn an_answer_for_a_client_that_left_is_not_given_to_the_next() {
    let mut server = Server::listening(1);
    let mut client = server.negotiated(0);
    server.keep = true;
    client.send("{'execute':'slow'}");
    server.settle();
    drop(client);
    server.settle();
    let mut next = server.client(0);
    assert!(next.line().starts_with("{\"QMP\""), "served though the request is still executed");
    let slow = server.kept.pop().unwrap();
    server.monitors.answer(slow, Ok(json!("late")));
    assert_eq!(next.line(), "");
}

#[test]
fn commands_of_a_client_that_closed_at_once_are_executed() {
    let mut server = Server::listening(1);
    let mut client = server.client(0);
    client.send("{'execute':'qmp_capabilities'}");
    server.settle();
    client.send("{'execute':'last'}");
    drop(client);
    server.settle();
    assert_eq!(server.executed, [(0, "last".to_owned())]);
}

#[test]
fn the_last_replies_are_delivered_and_paths_removed_at_the_end() {
    let mut server = Server::listening(1);
    let mut client = server.negotiated(0);
    client.send("{'execute':'quit'}");
    server.settle();
    let Server { monitors, paths, .. } = server;
    monitors.shutdown();
    assert_eq!(client.line(), "{\"return\": \"quit\"}");
    assert!(client.is_closed());
    assert!(!std::fs::exists(&paths[0]).unwrap());
}

/// A server that has as many clients waiting as it wants does not answer the next.
#[test]
fn a_start_that_waits_for_a_connection_can_be_interrupted() {
    use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType};
    let stream =
        |flags| rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    let listener = stream(SocketFlags::empty());
    rustix::net::bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address: SocketAddrAny = rustix::net::getsockname(&listener).unwrap();
    let port = std::net::SocketAddr::try_from(address).unwrap().port();
    let clients: Vec<_> = (0..4).map(|_nth| stream(SocketFlags::NONBLOCK)).collect();
    for client in &clients {
        // Under way, or never.
        let _ = rustix::net::connect(client, &std::net::SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let (interruption, mut interrupts) = io::pipe().unwrap();
    let endpoint = Endpoint::parse(&format!("tcp:127.0.0.1:{port},server=off")).unwrap();
    let opening =
        std::thread::spawn(move || Monitors::open([endpoint], Token(0), interruption.as_fd()).map(drop));
    interrupts.write_all(b"x").unwrap();
    assert!(opening.join().unwrap().unwrap_err().to_string().contains("interrupted"));
}

#[test]
fn a_monitor_that_connects_does_so_again() {
    let path = std::env::temp_dir().join(format!("framewire-qmp-out-{}", process::id()));
    let path = path.to_str().unwrap();
    let connect = |reconnect| format!("unix:{path},server=off,reconnect={reconnect}");
    let once = open([Endpoint::parse(&connect(0)).unwrap()]);
    assert!(once.is_err(), "nobody listens, and it would never try again");
    let mut server = Server::at(&[connect(1)]);
    server.settle();
    let again_at = server.monitors.deadline().expect("it will try again");
    let listener = UnixListener::bind(path).unwrap();
    while server.monitors.deadline().is_some() {
        server.turn(again_at.saturating_duration_since(Instant::now()));
    }
    let mut client = Client::new(listener.accept().unwrap().0);
    server.settle();
    assert!(client.line().starts_with("{\"QMP\""));
    drop((client, listener));
    server.settle();
    assert!(server.monitors.deadline().is_some());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_connection_that_was_inherited_is_served() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&ours);
    let mut server = Server::at(&[format!("fd:{number}")]);
    let mut client = Client::new(theirs);
    assert!(client.line().starts_with("{\"QMP\""));
    client.send("{'execute':'qmp_capabilities'}");
    server.settle();
    assert_eq!(client.line(), "{\"return\": {}}");
}

#[test]
fn tokens_of_others_are_left_to_them() {
    let mut server = Server::listening(1);
    assert_eq!(server.monitors.tokens(), 2);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&ours);
    let foreign = Token(FIRST_TOKEN + server.monitors.tokens());
    let mut source = mio::unix::SourceFd(&number);
    server.poll.registry().register(&mut source, foreign, mio::Interest::READABLE).unwrap();
    theirs.write_all(b"x").unwrap();
    let mut events = mio::Events::with_capacity(8);
    server.poll.poll(&mut events, None).unwrap();
    assert!(
        events.iter().filter(|event| event.token() == foreign).all(|event| !server.monitors.ready(event))
    );
}
