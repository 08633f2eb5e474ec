//! The plug side of the VDE protocol: a conversation of one request and one answer, then datagrams.
//!
//! The plug binds a datagram socket to a path, names it to the switch over the switch's control socket, and is named the
//! switch's own datagram socket for this port. Its path is then removed: both sockets are connected and need no names.
//! The port exists for as long as the control connection does.
//!
//! The switch is another process, and may be slow or stuck: the conversation has a deadline.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Gid;

/// What a request begins with, and which form it has.
const MAGIC: u32 = 0xfeed_face;
const VERSION: u32 = 3;

/// `struct sockaddr_un`.
const ADDRESS_BYTES: usize = 110;

/// What a description may take.
const DESCRIPTION_BYTES_MAX: usize = 127;

/// Where switches usually are.
const USUAL: [&str; 2] = ["/var/run/vde.ctl", "/tmp/vde.ctl"];

/// A port of a switch to be.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Folder of the switch's sockets; the usual places if absent.
    pub folder: Option<&'a str>,
    /// The port; 0 for any.
    pub port: u16,
    /// Group of our socket.
    pub group: Option<&'a str>,
    /// Permissions of our socket.
    pub mode: u16,
}

/// A port of a switch.
#[derive(Debug)]
pub struct Plugged {
    /// Carries frames.
    pub data: OwnedFd,
    /// Ends with the switch; the port ends with it.
    pub control: OwnedFd,
}

/// Takes a port of a switch.
///
/// # Errors
/// As the kernel says; `ETIMEDOUT` if the switch does not answer within `patience`.
pub fn plug(wish: &Wish<'_>, patience: Duration) -> Result<Plugged, Errno> {
    let end = Instant::now() + patience;
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".vde2/default.switch"));
    let folders: Vec<PathBuf> = match wish.folder {
        Some(folder) => vec![PathBuf::from(folder.strip_prefix("vde://").unwrap_or(folder))],
        None => home.into_iter().chain(USUAL.map(PathBuf::from)).collect(),
    };
    let mut refused = Errno::NOENT;
    for folder in folders {
        match connect(&folder.join("ctl")) {
            Ok(control) => return converse(wish, &folder, control, end),
            Err(errno) => refused = errno,
        }
    }
    Err(refused)
}

/// Whether the switch is still there.
#[must_use]
pub fn is_connected(control: &OwnedFd) -> bool {
    let peeked = rustix::net::recv(control, &mut [0_u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    match peeked {
        Ok((_peeked, 0)) => false,
        Ok(_unexpected) => true,
        Err(errno) => matches!(errno, Errno::AGAIN | Errno::INTR),
    }
}

fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let control = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&control, &SocketAddrUnix::new(path)?)?;
    Ok(control)
}

fn converse(wish: &Wish<'_>, folder: &Path, control: OwnedFd, end: Instant) -> Result<Plugged, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let data = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    let named = Named::bind(&data, folder)?;
    named.guard(wish)?;
    send(&control, &request(wish.port, &named.path)?)?;
    let answer = receive(&control, end)?;
    rustix::net::connect(&data, &SocketAddrUnix::new(path_in(&answer)?)?)?;
    Ok(Plugged { data, control })
}

/// A path that a socket is bound to, until the switch has connected to it.
struct Named {
    path: PathBuf,
}

impl Named {
    /// Beside the switch's own sockets, where whoever may reach those can reach it; else in a place for everybody.
    fn bind(data: &OwnedFd, folder: &Path) -> Result<Self, Errno> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % 100_000;
        let name = format!("{}-{number:05}", std::process::id());
        let beside = folder.join(format!(".{name}"));
        let elsewhere = std::env::temp_dir().join(format!("vde.{name}"));
        let mut refused = Errno::NOENT;
        for path in [beside, elsewhere] {
            // Left by a process of the same number that was killed, if by anybody.
            let _ = rustix::fs::unlink(&path);
            match SocketAddrUnix::new(&path).and_then(|address| rustix::net::bind(data, &address)) {
                Ok(()) => return Ok(Named { path }),
                Err(errno) => refused = errno,
            }
        }
        Err(refused)
    }

    /// Group and permissions, for the time that the path exists.
    fn guard(&self, wish: &Wish<'_>) -> Result<(), Errno> {
        if let Some(group) = wish.group {
            let group = super::group::find(group).map(Gid::from_raw).map_err(|_unknown| Errno::INVAL)?;
            rustix::fs::chown(&self.path, None, Some(group))?;
        }
        rustix::fs::chmod(&self.path, Mode::from_raw_mode(wish.mode.into()))
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // Whoever removed it already did what we wanted.
        let _ = rustix::fs::unlink(&self.path);
    }
}

/// A new port: the numbers, our address, who we are.
fn request(port: u16, path: &Path) -> Result<Vec<u8>, Errno> {
    let mut address = [0; ADDRESS_BYTES];
    let family = AddressFamily::UNIX.as_raw().to_ne_bytes();
    let path = path.as_os_str().as_encoded_bytes();
    address[..2].copy_from_slice(&family);
    // The last byte stays zero.
    let room = &mut address[2..ADDRESS_BYTES - 1];
    room.get_mut(..path.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(path);
    let mut description = format!("framewire pid={}", std::process::id()).into_bytes();
    description.truncate(DESCRIPTION_BYTES_MAX);
    let numbers = [MAGIC, VERSION, u32::from(port) << 8].map(u32::to_ne_bytes);
    Ok([&numbers.concat()[..], &address, &description].concat())
}

/// The control connection is new, so there is room for all of it.
fn send(control: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    let sent = rustix::net::send(control, bytes, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(Errno::IO) }
}

fn receive(control: &OwnedFd, end: Instant) -> Result<[u8; ADDRESS_BYTES], Errno> {
    let (mut answer, mut received) = ([0; ADDRESS_BYTES], 0);
    while received < ADDRESS_BYTES {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Errno::TIMEDOUT);
        }
        let timeout = Timespec::try_from(left).map_err(|_long| Errno::INVAL)?;
        // Interrupted means: look again.
        let _ = rustix::event::poll(&mut [PollFd::new(control, PollFlags::IN)], Some(&timeout));
        match rustix::net::recv(control, &mut answer[received..], RecvFlags::DONTWAIT) {
            Ok((_bytes, 0)) => return Err(Errno::CONNREFUSED),
            Ok((_bytes, more)) => received += more,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(answer)
}

/// The path in a `struct sockaddr_un`.
fn path_in(address: &[u8; ADDRESS_BYTES]) -> Result<&[u8], Errno> {
    let path = address[2..].split(|byte| *byte == 0).next().unwrap_or_default();
    if path.is_empty() { Err(Errno::PROTO) } else { Ok(path) }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn request_is_laid_out_as_switches_read_it() {
        let request = request(7, Path::new("/a/b")).unwrap();
        assert_eq!(request[..4], 0xfeed_face_u32.to_ne_bytes());
        assert_eq!(request[4..12], [3_u32.to_ne_bytes(), 0x700_u32.to_ne_bytes()].concat());
        assert_eq!((&request[14..18], request[18]), (&b"/a/b"[..], 0));
        assert!(request[12 + ADDRESS_BYTES..].starts_with(b"framewire pid="));
        assert_eq!(super::request(0, Path::new(&"x".repeat(108))), Err(Errno::NAMETOOLONG));
    }

    #[test]
    fn answer_without_a_path_is_none() {
        let mut answer = [0; ADDRESS_BYTES];
        assert_eq!(path_in(&answer), Err(Errno::PROTO));
        answer[2..6].copy_from_slice(b"/a/b");
        assert_eq!(path_in(&answer), Ok(&b"/a/b"[..]));
    }

    #[test]
    fn folder_without_a_switch_is_refused_in_the_kernels_words() {
        let wish = Wish { folder: Some("/dev/null"), port: 0, group: None, mode: 0o700 };
        assert_eq!(plug(&wish, Duration::from_secs(1)).map(drop), Err(Errno::NOTDIR));
    }
}
