//! The kernel's bridges: how an interface becomes a port of one.
//!
//! What QEMU's bridge helper does to the tap that it made, for when we may do it ourselves. These are requests to
//! the kernel's interfaces by name; rtnetlink could do the same in ten times the code.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Adds the interface whose index is given to the bridge that is named. (`libc` does not know it.)
const ADD_INTERFACE: libc::c_ulong = 0x89a2;

/// `struct ifreq`: a name, and what is asked or told about it.
#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    /// A number; of an address the family, and the first two bytes.
    value: [u8; 4],
    rest: [u8; 20],
}

// The kernel copies as many bytes as its own structure has.
const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

impl Request {
    fn about(interface: &str) -> Result<Self, Errno> {
        let mut request = Request::new_zeroed();
        // One byte is left for the zero at the end.
        let room = request.name[..libc::IFNAMSIZ - 1].get_mut(..interface.len()).ok_or(Errno::NODEV)?;
        room.copy_from_slice(interface.as_bytes());
        Ok(request)
    }
}

/// The kernel, to be asked about interfaces.
#[derive(Debug)]
struct Kernel(OwnedFd);

/// Makes an interface a port of a bridge: with the bridge's MTU, up, and with an address so high that the bridge
/// does not take it for its own (it takes the lowest of its ports).
///
/// # Errors
/// As the kernel says: `ENODEV` if there is no such bridge.
pub fn add_port(bridge: &str, interface: &str) -> Result<(), Errno> {
    let flags = SocketFlags::CLOEXEC;
    let kernel = Kernel(rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?);
    let mtu = kernel.ask(libc::SIOCGIFMTU, bridge)?.value;
    kernel.tell(libc::SIOCSIFMTU, interface, mtu)?;
    let mut address = kernel.ask(libc::SIOCGIFHWADDR, interface)?;
    address.value[2] = 0xfe;
    kernel.call(libc::SIOCSIFHWADDR, &mut address)?;
    let index = kernel.ask(libc::SIOCGIFINDEX, interface)?.value;
    kernel.tell(ADD_INTERFACE, bridge, index)?;
    // Of flags the kernel takes two bytes.
    let [first, second, ..] = kernel.ask(libc::SIOCGIFFLAGS, interface)?.value;
    let up = u16::try_from(libc::IFF_UP).expect("a small flag");
    let [first, second] = (u16::from_ne_bytes([first, second]) | up).to_ne_bytes();
    kernel.tell(libc::SIOCSIFFLAGS, interface, [first, second, 0, 0])
}

impl Kernel {
    fn ask(&self, what: libc::c_ulong, interface: &str) -> Result<Request, Errno> {
        let mut request = Request::about(interface)?;
        self.call(what, &mut request)?;
        Ok(request)
    }

    fn tell(&self, what: libc::c_ulong, interface: &str, value: [u8; 4]) -> Result<(), Errno> {
        self.call(what, &mut Request { value, ..Request::about(interface)? })
    }

    fn call(&self, what: libc::c_ulong, request: &mut Request) -> Result<(), Errno> {
        let request: *mut Request = request;
        // SAFETY: the requests used in this file read and write at most a `struct ifreq`, which `Request` is
        // asserted above to be as large as, and all its bytes may be any.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), what, request) };
        if result < 0 {
            return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
        }
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn what_is_not_there_is_refused() {
        assert_eq!(add_port("no-such-bridge", "lo").unwrap_err(), Errno::NODEV);
        assert_eq!(add_port("a-name-that-no-interface-has", "lo").unwrap_err(), Errno::NODEV);
    }
}
