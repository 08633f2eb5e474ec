//! `struct virtio_net_config`: what a driver reads of its NIC, as far as the front end asks us.

use framewire_shared::session::feature;

use super::device::Device;

/// `VIRTIO_NET_S_LINK_UP`.
const LINK_IS_UP: u16 = 1;
/// `VIRTIO_NET_S_ANNOUNCE`.
const ANNOUNCE: u16 = 2;

impl Device {
    /// `len` bytes of it from `offset` on, behind the head of an answer.
    pub(super) fn config(&self, offset: u32, len: u32) -> Vec<u8> {
        let is_announcing = self.choice.is_announcing && self.features & feature::GUEST_ANNOUNCE != 0;
        let status = LINK_IS_UP | if is_announcing { ANNOUNCE } else { 0 };
        let words = [status, self.nic.queue_pairs, self.mtu].map(u16::to_le_bytes);
        // Speed and duplex are not known.
        let config = [&self.choice.filter.mac[..], words.as_flattened(), &[0xff; 5]].concat();
        let beginning = [&offset.to_le_bytes()[..], &len.to_le_bytes(), &[0; 4]].concat();
        let bytes = config.into_iter().chain(std::iter::repeat(0)).skip(offset as usize).take(len as usize);
        beginning.into_iter().chain(bytes).collect()
    }
}
