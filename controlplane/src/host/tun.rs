//! `/dev/net/tun`: queues of tap interfaces.
//!
//! The interface lives as long as one of its descriptors (unless somebody made it persistent), so there is
//! nothing to remove: whoever drops the descriptors drops the interface.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The device that makes them.
pub const DEVICE: &str = "/dev/net/tun";

/// Bytes of an interface's name, with its terminator.
const NAME_BYTES: usize = libc::IFNAMSIZ;

/// Bytes of the virtio-net header that frames carry: without the count of merged buffers.
const VNET_HEADER_BYTES: libc::c_int = 10;

/// What our side takes of the kernel: checksums to be filled in and segments to be cut.
const OFFLOADS: libc::c_uint =
    libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN | OFFLOADS_UDP;
/// Of these, what kernels before 6.2 do not know.
const OFFLOADS_UDP: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// `struct ifreq`, as far as the tun driver reads it.
#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
struct Request {
    name: [u8; NAME_BYTES],
    flags: u16,
    rest: [u8; 22],
}

// The kernel copies as many bytes as its own structure has.
const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

/// One queue of a tap interface.
#[derive(Debug)]
pub struct Queue {
    /// The descriptor, non-blocking.
    pub descriptor: OwnedFd,
    /// The interface's name.
    pub interface: String,
    /// Whether frames carry a virtio-net header of 10 bytes.
    pub vnet_header: bool,
}

/// How to open one.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The interface's name or pattern; cut to what the kernel takes.
    pub interface: Option<&'a str>,
    /// Whether it is to have several queues.
    pub multi_queue: bool,
    /// Whether frames carry a virtio-net header; if undecided, they do where the kernel can.
    pub vnet_header: Option<bool>,
}

/// Why a queue cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The device cannot be opened.
    Open(Errno),
    /// The kernel has no virtio-net headers, and they were demanded.
    NoVnetHeader,
    /// The interface cannot be made or joined.
    Configure(Errno),
}

/// Opens a queue: of a new interface, or of one that exists.
///
/// # Errors
/// [`Refusal`]; nothing is left behind.
pub fn open(wanted: Wanted<'_>) -> Result<Queue, Refusal> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(DEVICE, flags, Mode::empty()).map_err(Refusal::Open)?;
    let features = features(&descriptor);
    let vnet_header = wanted.vnet_header != Some(false) && features & number(libc::IFF_VNET_HDR) != 0;
    if wanted.vnet_header == Some(true) && !vnet_header {
        return Err(Refusal::NoVnetHeader);
    }
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI;
    flags |= if vnet_header { libc::IFF_VNET_HDR } else { 0 };
    flags |= if wanted.multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
    let mut request =
        Request { name: name(wanted.interface.unwrap_or("tap%d")), flags: number(flags), rest: [0; 22] };
    ioctl(&descriptor, libc::TUNSETIFF, &mut request).map_err(Refusal::Configure)?;
    Ok(Queue { descriptor, interface: text(&request.name), vnet_header })
}

/// Takes a queue that somebody else has opened; `None` of its settings is known until the kernel is asked.
///
/// # Errors
/// If it is no queue of a tap interface.
pub fn adopt(descriptor: OwnedFd) -> Result<Queue, Errno> {
    let mut request = Request { name: [0; NAME_BYTES], flags: 0, rest: [0; 22] };
    ioctl(&descriptor, libc::TUNGETIFF, &mut request)?;
    rustix::io::ioctl_fionbio(&descriptor, true)?;
    let vnet_header = request.flags & number(libc::IFF_VNET_HDR) != 0;
    Ok(Queue { descriptor, interface: text(&request.name), vnet_header })
}

impl Queue {
    /// Agrees with the kernel on the header and on what may be left undone in a frame.
    ///
    /// # Errors
    /// If the kernel cannot do what it said that it could.
    pub fn agree_on_offloads(&self) -> Result<(), Errno> {
        if !self.vnet_header {
            // Without a header nobody could tell what was left undone. Old kernels refuse; then nothing is.
            let _ = set_offloads(&self.descriptor, 0);
            return Ok(());
        }
        let mut bytes = VNET_HEADER_BYTES;
        ioctl(&self.descriptor, libc::TUNSETVNETHDRSZ, &mut bytes)?;
        set_offloads(&self.descriptor, OFFLOADS)
            .or_else(|_unknown| set_offloads(&self.descriptor, OFFLOADS & !OFFLOADS_UDP))
    }

    /// Limits what the kernel holds of what we send.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_send_buffer(&self, bytes: i32) -> Result<(), Errno> {
        let mut bytes: libc::c_int = bytes;
        ioctl(&self.descriptor, libc::TUNSETSNDBUF, &mut bytes)
    }
}

fn features(descriptor: &OwnedFd) -> u16 {
    let mut features: libc::c_uint = 0;
    match ioctl(descriptor, libc::TUNGETFEATURES, &mut features) {
        Ok(()) => u16::try_from(features & 0xffff).expect("masked"),
        // A kernel that cannot tell has none.
        Err(_errno) => 0,
    }
}

fn number(flags: libc::c_int) -> u16 {
    u16::try_from(flags).expect("flags of interfaces have 16 bits")
}

fn name(text: &str) -> [u8; NAME_BYTES] {
    let mut name = [0; NAME_BYTES];
    let bytes = &text.as_bytes()[..text.len().min(NAME_BYTES - 1)];
    name[..bytes.len()].copy_from_slice(bytes);
    name
}

fn text(name: &[u8; NAME_BYTES]) -> String {
    let bytes = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

fn ioctl<T: FromBytes + IntoBytes>(
    descriptor: &OwnedFd,
    request: libc::Ioctl,
    argument: &mut T,
) -> Result<(), Errno> {
    let argument: *mut T = argument;
    // SAFETY: the requests used in this file read and write at most the structure that is passed with each
    // (`Request`, asserted above to be as large as the kernel's, or one int), and all its bytes may be any.
    let result = unsafe { libc::ioctl(descriptor.as_raw_fd(), request, argument) };
    check(result)
}

fn set_offloads(descriptor: &OwnedFd, offloads: libc::c_uint) -> Result<(), Errno> {
    let raw = descriptor.as_fd().as_raw_fd();
    // SAFETY: this request takes its argument by value; no memory is touched.
    let result = unsafe { libc::ioctl(raw, libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) };
    check(result)
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn names_are_cut_to_what_the_kernel_takes() {
        assert_eq!(text(&name("abcdefghijklmnopqrst")), "abcdefghijklmno");
        assert_eq!(text(&name("n0")), "n0");
    }

    #[test]
    fn descriptor_of_something_else_is_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(adopt(null.into()).unwrap_err(), Errno::NOTTY);
    }
}
