//! Descriptors that came with a client's bytes and were not taken yet.
//!
//! In QEMU a descriptor is pending from the byte that it came with until a command takes it or a newer one comes, and
//! since it reads byte by byte, "newer" is decided before the next command is even seen. We read blocks, and
//! with OOB we read ahead of what is executed: what a command may take is therefore decided by positions. Each set of
//! descriptors has the position of the byte that it came with; a request takes the newest set from before its own
//! end. Without OOB this is exactly what QEMU does; with OOB it is what QEMU does when nobody reads ahead.

use std::collections::VecDeque;

/// Pending sets, oldest first. `D` is a descriptor, or anything else in a test.
#[derive(Debug)]
pub(super) struct Ancillary<D> {
    sets: VecDeque<(u64, Vec<D>)>,
}

impl<D> Default for Ancillary<D> {
    fn default() -> Self {
        Self { sets: VecDeque::new() }
    }
}

impl<D> Ancillary<D> {
    /// A set came with the byte at `position`. Sets that came after `wanted_until`, the end of the last request that
    /// is still to be executed, can never be taken any more and are closed, which bounds how many there are.
    pub(super) fn arrive(&mut self, position: u64, set: Vec<D>, wanted_until: Option<u64>) {
        self.sets.retain(|(older, _)| wanted_until.is_some_and(|end| *older < end));
        self.sets.push_back((position, set));
    }

    /// The request that ends before the byte at `end` begins: the newest set before its end replaces older ones.
    pub(super) fn settle(&mut self, end: u64) {
        while self.sets.get(1).is_some_and(|(position, _)| *position < end) {
            self.sets.pop_front();
        }
    }

    /// The first descriptor of the set that is pending for a request that ends before `end`. The others of the set
    /// are closed.
    pub(super) fn take(&mut self, end: u64) -> Option<D> {
        self.settle(end);
        let (_, set) = self.sets.pop_front_if(|(position, _)| *position < end)?;
        set.into_iter().next()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_newest_set_replaces_those_before_it() {
        let mut pending = Ancillary::default();
        pending.arrive(0, vec!["a"], None);
        pending.arrive(10, vec!["b", "c"], None);
        assert_eq!(pending.take(20), Some("b"));
        assert_eq!(pending.take(30), None);
    }

    #[test]
    fn a_set_waits_for_the_command_that_takes_it() {
        let mut pending = Ancillary::default();
        pending.arrive(0, vec!["a"], None);
        pending.settle(10);
        pending.settle(20);
        assert_eq!(pending.take(30), Some("a"));
    }

    #[test]
    fn a_request_read_ahead_does_not_lose_its_descriptor_to_a_later_one() {
        let mut pending = Ancillary::default();
        pending.arrive(0, vec!["first"], None);
        pending.arrive(10, vec!["second"], Some(10));
        assert_eq!(pending.take(10), Some("first"));
        assert_eq!(pending.take(20), Some("second"));
    }

    #[test]
    fn a_later_descriptor_is_not_for_an_earlier_request() {
        let mut pending = Ancillary::default();
        pending.arrive(10, vec!["later"], Some(10));
        assert_eq!(pending.take(10), None);
        assert_eq!(pending.take(20), Some("later"));
    }

    #[test]
    fn sets_that_nobody_can_take_do_not_pile_up() {
        let mut pending = Ancillary::default();
        for position in 0..1000 {
            pending.arrive(position, vec![position], Some(5));
        }
        assert_eq!(pending.sets.len(), 6, "five that a request of before may want, and the newest");
    }
}
