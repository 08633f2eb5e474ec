//! What a frame still needs done, in the terms of `struct virtio_net_hdr` (virtio 1.2, 5.1.6).
//!
//! The header comes from a guest or from whoever else holds a tap: it is read once into this record, checked
//! against the length of its frame ([`Offload::check`]), and only the record is used from then on.

use framewire_shared::counters::DropReason;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum field holds the sum of the pseudo header; the rest is missing.
pub const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`: whoever gave us the frame has checked its checksums.
pub const DATA_VALID: u8 = 2;

/// `VIRTIO_NET_HDR_GSO_NONE`.
pub const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_TCPV4`.
pub const GSO_TCP4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`.
pub const GSO_TCP6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`: datagrams of one flow, one after another.
pub const GSO_UDP: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`, beside a TCP type: the header's CWR belongs to the first segment.
pub const GSO_ECN: u8 = 0x80;

/// The header without the buffer count of mergeable receive buffers.
pub const VNET_HEADER_BYTES: usize = 10;

/// Checksum and segmentation that somebody behind us does, or that we must do for a sink that cannot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offload {
    /// `VIRTIO_NET_HDR_F_*`.
    pub flags: u8,
    /// `VIRTIO_NET_HDR_GSO_*`.
    pub gso_type: u8,
    /// Bytes of headers before the payload, a hint only.
    pub header_bytes: u16,
    /// Payload bytes of each segment.
    pub gso_bytes: u16,
    /// Where checksumming begins.
    pub csum_start: u16,
    /// Where, from there, the checksum goes.
    pub csum_offset: u16,
}

impl Offload {
    /// Nothing.
    pub const NONE: Offload = Offload {
        flags: 0,
        gso_type: GSO_NONE,
        header_bytes: 0,
        gso_bytes: 0,
        csum_start: 0,
        csum_offset: 0,
    };

    /// Whether nobody needs to look at checksums: they are still to be made, or were found right.
    #[inline]
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.flags & (NEEDS_CHECKSUM | DATA_VALID) != 0
    }

    /// Whether it says anything at all, be it only about work that was done already.
    #[inline]
    #[must_use]
    pub fn says_anything(&self) -> bool {
        self.flags != 0 || self.gso_type != GSO_NONE
    }

    /// From a header in this machine's byte order, as taps have it.
    #[inline]
    #[must_use]
    pub fn from_vnet_header(bytes: &[u8; VNET_HEADER_BYTES]) -> Self {
        let [flags, gso_type, words @ ..] = *bytes;
        let word = |at: usize| u16::from_ne_bytes([words[at], words[at + 1]]);
        Offload {
            flags,
            gso_type,
            header_bytes: word(0),
            gso_bytes: word(2),
            csum_start: word(4),
            csum_offset: word(6),
        }
    }

    /// Back to a header, for a frame of `frame_bytes`: the kernel refuses a hint that points past the frame.
    #[inline]
    #[must_use]
    pub fn to_vnet_header(&self, frame_bytes: u32) -> [u8; VNET_HEADER_BYTES] {
        let hint = u16::try_from(frame_bytes).map_or(self.header_bytes, |len| self.header_bytes.min(len));
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = [hint, self.gso_bytes, self.csum_start, self.csum_offset];
        for (at, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            at.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// Whether the frame is not yet what belongs on a wire.
    #[inline]
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.needs_checksum() || self.gso_type != GSO_NONE
    }

    /// Whether it is to be cut.
    #[inline]
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.gso_type != GSO_NONE
    }

    /// Whether its checksum is to be completed.
    #[inline]
    #[must_use]
    pub fn needs_checksum(&self) -> bool {
        self.flags & NEEDS_CHECKSUM != 0
    }

    /// Whether it can be meant for a frame of `frame_bytes`. What the frame's own headers say is not looked
    /// at: a sink that takes offloads passes them on as they are.
    ///
    /// # Errors
    /// [`DropReason::BadHeader`] if it contradicts itself or the length.
    #[inline]
    pub fn check(&self, frame_bytes: u32) -> Result<(), DropReason> {
        let checksum_end = u32::from(self.csum_start) + u32::from(self.csum_offset) + 2;
        let checksum_fits = !self.needs_checksum() || checksum_end <= frame_bytes;
        let gso_is_known = match self.gso_type {
            GSO_NONE => true,
            GSO_UDP => self.gso_bytes > 0,
            with_ecn => matches!(with_ecn & !GSO_ECN, GSO_TCP4 | GSO_TCP6) && self.gso_bytes > 0,
        };
        if checksum_fits && gso_is_known { Ok(()) } else { Err(DropReason::BadHeader) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TSO: Offload = Offload {
        flags: NEEDS_CHECKSUM,
        gso_type: GSO_TCP4 | GSO_ECN,
        header_bytes: 54,
        gso_bytes: 1448,
        csum_start: 34,
        csum_offset: 16,
    };

    #[test]
    fn header_comes_back_as_it_was() {
        let bytes = [1, 0x81, 54, 0, 0xa8, 5, 34, 0, 16, 0];
        assert_eq!(Offload::from_vnet_header(&bytes), TSO);
        assert_eq!(TSO.to_vnet_header(4000), bytes);
    }

    #[test]
    fn hint_never_points_past_the_frame() {
        assert_eq!(Offload::from_vnet_header(&TSO.to_vnet_header(20)).header_bytes, 20);
        assert_eq!(Offload::from_vnet_header(&TSO.to_vnet_header(70_000)).header_bytes, 54);
    }

    #[test]
    fn contradictions_are_bad_headers() {
        assert_eq!(TSO.check(4000), Ok(()));
        assert_eq!(TSO.check(52), Ok(()), "the checksum ends with the frame");
        let bad = [
            (Offload { gso_bytes: 0, ..TSO }, 4000, "cut into nothing"),
            (Offload { gso_type: 3, ..TSO }, 4000, "a type that no port is offered"),
            (Offload { gso_type: GSO_ECN, ..TSO }, 4000, "ECN of nothing"),
            (Offload { gso_type: GSO_UDP | GSO_ECN, ..TSO }, 4000, "ECN of UDP"),
            (TSO, 51, "checksum half outside"),
            (Offload { csum_start: u16::MAX, csum_offset: u16::MAX, ..TSO }, 69_632, "checksum far outside"),
        ];
        for (offload, frame_bytes, why) in bad {
            assert_eq!(offload.check(frame_bytes), Err(DropReason::BadHeader), "{why}");
        }
    }
}
