//! TCP to a guest that sends everything back, and whether what comes back is what went.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use framewire_tests::machine::{Machine, PATIENCE};
use framewire_tests::namespace::Namespace;

const PORT: u16 = 7;

/// An address, and a service that sends back what it is sent, at `eth0`.
pub(super) fn serve(guest: &mut Machine, address: &str) {
    guest.call(&format!(
        "ip link set eth0 up && ip address add {address}/24 dev eth0 && nc -ll -p {PORT} -e cat >/dev/null 2>&1 &"
    ));
    // The service was started beside the rest.
    guest.call(&format!("until netstat -lnt | grep -q :{PORT} && ip address show eth0 | grep -q {address}; do usleep 20000; done"));
}

/// Sends so many bytes to and fro over one connection from the namespace, while `work` is done.
#[track_caller]
pub(super) fn during<R>(from: &Namespace, guest: [u8; 4], bytes: usize, work: impl FnOnce() -> R) -> R {
    let address = SocketAddr::from((guest, PORT));
    let connection = from.run(|| TcpStream::connect_timeout(&address, PATIENCE));
    let connection = connection.expect("the guest answers");
    connection.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
    connection.set_write_timeout(Some(PATIENCE)).expect("a socket has a timeout");
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(&connection, bytes));
        let receiver = scope.spawn(|| expect(&connection, bytes));
        let result = work();
        assert!(sender.join().is_ok(), "not everything is taken");
        assert!(receiver.join().is_ok(), "not everything comes back");
        result
    })
}

/// Sends so many bytes to and fro.
#[track_caller]
pub(super) fn whole(from: &Namespace, guest: [u8; 4], bytes: usize) {
    during(from, guest, bytes, || ());
}

/// Sends until `is_done`, whole pieces, each over a connection of its own. Returns how many.
#[track_caller]
pub(super) fn until(from: &Namespace, guest: [u8; 4], bytes: usize, is_done: impl Fn() -> bool) -> usize {
    let mut count = 0;
    while !is_done() {
        whole(from, guest, bytes);
        count += 1;
    }
    count
}

fn send(mut connection: &TcpStream, bytes: usize) {
    let mut pattern = Pattern::default();
    let mut block = vec![0; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(block.len());
        pattern.fill(&mut block[..part]);
        connection.write_all(&block[..part]).expect("the guest takes it");
        left -= part;
    }
    connection.shutdown(Shutdown::Write).expect("it is connected");
}

fn expect(mut connection: &TcpStream, bytes: usize) {
    let mut pattern = Pattern::default();
    let (mut block, mut wanted) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut at = 0;
    while at < bytes {
        let count = connection.read(&mut block).expect("the guest sends it back");
        assert_ne!(count, 0, "the guest hung up after {at} bytes");
        pattern.fill(&mut wanted[..count]);
        assert!(block[..count] == wanted[..count], "bytes were changed after {at} of {bytes}");
        at += count;
    }
}

/// Bytes that do not repeat, so that nothing can take another's place.
#[derive(Debug)]
struct Pattern {
    state: u64,
    left: Vec<u8>,
}

impl Default for Pattern {
    fn default() -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15, left: Vec::new() }
    }
}

impl Pattern {
    fn fill(&mut self, mut into: &mut [u8]) {
        while !into.is_empty() {
            if self.left.is_empty() {
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                self.left = self.state.to_le_bytes().to_vec();
            }
            let part = self.left.len().min(into.len());
            into[..part].copy_from_slice(&self.left[..part]);
            self.left.drain(..part);
            into = &mut into[part..];
        }
    }
}
