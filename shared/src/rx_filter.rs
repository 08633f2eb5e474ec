//! What a guest has said, by its control queue, about the frames that it wants (virtio 1.2, 5.1.6.5).
//!
//! A filter is a plain record of a bounded size: the data plane decides by it, keeps it for its successor, and sends it
//! to the control plane when a client asks. A table that is too long for it is not kept in part: as in QEMU, that
//! kind of address is then let through, whatever it is.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Addresses of a guest's table, single ones and groups together.
pub const MACS_MAX: usize = 64;
/// VLAN ids.
pub const VLANS: usize = 4096;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Bits of [`RxFilter::modes`].
pub mod mode {
    /// The front end has left the control queue to us, so the rest of the record is the guest's.
    pub const HEARD: u32 = 1 << 0;
    /// VLANs can be chosen; otherwise all are let through.
    pub const HAS_VLANS: u32 = 1 << 1;
    /// Everything.
    pub const PROMISCUOUS: u32 = 1 << 2;
    /// All groups.
    pub const ALL_MULTICAST: u32 = 1 << 3;
    /// All single addresses.
    pub const ALL_UNICAST: u32 = 1 << 4;
    /// No groups.
    pub const NO_MULTICAST: u32 = 1 << 5;
    /// No single addresses.
    pub const NO_UNICAST: u32 = 1 << 6;
    /// No broadcasts.
    pub const NO_BROADCAST: u32 = 1 << 7;
    /// The table of single addresses was too long.
    pub const UNICAST_OVERFLOW: u32 = 1 << 8;
    /// The table of groups was too long.
    pub const MULTICAST_OVERFLOW: u32 = 1 << 9;
}

/// See the module's text.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct RxFilter {
    /// Bits of [`mode`].
    pub modes: u32,
    /// How many of `macs`, from the first on, are single addresses.
    unicasts: u16,
    /// How many, behind those, are groups.
    multicasts: u16,
    /// The NIC's own address.
    pub mac: Mac,
    reserved: [u8; 2],
    macs: [Mac; MACS_MAX],
    vlans: [u64; VLANS / 64],
}

impl RxFilter {
    /// Of a guest that has said nothing: everything passes, and the guest's driver chooses.
    #[must_use]
    pub fn fresh(modes: u32, mac: Mac) -> Self {
        let (macs, vlans) = ([[0; 6]; MACS_MAX], [0; VLANS / 64]);
        let modes = modes | mode::PROMISCUOUS;
        RxFilter { modes, unicasts: 0, multicasts: 0, mac, reserved: [0; 2], macs, vlans }
    }

    /// Whether this bit of [`mode`] is set.
    #[inline]
    #[must_use]
    pub fn has(&self, bit: u32) -> bool {
        self.modes & bit != 0
    }

    /// Sets a bit, or clears it.
    pub fn set(&mut self, bit: u32, on: bool) {
        self.modes = if on { self.modes | bit } else { self.modes & !bit };
    }

    /// The single addresses of its table. Believes no number: this may have come from another process.
    #[must_use]
    pub fn unicast(&self) -> &[Mac] {
        &self.macs[..usize::from(self.unicasts).min(MACS_MAX)]
    }

    /// The groups of its table.
    #[must_use]
    pub fn multicast(&self) -> &[Mac] {
        let rest = &self.macs[self.unicast().len()..];
        &rest[..usize::from(self.multicasts).min(rest.len())]
    }

    /// Another table in place of the present one. Of a kind that has too many for what room there is, none are kept.
    pub fn set_table(&mut self, unicast: Table<'_>, multicast: Table<'_>) {
        let groups = if unicast.fits(MACS_MAX) { MACS_MAX - unicast.macs.len() } else { MACS_MAX };
        self.set(mode::UNICAST_OVERFLOW, !unicast.fits(MACS_MAX));
        self.set(mode::MULTICAST_OVERFLOW, !multicast.fits(groups));
        let unicast = if unicast.fits(MACS_MAX) { unicast.macs } else { &[] };
        let multicast = if multicast.fits(groups) { multicast.macs } else { &[] };
        self.macs = [[0; 6]; MACS_MAX];
        self.macs.iter_mut().zip(unicast.iter().chain(multicast)).for_each(|(at, mac)| *at = *mac);
        let count = |macs: &[Mac]| u16::try_from(macs.len()).expect("no more than MACS_MAX");
        (self.unicasts, self.multicasts) = (count(unicast), count(multicast));
    }

    /// Whether frames of this VLAN pass.
    #[inline]
    #[must_use]
    pub fn has_vlan(&self, vlan: u16) -> bool {
        !self.has(mode::HAS_VLANS)
            || self.vlans[usize::from(vlan) / 64 % self.vlans.len()] & (1 << (vlan % 64)) != 0
    }

    /// Adds a VLAN, or takes it away. There must be one of that number.
    pub fn set_vlan(&mut self, vlan: u16, on: bool) {
        let (word, bit) = (&mut self.vlans[usize::from(vlan) / 64], 1 << (vlan % 64));
        *word = if on { *word | bit } else { *word & !bit };
    }

    /// The VLANs that were added.
    pub fn vlans(&self) -> impl DoubleEndedIterator<Item = u16> {
        let last = u16::try_from(VLANS - 1).expect("twelve bits");
        (0..=last).filter(|vlan| self.vlans[usize::from(*vlan) / 64] & (1 << (vlan % 64)) != 0)
    }
}

/// Part of a table as a guest gives it: how many there are, and the first of them.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// How many it says there are.
    pub count: u64,
    /// As many of them as were read.
    pub macs: &'a [Mac],
}

impl Table<'_> {
    fn fits(&self, room: usize) -> bool {
        self.count <= room as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macs(first: u8, count: u8) -> Vec<Mac> {
        (0..count).map(|last| [first, 0, 0, 0, 0, last]).collect()
    }

    fn table(macs: &[Mac]) -> Table<'_> {
        Table { count: macs.len() as u64, macs: &macs[..macs.len().min(MACS_MAX)] }
    }

    fn filter() -> RxFilter {
        RxFilter::fresh(mode::HEARD | mode::HAS_VLANS, [2, 0, 0, 0, 0, 1])
    }

    #[test]
    fn tables_are_kept_whole_or_not_at_all() {
        let mut filter = filter();
        for (unicast, multicast) in [(0, 64), (64, 0), (2, 3), (32, 32), (0, 0)] {
            let (unicast, multicast) = (macs(2, unicast), macs(3, multicast));
            filter.set_table(table(&unicast), table(&multicast));
            assert_eq!((filter.unicast(), filter.multicast()), (&unicast[..], &multicast[..]));
            assert!(!filter.has(mode::UNICAST_OVERFLOW | mode::MULTICAST_OVERFLOW));
        }
        filter.set_table(table(&macs(2, 65)), table(&macs(3, 64)));
        assert_eq!((filter.unicast().len(), filter.multicast().len()), (0, 64));
        assert!(filter.has(mode::UNICAST_OVERFLOW) && !filter.has(mode::MULTICAST_OVERFLOW));
        filter.set_table(table(&macs(2, 60)), table(&macs(3, 5)));
        assert_eq!((filter.unicast().len(), filter.multicast().len()), (60, 0));
        assert!(!filter.has(mode::UNICAST_OVERFLOW) && filter.has(mode::MULTICAST_OVERFLOW));
    }

    #[test]
    fn vlans_come_and_go() {
        let mut filter = filter();
        for vlan in [0, 5, 63, 64, 4095] {
            assert!(!filter.has_vlan(vlan));
            filter.set_vlan(vlan, true);
            assert!(filter.has_vlan(vlan));
        }
        filter.set_vlan(63, false);
        filter.set_vlan(77, false);
        assert_eq!(filter.vlans().collect::<Vec<_>>(), [0, 5, 64, 4095]);
        filter.set(mode::HAS_VLANS, false);
        assert!(filter.has_vlan(7), "without a choice all pass");
    }

    #[test]
    fn numbers_of_another_process_are_not_believed() {
        let lie = RxFilter { unicasts: 60, multicasts: u16::MAX, ..filter() };
        assert_eq!((lie.unicast().len(), lie.multicast().len()), (60, 4));
        let lie = RxFilter { unicasts: u16::MAX, multicasts: u16::MAX, ..filter() };
        assert_eq!((lie.unicast().len(), lie.multicast().len()), (64, 0));
    }
}
