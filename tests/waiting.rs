//! Commands that wait for somebody outside keep nobody else waiting: connections without an answer, names that take
//! their time.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use framewire_tests::framewire::Framewire;
use framewire_tests::qmp::Qmp;
use framewire_tests::wait::{PATIENCE, wait_until};
use framewire_tests::{need, port};
use rustix::event::{PollFd, PollFlags};
use serde_json::{Value, json};

/// Too soon for an answer that nobody has given.
const A_MOMENT: Duration = Duration::from_millis(300);

/// A listener with room for one client, and that one.
struct Full {
    listener: TcpListener,
    _client: TcpStream,
}

impl Full {
    fn new(framewire: &Framewire) -> Self {
        framewire.home().run(|| {
            let listener = TcpListener::bind(("127.0.0.1", port::unused())).expect("a free port");
            rustix::net::listen(&listener, 0).expect("it may listen again");
            let there = listener.local_addr().expect("it is bound");
            let client = TcpStream::connect(there).expect("there is room");
            // The client knows that it is connected a little earlier than the listener does.
            let mut waits = [PollFd::new(&listener, PollFlags::IN)];
            rustix::event::poll(&mut waits, None).expect("nothing interrupts it");
            Full { listener, _client: client }
        })
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("it is bound").port()
    }

    /// Takes whoever connects, from now on.
    fn serve(&self) {
        let listener = self.listener.try_clone().expect("a descriptor");
        std::thread::spawn(move || {
            let mut taken = Vec::new();
            while let Ok((client, _address)) = listener.accept() {
                taken.push(client);
            }
        });
    }
}

fn tcp_client(id: &str, host: &str, port: u16) -> Value {
    let address = json!({ "type": "inet", "data": { "host": host, "port": port.to_string() } });
    json!({ "id": id, "backend": { "type": "socket", "data": { "addr": address, "server": false } } })
}

fn ask(qmp: &mut Qmp, name: &str, arguments: &Value) {
    qmp.send(&json!({ "execute": name, "arguments": arguments }).to_string(), &[]);
}

fn labels(qmp: &mut Qmp) -> Vec<String> {
    let list = qmp.command("query-chardev", json!({}));
    let label = |info: &Value| info["label"].as_str().unwrap_or_default().to_owned();
    list.as_array().expect("a list").iter().map(label).collect()
}

/// Every server has this monitor besides those that it is asked for.
fn other_monitor(framewire: &Framewire) -> Qmp {
    Qmp::connect(&framewire.runtime_dir().join("qmp.sock"))
}

#[test]
fn a_connection_without_an_answer_keeps_only_its_client_waiting() {
    need!(root);
    let framewire = Framewire::new();
    let full = Full::new(&framewire);
    let (mut asker, mut other) = (framewire.qmp(), other_monitor(&framewire));
    ask(&mut asker, "chardev-add", &tcp_client("c0", "127.0.0.1", full.port()));
    assert_eq!(asker.reply(A_MOMENT), None);
    // What it sends meanwhile is executed in its turn.
    ask(&mut asker, "query-status", &json!({}));
    assert_eq!(other.command("query-status", json!({}))["status"], "prelaunch");
    assert_eq!(labels(&mut other), ["compat_monitor0"]);
    let (_class, taken) = other.refused("chardev-add", tcp_client("c0", "127.0.0.1", full.port()));
    assert_eq!(taken, "Chardev with id 'c0' already exists");
    full.serve();
    assert_eq!(asker.reply(PATIENCE), Some(Ok(json!({}))));
    assert_eq!(asker.reply(PATIENCE).expect("a reply").expect("a status")["status"], "prelaunch");
    assert_eq!(labels(&mut other), ["c0", "compat_monitor0"]);
    other.command("chardev-remove", json!({ "id": "c0" }));
    drop((asker, other));
    framewire.quit();
}

#[test]
fn a_connection_whose_client_has_left_is_given_up() {
    need!(root);
    let framewire = Framewire::new();
    let full = Full::new(&framewire);
    let mut asker = framewire.qmp();
    ask(&mut asker, "chardev-add", &tcp_client("c0", "127.0.0.1", full.port()));
    assert_eq!(asker.reply(A_MOMENT), None);
    drop(asker);
    // The monitor is free for the next, and so is the name.
    let mut next = framewire.qmp();
    wait_until("the name to be free", || {
        next.try_command("chardev-add", json!({ "id": "c0", "backend": { "type": "null", "data": {} } }))
            .is_ok()
    });
    full.serve();
    assert_eq!(labels(&mut next), ["c0", "compat_monitor0"]);
    drop(next);
    framewire.quit();
}

#[test]
fn a_connection_that_is_refused_is_refused_in_words() {
    need!(root);
    let framewire = Framewire::new();
    let nobody = port::unused();
    let (_class, text) = framewire.qmp().refused("chardev-add", tcp_client("c0", "127.0.0.1", nobody));
    assert_eq!(
        text,
        format!("Failed to add chardev 'c0': Failed to connect to '127.0.0.1:{nobody}': Connection refused")
    );
}

/// A name server that answers when it is told to, with one address for every name.
struct NameServer {
    socket: UdpSocket,
}

impl NameServer {
    /// Where Framewire's resolver is made to look for one.
    const SCRIPT: &str = "mount -t tmpfs none /etc; echo nameserver 127.0.0.1 >/etc/resolv.conf; \
         echo options timeout:30 attempts:5 >>/etc/resolv.conf; exec \"$0\" \"$@\"";

    fn new(framewire: &Framewire) -> Self {
        let socket = framewire.home().run(|| UdpSocket::bind("127.0.0.1:53").expect("a free port"));
        NameServer { socket }
    }

    /// Answers every question while `work` goes on.
    fn while_answering<R>(&self, work: impl FnOnce() -> R) -> R {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    if let Some(question) = self.question(Duration::from_millis(20)) {
                        self.answer(&question);
                    }
                }
            });
            let result = work();
            is_over.store(true, Ordering::Relaxed);
            result
        })
    }

    /// The next question, if one comes in time.
    fn question(&self, patience: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        let mut bytes = [0; 512];
        self.socket.set_read_timeout(Some(patience)).expect("a timeout can be set");
        let (length, from) = self.socket.recv_from(&mut bytes).ok()?;
        Some((bytes[..length].to_vec(), from))
    }

    /// Answers: 127.0.0.1 if IPv4 was asked for, and nothing otherwise.
    fn answer(&self, (question, from): &(Vec<u8>, SocketAddr)) {
        const HEADER_BYTES: usize = 12;
        let name_bytes = question[HEADER_BYTES..].iter().position(|&byte| byte == 0).expect("an end") + 1;
        let end = HEADER_BYTES + name_bytes + 4;
        let is_ipv4 = question[end - 3] == 1;
        let mut reply = question[..end].to_vec();
        reply[2..HEADER_BYTES].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
        if is_ipv4 {
            // A pointer to the name, an address of the internet, for a minute, four bytes.
            reply.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        self.socket.send_to(&reply, from).expect("the resolver waits");
    }
}

#[test]
fn a_name_without_an_answer_keeps_only_its_client_waiting() {
    need!(root, "unshare");
    let framewire = Framewire::under(&["unshare", "--mount", "sh", "-c", NameServer::SCRIPT], &[]);
    let names = NameServer::new(&framewire);
    let (mut asker, mut other) = (framewire.qmp(), other_monitor(&framewire));
    let there = port::unused();
    let tunnel = json!({ "type": "l2tpv3", "id": "n1", "src": "127.0.0.1", "dst": "peer.test", "udp": true,
        "srcport": "0", "dstport": "4000", "txsession": 1 });
    let listens = json!({ "id": "s0", "backend": { "type": "socket", "data": { "server": true, "wait": false,
        "addr": { "type": "inet", "data": { "host": "peer.test", "port": "0", "ipv4": true } } } } });
    let remote = json!({ "type": "inet", "host": "peer.test", "port": "1" });
    let local = json!({ "type": "inet", "host": "localhost", "port": there.to_string() });
    for (name, arguments) in [
        (
            "netdev_add",
            json!({ "type": "socket", "id": "n0", "udp": "peer.test:1", "localaddr": "127.0.0.1:0" }),
        ),
        ("netdev_add", json!({ "type": "dgram", "id": "n2", "remote": remote, "local": local })),
        ("netdev_add", tunnel),
        ("chardev-add", listens),
        (
            "human-monitor-command",
            json!({ "command-line": "netdev_add socket,id=n3,udp=peer.test:1,localaddr=:0" }),
        ),
    ] {
        ask(&mut asker, name, &arguments);
        let question = names.question(PATIENCE).expect("the resolver asks");
        assert_eq!(asker.reply(A_MOMENT), None, "{name}");
        assert_eq!(other.command("query-status", json!({}))["status"], "prelaunch");
        names.answer(&question);
        // `localhost` is in no file here, so its server is asked as well.
        let reply = names.while_answering(|| asker.reply(PATIENCE));
        let wanted = if name.starts_with("human") { json!("") } else { json!({}) };
        assert_eq!(reply, Some(Ok(wanted)), "{name} {arguments}");
    }
    let network = other.command("human-monitor-command", json!({ "command-line": "info network" }));
    for id in ["n0", "n1", "n2", "n3"] {
        assert!(network.as_str().is_some_and(|text| text.contains(&format!("{id}: "))), "{network}");
    }
    assert_eq!(labels(&mut other), ["s0", "compat_monitor0"]);
    drop((asker, other));
    framewire.quit();
}
