use proptest::prelude::*;

use super::*;

fn piece(offset: usize, has_more: bool, payload: &[u8]) -> Fragment<'_> {
    Fragment {
        source: Ipv4Addr::new(10, 0, 2, 15),
        destination: Ipv4Addr::new(10, 0, 2, 2),
        protocol: 17,
        identification: 1,
        offset,
        has_more,
        payload,
    }
}

fn add(table: &mut Table, fragment: Fragment<'_>) -> Outcome {
    table.add(&fragment, 0, &mut [0; 65_536])
}

#[test]
fn pieces_become_one_in_any_order() {
    let payload: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let order: Vec<Cut> = cuts(payload.len(), 1500).collect();
    assert_eq!(order.len(), 3);
    for turn in 0..3 {
        let mut table = Table::default();
        let mut whole = vec![0; 65_535];
        for place in 0..3 {
            let cut = order[(place + turn) % 3];
            let part = &payload[cut.offset..cut.offset + cut.length];
            let outcome = table.add(&piece(cut.offset, cut.has_more, part), 0, &mut whole);
            assert_eq!(outcome, if place == 2 { Outcome::Whole(3000) } else { Outcome::Kept });
        }
        assert_eq!((&whole[..3000], table.pieces_waiting()), (&payload[..], 0));
    }
}

/// What ends QEMU 7.2 with SIGBUS.
#[test]
fn a_last_piece_alone_waits_for_thirty_seconds() {
    let mut table = Table::default();
    assert_eq!(add(&mut table, piece(2000, false, &[1; 100])), Outcome::Kept);
    table.expire(30_000);
    assert_eq!(table.pieces_waiting(), 1);
    table.expire(30_001);
    assert_eq!(table.pieces_waiting(), 0);
}

/// CVE-2019-14378 and CVE-2020-1983: overlaps, and pieces larger than what they belong to.
#[test]
fn pieces_may_repeat_but_not_contradict() {
    let mut table = Table::default();
    assert_eq!(add(&mut table, piece(0, true, &[1; 16])), Outcome::Kept);
    assert_eq!(add(&mut table, piece(8, true, &[1; 8])), Outcome::Kept, "a repetition");
    assert_eq!(table.pieces_waiting(), 1);
    assert_eq!(add(&mut table, piece(8, true, &[1; 16])), Outcome::Kept, "an overlap that agrees");
    assert_eq!(add(&mut table, piece(16, true, &[2; 8])), Outcome::Dropped);
    assert_eq!(table.pieces_waiting(), 0, "nothing is left of it");
}

#[test]
fn a_packet_ends_in_one_place() {
    for second in [piece(16, false, &[1; 8]), piece(32, true, &[1; 8]), piece(0, false, &[1; 8])] {
        let mut table = Table::default();
        assert_eq!(add(&mut table, piece(24, false, &[1; 8])), Outcome::Kept);
        assert_eq!(add(&mut table, second), Outcome::Dropped, "{second:?}");
        assert_eq!(table.pieces_waiting(), 0);
    }
}

#[test]
fn impossible_pieces_are_dropped() {
    let table = &mut Table::default();
    assert_eq!(add(table, piece(0, true, &[])), Outcome::Dropped, "empty");
    assert_eq!(add(table, piece(0, false, &[])), Outcome::Dropped, "empty and last");
    assert_eq!(add(table, piece(0, true, &[1; 9])), Outcome::Dropped, "no whole units");
    assert_eq!(add(table, piece(4, false, &[1; 9])), Outcome::Dropped, "between units");
    assert_eq!(add(table, piece(0, true, &[1; 1488])), Outcome::Dropped, "larger than a frame");
    assert_eq!(add(table, piece(65_512, false, &[1; 4])), Outcome::Dropped, "past the longest packet");
    assert_eq!(add(table, piece(usize::MAX & !7, false, &[1; 8])), Outcome::Dropped, "past everything");
    assert_eq!(table.pieces_waiting(), 0);
}

#[test]
fn the_longest_packet_is_put_together() {
    let mut table = Table::default();
    let mut whole = vec![0; 65_535];
    let mut last = Outcome::Kept;
    for cut in cuts(WHOLE_BYTES_MAX, 1500) {
        assert_eq!(last, Outcome::Kept);
        last = table.add(&piece(cut.offset, cut.has_more, &vec![7; cut.length]), 0, &mut whole);
    }
    assert_eq!(last, Outcome::Whole(WHOLE_BYTES_MAX));
    assert!(whole[..WHOLE_BYTES_MAX].iter().all(|byte| *byte == 7));
}

#[test]
fn a_packet_for_which_there_is_no_room_is_dropped() {
    let mut table = Table::default();
    add(&mut table, piece(0, true, &[1; 8]));
    let outcome = table.add(&piece(8, false, &[1; 8]), 0, &mut [0; 15]);
    assert_eq!((outcome, table.pieces_waiting()), (Outcome::Dropped, 0));
}

#[test]
fn a_flood_costs_the_oldest_and_nothing_else() {
    let mut table = Table::default();
    for identification in 0..2000 {
        let first = Fragment { identification, ..piece(0, true, &[1; 8]) };
        assert_eq!(add(&mut table, first), Outcome::Kept);
        assert!(table.pieces_waiting() <= PACKETS_MAX);
    }
    let last = Fragment { identification: 1999, ..piece(8, false, &[1; 8]) };
    assert_eq!(add(&mut table, last), Outcome::Whole(16));
    let lost = Fragment { identification: 1, ..piece(8, false, &[1; 8]) };
    assert_eq!(add(&mut table, lost), Outcome::Kept);
}

#[test]
fn a_packet_of_too_many_pieces_is_dropped() {
    let mut table = Table::default();
    for index in 0..PIECES_MAX {
        assert_eq!(add(&mut table, piece(index * 8, true, &[1; 8])), Outcome::Kept);
    }
    assert_eq!(add(&mut table, piece(PIECES_MAX * 8, true, &[1; 8])), Outcome::Dropped);
    assert_eq!(table.pieces_waiting(), 0);
}

#[test]
fn packets_of_others_are_others() {
    let mut table = Table::default();
    add(&mut table, piece(0, true, &[1; 8]));
    let other = Ipv4Addr::new(10, 0, 2, 16);
    for last in [
        Fragment { source: other, ..piece(8, false, &[1; 8]) },
        Fragment { destination: other, ..piece(8, false, &[1; 8]) },
        Fragment { protocol: 1, ..piece(8, false, &[1; 8]) },
        Fragment { identification: 2, ..piece(8, false, &[1; 8]) },
    ] {
        assert_eq!(add(&mut table, last), Outcome::Kept);
    }
    assert_eq!(add(&mut table, piece(8, false, &[1; 8])), Outcome::Whole(16));
}

#[test]
fn what_fits_is_not_cut() {
    let one = Cut { offset: 0, length: 1480, has_more: false };
    assert_eq!(cuts(1480, 1500).collect::<Vec<_>>(), [one]);
    let lengths: Vec<usize> = cuts(1481, 1500).map(|cut| cut.length).collect();
    assert_eq!(lengths, [1480, 1]);
    assert_eq!(cuts(0, 1500).count(), 0);
}

proptest! {
    #[test]
    fn any_pieces_are_whole_only_if_every_byte_came(
        pieces in prop::collection::vec((0usize..12, 1usize..5, any::<bool>()), 1..60),
    ) {
        // All of one packet whose content is known by its place, so that overlaps agree.
        let content: Vec<u8> = (0..200u8).collect();
        let mut table = Table::default();
        let mut whole = [0; 65_535];
        for (unit, units, has_more) in pieces {
            let (begin, end) = (unit * 8, (unit + units) * 8);
            let fragment = piece(begin, has_more, &content[begin..end]);
            if let Outcome::Whole(length) = table.add(&fragment, 0, &mut whole) {
                prop_assert_eq!(&whole[..length], &content[..length]);
            }
        }
    }
}
