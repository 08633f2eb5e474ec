//! A hostile guest and a decent one, at the two ends of a cable.

use std::sync::Arc;

use framewire_dataplane::driver::guest::Accepts;
use framewire_dataplane::driver::{AnyQueue, Queue as _};
use framewire_dataplane::virtqueue::GuestFault;
use framewire_shared::counters::DropReason;
use framewire_shared::happenings::{Happening, HappeningKind};
use framewire_tests::guest::packed::AVAILABLE;
use framewire_tests::guest::{GuestMemory, Layout, Manners, Receiver, Ring, Shape, Transmitter};

use crate::rig::{REGIONS, Rig, counters, device, manners};

const MANNERS: Manners = Manners { modern: true, mergeable: true };
pub(crate) const SIZE: u16 = 16;
pub(crate) const HEADER: [u8; 12] = [0; 12];
pub(crate) const FRAME: [u8; 60] = [7; 60];

/// A hostile guest on side 0, a decent one on side 1.
pub(crate) struct Scene {
    pub(crate) memory: Arc<GuestMemory>,
    pub(crate) transmitter: Transmitter,
    pub(crate) receiver: Receiver,
    pub(crate) decent_transmitter: Transmitter,
    pub(crate) decent_receiver: Receiver,
    pub(crate) rig: Rig,
    /// An address with a whole frame and its header.
    pub(crate) frame: u64,
}

fn shape(packed: bool) -> Shape {
    Shape { indirect: true, ..Shape::plain(packed, SIZE) }
}

impl Scene {
    pub(crate) fn new(packed: bool) -> Scene {
        Scene::with(packed, GuestMemory::new(&REGIONS))
    }

    /// With the hostile guest's memory.
    pub(crate) fn with(packed: bool, memory: Arc<GuestMemory>) -> Scene {
        let memories = [memory, GuestMemory::new(&REGIONS)];
        let layout = Layout::default();
        let transmitters = [0, 1].map(|i: usize| Transmitter::new(&memories[i], 1, shape(packed), 2048));
        let receivers =
            [0, 1].map(|i: usize| Receiver::new(&memories[i], 1, shape(packed), MANNERS, (2048, &layout)));
        let queues = [0, 1].map(|i: usize| {
            let pair = (&transmitters[i], shape(packed));
            let receiver = (&receivers[i], shape(packed));
            AnyQueue::Guest(device(
                &memories[i],
                pair,
                receiver,
                manners(MANNERS, Accepts::default()),
                counters(),
            ))
        });
        let [memory, _decent] = memories;
        let frame = memory.allocate(1, 2048, 64);
        memory.write(frame, &[&HEADER[..], &FRAME].concat());
        let [transmitter, decent_transmitter] = transmitters;
        let [receiver, mut decent_receiver] = receivers;
        decent_receiver.refill(SIZE.into());
        decent_receiver.ring.publish();
        Scene {
            memory,
            transmitter,
            receiver,
            decent_transmitter,
            decent_receiver,
            rig: Rig::new(queues),
            frame,
        }
    }

    /// Makes `descriptors` (address, length, flags) available as one chain, whatever they say.
    pub(crate) fn offer(ring: &mut Ring, descriptors: &[(u64, u32, u16)]) {
        match ring {
            Ring::Split(ring) => {
                for (index, (address, len, flags)) in (0u16..).zip(descriptors) {
                    ring.write_descriptor(index, *address, *len, *flags, index + 1);
                }
                ring.push_head(0);
                ring.publish();
            }
            Ring::Packed(ring) => {
                for (index, (address, len, flags)) in descriptors.iter().enumerate().rev() {
                    let index = u16::try_from(index).unwrap();
                    ring.write_descriptor(index, *address, *len, 0, flags | AVAILABLE);
                }
            }
        }
    }

    pub(crate) fn transmit(&mut self, descriptors: &[(u64, u32, u16)]) {
        Self::offer(&mut self.transmitter.ring, descriptors);
        self.rig.carry(0);
    }

    /// The rings of the hostile guest have ended for `fault`, which was counted and told once; its peer goes on.
    pub(crate) fn expect(&mut self, fault: GuestFault) {
        let happening =
            Happening { kind: HappeningKind::GuestFault, queue: 7, detail: u64::from(fault as u32) };
        self.rig.carry_all(0);
        assert_eq!(self.rig.happening(), Some(happening), "{fault:?}");
        assert_eq!(self.rig.queue(0).counters().guest_faults.get(), 1);
        self.rig.carry_all(0);
        assert_eq!(self.rig.happening(), None, "told once");
        assert!(self.decent_receiver.receive().is_none(), "nothing of it was delivered");
        self.expect_peer_goes_on();
    }

    /// What the decent guest transmits is taken and counted, and it hears no complaint.
    pub(crate) fn expect_peer_goes_on(&mut self) {
        let before = self.rig.queue(1).counters().received_frames.get();
        assert!(self.decent_transmitter.send(&HEADER, &FRAME, &Layout::default()));
        self.decent_transmitter.ring.publish();
        self.rig.carry_all(1);
        assert_eq!(self.decent_transmitter.reclaim(), 1);
        assert_eq!(self.rig.queue(1).counters().received_frames.get(), before + 1);
        assert_eq!(self.rig.queue(1).counters().guest_faults.get(), 0);
    }

    /// The frame was dropped for `reason`, its chain given back, and the ring goes on.
    pub(crate) fn expect_dropped(&mut self, reason: DropReason) {
        let dropped = self.rig.queue(0).counters().dropped[reason as usize].get();
        assert_eq!((dropped, self.rig.happening()), (1, None), "{reason:?}");
        assert!(self.decent_receiver.receive().is_none());
        self.expect_both_go_on();
    }

    /// The ring that had something wrong in it is still served, and the peer's frames still arrive there.
    pub(crate) fn expect_both_go_on(&mut self) {
        self.receiver.refill(1);
        self.receiver.ring.publish();
        self.expect_peer_goes_on();
        assert_eq!(self.receiver.receive().unwrap().frame, FRAME);
    }
}

pub(crate) fn both(test: impl Fn(bool)) {
    test(false);
    test(true);
}

pub(crate) fn split(ring: &mut Ring) -> &mut framewire_tests::guest::split::Split {
    let Ring::Split(ring) = ring else { panic!("a split ring") };
    ring
}

pub(crate) fn packed(ring: &mut Ring) -> &mut framewire_tests::guest::packed::Packed {
    let Ring::Packed(ring) = ring else { panic!("a packed ring") };
    ring
}
