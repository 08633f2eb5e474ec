//! `struct virtio_net_config`: what a driver reads of its NIC, as far as the front end asks us; and how it hears that it has
//! changed.
//!
//! The front end may give us a socket, or a pipe, for requests of our own (`BACKEND_REQ`). One of them says that the configuration
//! has changed: the front end then has its guest read it. Nothing is waited for: a front end that does not read there
//! has a guest that does not hear of its link, and no other harm is done.

use framewire_shared::session::feature;

use super::device::Device;
use super::offers::protocol;
use super::request::VERSION;

/// `VIRTIO_NET_S_LINK_UP`.
const LINK_IS_UP: u16 = 1;
/// `VIRTIO_NET_S_ANNOUNCE`.
const ANNOUNCE: u16 = 2;
/// `VHOST_USER_BACKEND_CONFIG_CHANGE_MSG`.
const CONFIG_CHANGED: u32 = 2;

impl Device {
    /// `len` bytes of it from `offset` on, behind the head of an answer.
    pub(super) fn config(&self, offset: u32, len: u32) -> Vec<u8> {
        let link = if self.link_is_up { LINK_IS_UP } else { 0 };
        let announce = if self.choice.is_announcing { ANNOUNCE } else { 0 };
        let words = [link | announce, self.nic.queue_pairs, self.mtu].map(u16::to_le_bytes);
        // Speed and duplex are not known.
        let config = [&self.choice.filter.mac[..], words.as_flattened(), &[0xff; 5]].concat();
        let beginning = [&offset.to_le_bytes()[..], &len.to_le_bytes(), &[0; 4]].concat();
        let bytes = config.into_iter().chain(std::iter::repeat(0)).skip(offset as usize).take(len as usize);
        beginning.into_iter().chain(bytes).collect()
    }

    /// Has the guest asked to announce itself, if it can hear that.
    pub(super) fn ask_to_announce(&mut self) -> bool {
        let can = self.is_heard() && self.features & feature::GUEST_ANNOUNCE != 0;
        self.choice.is_announcing |= can;
        can
    }

    /// Has the guest read its configuration anew, if there is a way to.
    pub(super) fn tell_config(&self) {
        let needed = protocol::BACKEND_REQ | protocol::CONFIG;
        let Some(socket) = self.backend.as_ref().filter(|_| self.protocol & needed == needed) else { return };
        let message = [CONFIG_CHANGED, VERSION, 0].map(u32::to_le_bytes);
        // One that is full has changes to tell already; one that is broken, nobody reads.
        let _ = rustix::io::write(socket, message.as_flattened());
    }
}
