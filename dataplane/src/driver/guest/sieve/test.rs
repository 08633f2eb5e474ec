//! What passes, and what became of a burst.

use framewire_shared::rx_filter::Table;

use super::*;
use crate::frame::{Offload, Segment};

const OWN: Mac = [0x52, 0x54, 0, 0xaa, 0xbb, 1];
const OTHER: Mac = [0x52, 0x54, 0, 0xaa, 0xbb, 2];
const LISTED: Mac = [2, 0, 0, 0, 0, 1];
const GROUP: Mac = [1, 0, 0x5e, 0, 0, 1];
const LISTED_GROUP: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ALL: [Mac; 6] = [OWN, OTHER, LISTED, GROUP, LISTED_GROUP, BROADCAST];

fn filter(modes: u32) -> RxFilter {
    let mut filter = RxFilter::fresh(mode::HEARD | mode::HAS_VLANS, OWN);
    let of = |macs| Table { count: 1, macs };
    filter.set_table(of(&[LISTED]), of(&[LISTED_GROUP]));
    filter.modes |= modes;
    filter.set(mode::PROMISCUOUS, false);
    filter
}

fn frame(to: Mac, vlan: Option<u16>) -> Vec<u8> {
    let tag = vlan.map(|vlan| [VLAN_TYPE, (0xe000 | vlan).to_be_bytes()].concat()).unwrap_or_default();
    [&to[..], &OTHER, &tag, &[8, 0], &[7; 46]].concat()
}

/// Which of these pass.
fn passing(modes: u32) -> Vec<Mac> {
    let sieve = Sieve::of(&filter(modes)).unwrap();
    ALL.into_iter().filter(|to| sieve.passes(&frame(*to, None)[..HEAD_BYTES])).collect()
}

#[test]
fn modes_mean_what_they_say() {
    assert_eq!(passing(0), [OWN, LISTED, LISTED_GROUP, BROADCAST]);
    assert_eq!(passing(mode::ALL_MULTICAST), [OWN, LISTED, GROUP, LISTED_GROUP, BROADCAST]);
    assert_eq!(passing(mode::MULTICAST_OVERFLOW), [OWN, LISTED, GROUP, LISTED_GROUP, BROADCAST]);
    assert_eq!(passing(mode::ALL_UNICAST), [OWN, OTHER, LISTED, LISTED_GROUP, BROADCAST]);
    assert_eq!(passing(mode::UNICAST_OVERFLOW), [OWN, OTHER, LISTED, LISTED_GROUP, BROADCAST]);
    assert_eq!(passing(mode::NO_MULTICAST | mode::ALL_MULTICAST), [OWN, LISTED, BROADCAST]);
    assert_eq!(passing(mode::NO_UNICAST | mode::ALL_UNICAST), [LISTED_GROUP, BROADCAST]);
    assert_eq!(passing(mode::NO_BROADCAST), [OWN, LISTED, LISTED_GROUP]);
}

#[test]
fn tagged_frames_pass_if_their_vlan_was_added() {
    let mut filter = filter(0);
    filter.set_vlan(5, true);
    let passes =
        |filter: &RxFilter, to, vlan| Sieve::of(filter).unwrap().passes(&frame(to, Some(vlan))[..HEAD_BYTES]);
    assert!(passes(&filter, OWN, 5) && !passes(&filter, OTHER, 5));
    assert!(!passes(&filter, OWN, 6) && !passes(&filter, BROADCAST, 4095));
    filter.set(mode::HAS_VLANS, false);
    assert!(passes(&filter, OWN, 6) && !passes(&filter, OTHER, 6));
}

#[test]
fn guest_that_takes_everything_or_is_not_heard_has_no_sieve() {
    assert!(Sieve::of(&RxFilter::fresh(mode::HEARD, OWN)).is_none());
    let mut unheard = RxFilter::fresh(0, OWN);
    unheard.set(mode::PROMISCUOUS, false);
    assert!(Sieve::of(&unheard).is_none());
}

#[test]
fn burst_is_done_as_far_as_what_passed_was_sent() {
    let order = [OTHER, OWN, OTHER, OTHER, LISTED, GROUP];
    let mut bytes: Vec<_> = order.iter().map(|to| frame(*to, None)).collect();
    let mut burst = Burst::default();
    for bytes in &mut bytes {
        // In pieces, of which the first is shorter than what is looked at.
        let (head, rest) = bytes.split_at_mut(7);
        burst.push(&[Segment::of_test(head), Segment::of_test(rest)], Offload::NONE, 0);
    }
    let mut sifted = Sifted::new().unwrap();
    for _again in 0..2 {
        sifted.sift(&burst, &Sieve::of(&filter(0)).unwrap());
        assert_eq!(sifted.burst.len(), 2);
        for (frame, wanted) in sifted.burst.frames().iter().zip([&bytes[1], &bytes[4]]) {
            let mut read = vec![0; wanted.len()];
            assert_eq!(Cursor::new(sifted.burst.segments(frame)).read(&mut read), wanted.len());
            assert_eq!(read, *wanted);
        }
        assert_eq!(sifted.outcome(0), Outcome { done: 1, filtered: 1 });
        assert_eq!(sifted.outcome(1), Outcome { done: 4, filtered: 3 });
        assert_eq!(sifted.outcome(2), Outcome { done: 6, filtered: 4 });
    }
}
