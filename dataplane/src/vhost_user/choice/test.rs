//! Commands, well formed and otherwise.

use super::*;

const ALL: u64 = feature::SERVED;
const PAIRS: u16 = 4;

fn fresh(features: u64) -> Choice {
    let mut nic = Serve::new(1, 1, PAIRS, feature::SERVED);
    nic.mac = [2, 0, 0, 0, 0, 1];
    Choice::fresh(&nic, features)
}

/// In pieces of so many bytes.
fn obey_in_pieces(features: u64, choice: &Choice, command: &[u8], piece: usize) -> Option<Chosen> {
    let mut bytes = command.to_vec();
    let segments: Vec<_> = bytes.chunks_mut(piece).map(Segment::of_test).collect();
    Asking { features, pairs_max: PAIRS, choice }.obey(&segments)
}

fn obey(choice: &Choice, command: &[u8]) -> Option<Chosen> {
    let whole = obey_in_pieces(ALL, choice, command, usize::MAX);
    for piece in 1..5 {
        assert_eq!(obey_in_pieces(ALL, choice, command, piece), whole, "in pieces of {piece}");
    }
    whole
}

fn table(unicast: u32, multicast: u32) -> Vec<u8> {
    let mut command = vec![1, 0];
    for (first, count) in [(2u8, unicast), (3, multicast)] {
        command.extend(count.to_le_bytes());
        (0..count).for_each(|last| command.extend([first, 0, 0, 0, 0, last.to_le_bytes()[0]]));
    }
    command
}

fn commands() -> Vec<(Vec<u8>, u64)> {
    let mut all: Vec<(Vec<u8>, u64)> = (0..6)
        .map(|mode| (vec![0, mode, 1], if mode < 2 { feature::CTRL_RX } else { feature::CTRL_RX_EXTRA }))
        .collect();
    all.extend([
        (table(2, 3), feature::CTRL_RX),
        (vec![1, 1, 2, 0, 0, 0, 0, 9], feature::CTRL_MAC_ADDR),
        (vec![2, 0, 0xff, 0x0f], feature::CTRL_VLAN),
        (vec![2, 1, 5, 0], feature::CTRL_VLAN),
        (vec![3, 0], feature::GUEST_ANNOUNCE),
        (vec![4, 0, 4, 0], feature::MQ),
    ]);
    all
}

#[test]
fn command_is_obeyed_whole_and_only_if_it_was_agreed_on() {
    let choice = Choice { is_announcing: true, ..fresh(ALL) };
    for (command, needed) in commands() {
        let chosen = obey(&choice, &command).unwrap_or_else(|| panic!("{command:?}"));
        assert_eq!(chosen.is_filter, command[0] < 3, "{command:?}");
        assert_eq!(obey_in_pieces(ALL & !needed, &choice, &command, 64), None, "{command:?}");
        for len in 0..command.len() {
            assert_eq!(obey(&choice, &command[..len]), None, "{len} bytes of {command:?}");
        }
        assert_eq!(obey(&choice, &[&command[..], &[0]].concat()), None, "more than {command:?}");
    }
}

#[test]
fn modes_are_set_and_cleared() {
    let choice = fresh(ALL);
    assert!(choice.filter.has(mode::PROMISCUOUS) && choice.filter.has(mode::HAS_VLANS));
    let choice = obey(&choice, &[0, 0, 0]).unwrap().choice;
    assert!(!choice.filter.has(mode::PROMISCUOUS));
    let bits = [
        mode::PROMISCUOUS,
        mode::ALL_MULTICAST,
        mode::ALL_UNICAST,
        mode::NO_MULTICAST,
        mode::NO_UNICAST,
        mode::NO_BROADCAST,
    ];
    for (number, bit) in (0..).zip(bits) {
        let on = obey(&choice, &[0, number, 1]).unwrap().choice;
        assert_eq!(on.filter.modes, choice.filter.modes | bit);
        assert_eq!(obey(&on, &[0, number, 0]).unwrap().choice, choice);
    }
}

#[test]
fn tables_are_replaced_and_bounded() {
    let choice = obey(&fresh(ALL), &table(2, 3)).unwrap().choice;
    assert_eq!(choice.filter.unicast(), [[2, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 1]]);
    assert_eq!(choice.filter.multicast().len(), 3);
    let choice = obey(&choice, &table(0, 65)).unwrap().choice;
    assert!(choice.filter.unicast().is_empty() && choice.filter.multicast().is_empty());
    assert!(choice.filter.has(mode::MULTICAST_OVERFLOW) && !choice.filter.has(mode::UNICAST_OVERFLOW));
    let choice = obey(&choice, &table(200, 64)).unwrap().choice;
    assert!(choice.filter.has(mode::UNICAST_OVERFLOW) && !choice.filter.has(mode::MULTICAST_OVERFLOW));
    // A number that nothing follows, however large.
    for count in [1, 64, 65, u32::MAX] {
        assert_eq!(obey(&choice, &[&[1, 0], &count.to_le_bytes()[..], &[0; 4]].concat()), None);
    }
}

#[test]
fn addresses_vlans_and_pairs_are_those_that_can_be() {
    let choice = fresh(ALL);
    assert_eq!(choice.pairs, 1, "the others have to be asked for");
    assert_eq!(obey(&choice, &[1, 1, 2, 0, 0, 0, 0, 9]).unwrap().choice.filter.mac, [2, 0, 0, 0, 0, 9]);
    assert_eq!(obey(&choice, &[2, 0, 0, 0x10]), None, "VLAN 4096");
    let added = obey(&choice, &[2, 0, 5, 0]).unwrap().choice;
    assert_eq!(added.filter.vlans().collect::<Vec<_>>(), [5]);
    assert_eq!(obey(&added, &[2, 1, 5, 0]).unwrap().choice, choice);
    for (pairs, is_right) in [(0, false), (1, true), (4, true), (5, false)] {
        assert_eq!(obey(&choice, &[4, 0, pairs, 0]).is_some(), is_right, "{pairs} pairs");
    }
    assert_eq!(obey(&choice, &[4, 1, 1, 0]), None);
}

#[test]
fn announcement_is_confirmed_once() {
    let choice = Choice { is_announcing: true, ..fresh(ALL) };
    let confirmed = obey(&choice, &[3, 0]).unwrap().choice;
    assert!(!confirmed.is_announcing);
    assert_eq!(obey(&confirmed, &[3, 0]), None);
    assert_eq!(obey(&choice, &[3, 1]), None);
}

#[test]
fn unknown_classes_and_numbers_are_refused() {
    let choice = fresh(ALL);
    for command in [&[5, 0, 0][..], &[9, 0, 1], &[0, 6, 1], &[0, 77, 1], &[1, 2], &[2, 2, 1, 0], &[255; 300]]
    {
        assert_eq!(obey(&choice, command), None, "{command:?}");
    }
}

#[test]
fn guest_whose_front_end_keeps_the_queue_uses_what_that_says() {
    let choice = fresh(ALL & !feature::CTRL_VQ);
    assert_eq!((choice.pairs, choice.filter.modes), (PAIRS, mode::PROMISCUOUS));
}
