//! The header before each frame in a guest's ring (virtio 1.2, 5.1.6): `struct virtio_net_hdr`.
//!
//! Ten bytes that say what is still to be done to the frame. A modern driver, or one that takes frames spread
//! over several buffers, has two more: over how many. The header may lie in the same piece of memory as the
//! frame or be scattered over several: only its bytes count.

use crate::frame::offload::{GSO_NONE, NEEDS_CHECKSUM, VNET_HEADER_BYTES};
use crate::frame::{Cursor, Offload, Segment};

/// With the count of buffers.
pub const HEADER_BYTES_MAX: usize = 12;

/// A header with the count of buffers in it.
pub type Header = [u8; HEADER_BYTES_MAX];

/// Nothing to be done, one buffer.
const PLAIN: Header = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// Reads what a guest wants done to a frame. `None` if its chain is shorter than a header.
///
/// Of the flags only the request for a checksum is believed: what a guest says about checks that were made
/// is worth nothing to the one who receives the frame.
#[inline]
#[must_use]
pub fn read(segments: &[Segment]) -> Option<Offload> {
    let bytes = match segments {
        [first, ..] if first.len() >= VNET_HEADER_BYTES => first.load()?,
        scattered => {
            let mut bytes = [0; VNET_HEADER_BYTES];
            if Cursor::new(scattered).read(&mut bytes) < VNET_HEADER_BYTES {
                return None;
            }
            bytes
        }
    };
    let mut offload = Offload::from_vnet_header(&bytes);
    offload.flags &= NEEDS_CHECKSUM;
    // What the other fields say then has no meaning, and goes no further.
    Some(if offload.is_pending() { offload } else { Offload::default() })
}

/// Whether a guest wants nothing done to the frame behind this header. Only that is read here: it is all that counts
/// then, and if there is more to do, [`read`] reads the whole header, once.
#[inline]
#[must_use]
pub fn is_plain(segment: &Segment) -> bool {
    let Some([flags, gso_type]) = segment.load() else { return false };
    flags & NEEDS_CHECKSUM == 0 && gso_type == GSO_NONE
}

/// Puts the header of a frame to which nothing is to be done, in one buffer. Returns its length, which is one of two.
#[inline]
pub fn put_plain(to: &Segment, header_bytes: u32) -> usize {
    if header_bytes as usize == HEADER_BYTES_MAX {
        to.store(&PLAIN);
        HEADER_BYTES_MAX
    } else {
        to.store(&[0; VNET_HEADER_BYTES]);
        VNET_HEADER_BYTES
    }
}

/// The header of a frame of `frame_bytes` that a guest gets in one buffer.
#[inline]
#[must_use]
pub fn write(offload: &Offload, frame_bytes: u32) -> Header {
    let mut header = [0; HEADER_BYTES_MAX];
    if *offload != Offload::default() {
        header[..VNET_HEADER_BYTES].copy_from_slice(&offload.to_vnet_header(frame_bytes));
    }
    spread_over(&mut header, 1);
    header
}

/// Says that the frame is in so many buffers.
#[inline]
pub fn spread_over(header: &mut Header, buffers: u16) {
    header[VNET_HEADER_BYTES..].copy_from_slice(&buffers.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_header_is_read_as_one_piece() {
        let mut bytes = [1u8, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0];
        let whole = Offload::from_vnet_header(&bytes);
        for cut in 1..bytes.len() {
            let pieces: Vec<_> = bytes.chunks_mut(cut).map(Segment::of_test).collect();
            assert_eq!(read(&pieces), Some(whole), "in pieces of {cut}");
            assert_eq!(read(&pieces[1..]), None, "a chain shorter than a header");
        }
    }

    #[test]
    fn claims_about_checksums_are_not_believed() {
        let mut bytes = [2u8 | 4, 0, 54, 0, 1, 0, 34, 0, 16, 0];
        assert_eq!(read(&[Segment::of_test(&mut bytes)]), Some(Offload::default()));
    }

    #[test]
    fn header_counts_buffers() {
        let mut header = write(&Offload::default(), 64);
        assert_eq!(header, PLAIN);
        spread_over(&mut header, 44);
        assert_eq!(header[10..], [44, 0]);
    }
}
