//! What a guest's driver and we have agreed on about frames.

use crate::frame::Offload;
use crate::frame::offload::{GSO_ECN, GSO_NONE, GSO_TCP4, GSO_TCP6, GSO_UDP, VNET_HEADER_BYTES};
use crate::virtqueue::header::HEADER_BYTES_MAX;

/// What a guest's driver takes unfinished (`VIRTIO_NET_F_GUEST_*`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepts {
    /// Checksums that are missing.
    pub checksum: bool,
    /// TCP over IPv4 to be segmented.
    pub tso4: bool,
    /// TCP over IPv6 to be segmented.
    pub tso6: bool,
    /// Either of them with ECN.
    pub ecn: bool,
    /// UDP to be segmented.
    pub uso: bool,
}

impl Accepts {
    /// Whether a frame may go to the guest as it is.
    #[inline]
    pub(super) fn takes(&self, offload: &Offload) -> bool {
        if !offload.is_pending() {
            return true;
        }
        let segmented = match offload.gso_type & !GSO_ECN {
            GSO_NONE => true,
            GSO_TCP4 => self.tso4,
            GSO_TCP6 => self.tso6,
            GSO_UDP => self.uso,
            _other => false,
        };
        self.checksum && segmented && (self.ecn || offload.gso_type & GSO_ECN == 0)
    }
}

/// How a guest's driver talks about frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manners {
    /// A frame may be spread over several of its buffers (`VIRTIO_NET_F_MRG_RXBUF`).
    pub mergeable: bool,
    /// It is not a legacy driver (`VIRTIO_F_VERSION_1`).
    pub modern: bool,
    /// What it takes unfinished.
    pub accepts: Accepts,
}

impl Manners {
    /// Bytes before each frame.
    pub(super) fn header_bytes(&self) -> u32 {
        let bytes = if self.modern || self.mergeable { HEADER_BYTES_MAX } else { VNET_HEADER_BYTES };
        u32::try_from(bytes).expect("ten or twelve")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::offload::NEEDS_CHECKSUM;

    #[test]
    fn only_what_was_agreed_on_goes_unfinished() {
        let all = Accepts { checksum: true, tso4: true, tso6: true, ecn: true, uso: true };
        let plain = Offload::default();
        let checksum = Offload { flags: NEEDS_CHECKSUM, ..plain };
        let segments = |gso_type| Offload { gso_type, gso_bytes: 1448, ..checksum };
        for offload in [plain, checksum, segments(GSO_TCP4), segments(GSO_TCP6 | GSO_ECN), segments(GSO_UDP)]
        {
            assert!(all.takes(&offload), "{offload:?}");
            assert_eq!(Accepts::default().takes(&offload), offload == plain, "{offload:?}");
        }
        assert!(!Accepts { checksum: false, ..all }.takes(&segments(GSO_TCP4)));
        assert!(!Accepts { tso4: false, ..all }.takes(&segments(GSO_TCP4)));
        assert!(!Accepts { tso6: false, ..all }.takes(&segments(GSO_TCP6)));
        assert!(!Accepts { ecn: false, ..all }.takes(&segments(GSO_TCP4 | GSO_ECN)));
        assert!(!Accepts { uso: false, ..all }.takes(&segments(GSO_UDP)));
    }
}
