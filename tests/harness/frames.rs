//! Small Ethernet frames, made by hand, whose every byte a test can name.
//!
//! Test frames use an ethertype that is reserved for experiments, so that nothing the kernel says by itself (ARP,
//! IPv6 discovery) can be mistaken for one.

/// The ethertype of test frames: local experimental ethertype 1 of IEEE 802.
pub const ETHERTYPE_TEST: u16 = 0x88b5;

/// The shortest frame that Ethernet allows, checksum not counted.
pub const FRAME_MIN: usize = 60;

/// Addresses of two imaginary stations (locally administered).
pub const STATION_A: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
/// The other one.
pub const STATION_B: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];
/// Everybody.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// A frame: addresses, ethertype, payload, not padded.
#[must_use]
pub fn ethernet(to: [u8; 6], from: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend(to);
    frame.extend(from);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A broadcast test frame of `length` bytes that carries `number` and, behind it, bytes that depend on both number and
/// place: a frame that was cut, mixed with another or shifted is not equal to any other.
#[must_use]
pub fn numbered(number: u32, length: usize) -> Vec<u8> {
    assert!(length >= 18, "a numbered frame has at least 18 bytes");
    let mut frame = ethernet(BROADCAST, STATION_A, ETHERTYPE_TEST, &number.to_be_bytes());
    frame.extend((18..length).map(|place| pattern(number, place)));
    frame
}

/// The number of a test frame, if every byte of it is as [`numbered`] made it.
#[must_use]
pub fn number_of(frame: &[u8]) -> Option<u32> {
    let bytes: [u8; 4] = frame.get(14..18)?.try_into().ok()?;
    let number = u32::from_be_bytes(bytes);
    (numbered(number, frame.len()) == frame).then_some(number)
}

fn pattern(number: u32, place: usize) -> u8 {
    let mixed =
        number.wrapping_mul(0x9e37_79b1) ^ u32::try_from(place).unwrap_or(0).wrapping_mul(0x85eb_ca6b);
    mixed.to_be_bytes()[0]
}

/// Bytes as hex, for messages.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_cut_or_changed_frame_has_no_number() {
        let frame = numbered(7, 100);
        assert_eq!(number_of(&frame), Some(7));
        let mut changed = frame.clone();
        changed[60] ^= 1;
        assert_eq!(number_of(&changed), None);
        assert_eq!(number_of(&frame[..17]), None);
    }
}
