//! Addresses of vsock sockets, which neither the standard library nor rustix knows.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// A context and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Which machine: 2 is the host, 0xffffffff any of our own.
    pub cid: u32,
    /// Which socket there.
    pub port: u32,
}

/// `struct sockaddr_vm`.
#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
struct Record {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    flags: u8,
    zero: [u8; 3],
}

const _: () = assert!(size_of::<Record>() == size_of::<libc::sockaddr_vm>());

fn bytes() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<Record>()).expect("a record is small")
}

fn record(address: Address) -> Record {
    let family = libc::sa_family_t::try_from(libc::AF_VSOCK).expect("families have 16 bits");
    Record { family, port: address.port, cid: address.cid, ..Record::new_zeroed() }
}

/// Gives a socket its address.
///
/// # Errors
/// As the kernel says.
pub fn bind(socket: &OwnedFd, address: Address) -> Result<(), Errno> {
    let record = record(address);
    let address: *const Record = &raw const record;
    // SAFETY: an address of the kernel's layout, read before the call returns.
    check(unsafe { libc::bind(socket.as_raw_fd(), address.cast(), bytes()) })
}

/// Begins to connect.
///
/// # Errors
/// As the kernel says: `EINPROGRESS` if it is under way.
pub fn connect(socket: &OwnedFd, address: Address) -> Result<(), Errno> {
    let record = record(address);
    let address: *const Record = &raw const record;
    // SAFETY: as in `bind`.
    check(unsafe { libc::connect(socket.as_raw_fd(), address.cast(), bytes()) })
}

/// Who is at the other end.
///
/// # Errors
/// As the kernel says.
pub fn peer(socket: BorrowedFd<'_>) -> Result<Address, Errno> {
    let mut record = Record::new_zeroed();
    let (mut len, address) = (bytes(), &raw mut record);
    // SAFETY: the kernel writes at most `len` bytes, as many as the record has, and any bytes are a record.
    check(unsafe { libc::getpeername(socket.as_raw_fd(), address.cast(), &raw mut len) })?;
    Ok(Address { cid: record.cid, port: record.port })
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
