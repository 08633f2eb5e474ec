//! A TCP segment's header: read into a value, and written.

use super::super::packet::{Ip, Malformed, array};

/// Without options.
pub(in super::super) const HEADER_BYTES: usize = 20;

/// Flags, as they lie in the header.
pub(in super::super) mod flag {
    pub(in super::super::super) const FIN: u8 = 1;
    pub(in super::super::super) const SYN: u8 = 2;
    pub(in super::super::super) const RST: u8 = 4;
    pub(in super::super::super) const PSH: u8 = 8;
    pub(in super::super::super) const ACK: u8 = 16;
}

/// What a segment says. The urgent pointer is not among it: nothing is ever computed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in super::super) struct Segment {
    /// From port, and to port.
    pub(in super::super) ports: [u16; 2],
    /// Number of its first byte.
    pub(in super::super) seq: u32,
    /// Number of the next byte that its sender expects.
    pub(in super::super) ack: u32,
    /// Of [`flag`].
    pub(in super::super) flags: u8,
    /// As it lies in the header: not scaled.
    pub(in super::super) window: u16,
    /// Where in the frame its payload begins,
    pub(in super::super) at: usize,
    /// and how many bytes it has.
    pub(in super::super) bytes: u32,
    /// The largest segment that its sender takes, if it says so.
    pub(in super::super) mss: Option<u16>,
    /// How far its sender's windows are to be shifted, if it says so.
    pub(in super::super) scale: Option<u8>,
}

impl Segment {
    /// Whether it has a flag.
    pub(in super::super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// How many numbers it takes: bytes, and one each for its beginning and end of the stream.
    pub(in super::super) fn len(&self) -> u32 {
        self.bytes + u32::from(self.has(flag::SYN)) + u32::from(self.has(flag::FIN))
    }
}

/// Reads the header of a packet; `head` is the beginning of its frame.
pub(in super::super) fn parse(ip: &Ip, head: &[u8]) -> Result<Segment, Malformed> {
    let fixed: [u8; HEADER_BYTES] = array(head, ip.at)?;
    let header_bytes = usize::from(fixed[12] >> 4) * 4;
    if header_bytes < HEADER_BYTES || header_bytes > ip.bytes {
        return Err(Malformed);
    }
    let options = head.get(ip.at + HEADER_BYTES..ip.at + header_bytes).ok_or(Malformed)?;
    let mut segment = Segment {
        ports: [word(&fixed, 0), word(&fixed, 2)],
        seq: u32::from_be_bytes(array(&fixed, 4)?),
        ack: u32::from_be_bytes(array(&fixed, 8)?),
        flags: fixed[13],
        window: word(&fixed, 14),
        at: ip.at + header_bytes,
        bytes: u32::try_from(ip.bytes - header_bytes).map_err(|_too_long| Malformed)?,
        mss: None,
        scale: None,
    };
    read_options(options, &mut segment);
    Ok(segment)
}

/// Reads what we know of the options; the rest is passed over, and what has no end ends them.
fn read_options(mut options: &[u8], segment: &mut Segment) {
    loop {
        match *options {
            [1, ref rest @ ..] => options = rest,
            [0, ..] | [] | [_] => return,
            [kind, len, ..] => {
                let Some((option, rest)) = options.split_at_checked(usize::from(len).max(2)) else { return };
                match (kind, option) {
                    (2, [_, 4, high, low]) => segment.mss = Some(u16::from_be_bytes([*high, *low])),
                    (3, [_, 3, scale]) => segment.scale = Some((*scale).min(14)),
                    (_, _) => {}
                }
                options = rest;
            }
        }
    }
}

fn word(bytes: &[u8; HEADER_BYTES], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Writes a header without its checksum, and our options if it begins a stream. Returns how long it is.
pub(in super::super) fn write(segment: &Segment, into: &mut [u8; HEADER_BYTES + 8]) -> usize {
    into[..2].copy_from_slice(&segment.ports[0].to_be_bytes());
    into[2..4].copy_from_slice(&segment.ports[1].to_be_bytes());
    into[4..8].copy_from_slice(&segment.seq.to_be_bytes());
    into[8..12].copy_from_slice(&segment.ack.to_be_bytes());
    let mut len = HEADER_BYTES;
    if let Some(mss) = segment.mss {
        let [high, low] = mss.to_be_bytes();
        into[len..len + 4].copy_from_slice(&[2, 4, high, low]);
        len += 4;
    }
    if let Some(scale) = segment.scale {
        into[len..len + 4].copy_from_slice(&[1, 3, 3, scale]);
        len += 4;
    }
    into[12] = u8::try_from(len / 4).expect("28 at most") << 4;
    into[13] = segment.flags;
    into[14..16].copy_from_slice(&segment.window.to_be_bytes());
    into[16..20].fill(0);
    len
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(bytes: usize) -> Ip {
        let address = std::net::IpAddr::from([10, 0, 2, 15]);
        Ip {
            from: [0; 6],
            source: address,
            destination: address,
            protocol: 6,
            ttl: 64,
            tos: 0,
            header_at: 0,
            at: 0,
            bytes,
            fragment: None,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let segment = Segment {
            ports: [1234, 80],
            seq: 0xffff_fff0,
            ack: 7,
            flags: flag::SYN | flag::ACK,
            window: 8192,
            at: 28,
            bytes: 0,
            mss: Some(1460),
            scale: Some(8),
        };
        let mut bytes = [0xee; 28];
        assert_eq!(write(&segment, &mut bytes), 28);
        assert_eq!(parse(&ip(28), &bytes), Ok(segment));
        assert_eq!(segment.len(), 1);
    }

    #[test]
    fn headers_past_their_packet_are_malformed() {
        let mut bytes = [0; 60];
        for (offset, packet) in [(4, 60), (6, 23), (15, 59)] {
            bytes[12] = offset << 4;
            assert_eq!(parse(&ip(packet), &bytes), Err(Malformed), "offset {offset} in {packet}");
        }
        bytes[12] = 5 << 4;
        assert_eq!(parse(&ip(19), &bytes[..19]), Err(Malformed));
    }

    #[test]
    fn options_without_end_end_the_options() {
        for options in [&[2u8, 4, 5][..], &[3, 255, 1, 1], &[2, 0, 2, 4], &[254], &[8, 1, 1]] {
            let mut segment = Segment::default();
            read_options(options, &mut segment);
            assert_eq!((segment.mss, segment.scale), (None, None), "{options:?}");
        }
        let mut segment = Segment::default();
        read_options(&[1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3, 200], &mut segment);
        assert_eq!(segment.scale, Some(14));
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(segment) = parse(&ip(bytes.len()), &bytes) {
                prop_assert!(segment.at + segment.bytes as usize <= bytes.len());
            }
        }
    }
}
