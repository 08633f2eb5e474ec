//! What a frame still needs done, in the terms of `struct virtio_net_hdr` (virtio 1.2, 5.1.6).

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
