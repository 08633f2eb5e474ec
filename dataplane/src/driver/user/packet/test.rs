use proptest::prelude::*;

use super::*;

/// An IPv4 frame with this protocol's bytes, its checksum right.
fn frame4(bits: u16, body: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + body.len()).unwrap().to_be_bytes();
    let mut header = [0x45, 0, total[0], total[1], 0x12, 0x34, 0, 0, 64, 17, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2];
    header[6..8].copy_from_slice(&bits.to_be_bytes());
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from(folded & 0xffff).unwrap();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [&[0x52, 0x55, 10, 0, 2, 2, 2, 0, 0, 0, 0, 1, 8, 0][..], &header, body].concat()
}

fn ip(frame: &[u8]) -> Result<Ip, Malformed> {
    match parse(&frame[..frame.len().min(HEAD_BYTES)], frame.len())? {
        Packet::Ip(ip) => Ok(ip),
        Packet::Arp(_) => Err(Malformed),
    }
}

#[test]
fn a_datagram_is_where_its_headers_say() {
    let frame = frame4(0, &[0x13, 0x88, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    let packet = ip(&frame).unwrap();
    assert_eq!((packet.at, packet.bytes, packet.fragment), (34, 12, None));
    let udp = udp(&packet, &frame).unwrap();
    assert_eq!(udp.source, "10.0.2.15:5000".parse().unwrap());
    assert_eq!(udp.destination, "10.0.2.2:53".parse().unwrap());
    assert_eq!((udp.at, udp.bytes), (42, 4));
}

#[test]
fn bytes_behind_the_total_length_are_none_of_the_packet() {
    let mut frame = frame4(0, &[0x13, 0x88, 0, 53, 0, 8, 0, 0]);
    frame.resize(60, 0xee);
    assert_eq!(ip(&frame).unwrap().bytes, 8);
}

#[test]
fn lengths_that_do_not_hold_are_no_packet() {
    let good = frame4(0, &[0x13, 0x88, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    for (at, value, why) in [
        (14, 0x65, "version"),
        (14, 0x44, "a header that is too short"),
        (14, 0x4f, "a header past the packet"),
        (16, 0xff, "total length past the frame"),
        (24, 0, "checksum"),
    ] {
        let mut frame = good.clone();
        frame[at] = value;
        assert_eq!(ip(&frame), Err(Malformed), "{why}");
    }
    for length in [0u16, 7, 13, 0xffff] {
        let [high, low] = length.to_be_bytes();
        let frame = frame4(0, &[0x13, 0x88, 0, 53, high, low, 0, 0, 1, 2, 3, 4]);
        assert_eq!(udp(&ip(&frame).unwrap(), &frame), Err(Malformed), "UDP length {length}");
    }
    let short = frame4(0, &[0x13, 0x88, 0, 53]);
    assert_eq!(udp(&ip(&short).unwrap(), &short), Err(Malformed), "half a UDP header");
}

#[test]
fn fragments_are_told_apart() {
    let middle = ip(&frame4(0x2000 | 185, &[0; 8])).unwrap().fragment;
    assert_eq!(middle, Some(Fragment { id: 0x1234, offset: 1480, has_more: true }));
    assert_eq!(ip(&frame4(0x4000, &[0; 8])).unwrap().fragment, None, "do not fragment");
}

#[test]
fn an_arp_request_must_be_whole() {
    let frame = [
        &[0xff; 6][..],
        &[2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 2, 15],
        &[0, 0, 0, 0, 0, 0, 10, 0, 2, 2],
    ]
    .concat();
    let Ok(Packet::Arp(arp)) = parse(&frame, frame.len()) else { panic!("an ARP request") };
    assert_eq!((arp.operation, arp.target), (1, Ipv4Addr::new(10, 0, 2, 2)));
    for len in 0..frame.len() {
        assert_eq!(parse(&frame[..len], len), Err(Malformed), "{len} bytes");
    }
}

proptest! {
    #[test]
    fn whatever_is_sent_ends_within_its_frame(
        ethertype in prop::sample::select(vec![[8, 0], [8, 6], [0x86, 0xdd]]),
        version in prop::sample::select(vec![0x45u8, 0x46, 0x4f, 0x60, 0x00]),
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if bytes.len() > 14 {
            bytes[12..14].copy_from_slice(&ethertype);
            bytes[14] = version;
        }
        let head = &bytes[..bytes.len().min(HEAD_BYTES)];
        if let Ok(Packet::Ip(ip)) = parse(head, bytes.len()) {
            prop_assert!(ip.at + ip.bytes <= bytes.len());
            if let Ok(udp) = udp(&ip, head) {
                prop_assert!(udp.at + udp.bytes <= ip.at + ip.bytes);
            }
        }
    }
}
