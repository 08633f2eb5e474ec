use proptest::prelude::*;

use super::*;

const GUEST_FIRST: u32 = 0xffff_fff0;
const OUR_FIRST: u32 = 0xffff_ff00;

fn syn() -> Segment {
    Segment { seq: GUEST_FIRST, flags: flag::SYN, window: 65535, mss: Some(1400), ..Segment::default() }
}

/// A segment of the guest's, its numbers counted from the first bytes of both streams.
fn said(seq: u32, ack: u32, bytes: u32) -> Segment {
    Segment {
        seq: GUEST_FIRST.wrapping_add(1).wrapping_add(seq),
        ack: OUR_FIRST.wrapping_add(1).wrapping_add(ack),
        flags: flag::ACK,
        window: 1000,
        bytes,
        ..Segment::default()
    }
}

fn established() -> Connection {
    let mut connection = Connection::asked_for(&syn(), OUR_FIRST, 1460);
    connection.open();
    assert_eq!(connection.hear(&said(0, 0, 0)), take(0, 0, false, false));
    assert!(connection.events.is_established);
    connection
}

fn take(skip: u32, bytes: u32, ends: bool, is_to_be_answered: bool) -> Verdict {
    Verdict::Take(Taken { skip, bytes, ends, is_to_be_answered })
}

#[test]
fn an_answer_to_a_segment_never_sent_is_reset_before_and_corrected_after_it_is_established() {
    let mut connection = Connection::asked_for(&syn(), OUR_FIRST, 1460);
    connection.open();
    assert_eq!(connection.hear(&said(0, 5, 0)), Verdict::Reset);
    assert_eq!(established().hear(&said(0, 5, 0)), Verdict::Answer);
}

#[test]
fn what_is_known_is_skipped_and_what_is_early_is_not_taken() {
    let mut connection = established();
    assert_eq!(connection.hear(&said(0, 0, 100)), take(0, 100, false, true));
    connection.accept(100);
    assert_eq!(connection.hear(&said(50, 0, 100)), take(50, 50, false, true));
    assert_eq!(connection.hear(&said(0, 0, 100)), Verdict::Answer, "all known");
    assert_eq!(connection.hear(&said(101, 0, 10)), Verdict::Early);
    assert_eq!(connection.hear(&said(99, 0, 0)), Verdict::Answer, "are you alive?");
}

#[test]
fn nothing_beyond_the_promise_is_taken() {
    let mut connection = established();
    assert_eq!(connection.hear(&said(0, 0, 100_000)), take(0, FIRST_WINDOW, false, true));
    connection.accept(FIRST_WINDOW);
    assert_eq!(connection.hear(&said(FIRST_WINDOW, 0, 10)), Verdict::Answer);
    assert!(connection.promise(20_000));
    assert_eq!(connection.hear(&said(FIRST_WINDOW, 0, 10)), take(0, 10, false, true));
    connection.promise(0);
    assert_eq!(connection.promised(), 20_000, "a promise never shrinks");
}

#[test]
fn an_end_counts_when_all_before_it_is_there() {
    let mut connection = established();
    let end = Segment { flags: flag::ACK | flag::FIN, ..said(0, 0, 10) };
    assert_eq!(connection.hear(&end), take(0, 10, true, true));
    connection.accept(10);
    connection.end_of_guest();
    assert_eq!(connection.hear(&end), Verdict::Answer, "said again");
    assert_eq!(connection.hear(&said(11, 0, 10)), Verdict::Answer, "behind the end");
    connection.sent_end();
    assert!(!connection.is_over());
    connection.hear(&said(11, 1, 0));
    assert!(connection.is_over());
}

#[test]
fn only_the_next_number_resets() {
    let reset = |seq| Segment { flags: flag::RST, ..said(seq, 0, 0) };
    assert_eq!(established().hear(&reset(0)), Verdict::Broken);
    assert_eq!(established().hear(&reset(1)), Verdict::Answer);
    assert_eq!(established().hear(&reset(u32::MAX)), Verdict::Ignore);
    assert_eq!(established().hear(&reset(1 << 30)), Verdict::Ignore);
}

#[test]
fn a_beginning_in_the_middle_is_corrected() {
    assert_eq!(established().hear(&syn()), Verdict::Answer);
}

#[test]
fn three_equal_acknowledgements_send_again_from_there() {
    let mut connection = established();
    connection.sent(500);
    connection.hear(&said(0, 200, 0));
    for _time in 0..2 {
        connection.hear(&said(0, 200, 0));
        assert!(!connection.has_moved());
    }
    connection.hear(&said(0, 200, 0));
    assert!(connection.has_moved());
    assert_eq!((connection.offset(), connection.room()), (200, 1000));
    // A late acknowledgement of what was on its way all the same.
    connection.hear(&said(0, 400, 0));
    assert_eq!((connection.offset(), connection.truncate(1)), (400, 400));
    assert_eq!(connection.offset(), 0);
}

#[test]
fn a_guest_that_never_answers_is_given_up() {
    let mut connection = established();
    assert_eq!(connection.overdue(false), Overdue::Nothing);
    connection.sent(10);
    for _time in 0..RETRIES_MAX {
        assert_eq!(connection.overdue(true), Overdue::Again);
        connection.sent(10);
    }
    assert_eq!(connection.overdue(true), Overdue::GiveUp);
    assert_eq!(connection.patience_ns(), WAIT_MAX_NS);
}

#[test]
fn a_guest_without_room_is_asked_for_ever() {
    let mut connection = established();
    connection.hear(&Segment { window: 0, ..said(0, 0, 0) });
    for _time in 0..100 {
        assert_eq!(connection.overdue(true), Overdue::Probe);
    }
    connection.hear(&Segment { window: 5, ..said(0, 0, 0) });
    assert_eq!(connection.room(), 5);
}

#[test]
fn our_own_asking_is_answered_once() {
    let mut connection = Connection::asking(OUR_FIRST, 1460);
    connection.open();
    let answer = Segment { flags: flag::SYN | flag::ACK, ack: OUR_FIRST.wrapping_add(1), ..syn() };
    let wrong = Segment { ack: OUR_FIRST, ..answer };
    assert!(!connection.answered(&wrong));
    assert!(connection.answered(&answer));
    assert!(connection.events.is_established && !connection.answered(&answer));
    assert_eq!(connection.mss, 1400);
}

#[test]
fn a_guest_that_has_not_answered_is_told_of_no_room() {
    let mut asking = Connection::asking(OUR_FIRST, 1460);
    asking.open();
    assert!(!asking.promise(1 << 20), "there is nothing yet to acknowledge");
    assert_eq!(asking.patience_ns(), WAIT_BEGINNING_NS);
    let mut connection = established();
    connection.accept(60_000);
    assert!(connection.promise(1 << 20), "the guest may send again");
    assert_eq!(connection.patience_ns(), WAIT_FIRST_NS);
}

/// What a wire does with a segment.
#[derive(Debug, Clone, Copy)]
enum Wire {
    Carries,
    Loses,
    Doubles,
    Reorders,
}

fn wire() -> impl Strategy<Value = Wire> {
    prop_oneof![
        6 => Just(Wire::Carries),
        1 => Just(Wire::Loses),
        1 => Just(Wire::Doubles),
        1 => Just(Wire::Reorders),
    ]
}

proptest! {
    /// The guest's stream, through a bad wire and a host that takes only part of what it is given.
    #[test]
    fn every_byte_of_the_guest_arrives_once_and_in_order(
        steps in prop::collection::vec((wire(), 1u32..3000, 0u32..3000), 1..200),
        total in 1u32..60_000,
    ) {
        let mut connection = established();
        let (mut sent, mut taken, mut ended) = (0u32, 0u32, false);
        let mut waiting: Vec<Segment> = Vec::new();
        let mut steps = steps.into_iter();
        for _round in 0..20_000 {
            // Steps that run out leave a good wire, so everything must arrive in the end.
            let (wire, size, accepts) = steps.next().unwrap_or((Wire::Carries, 3000, 3000));
            if sent > total {
                sent = connection.wanted.wrapping_sub(GUEST_FIRST.wrapping_add(1)).min(total);
            }
            let bytes = size.min(total.saturating_sub(sent));
            let is_last = sent + bytes >= total;
            let flags = if is_last { flag::ACK | flag::FIN } else { flag::ACK };
            let segment = Segment { flags, ..said(sent, 0, bytes) };
            sent += bytes + u32::from(is_last);
            match wire {
                Wire::Carries => waiting.push(segment),
                Wire::Loses => {}
                Wire::Doubles => waiting.extend([segment, segment]),
                Wire::Reorders => waiting.insert(0, segment),
            }
            if matches!(wire, Wire::Reorders) && waiting.len() < 4 {
                continue;
            }
            for segment in waiting.drain(..) {
                let Verdict::Take(good) = connection.hear(&segment) else { continue };
                let from = segment.seq.wrapping_sub(GUEST_FIRST.wrapping_add(1)).wrapping_add(good.skip);
                if good.bytes > 0 || good.ends {
                    prop_assert_eq!(from, taken, "in order");
                }
                let accepted = good.bytes.min(accepts);
                connection.accept(good.bytes);
                connection.take_back(good.bytes - accepted);
                taken += accepted;
                if good.ends && accepted == good.bytes {
                    prop_assert!(!ended, "an end comes once");
                    connection.end_of_guest();
                    ended = true;
                }
                connection.promise(accepts.max(100) as usize);
            }
            if ended {
                break;
            }
        }
        prop_assert!(ended);
        prop_assert_eq!(taken, total);
    }

    /// The host's stream, to a guest that hears badly, has little room, and acknowledges what it likes of it.
    #[test]
    fn every_byte_of_the_host_is_sent_until_the_guest_has_it(
        steps in prop::collection::vec((wire(), 0u16..2000), 1..200),
        total in 1u32..60_000,
    ) {
        let mut connection = established();
        // How far the host's queue was truncated, and what the guest has.
        let (mut truncated, mut has, mut has_end) = (0u32, 0u32, false);
        let mut steps = steps.into_iter();
        for _round in 0..20_000 {
            let (wire, window) = steps.next().unwrap_or((Wire::Carries, 2000));
            let at = truncated + connection.offset();
            let room = connection.room();
            let mut is_end = false;
            if at < total && room > 0 {
                let bytes = room.min(1460).min(total - at);
                connection.sent(bytes);
                let arrives = matches!(wire, Wire::Carries | Wire::Doubles);
                if arrives && at <= has {
                    has = has.max(at + bytes);
                }
            } else if at == total && !connection.has_sent_end() && connection.events.is_established {
                connection.sent_end();
                is_end = true;
            } else if connection.overdue(at < total) == Overdue::GiveUp {
                prop_assert!(false, "given up on a guest that answers");
            }
            if is_end && matches!(wire, Wire::Carries) && has == total {
                has_end = true;
            }
            let answer = Segment { window, ..said(0, has + u32::from(has_end), 0) };
            if !matches!(wire, Wire::Loses) {
                connection.hear(&answer);
                connection.has_moved();
            }
            truncated += connection.truncate(1000);
            prop_assert!(truncated <= has, "nothing is forgotten that the guest has not");
            if connection.events.end_was_heard {
                break;
            }
        }
        prop_assert!(connection.events.end_was_heard);
        prop_assert_eq!(has, total);
    }
}
