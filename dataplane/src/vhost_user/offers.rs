//! What is offered, and what follows from what was accepted.

use framewire_shared::session::feature;

use crate::driver::guest::{Accepts, Manners};
use crate::virtqueue::{Format, RingOptions};

/// Bits of the protocol's own features.
pub(super) mod protocol {
    pub(in super::super) const MQ: u64 = 1 << 0;
    pub(in super::super) const LOG_SHMFD: u64 = 1 << 1;
    pub(in super::super) const RARP: u64 = 1 << 2;
    pub(in super::super) const REPLY_ACK: u64 = 1 << 3;
    pub(in super::super) const MTU: u64 = 1 << 4;
    pub(in super::super) const BACKEND_REQ: u64 = 1 << 5;
    pub(in super::super) const CONFIG: u64 = 1 << 9;
    pub(in super::super) const RESET_DEVICE: u64 = 1 << 13;
    pub(in super::super) const CONFIGURE_MEM_SLOTS: u64 = 1 << 15;
    pub(in super::super) const STATUS: u64 = 1 << 16;

    /// All that are served. Bit 20 means one thing in some versions and another in others: never offered.
    pub(in super::super) const SERVED: u64 = MQ
        | LOG_SHMFD
        | RARP
        | REPLY_ACK
        | MTU
        | BACKEND_REQ
        | CONFIG
        | RESET_DEVICE
        | CONFIGURE_MEM_SLOTS
        | STATUS;
}

/// What a NIC of these features offers. What belongs to vhost-user itself is no property of a NIC.
pub(super) fn offered(nic: u64) -> u64 {
    let always = feature::PROTOCOL_FEATURES | feature::LOG_ALL;
    (nic & feature::SERVED) | always
}

/// How frames are to be described.
pub(super) fn manners(features: u64) -> Manners {
    let has = |bit| features & bit != 0;
    Manners {
        mergeable: has(feature::MRG_RXBUF),
        modern: has(feature::VERSION_1),
        accepts: Accepts {
            checksum: has(feature::GUEST_CSUM),
            tso4: has(feature::GUEST_TSO4),
            tso6: has(feature::GUEST_TSO6),
            ecn: has(feature::GUEST_ECN),
            uso: has(feature::GUEST_USO4) && has(feature::GUEST_USO6),
        },
    }
}

/// How rings are laid out and used.
pub(super) fn rings(features: u64) -> (Format, RingOptions) {
    let has = |bit| features & bit != 0;
    let format = if has(feature::RING_PACKED) { Format::Packed } else { Format::Split };
    let options = RingOptions {
        event_index: has(feature::EVENT_IDX),
        indirect: has(feature::INDIRECT_DESC),
        in_order: has(feature::IN_ORDER),
    };
    (format, options)
}
