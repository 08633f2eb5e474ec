use framewire_shared::driver::{Batching, Cookies, DgramOptions};

use super::*;
use crate::frame::Strip;

const FRAME: &[u8] = b"a frame of no account";

fn options(carrier: Carrier) -> L2tpv3Options {
    let dgram = DgramOptions::new(Batching::Single, &[]).unwrap();
    L2tpv3Options::new(dgram, carrier, 0x1122_3344, 0x5566_7788)
}

fn cookies(is_64_bit: bool) -> Cookies {
    Cookies { send: 0xa1a2_a3a4_a5a6_a7a8, receive: 0xb1b2_b3b4_b5b6_b7b8, is_64_bit }
}

/// Where the tunnel finds the frame in these bytes.
fn open(options: &L2tpv3Options, bytes: &[u8]) -> Result<usize, DropReason> {
    let mut strip = Strip::new(1 << 17).unwrap();
    let whole = strip.landing().unwrap().segment().part(0, bytes.len());
    whole.write(0, bytes);
    Tunnel::new(options).frame_at(whole)
}

#[test]
fn header_is_as_the_options_say() {
    let header = |options: &L2tpv3Options, number| Tunnel::new(options).header(number).to_vec();
    let udp = options(Carrier::Udp);
    assert_eq!(header(&udp, 1), [0, 3, 0, 0, 0x11, 0x22, 0x33, 0x44]);
    assert_eq!(header(&options(Carrier::Ipv6), 1), [0x11, 0x22, 0x33, 0x44]);
    let long = udp.with_cookies(cookies(true)).with_counter(Counter::Counting).with_offset(3);
    let wanted =
        [&[0, 3, 0, 0, 0x11, 0x22, 0x33, 0x44][..], &[0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8]];
    assert_eq!(header(&long, 0x1_0000_0002), [&wanted.concat()[..], &[0, 0, 0, 2, 0, 0, 0]].concat());
    let short = options(Carrier::Ipv4).with_cookies(cookies(false)).with_counter(Counter::Pinned);
    assert_eq!(header(&short, 7), [0x11, 0x22, 0x33, 0x44, 0xa5, 0xa6, 0xa7, 0xa8, 0, 0, 0, 0]);
}

#[test]
fn what_the_other_end_sends_is_opened() {
    for (carrier, before) in [(Carrier::Udp, 0), (Carrier::Ipv6, 0), (Carrier::Ipv4, 20), (Carrier::Ipv4, 60)]
    {
        for is_64_bit in [false, true] {
            let ours = options(carrier)
                .with_cookies(cookies(is_64_bit))
                .with_counter(Counter::Pinned)
                .with_offset(5);
            let swapped = Cookies { send: cookies(is_64_bit).receive, receive: 0, is_64_bit };
            let theirs = L2tpv3Options::new(*ours.dgram(), carrier, 0x5566_7788, 0)
                .with_cookies(swapped)
                .with_counter(Counter::Counting)
                .with_offset(5);
            let mut ip = vec![0; before];
            ip.iter_mut().take(1).for_each(|first| *first = 0x40 | u8::try_from(before / 4).unwrap());
            let header = Tunnel::new(&theirs).header(9).to_vec();
            let datagram = [&ip[..], &header, FRAME].concat();
            let at = open(&ours, &datagram).unwrap();
            assert_eq!(&datagram[at..], FRAME);
        }
    }
}

#[test]
fn what_is_foreign_is_told_apart() {
    let ours = options(Carrier::Udp).with_cookies(cookies(true));
    let good =
        [&[0, 3, 0, 0, 0x55, 0x66, 0x77, 0x88][..], &cookies(true).receive.to_be_bytes(), FRAME].concat();
    assert!(open(&ours, &good).is_ok());
    for bit in 0..good.len() * 8 {
        let mut forged = good.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let wanted = match bit / 8 {
            4..8 => Err(DropReason::Foreign),
            8..16 => Err(DropReason::WrongCookie),
            _first_word_or_frame => Ok(16),
        };
        assert_eq!(open(&ours, &forged), wanted, "bit {bit}");
    }
    for short in 0..17 {
        assert_eq!(open(&ours, &good[..short]), Err(DropReason::Runt), "{short} bytes");
    }
    // An IP header that is too short to be one, or longer than what came.
    let raw = options(Carrier::Ipv4);
    assert_eq!(open(&raw, &[0x44; 100]), Err(DropReason::Runt));
    assert_eq!(open(&raw, &[0x4f; 60]), Err(DropReason::Runt));
}
