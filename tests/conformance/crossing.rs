//! Two network namespaces, a tap in each, and whatever drivers are to be shown in between: their TCP and
//! UDP are the peers that lowering must satisfy, and they count what has a wrong checksum.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use framewire_dataplane::driver::{AnyQueue, Queue};
use framewire_shared::driver::{DriverOptions, TapOptions};
use framewire_tests::namespace::Namespace;
use framewire_tests::{need, tun, udp};

use crate::bench::{Bench, queue};
use crate::outside;

/// What is transferred: enough for TCP to send as much at once as it ever does.
const TRANSFER_BYTES: usize = 8 << 20;

/// How long a transfer may stand still.
const STALL: Duration = Duration::from_secs(20);

/// A host with a tap.
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
    pub(crate) queue: AnyQueue,
    number: u8,
    can_tag: bool,
}

/// What is between the two taps.
pub(crate) enum Between {
    /// A cable.
    Nothing,
    /// Two datagram sockets that are each other's peer.
    Sockets(Box<[AnyQueue; 2]>),
}

impl Between {
    pub(crate) fn udp() -> Self {
        let (a, b) = (udp::bound("127.0.0.1:0"), udp::bound("127.0.0.1:0"));
        udp::receive_runs(&a);
        udp::receive_runs(&b);
        let (to_a, to_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
        Between::Sockets(Box::new([outside::udp_queue(a, to_b), outside::udp_queue(b, to_a)]))
    }

    pub(crate) fn unix() -> Self {
        Between::Sockets(Box::new(outside::unix_queues()))
    }

    pub(crate) fn stream() -> Self {
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        Between::Sockets(Box::new([a, b].map(|socket| outside::stream_queue(socket.into()))))
    }
}

impl Host {
    /// With this address on its tap. With a header, all work that the kernel can leave is left.
    pub(crate) fn new(number: u8, has_header: bool) -> Self {
        let namespace = Namespace::new();
        let tap = tun::open(&namespace, "t0", tun::TAP | if has_header { tun::VNET_HDR } else { 0 });
        rustix::io::ioctl_fionbio(&tap, true).unwrap();
        if has_header {
            tun::leave_work(&tap);
        }
        namespace.set("net/ipv6/conf/t0/disable_ipv6", "0");
        namespace.ip(&format!("address add fd00::{number}/64 dev t0 nodad"));
        namespace.address("t0", &format!("10.0.0.{number}/24"));
        let can_tag = namespace.succeeds("ip link add link t0 name tagged type vlan id 5");
        if can_tag {
            namespace.address("tagged", &format!("10.0.5.{number}/24"));
        } else {
            need::note_skip("frames with a VLAN tag", "this kernel has no 802.1Q");
        }
        let options = DriverOptions::Tap(TapOptions { vnet_header: u32::from(has_header) });
        Host { namespace, queue: queue(&options, tap), number, can_tag }
    }

    /// Where it can be reached: by IPv4, IPv6 and, if there is such a thing, with a VLAN tag.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let number = self.number;
        let mut addresses = vec![format!("10.0.0.{number}:9000"), format!("[fd00::{number}]:9000")];
        addresses.extend(self.can_tag.then(|| format!("10.0.5.{number}:9000")));
        addresses
    }

    /// How often TCP and UDP have seen a wrong checksum.
    pub(crate) fn checksum_errors(&self) -> u64 {
        let text = self.namespace.run(|| {
            let v6 = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
            std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap() + &v6
        });
        let v4 = ["Tcp:", "Udp:"].map(|protocol| column(&text, protocol, "InCsumErrors"));
        let v6 = text.lines().filter(|line| line.starts_with("Udp6InCsumErrors"));
        let v6 = v6.map(|line| line.split_whitespace().last().unwrap().parse::<u64>().unwrap());
        v4.into_iter().chain(v6).sum()
    }
}

/// A value below a table's heading.
fn column(text: &str, protocol: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.starts_with(protocol));
    let place = lines.next().unwrap().split_whitespace().position(|word| word == name).unwrap();
    lines.next().unwrap().split_whitespace().nth(place).unwrap().parse().unwrap()
}

/// Carries frames between the hosts while `work` runs. Returns what that returns.
pub(crate) fn carry<R>(
    a: &mut Host,
    b: &mut Host,
    between: &mut Between,
    work: impl FnOnce([&Namespace; 2]) -> R,
) -> R {
    let done = AtomicBool::new(false);
    let (near, far) = (&mut a.queue, &mut b.queue);
    std::thread::scope(|scope| {
        let carrier = scope.spawn(|| {
            let mut bench = Bench::new();
            while !done.load(Ordering::Relaxed) {
                bench.turn.begin();
                let moved = match between {
                    Between::Nothing => both_ways(&mut bench, near, far),
                    Between::Sockets(sockets) => {
                        let [left, right] = sockets.as_mut();
                        both_ways(&mut bench, near, left) + both_ways(&mut bench, right, far)
                    }
                };
                if moved == 0 {
                    std::thread::yield_now();
                }
            }
            assert_eq!(bench.allocations, 0, "moving frames allocates nothing");
        });
        let result = work([&a.namespace, &b.namespace]);
        done.store(true, Ordering::Relaxed);
        carrier.join().unwrap();
        result
    })
}

fn both_ways(bench: &mut Bench, left: &mut AnyQueue, right: &mut AnyQueue) -> usize {
    bench.pass(left, right) + bench.pass(right, left)
}

/// Sends bytes over TCP from the first namespace to `address` in the second, which must get them as they are.
pub(crate) fn transfer(namespaces: [&Namespace; 2], address: &str) {
    let [from, to] = namespaces;
    let listener = to.run(|| TcpListener::bind(address).unwrap());
    let sent: Vec<u8> = (0..TRANSFER_BYTES).map(|at| ((at * 31) >> 7).to_le_bytes()[0]).collect();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let (mut stream, _peer) = listener.accept().unwrap();
            stream.set_read_timeout(Some(STALL)).unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            got
        });
        let mut stream = from.run(|| TcpStream::connect_timeout(&address.parse().unwrap(), STALL).unwrap());
        stream.set_write_timeout(Some(STALL)).unwrap();
        stream.write_all(&sent).unwrap();
        drop(stream);
        assert!(server.join().unwrap() == sent, "what came is not what was sent");
    });
}

/// Bytes of a frame that came in or went out, on average.
pub(crate) fn received_on_average(host: &Host) -> u64 {
    let counters = host.queue.counters();
    counters.received_bytes.get() / counters.received_frames.get().max(1)
}

/// As [`received_on_average`].
pub(crate) fn sent_on_average(host: &Host) -> u64 {
    let counters = host.queue.counters();
    counters.sent_bytes.get() / counters.sent_frames.get().max(1)
}
