//! Flows by number, and by who speaks with whom.
//!
//! All room is reserved at the beginning and touched as it is used. A number alone may outlive its flow, so whoever
//! keeps one keeps a [`Reference`], which says which of the flows of that number it means. Keys are hashed with numbers
//! that nobody can guess: guests choose ports, and would choose them to collide. Places are probed one after another,
//! and the hole that a flow leaves is closed at once, so no search grows longer with time.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;

pub(in super::super) use framewire_shared::flows::FLOWS_MAX;

/// A power of two, so that a hash is a place.
const PLACES: usize = FLOWS_MAX * 2;

/// Who speaks with whom, as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) struct Key {
    /// Of [`super::super::packet::protocol`].
    pub(in super::super) protocol: u8,
    /// The guest.
    pub(in super::super) guest: SocketAddr,
    /// The other end; the guest itself if the flow is with everybody.
    pub(in super::super) remote: SocketAddr,
}

/// A flow that may have ended meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Reference {
    pub(in super::super) number: u32,
    generation: u32,
}

impl Reference {
    /// Larger than that of any flow that began before.
    pub(in super::super) fn serial(self) -> u32 {
        self.generation
    }

    /// As one number.
    pub(in super::super) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.number)
    }

    /// Back from one number.
    pub(in super::super) fn from_bits(bits: u64) -> Self {
        let [number, generation] = [bits & 0xffff_ffff, bits >> 32];
        let low = |bits| u32::try_from(bits).expect("32 bits");
        Reference { number: low(number), generation: low(generation) }
    }
}

#[derive(Debug)]
struct Slot<F> {
    generation: u32,
    flow: Option<(Key, F)>,
}

/// Flows.
#[derive(Debug)]
pub(in super::super) struct Table<F> {
    slots: Vec<Slot<F>>,
    free: Vec<u32>,
    /// Numbers of flows, plus one; 0 is empty.
    places: Vec<u32>,
    /// How many there were, in all.
    began: u32,
    hasher: RandomState,
}

impl<F> Table<F> {
    /// None yet.
    pub(in super::super) fn new() -> Self {
        Table {
            slots: Vec::with_capacity(FLOWS_MAX),
            free: Vec::with_capacity(FLOWS_MAX),
            places: vec![0; PLACES],
            began: 0,
            hasher: RandomState::new(),
        }
    }

    /// A number that nobody can guess, the same for the same key.
    pub(in super::super) fn secret(&self, key: &Key) -> u64 {
        self.hasher.hash_one((key, "secret"))
    }

    /// Whether there is room for another.
    pub(in super::super) fn has_room(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < FLOWS_MAX
    }

    /// Takes a flow in; there is none of this key, and there is room.
    pub(in super::super) fn insert(&mut self, key: Key, flow: F) -> Reference {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, flow: None });
            u32::try_from(self.slots.len() - 1).expect("FLOWS_MAX is small")
        });
        let mut place = self.ideal(&key);
        while self.places[place] != 0 {
            place = (place + 1) % PLACES;
        }
        self.places[place] = number + 1;
        let slot = &mut self.slots[number as usize];
        self.began = self.began.wrapping_add(1);
        slot.generation = self.began;
        slot.flow = Some((key, flow));
        Reference { number, generation: slot.generation }
    }

    /// The flow of a key.
    pub(in super::super) fn find(&self, key: &Key) -> Option<Reference> {
        let number = self.places[self.place_of(key)?] - 1;
        Some(Reference { number, generation: self.slots[number as usize].generation })
    }

    /// The flow that is meant, if it is still there.
    pub(in super::super) fn get_mut(&mut self, reference: Reference) -> Option<&mut F> {
        let slot = self.slots.get_mut(reference.number as usize)?;
        let flow = slot.flow.as_mut().filter(|_flow| slot.generation == reference.generation);
        flow.map(|(_key, flow)| flow)
    }

    /// All flows, each with its serial number.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = (u32, &Key, &F)> {
        self.slots
            .iter()
            .filter_map(|slot| slot.flow.as_ref().map(|(key, flow)| (slot.generation, key, flow)))
    }

    /// The flow of a number.
    pub(in super::super) fn reference(&self, number: u32) -> Option<Reference> {
        let slot = self.slots.get(number as usize)?;
        slot.flow.as_ref().map(|_flow| Reference { number, generation: slot.generation })
    }

    /// Gives a flow up.
    pub(in super::super) fn remove(&mut self, reference: Reference) -> Option<F> {
        self.get_mut(reference)?;
        let slot = &mut self.slots[reference.number as usize];
        let (key, flow) = slot.flow.take()?;
        // The key's own place, whose flow is just gone, is found by its number.
        let mut hole = self.ideal(&key);
        while self.places[hole] != reference.number + 1 {
            hole = (hole + 1) % PLACES;
        }
        self.close(hole);
        self.free.push(reference.number);
        Some(flow)
    }

    /// Moves those up that lie behind a hole and belong before it.
    fn close(&mut self, mut hole: usize) {
        let mut place = hole;
        loop {
            self.places[hole] = 0;
            loop {
                place = (place + 1) % PLACES;
                if self.places[place] == 0 {
                    return;
                }
                let ideal = self.ideal_of(self.places[place] - 1);
                let is_between = (place + PLACES - ideal) % PLACES < (place + PLACES - hole) % PLACES;
                if !is_between {
                    break;
                }
            }
            self.places[hole] = self.places[place];
            hole = place;
        }
    }

    fn place_of(&self, key: &Key) -> Option<usize> {
        let mut place = self.ideal(key);
        loop {
            let number = self.places[place].checked_sub(1)?;
            let slot = &self.slots[number as usize];
            if slot.flow.as_ref().is_some_and(|(other, _flow)| other == key) {
                return Some(place);
            }
            place = (place + 1) % PLACES;
        }
    }

    fn ideal(&self, key: &Key) -> usize {
        usize::try_from(self.hasher.hash_one(key) % PLACES as u64).expect("below PLACES")
    }

    fn ideal_of(&self, number: u32) -> usize {
        let (key, _flow) = self.slots[number as usize].flow.as_ref().expect("places name flows");
        self.ideal(key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(port: u16) -> Key {
        let address = |last, port| SocketAddr::new([10, 0, 2, last].into(), port);
        Key { protocol: 6, guest: address(15, port), remote: address(2, 80) }
    }

    #[test]
    fn a_reference_outlives_its_flow_and_means_no_other() {
        let mut table = Table::new();
        let first = table.insert(key(1), 'a');
        assert_eq!(table.remove(first), Some('a'));
        let second = table.insert(key(2), 'b');
        assert_eq!((second.number, table.get_mut(first)), (first.number, None));
        assert_eq!(Reference::from_bits(second.to_bits()), second);
        assert_eq!(table.remove(first), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u16..300, any::<bool>()), 0..600)) {
            let (mut table, mut model) = (Table::new(), HashMap::new());
            for (port, inserts) in steps {
                match (model.contains_key(&port), inserts) {
                    (false, true) => {
                        model.insert(port, table.insert(key(port), port));
                    }
                    (true, false) => {
                        let reference = model.remove(&port).unwrap();
                        prop_assert_eq!(table.remove(reference), Some(port));
                    }
                    (_, _) => {}
                }
                for port in 0..300 {
                    prop_assert_eq!(table.find(&key(port)), model.get(&port).copied());
                }
            }
        }
    }
}
