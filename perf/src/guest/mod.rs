//! Guests in user space at NICs that are served over vhost-user: what a VMM says, and what its guest's driver does.
//!
//! The driver is that of the project's tests, written from the specification and sharing no line with the data plane.
//! Two loads are made of it: [`Circulation`] offers each buffer anew as soon as it is used and looks at nothing but the
//! headers, as fast as a driver can be; [`port::Port`] makes and judges each frame.

mod circulation;
pub mod port;

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewire_tests::guest::front::Bells;
use framewire_tests::guest::{Front, GuestMemory, Manners, Ring, Shape};

pub use circulation::Circulation;

use crate::error::{Doing as _, Result};

/// Entries of each ring.
pub const RING_SIZE: u16 = 256;

const VERSION_1: u64 = 1 << 32;
const RING_PACKED: u64 = 1 << 34;
const MRG_RXBUF: u64 = 1 << 15;

/// `VHOST_USER_SET_STATUS`, without which some back ends do not begin.
const SET_STATUS: u32 = 39;
/// The driver has found the device, can drive it, has agreed on features and has begun.
const DRIVER_OK: u64 = 15;

const MANNERS: Manners = Manners { modern: true, mergeable: true };
const HEADER_BYTES: usize = 12;
/// A receive buffer holds any frame that is not longer than an ordinary one.
const BUFFER_BYTES: usize = 2048;
const MEMORY_BYTES: usize = 16 << 20;

/// A NIC that is served somewhere, and how its rings are to be laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where the back end listens.
    pub socket: PathBuf,
    /// Whether rings are packed.
    pub packed: bool,
}

impl Place {
    fn shape(&self) -> Shape {
        Shape::plain(self.packed, RING_SIZE)
    }
}

fn memory() -> Arc<GuestMemory> {
    GuestMemory::new(&[(0, MEMORY_BYTES)])
}

/// The VMM's side; the NIC is there as long as it is held.
#[derive(Debug)]
struct Attached {
    _front: Front,
    /// Of the receiveq and of the transmitq.
    bells: [Bells; 2],
}

impl Attached {
    /// Hands memory and rings over: the receiveq, and the transmitq.
    fn new(place: &Place, memory: &GuestMemory, rings: [&Ring; 2]) -> Result<Self> {
        let mut front = Front::new(connect(&place.socket)?);
        let layout = if place.packed { RING_PACKED } else { 0 };
        front.negotiate(VERSION_1 | MRG_RXBUF | layout);
        front.set_memory(memory);
        // Packed rings count from a wrap counter of one, on both sides.
        let base = if place.packed { 0x8000_8000 } else { 0 };
        let bells = [Bells::default(), Bells::default()];
        for (index, (ring, bells)) in (0..).zip(rings.into_iter().zip(&bells)) {
            front.start(index, (ring, RING_SIZE), base, bells);
        }
        (0..2).for_each(|index| front.enable(index, true));
        front.tell(SET_STATUS, &DRIVER_OK.to_le_bytes(), &[]);
        let attached = Self { _front: front, bells };
        attached.kick_all();
        Ok(attached)
    }

    fn kick(&self, ring: usize) {
        // A bell that is full has been rung.
        let _ = rustix::io::write(&self.bells[ring].kick, &1_u64.to_ne_bytes());
    }

    fn kick_all(&self) {
        (0..2).for_each(|ring| self.kick(ring));
    }
}

/// Waits until somebody listens there.
fn connect(path: &Path) -> Result<UnixStream> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(path) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            answer => return answer.doing(format!("connecting to {}", path.display())),
        }
    }
}
