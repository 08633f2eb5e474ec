//! Which Ethernet address guests are at: learned from what they say about themselves, sixteen at most, as libslirp.
//!
//! Several guests may share the network, and none is known by anything but its frames. Flows that a guest began answer
//! to where its frame came from; this table is for what begins outside.

use std::net::IpAddr;

use super::packet::Mac;

const NEIGHBOURS_MAX: usize = 16;

/// Guests whose address is known.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    known: [Option<(IpAddr, Mac)>; NEIGHBOURS_MAX],
    /// The place that was taken longest ago.
    oldest: usize,
}

impl Neighbours {
    /// A guest is there.
    pub(super) fn learn(&mut self, address: IpAddr, mac: Mac) {
        let known = self.known.iter_mut().flatten().find(|(known, _mac)| *known == address);
        match known {
            Some(known) => known.1 = mac,
            None => {
                self.known[self.oldest] = Some((address, mac));
                self.oldest = (self.oldest + 1) % NEIGHBOURS_MAX;
            }
        }
    }

    /// Where a guest is.
    pub(super) fn find(&self, address: IpAddr) -> Option<Mac> {
        let known = self.known.iter().flatten().find(|(known, _mac)| *known == address)?;
        Some(known.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> IpAddr {
        [10, 0, 2, number].into()
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut neighbours = Neighbours::default();
        (0..17).for_each(|number| neighbours.learn(address(number), [number; 6]));
        assert_eq!(neighbours.find(address(0)), None);
        assert_eq!(neighbours.find(address(1)), Some([1; 6]));
        assert_eq!(neighbours.find(address(16)), Some([16; 6]));
    }

    #[test]
    fn one_that_has_moved_is_where_it_said_last() {
        let mut neighbours = Neighbours::default();
        neighbours.learn(address(1), [1; 6]);
        neighbours.learn(address(1), [2; 6]);
        assert_eq!(neighbours.find(address(1)), Some([2; 6]));
    }
}
