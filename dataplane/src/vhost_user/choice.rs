//! What a guest asks for by its control queue (virtio 1.2, 5.1.6.5), and what it has chosen so far.
//!
//! A command is read once into locals, as long as it is well formed and no longer than that, and makes another choice
//! of the present one or none at all: what is refused has changed nothing. Whether a command is there to be asked for
//! depends on the features that were accepted.

use framewire_shared::rx_filter::{MACS_MAX, Mac, RxFilter, Table, VLANS, mode};
use framewire_shared::session::{Serve, feature};

use crate::frame::{Cursor, Segment};

/// See the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// What its NIC lets through, if the guest is heard.
    pub filter: RxFilter,
    /// How many queue pairs it uses, the first ones, if it is heard.
    pub pairs: u16,
    /// It was asked to announce itself, and has not said that it did.
    pub is_announcing: bool,
}

impl Choice {
    /// Of a guest that has accepted these features and said nothing yet.
    #[must_use]
    pub fn fresh(nic: &Serve, features: u64) -> Self {
        let has = |bit| features & bit != 0;
        let vlans = if has(feature::CTRL_VQ) && has(feature::CTRL_VLAN) { mode::HAS_VLANS } else { 0 };
        let one_pair = has(feature::CTRL_VQ) && has(feature::MQ);
        Choice {
            filter: RxFilter::fresh(vlans, nic.mac),
            pairs: if one_pair { 1 } else { nic.queue_pairs },
            is_announcing: false,
        }
    }
}

/// What a command has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// What the guest has chosen now.
    pub choice: Choice,
    /// Whether it was about what its NIC lets through.
    pub is_filter: bool,
}

/// A guest that may ask.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// What it has accepted.
    pub features: u64,
    /// How many queue pairs its NIC has.
    pub pairs_max: u16,
    /// What it has chosen so far.
    pub choice: &'a Choice,
}

/// A command's bytes, from the front. Every part is there whole or not at all.
struct Words<'a> {
    cursor: Cursor<'a>,
    left: u64,
}

impl<'a> Words<'a> {
    fn new(segments: &'a [Segment]) -> Self {
        let left = segments.iter().map(|segment| segment.len() as u64).sum();
        Words { cursor: Cursor::new(segments), left }
    }

    fn next<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.left = self.left.checked_sub(N as u64)?;
        let mut bytes = [0; N];
        (self.cursor.read(&mut bytes) == N).then_some(bytes)
    }

    fn switch(&mut self) -> Option<bool> {
        self.next::<1>().map(|[on]| on != 0)
    }

    fn word16(&mut self) -> Option<u16> {
        self.next().map(u16::from_le_bytes)
    }

    /// Addresses behind their number. Of more than are ever kept, none are read.
    fn table<'b>(&mut self, room: &'b mut [Mac; MACS_MAX]) -> Option<Table<'b>> {
        let count = u64::from(self.next().map(u32::from_le_bytes)?);
        let bytes = count * size_of::<Mac>() as u64;
        let kept = usize::try_from(count).ok().filter(|count| *count <= MACS_MAX);
        let Some(kept) = kept else {
            self.left = self.left.checked_sub(bytes)?;
            self.cursor.pass(usize::try_from(bytes).ok()?);
            return Some(Table { count, macs: &[] });
        };
        let macs = &mut room[..kept];
        for mac in &mut *macs {
            *mac = self.next()?;
        }
        Some(Table { count, macs })
    }

    /// That was all.
    fn end(&self) -> Option<()> {
        (self.left == 0).then_some(())
    }
}

impl Asking<'_> {
    /// What the guest has chosen by this command. None if it is to hear that it went wrong.
    #[must_use]
    pub fn obey(&self, command: &[Segment]) -> Option<Chosen> {
        let mut words = Words::new(command);
        let [class, number] = words.next()?;
        let mut choice = *self.choice;
        let is_filter = match class {
            0 => self.receive_mode(number, &mut words, &mut choice.filter).map(|()| true),
            1 => self.addresses(number, &mut words, &mut choice.filter).map(|()| true),
            2 => self.vlan(number, &mut words, &mut choice.filter).map(|()| true),
            3 => self.announced(number, &mut choice).map(|()| false),
            4 => self.pairs(number, &mut words, &mut choice).map(|()| false),
            _unknown => None,
        }?;
        words.end()?;
        Some(Chosen { choice, is_filter })
    }

    fn has(&self, bit: u64) -> Option<()> {
        (self.features & bit != 0).then_some(())
    }

    fn receive_mode(&self, number: u8, words: &mut Words<'_>, filter: &mut RxFilter) -> Option<()> {
        let (needed, bit) = match number {
            0 => (feature::CTRL_RX, mode::PROMISCUOUS),
            1 => (feature::CTRL_RX, mode::ALL_MULTICAST),
            2 => (feature::CTRL_RX_EXTRA, mode::ALL_UNICAST),
            3 => (feature::CTRL_RX_EXTRA, mode::NO_MULTICAST),
            4 => (feature::CTRL_RX_EXTRA, mode::NO_UNICAST),
            5 => (feature::CTRL_RX_EXTRA, mode::NO_BROADCAST),
            _unknown => return None,
        };
        self.has(needed)?;
        filter.set(bit, words.switch()?);
        Some(())
    }

    fn addresses(&self, number: u8, words: &mut Words<'_>, filter: &mut RxFilter) -> Option<()> {
        match number {
            0 => {
                self.has(feature::CTRL_RX)?;
                let (mut unicast, mut multicast) = ([[0; 6]; MACS_MAX], [[0; 6]; MACS_MAX]);
                let unicast = words.table(&mut unicast)?;
                filter.set_table(unicast, words.table(&mut multicast)?);
            }
            1 => {
                self.has(feature::CTRL_MAC_ADDR)?;
                filter.mac = words.next()?;
            }
            _unknown => return None,
        }
        Some(())
    }

    fn vlan(&self, number: u8, words: &mut Words<'_>, filter: &mut RxFilter) -> Option<()> {
        self.has(feature::CTRL_VLAN)?;
        let on = match number {
            0 => true,
            1 => false,
            _unknown => return None,
        };
        let vlan = words.word16().filter(|vlan| usize::from(*vlan) < VLANS)?;
        filter.set_vlan(vlan, on);
        Some(())
    }

    /// Somebody who was not asked has nothing to tell.
    fn announced(&self, number: u8, choice: &mut Choice) -> Option<()> {
        self.has(feature::GUEST_ANNOUNCE)?;
        let was_asked = std::mem::replace(&mut choice.is_announcing, false);
        (number == 0 && was_asked).then_some(())
    }

    fn pairs(&self, number: u8, words: &mut Words<'_>, choice: &mut Choice) -> Option<()> {
        self.has(feature::MQ)?;
        let pairs = words.word16().filter(|pairs| (1..=self.pairs_max).contains(pairs));
        choice.pairs = pairs.filter(|_pairs| number == 0)?;
        Some(())
    }
}

#[cfg(test)]
mod test;
