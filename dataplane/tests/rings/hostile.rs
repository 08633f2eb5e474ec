//! What a guest may do wrong with its rings, one by one. Each ends the guest's rings or its frame, is counted and
//! reported once, and the guest at the other end of the cable goes on.

use std::sync::atomic::Ordering::Relaxed;

use framewire_dataplane::driver::Queue as _;
use framewire_dataplane::virtqueue::{GuestFault, cut};
use framewire_dataplane::wire::Outcome;
use framewire_shared::counters::DropReason;
use framewire_tests::guest::packed::{AVAILABLE, USED};
use framewire_tests::guest::ring::{INDIRECT, NEXT, WRITE};
use framewire_tests::guest::{GuestMemory, Layout};

use crate::rig::REGIONS;
use crate::scene::{FRAME, HEADER, SIZE, Scene, both, packed, split};

#[test]
fn looped_chain_stops_the_ring() {
    let mut scene = Scene::new(false);
    let ring = split(&mut scene.transmitter.ring);
    ring.write_descriptor(0, scene.frame, 72, NEXT, 1);
    ring.write_descriptor(1, scene.frame, 72, NEXT, 0);
    ring.push_head(0);
    ring.publish();
    scene.expect(GuestFault::ChainTooLong);
}

#[test]
fn chain_of_more_descriptors_than_the_ring_has_stops_it() {
    let mut scene = Scene::new(true);
    let ring = packed(&mut scene.transmitter.ring);
    for index in (0..SIZE).rev() {
        ring.write_descriptor(index, scene.frame, 72, 0, NEXT | AVAILABLE);
    }
    scene.expect(GuestFault::ChainTooLong);
}

#[test]
fn looped_table_stops_the_ring() {
    let mut scene = Scene::new(false);
    let table = scene.memory.allocate(1, 16 * 4, 16);
    let words = scene.memory.words(table, 16 * 4);
    for (entry, next) in [1, 2, 3, 0].into_iter().enumerate() {
        words.word64(2 * entry).store(scene.frame, Relaxed);
        let rest: u64 = 72 | u64::from(NEXT) << 32 | next << 48;
        words.word64(2 * entry + 1).store(rest, Relaxed);
    }
    scene.transmit(&[(table, 64, INDIRECT)]);
    scene.expect(GuestFault::ChainTooLong);
}

#[test]
fn available_index_that_jumps_stops_the_ring() {
    for jump in [SIZE + 1, 0x8000, u16::MAX] {
        let mut scene = Scene::new(false);
        split(&mut scene.transmitter.ring).driver.word16(1).store(jump, Relaxed);
        scene.expect(GuestFault::AvailableIndex);
    }
}

#[test]
fn head_beyond_the_table_stops_the_ring() {
    for head in [SIZE, u16::MAX] {
        let mut scene = Scene::new(false);
        let ring = split(&mut scene.transmitter.ring);
        ring.push_head(head);
        ring.publish();
        scene.expect(GuestFault::Head);
    }
}

#[test]
fn link_beyond_the_table_stops_the_ring() {
    let mut scene = Scene::new(false);
    let ring = split(&mut scene.transmitter.ring);
    ring.write_descriptor(0, scene.frame, 72, NEXT, SIZE);
    ring.push_head(0);
    ring.publish();
    scene.expect(GuestFault::Next);
}

#[test]
fn chain_that_goes_on_with_what_is_not_available_stops_the_ring() {
    let mut scene = Scene::new(true);
    scene.transmit(&[(scene.frame, 72, NEXT)]);
    scene.expect(GuestFault::Next);
}

#[test]
fn buffer_id_beyond_the_ring_stops_it() {
    let mut scene = Scene::new(true);
    packed(&mut scene.transmitter.ring).write_descriptor(0, scene.frame, 72, SIZE, AVAILABLE);
    scene.expect(GuestFault::BufferId);
}

#[test]
fn address_that_no_region_holds_stops_the_ring() {
    let low_end = REGIONS[0].1 as u64;
    let high_end = REGIONS[1].0 + REGIONS[1].1 as u64;
    let addresses = [
        (low_end - 71, "runs into the hole"),
        (low_end, "begins in the hole"),
        (REGIONS[1].0 - 1, "begins before a region"),
        (high_end - 1, "runs past the end"),
        (u64::MAX - 10, "wraps around"),
        (u64::MAX, "the last byte there is"),
    ];
    both(|packed| {
        for (address, why) in addresses {
            let mut scene = Scene::new(packed);
            scene.transmit(&[(scene.frame, 72, NEXT), (address, 72, 0)]);
            eprintln!("{why}, packed: {packed}");
            scene.expect(GuestFault::Address);
        }
        let mut scene = Scene::new(packed);
        scene.transmit(&[(REGIONS[1].0, u32::MAX, 0)]);
        scene.expect(GuestFault::Address);
    });
}

#[test]
fn empty_descriptor_with_a_bogus_address_is_nothing() {
    both(|packed| {
        let mut scene = Scene::new(packed);
        scene.transmit(&[(u64::MAX, 0, NEXT), (scene.frame, 72, NEXT), (1, 0, 0)]);
        assert_eq!(scene.decent_receiver.receive().unwrap().frame, FRAME);
        assert_eq!(scene.rig.happening(), None);
        let mut scene = Scene::new(packed);
        scene.transmit(&[(u64::MAX, 0, 0)]);
        scene.expect_dropped(DropReason::Runt);
    });
}

#[test]
fn table_that_is_none_stops_the_ring() {
    both(|packed| {
        let table = |scene: &Scene, entries: usize, flags: u16| {
            let table = scene.memory.allocate(1, 16 * entries, 16);
            let words = scene.memory.words(table, 16 * entries);
            for entry in 0..entries {
                words.word64(2 * entry).store(scene.frame, Relaxed);
                let shift = if packed { 48 } else { 32 };
                words.word64(2 * entry + 1).store(72 | u64::from(flags) << shift, Relaxed);
            }
            table
        };
        for (len, flags, inner) in [
            (17, INDIRECT, 0),
            (0, INDIRECT, 0),
            (15, INDIRECT, 0),
            (16 * (u32::from(SIZE) + 1), INDIRECT, 0),
            (16, INDIRECT | NEXT, 0),
        ] {
            let mut scene = Scene::new(packed);
            let table = table(&scene, usize::from(SIZE) + 1, inner);
            scene.transmit(&[(table, len, flags), (scene.frame, 72, 0)]);
            eprintln!("length {len}, flags {flags}, packed: {packed}");
            scene.expect(GuestFault::Indirect);
        }
        let mut scene = Scene::new(packed);
        let place = table(&scene, 2, 0) + 1;
        scene.transmit(&[(place, 16, INDIRECT)]);
        scene.expect(GuestFault::Indirect);
        let mut scene = Scene::new(packed);
        scene.transmit(&[(REGIONS[0].1 as u64 - 8, 16, INDIRECT)]);
        scene.expect(GuestFault::Address);
    });
    let mut scene = Scene::new(false);
    let nested = scene.memory.allocate(1, 16, 16);
    scene.memory.words(nested, 16).word64(0).store(nested, Relaxed);
    scene.memory.words(nested, 16).word64(1).store(16 | u64::from(INDIRECT) << 32, Relaxed);
    scene.transmit(&[(nested, 16, INDIRECT)]);
    scene.expect(GuestFault::Indirect);
}

#[test]
fn chain_not_longer_than_a_header_is_a_runt() {
    both(|packed| {
        for len in [1, 10, 12, 25] {
            let mut scene = Scene::new(packed);
            scene.transmit(&[(scene.frame, len, 0)]);
            scene.expect_dropped(DropReason::Runt);
        }
        let mut scene = Scene::new(packed);
        let scattered: Vec<_> =
            (0..14u64).map(|at| (scene.frame + at, 1, if at < 13 { NEXT } else { 0 })).collect();
        scene.transmit(&scattered);
        scene.expect_dropped(DropReason::Runt);
    });
}

#[test]
fn header_over_many_descriptors_is_read() {
    both(|packed| {
        let mut scene = Scene::new(packed);
        let mut chain: Vec<_> = (0..12u64).map(|at| (scene.frame + at, 1, NEXT)).collect();
        chain.push((scene.frame + 12, 60, 0));
        scene.transmit(&chain);
        assert_eq!(scene.decent_receiver.receive().unwrap().frame, FRAME);
    });
}

#[test]
fn header_that_contradicts_its_frame_drops_it() {
    let bad: [(&str, [u8; 10]); 7] = [
        ("checksum beyond the frame", [1, 0, 0, 0, 0, 0, 59, 0, 0, 0]),
        ("checksum far beyond", [1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        ("segments of nothing", [1, 1, 54, 0, 0, 0, 34, 0, 16, 0]),
        ("a type that is none", [1, 2, 54, 0, 100, 0, 34, 0, 16, 0]),
        ("IP fragments, which are not offered", [1, 3, 54, 0, 100, 0, 34, 0, 6, 0]),
        ("ECN of nothing", [1, 0x80, 54, 0, 100, 0, 34, 0, 16, 0]),
        ("all bits", [0xff; 10]),
    ];
    both(|packed| {
        for (why, header) in bad {
            let mut scene = Scene::new(packed);
            scene.memory.write(scene.frame, &header);
            scene.transmit(&[(scene.frame, 72, 0)]);
            eprintln!("{why}, packed: {packed}");
            scene.expect_dropped(DropReason::BadHeader);
        }
    });
}

#[test]
fn segments_of_frames_that_are_none_are_dropped_where_they_are_cut() {
    // The header is plausible, the frame is no TCP: whoever must cut it finds out.
    both(|packed| {
        let mut scene = Scene::new(packed);
        scene.memory.write(scene.frame, &[1, 1, 54, 0, 1, 0, 34, 0, 16, 0]);
        scene.transmit(&[(scene.frame, 72, 0)]);
        assert_eq!(scene.rig.queue(1).counters().dropped[DropReason::BadHeader as usize].get(), 1);
        assert!(scene.decent_receiver.receive().is_none());
        scene.expect_both_go_on();
    });
}

#[test]
fn buffers_of_the_wrong_direction_stop_the_ring() {
    both(|packed| {
        let mut scene = Scene::new(packed);
        scene.transmit(&[(scene.frame, 72, WRITE)]);
        scene.expect(GuestFault::Direction);
        let mut scene = Scene::new(packed);
        Scene::offer(&mut scene.receiver.ring, &[(scene.frame, 2048, 0)]);
        scene.decent_transmitter.send(&HEADER, &FRAME, &Layout::default());
        scene.decent_transmitter.ring.publish();
        scene.rig.carry_all(1);
        assert_eq!(scene.decent_transmitter.reclaim(), 1);
        scene.expect(GuestFault::Direction);
    });
}

#[test]
fn frame_that_fits_into_no_buffer_is_dropped_and_the_next_goes_on() {
    both(|packed| {
        let mut scene = Scene::new(packed);
        // Twenty bytes: less than a header and a frame, in all buffers that the ring can hold.
        for _buffer in 0..SIZE {
            Scene::offer(&mut scene.receiver.ring, &[(scene.frame, 1, WRITE)]);
            if packed {
                break;
            }
        }
        if packed {
            for index in 0..SIZE {
                crate::scene::packed(&mut scene.receiver.ring).write_descriptor(
                    index,
                    scene.frame,
                    1,
                    0,
                    WRITE | AVAILABLE,
                );
            }
        }
        scene.decent_transmitter.send(&HEADER, &FRAME, &Layout::default());
        scene.decent_transmitter.ring.publish();
        scene.rig.carry_all(1);
        assert_eq!(scene.decent_transmitter.reclaim(), 1);
        assert_eq!(scene.rig.queue(0).counters().dropped[DropReason::TooLong as usize].get(), 1);
    });
}

#[test]
fn guest_that_never_offers_buffers_holds_its_peer_back_and_loses_nothing() {
    both(|packed| {
        let mut scene = Scene::new(packed);
        scene.decent_transmitter.send(&HEADER, &FRAME, &Layout::default());
        scene.decent_transmitter.ring.publish();
        for _turn in 0..100 {
            assert_eq!(scene.rig.carry(1), Outcome::HeldBack);
        }
        assert_eq!(scene.decent_transmitter.reclaim(), 0);
        scene.receiver.refill(1);
        scene.receiver.ring.publish();
        scene.rig.carry_all(1);
        assert_eq!(scene.receiver.receive().unwrap().frame, FRAME);
        assert_eq!(scene.decent_transmitter.reclaim(), 1);
    });
}

#[test]
fn retracted_descriptor_stops_the_ring() {
    let mut scene = Scene::new(true);
    let ring = packed(&mut scene.transmitter.ring);
    ring.write_descriptor(1, scene.frame, 72, 1, AVAILABLE | USED);
    ring.write_descriptor(0, scene.frame, 72, 0, NEXT | AVAILABLE);
    scene.expect(GuestFault::Next);
}

#[test]
fn memory_file_that_is_cut_short_ends_its_guest_only() {
    cut::install().unwrap();
    both(|packed| {
        for region in 0..REGIONS.len() {
            let mut scene = Scene::with(packed, GuestMemory::unsealed(&REGIONS));
            Scene::offer(&mut scene.transmitter.ring, &[(scene.frame, 72, 0)]);
            // From here on the guest's own mapping must not be touched either.
            rustix::fs::ftruncate(scene.memory.regions()[region].file(), 0).unwrap();
            if region == 0 {
                // Nothing lies there: its guest lives until something does.
                assert_eq!(scene.rig.carry(0), Outcome::Moved);
                assert_eq!(scene.decent_receiver.receive().unwrap().frame, FRAME);
            } else {
                scene.rig.carry_all(0);
                scene.expect(GuestFault::MemoryCut);
            }
        }
    });
}
