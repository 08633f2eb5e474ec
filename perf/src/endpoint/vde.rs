//! Frames by the VDE protocol, as a plug in a switch or as the switch's side of a plug.
//!
//! A plug asks over the switch's control socket, naming its own datagram socket, and is named the switch's; from then on
//! a datagram is a frame, and the port is there as long as the control connection. A device that plugs itself in is
//! faced by [`Socket`], which answers like a switch with one port: a real switch in between would be measured instead.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::datagram::Datagram;
use super::{Endpoint, enlarge_buffers, retried};
use crate::frame::Template;
use crate::tally::Sink;

const MAGIC: u32 = 0xfeed_face;
const VERSION: u32 = 3;
/// `struct sockaddr_un`.
const ADDRESS_BYTES: usize = 110;
/// Magic, version, and the kind of request with the port.
const NUMBERS_BYTES: usize = 12;
/// How long the other side may take to say what it has to say.
const PATIENCE: Duration = Duration::from_secs(10);

/// Either side of a port.
#[derive(Debug)]
pub struct Vde {
    datagrams: Datagram,
    /// The port ends with it.
    _control: UnixStream,
}

impl Endpoint for Vde {
    fn send(&mut self, first_sequence: u64, count: usize) -> io::Result<usize> {
        self.datagrams.send(first_sequence, count)
    }

    fn receive(&mut self, sink: &mut dyn Sink) -> io::Result<usize> {
        self.datagrams.receive(sink)
    }
}

/// Takes a port of the switch in this folder.
pub(super) fn plug(folder: &Path, template: Template) -> io::Result<Vde> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut control = retried(|| UnixStream::connect(folder.join("ctl")))?;
    control.set_read_timeout(Some(PATIENCE))?;
    // Relaxed: only the numbers must differ.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let ours = folder.join(format!(".plug-{}-{number}", std::process::id()));
    let data = bound(&ours)?;
    let numbers = [MAGIC, VERSION, 0].map(u32::to_ne_bytes).concat();
    control.write_all(&[&numbers[..], &address(&ours), b"framewire-perf"].concat())?;
    let mut answer = [0; ADDRESS_BYTES];
    control.read_exact(&mut answer)?;
    data.connect(path_in(&answer)?)?;
    Ok(Vde { datagrams: Datagram::new(data.into(), template, &[]), _control: control })
}

/// What a device can plug itself into, once.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    folder: PathBuf,
}

impl Socket {
    /// Makes the folder and listens in it.
    ///
    /// # Errors
    /// If it is there already, or the system refuses.
    pub fn new(folder: &Path) -> io::Result<Socket> {
        std::fs::create_dir(folder)?;
        Ok(Socket { listener: UnixListener::bind(folder.join("ctl"))?, folder: folder.to_owned() })
    }

    /// Waits for the device; frames of `template` are sent to it.
    ///
    /// # Errors
    /// If it does not come, or asks for something else than a port.
    pub fn plugged(&self, template: Template) -> io::Result<Vde> {
        let mut control = accepted(&self.listener)?;
        control.set_read_timeout(Some(PATIENCE))?;
        let mut request = [0; NUMBERS_BYTES + ADDRESS_BYTES];
        control.read_exact(&mut request)?;
        let (numbers, theirs) = request.split_at(NUMBERS_BYTES);
        if numbers[..8] != [MAGIC, VERSION].map(u32::to_ne_bytes).concat() {
            return Err(invalid("not a request for a port"));
        }
        let ours = self.folder.join("port");
        let data = bound(&ours)?;
        data.connect(path_in(theirs)?)?;
        control.write_all(&address(&ours))?;
        Ok(Vde { datagrams: Datagram::new(data.into(), template, &[]), _control: control })
    }
}

/// The next connection, if one comes soon.
fn accepted(listener: &UnixListener) -> io::Result<UnixStream> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec::try_from(PATIENCE).expect("it is short");
    if poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout))? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody plugged in"));
    }
    listener.accept().map(|(control, _address)| control)
}

fn bound(path: &Path) -> io::Result<UnixDatagram> {
    let data = UnixDatagram::bind(path)?;
    data.set_nonblocking(true)?;
    enlarge_buffers(&data)?;
    Ok(data)
}

/// A path as `struct sockaddr_un`. Ours are short.
fn address(path: &Path) -> [u8; ADDRESS_BYTES] {
    let mut address = [0; ADDRESS_BYTES];
    address[..2].copy_from_slice(&rustix::net::AddressFamily::UNIX.as_raw().to_ne_bytes());
    let path = path.as_os_str().as_encoded_bytes();
    address[2..2 + path.len()].copy_from_slice(path);
    address
}

fn path_in(address: &[u8]) -> io::Result<PathBuf> {
    let path = address[2..].split(|byte| *byte == 0).next().unwrap_or_default();
    let path = std::str::from_utf8(path).ok().filter(|path| !path.is_empty());
    path.map(PathBuf::from).ok_or_else(|| invalid("no path in an address"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
