//! A guest's session: what both processes agree on about a NIC and the front end that is connected to it.
//!
//! **The NIC** is, for the plan, a port like any other. Each of its queue pairs is one queue, built as
//! [`crate::driver::DriverOptions::Guest`] without a descriptor, before there is a guest. Until one comes such
//! a queue gives no frames, and takes and discards what it is sent (counted as `not-ready`). The keys of one
//! NIC's pairs follow each other: pair *n* has the key `first_queue + n`.
//!
//! **The connection** is the control plane's to make: it listens and accepts, or connects, and again whenever
//! a session has ended. It is a connected `SOCK_STREAM` unix socket on which the data plane speaks vhost-user as the
//! back end, from the first byte on. The control plane never reads from it.
//!
//! ```text
//! control plane                                     foreman
//!   Serve  (the NIC, connection, safe, safe)     →
//!                                                ←    Serving(session) | Failed(session, Session, errno)
//!            … the front end negotiates, its driver starts rings: the foreman exchanges the NIC's queues …
//!                                      happenings:    SessionFeatures, SessionPairs, SessionEnded, GuestFault
//!   Part(session)                                →
//!                                                ←    Parted(session)
//! ```
//!
//! **Numbers.** A session's number is never used twice, is not 0, and is no queue's key (the same serial makes
//! both). Happenings about a session carry it where others carry a key.
//!
//! **Its end.** A session ends when the front end hangs up, when it breaks the protocol, when the control plane
//! says `Part`, or when the first of the NIC's queues is given up. In the first two cases [`SessionEnded`] is told.
//! However it ends, the foreman shuts the connection down *for all who have a copy* (`shutdown(2)`) and its queues
//! are as before the guest came. A happening can be lost; a copy of the connection that polls as hung up is
//! proof as well. A NIC has one session at a time: another `Serve` for it fails with `EBUSY`.
//!
//! **The vault.** For each session the control plane keeps three descriptors and hands all of them over, in
//! this order: the connection, and both ends of the session's *safe*, a `SOCK_SEQPACKET` pair that it made
//! (close-on-exec, otherwise as `socketpair` makes it). What the foreman must not lose it puts into the safe:
//! the guest's memory, the rings' eventfds, what was negotiated. The kernel keeps messages and the descriptors in
//! them for as long as somebody has the two ends, so a killed data plane's successor finds them there, and the
//! control plane need not understand, copy or even read them: it sends the same `Serve` again with the same
//! descriptors, after all queues were built and before the plan is published. A safe that is empty is that of a new
//! session. Where the rings stand lies in the status region ([`crate::ledger`]). Asking the control plane to keep
//! each descriptor by a message was rejected: it would have to follow a protocol that only the data plane
//! speaks, and answer in the middle of its own requests.
//!
//! A control plane that is killed loses nothing either: `Recall` answers with every `Serve` in effect, its
//! descriptors with it, after the `Build`s; `Recalled` counts both.
//!
//! **The control queue.** A front end that has `CTRL_VQ` accepted leaves the guest's control queue to the foreman, which
//! does what the guest asks there. `AskFilter` has it tell what the NIC lets through (`Filter`); a record without
//! [`HEARD`] is that of a NIC whose front end keeps the queue. After it was asked, the next change is told by
//! [`FilterChanged`], and none after that until it was asked again: a guest that asks for changes without end is not
//! heard any further than that.
//!
//! [`HEARD`]: crate::rx_filter::mode::HEARD
//! [`FilterChanged`]: crate::happenings::HappeningKind::FilterChanged
//!
//! **The link.** Frames are stopped by wiring; `SetLink` is what the guest is told of it, where its front end has a way to
//! tell (`STATUS`, with the protocol's `CONFIG` and `BACKEND_REQ`). It becomes part of the `Serve` in effect.
//!
//! **Announcing.** `Announce` has the data plane behave as if the guest itself had sent a RARP request
//! of that address: it goes to whoever hears the NIC. It is what `announce-self` and
//! a guest that has just migrated want. A guest whose control queue is ours is asked to announce itself as well. A queue that no wire carries forgets it.
//!
//! [`SessionEnded`]: crate::happenings::HappeningKind::SessionEnded

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How many descriptors go with a [`Serve`]: the connection, then the safe's two ends.
pub const SERVE_DESCRIPTORS: usize = 3;

/// A connection to be served, and the NIC that it is for.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Serve {
    /// Its number.
    pub session: u64,
    /// The key of the NIC's first queue pair; those of the others follow.
    pub first_queue: u64,
    /// What the NIC offers, as bits of [`feature`]. Those that the data plane does not know are not offered.
    pub features: u64,
    /// How many queue pairs it has.
    pub queue_pairs: u16,
    /// What its driver is told to use (`VIRTIO_NET_F_MTU`), if that is offered.
    pub mtu: u16,
    /// Its address, if that is offered (`VIRTIO_NET_F_MAC`).
    pub mac: [u8; 6],
    link_is_down: u8,
    reserved: [u8; 5],
}

impl Serve {
    /// Whether its guest is to find its link up.
    #[must_use]
    pub fn link_is_up(&self) -> bool {
        self.link_is_down == 0
    }

    /// The link goes up or down.
    pub fn set_link(&mut self, is_up: bool) {
        self.link_is_down = u8::from(!is_up);
    }

    /// A NIC without an address or MTU of its own, its link up.
    #[must_use]
    pub fn new(session: u64, first_queue: u64, queue_pairs: u16, features: u64) -> Self {
        let (mtu, mac, link_is_down, reserved) = (0, [0; 6], 0, [0; 5]);
        Serve { session, first_queue, features, queue_pairs, mtu, mac, link_is_down, reserved }
    }
}

/// Why a session has ended; the `detail` of a happening.
#[repr(u64)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// The front end hung up.
    HungUp = 0,
    /// It sent what is no message: another version, or longer than any.
    Malformed = 1,
    /// A message that we do not know, or that does not belong here.
    Unexpected = 2,
    /// It began a message and did not go on.
    Stalled = 3,
    /// Descriptors that do not belong to the message, or too few of them.
    Descriptors = 4,
    /// It asked for what cannot be: memory that is none, a ring that is none, features that were not offered.
    Refused = 5,
    /// It does not read our answers.
    Deaf = 6,
    /// Its safe does not hold what a successor needs.
    Unsafe = 7,
}

impl SessionEnd {
    /// From a happening's `detail`; what is unknown is called malformed.
    #[must_use]
    pub fn from_detail(detail: u64) -> Self {
        use SessionEnd as End;
        [End::HungUp, End::Unexpected, End::Stalled, End::Descriptors, End::Refused, End::Deaf, End::Unsafe]
            .into_iter()
            .find(|end| *end as u64 == detail)
            .unwrap_or(End::Malformed)
    }

    /// In words, for a log.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            SessionEnd::HungUp => "the front end hung up",
            SessionEnd::Malformed => "the front end sent what is no vhost-user message",
            SessionEnd::Unexpected => "the front end sent a message that is unknown or out of place",
            SessionEnd::Stalled => "the front end stopped in the middle of a message",
            SessionEnd::Descriptors => "the front end sent descriptors that do not belong to their message",
            SessionEnd::Refused => "the front end asked for something impossible",
            SessionEnd::Deaf => "the front end does not read answers",
            SessionEnd::Unsafe => "what a successor would need could not be kept",
        }
    }
}

/// Feature bits of virtio-net and of rings (virtio 1.2, 5.1.3 and 6), as masks.
pub mod feature {
    /// `VIRTIO_NET_F_CSUM`: the guest may leave checksums to us.
    pub const CSUM: u64 = 1 << 0;
    /// `VIRTIO_NET_F_GUEST_CSUM`: and we to it.
    pub const GUEST_CSUM: u64 = 1 << 1;
    /// `VIRTIO_NET_F_MTU`.
    pub const MTU: u64 = 1 << 3;
    /// `VIRTIO_NET_F_MAC`.
    pub const MAC: u64 = 1 << 5;
    /// `VIRTIO_NET_F_GUEST_TSO4`.
    pub const GUEST_TSO4: u64 = 1 << 7;
    /// `VIRTIO_NET_F_GUEST_TSO6`.
    pub const GUEST_TSO6: u64 = 1 << 8;
    /// `VIRTIO_NET_F_GUEST_ECN`.
    pub const GUEST_ECN: u64 = 1 << 9;
    /// `VIRTIO_NET_F_GUEST_UFO`: never served; listed for those who name it.
    pub const GUEST_UFO: u64 = 1 << 10;
    /// `VIRTIO_NET_F_HOST_TSO4`.
    pub const HOST_TSO4: u64 = 1 << 11;
    /// `VIRTIO_NET_F_HOST_TSO6`.
    pub const HOST_TSO6: u64 = 1 << 12;
    /// `VIRTIO_NET_F_HOST_ECN`.
    pub const HOST_ECN: u64 = 1 << 13;
    /// `VIRTIO_NET_F_HOST_UFO`: never served.
    pub const HOST_UFO: u64 = 1 << 14;
    /// `VIRTIO_NET_F_MRG_RXBUF`.
    pub const MRG_RXBUF: u64 = 1 << 15;
    /// `VIRTIO_NET_F_STATUS`.
    pub const STATUS: u64 = 1 << 16;
    /// `VIRTIO_NET_F_CTRL_VQ`: accepted only by front ends that leave the control queue to us. Others have it themselves,
    /// and offer it to the guest whatever we say.
    pub const CTRL_VQ: u64 = 1 << 17;
    /// `VIRTIO_NET_F_CTRL_RX`: which frames the guest wants.
    pub const CTRL_RX: u64 = 1 << 18;
    /// `VIRTIO_NET_F_CTRL_VLAN`: of which VLANs.
    pub const CTRL_VLAN: u64 = 1 << 19;
    /// `VIRTIO_NET_F_CTRL_RX_EXTRA`: in more detail.
    pub const CTRL_RX_EXTRA: u64 = 1 << 20;
    /// `VIRTIO_NET_F_GUEST_ANNOUNCE`.
    pub const GUEST_ANNOUNCE: u64 = 1 << 21;
    /// `VIRTIO_NET_F_MQ`.
    pub const MQ: u64 = 1 << 22;
    /// `VIRTIO_NET_F_CTRL_MAC_ADDR`.
    pub const CTRL_MAC_ADDR: u64 = 1 << 23;
    /// `VIRTIO_F_NOTIFY_ON_EMPTY`.
    pub const NOTIFY_ON_EMPTY: u64 = 1 << 24;
    /// `VHOST_F_LOG_ALL`: writes are to be noted.
    pub const LOG_ALL: u64 = 1 << 26;
    /// `VIRTIO_F_ANY_LAYOUT`.
    pub const ANY_LAYOUT: u64 = 1 << 27;
    /// `VIRTIO_F_RING_INDIRECT_DESC`.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// `VIRTIO_F_RING_EVENT_IDX`.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// `VHOST_USER_F_PROTOCOL_FEATURES`.
    pub const PROTOCOL_FEATURES: u64 = 1 << 30;
    /// `VIRTIO_F_VERSION_1`.
    pub const VERSION_1: u64 = 1 << 32;
    /// `VIRTIO_F_RING_PACKED`.
    pub const RING_PACKED: u64 = 1 << 34;
    /// `VIRTIO_F_IN_ORDER`.
    pub const IN_ORDER: u64 = 1 << 35;
    /// `VIRTIO_NET_F_GUEST_USO4`.
    pub const GUEST_USO4: u64 = 1 << 54;
    /// `VIRTIO_NET_F_GUEST_USO6`.
    pub const GUEST_USO6: u64 = 1 << 55;
    /// `VIRTIO_NET_F_HOST_USO`.
    pub const HOST_USO: u64 = 1 << 56;
    /// `VIRTIO_NET_F_STANDBY`: the NIC stands in for another one (`failover=on`). Driven by the front end and the
    /// guest; a control plane learns from [`SessionFeatures`] whether it was accepted.
    ///
    /// [`SessionFeatures`]: crate::happenings::HappeningKind::SessionFeatures
    pub const STANDBY: u64 = 1 << 62;

    /// What the data plane can serve, whatever the NIC's peers: what they cannot take is done in software.
    pub const SERVED: u64 = CSUM
        | GUEST_CSUM
        | MTU
        | MAC
        | GUEST_TSO4
        | GUEST_TSO6
        | GUEST_ECN
        | HOST_TSO4
        | HOST_TSO6
        | HOST_ECN
        | MRG_RXBUF
        | STATUS
        | CTRL_VQ
        | CTRL_RX
        | CTRL_VLAN
        | CTRL_RX_EXTRA
        | GUEST_ANNOUNCE
        | MQ
        | CTRL_MAC_ADDR
        | NOTIFY_ON_EMPTY
        | LOG_ALL
        | ANY_LAYOUT
        | INDIRECT_DESC
        | EVENT_IDX
        | PROTOCOL_FEATURES
        | VERSION_1
        | RING_PACKED
        | IN_ORDER
        | GUEST_USO4
        | GUEST_USO6
        | HOST_USO
        | STANDBY;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_come_back_from_their_details() {
        for detail in 0..8 {
            assert_eq!(SessionEnd::from_detail(detail) as u64, detail);
        }
        assert_eq!(SessionEnd::from_detail(99), SessionEnd::Malformed);
    }

    #[test]
    fn what_was_never_served_is_not_offered() {
        assert_eq!(feature::SERVED & (feature::GUEST_UFO | feature::HOST_UFO), 0);
    }
}
