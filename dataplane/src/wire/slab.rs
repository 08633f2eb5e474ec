//! The queues in a worker's care, by a number that stays the same as long as they are.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};

use framewire_shared::limits::QUEUES_MAX;

use super::End;

/// Ends by number and by key. Has room for all queues there may be, so that it never allocates later.
#[derive(Debug)]
pub struct Slab {
    ends: Vec<Option<End>>,
    free: Vec<u32>,
    by_key: HashMap<u64, u32>,
}

impl Default for Slab {
    fn default() -> Self {
        let numbers = 0..u32::try_from(QUEUES_MAX).expect("QUEUES_MAX is small");
        Slab {
            ends: numbers.clone().map(|_| None).collect(),
            free: numbers.rev().collect(),
            by_key: HashMap::with_capacity(QUEUES_MAX),
        }
    }
}

impl Slab {
    /// Takes an end in. `None` (and the end back) if all places are taken.
    pub fn insert(&mut self, end: End) -> Result<u32, End> {
        let Some(index) = self.free.pop() else { return Err(end) };
        self.by_key.insert(end.key, index);
        self.ends[index as usize] = Some(end);
        Ok(index)
    }

    /// Gives an end away.
    pub fn remove(&mut self, index: u32) -> Option<End> {
        let end = self.ends[index as usize].take()?;
        self.by_key.remove(&end.key);
        self.free.push(index);
        Some(end)
    }

    /// The number of the end with this key.
    #[must_use]
    pub fn find(&self, key: u64) -> Option<u32> {
        self.by_key.get(&key).copied()
    }

    /// The end with this number, if there is one.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut End> {
        self.ends.get_mut(index as usize)?.as_mut()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// All of them, with their numbers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut End)> {
        (0u32..).zip(&mut self.ends).filter_map(|(index, end)| Some((index, end.as_mut()?)))
    }

    /// Two different ends.
    ///
    /// # Panics
    /// If they are the same, or not there: the plan was checked when it was adopted.
    #[inline]
    pub fn pair(&mut self, one: u32, other: u32) -> [&mut End; 2] {
        self.ends
            .get_disjoint_mut([one as usize, other as usize])
            .expect("two ends of one wire differ")
            .map(|end| end.as_mut().expect("wires name ends that are here"))
    }
}

impl Index<u32> for Slab {
    type Output = End;
    #[inline]
    fn index(&self, index: u32) -> &End {
        self.ends[index as usize].as_ref().expect("wires name ends that are here")
    }
}

impl IndexMut<u32> for Slab {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut End {
        self.ends[index as usize].as_mut().expect("wires name ends that are here")
    }
}
