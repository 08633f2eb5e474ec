//! The XDP program that steers frames into our sockets (`steer.bpf.c` tells how), and its loader.
//!
//! **Problem.** A program and its maps live as long as somebody refers to them, and an interface that keeps a
//! program after its user was killed is an interface that somebody has to repair.
//!
//! **Rejected.** Attaching over netlink, as `ip link set xdp` does: the program stays until it is taken off. libxdp's
//! dispatcher, which lets programs share an interface: it pins what it makes in a file system.
//!
//! **Chosen.** A *link*: attached as long as its descriptor is held. The vault and the data plane hold it, so it
//! outlives either of them, and when the port is deleted or both have ended the interface is as it was found.
//! Everything is given out as plain descriptors, since those can be handed over; only the control plane links libbpf.

mod calls;
#[allow(clippy::all, clippy::pedantic, clippy::restriction, unreachable_pub, reason = "generated")]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/steer.skel.rs"));
}

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use libbpf_rs::{ErrorKind, MapCore, PrintLevel, Xdp, XdpFlags};
use rustix::io::Errno;

use self::skeleton::{SteerSkel, SteerSkelBuilder};

/// The largest number of a queue, and one more: as in the program.
pub const SOCKETS_MAX: u32 = 1024;
/// Addresses of stations on a shared interface: as in the program.
pub const STATIONS_MAX: usize = 256;

/// What became of frames. The numbers are the program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Handed to a socket.
    ToSocket = 0,
    /// Left to the host: there is no socket for their queue.
    NoSocket = 1,
    /// Left to the host: addressed to another station.
    OtherStation = 2,
}

impl Counter {
    /// All of them.
    pub const ALL: [Counter; 3] = [Counter::ToSocket, Counter::NoSocket, Counter::OtherStation];
}

/// Key of the map of stations: an Ethernet address, padded.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Station {
    address: [u8; 6],
    zero: [u8; 2],
}

impl From<[u8; 6]> for Station {
    fn from(address: [u8; 6]) -> Self {
        Station { address, zero: [0; 2] }
    }
}

/// Where in the kernel the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the driver, before there is a packet.
    Driver,
    /// At the beginning of the stack: any interface has that.
    Stack,
}

/// A loaded program with its maps.
#[derive(Debug)]
pub struct Program {
    program: OwnedFd,
    /// Sockets, by the queue that they are bound to.
    pub sockets: OwnedFd,
    /// Frames, by [`Counter`].
    pub counters: OwnedFd,
    stations: OwnedFd,
}

impl Program {
    /// Loads one. With `stations` the interface is shared: only what is addressed to one of them goes to sockets.
    ///
    /// # Errors
    /// As the kernel says: `EPERM` without the capabilities to load programs; `EINVAL` if its maps are not laid out
    /// as this crate thinks.
    pub fn load(stations: Option<&[[u8; 6]]>) -> Result<Self, Errno> {
        libbpf_rs::set_print(Some((PrintLevel::Info, log)));
        let mut object = MaybeUninit::uninit();
        let mut open = SteerSkelBuilder::default().open(&mut object).map_err(errno)?;
        let settings = open.maps.rodata_data.as_deref_mut().ok_or(Errno::INVAL)?;
        settings.is_shared = u8::from(stations.is_some());
        let loaded = open.load().map_err(errno)?;
        check_layout(&loaded)?;
        let maps = &loaded.maps;
        let program = Program {
            program: duplicate(loaded.progs.steer.as_fd())?,
            sockets: duplicate(maps.sockets.as_fd())?,
            counters: duplicate(maps.counters.as_fd())?,
            stations: duplicate(maps.stations.as_fd())?,
        };
        for address in stations.unwrap_or_default() {
            calls::put(program.stations.as_fd(), &Station::from(*address), &1_u8)?;
        }
        Ok(program)
    }

    /// Attaches it to an interface of this thread's network namespace; the link holds it there.
    ///
    /// # Errors
    /// As the kernel says: `EBUSY` if another program is there; `EOPNOTSUPP`, `EINVAL`, `ERANGE` if the driver cannot
    /// (at all, or with its present settings).
    pub fn attach(&self, interface: u32, place: Place) -> Result<OwnedFd, Errno> {
        let flags = match place {
            Place::Driver => XdpFlags::DRV_MODE,
            Place::Stack => XdpFlags::SKB_MODE,
        };
        calls::attach(self.program.as_fd(), interface, flags.bits())
    }

    /// Number and name of the program that is on an interface, if one is.
    #[must_use]
    pub fn occupant(&self, interface: u32) -> Option<(u32, String)> {
        let interface = i32::try_from(interface).ok()?;
        let id =
            Xdp::new(self.program.as_fd()).query_id(interface, XdpFlags::NONE).ok().filter(|id| *id != 0)?;
        let info = libbpf_rs::query::ProgInfoIter::default().find(|info| info.id == id);
        Some((id, info.map_or_else(String::new, |info| info.name.to_string_lossy().into_owned())))
    }
}

/// Puts a socket into a map of sockets.
///
/// # Errors
/// As the kernel says: `E2BIG` if the map has no such place, `EOPNOTSUPP` if it is no AF_XDP socket.
pub fn put_socket(sockets: BorrowedFd<'_>, place: u32, socket: BorrowedFd<'_>) -> Result<(), Errno> {
    use std::os::fd::AsRawFd as _;
    calls::put(sockets, &place, &socket.as_raw_fd())
}

/// Opens a map that somebody has pinned.
///
/// # Errors
/// As the kernel says.
pub fn pinned(path: &Path) -> Result<OwnedFd, Errno> {
    let map = libbpf_rs::MapHandle::from_pinned_path(path).map_err(errno)?;
    duplicate(map.as_fd())
}

/// Gives a map a name, by which others can open it.
///
/// # Errors
/// As the kernel says: `EINVAL` if the path is not in a file system for such things.
pub fn pin(map: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_zero| Errno::INVAL)?;
    calls::pin(map, &path)
}

/// How many frames there were, on all processors together.
///
/// # Errors
/// As the kernel says.
pub fn frames(counters: BorrowedFd<'_>, counter: Counter) -> Result<u64, Errno> {
    let processors = libbpf_rs::num_possible_cpus().map_err(errno)?;
    let mut each = vec![0_u64; processors];
    calls::get(counters, &(counter as u32), &mut each)?;
    Ok(each.iter().fold(0, |sum, frames| sum.wrapping_add(*frames)))
}

/// What the program was compiled with must be what this was compiled with.
fn check_layout(loaded: &SteerSkel<'_>) -> Result<(), Errno> {
    let maps = &loaded.maps;
    let laid_out =
        |map: &dyn MapCore| (map.key_size() as usize, map.value_size() as usize, map.max_entries());
    let counters = u32::try_from(Counter::ALL.len()).expect("a few");
    let stations = u32::try_from(STATIONS_MAX).expect("a few hundred");
    let is_known = laid_out(&maps.sockets) == (4, 4, SOCKETS_MAX)
        && laid_out(&maps.stations) == (size_of::<Station>(), 1, stations)
        && laid_out(&maps.counters) == (4, 8, counters);
    if is_known { Ok(()) } else { Err(Errno::INVAL) }
}

fn duplicate(descriptor: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(descriptor, 0)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn errno(error: libbpf_rs::Error) -> Errno {
    log::debug!("libbpf: {error}");
    // It does not give the number away, only what sort it is of.
    let known = [
        (ErrorKind::NotFound, Errno::NOENT),
        (ErrorKind::PermissionDenied, Errno::PERM),
        (ErrorKind::OutOfMemory, Errno::NOMEM),
        (ErrorKind::InvalidInput, Errno::INVAL),
        (ErrorKind::Unsupported, Errno::OPNOTSUPP),
    ];
    let found = known.into_iter().find(|(kind, _errno)| *kind == error.kind());
    found.map_or(Errno::IO, |(_kind, errno)| errno)
}

#[expect(clippy::needless_pass_by_value, reason = "libbpf-rs wants it so")]
fn log(_level: PrintLevel, text: String) {
    log::debug!("{}", text.trim_end());
}

#[cfg(test)]
mod test;
