//! Characters out of bytes that claim to be UTF-8.
//!
//! Neither `std::str` nor `from_utf8_lossy` can be used: QEMU takes U+0000 written as C0 80, refuses
//! noncharacters, and where it replaces what is broken it does so per sequence (with the lengths of UTF-8's first
//! edition, up to six bytes), which decides how many U+FFFD a client sees.

/// The first character of `bytes` and its length in bytes; None with the length of what is broken.
/// `bytes` must not be empty.
pub(super) fn first(bytes: &[u8]) -> (Option<char>, usize) {
    let lead = bytes[0];
    let (want, smallest) = match lead {
        0x00..=0x7F => return (Some(char::from(lead)), 1),
        0x80..=0xBF | 0xFE..=0xFF => return (None, 1),
        0xC0..=0xDF => (1, 0x80),
        0xE0..=0xEF => (2, 0x800),
        0xF0..=0xF7 => (3, 0x1_0000),
        0xF8..=0xFB => (4, 0x20_0000),
        0xFC..=0xFD => (5, 0x400_0000),
    };
    let more = bytes[1..].iter().take(want).take_while(|&&b| b & 0xC0 == 0x80).count();
    let length = 1 + more;
    if more < want {
        return (None, length);
    }
    let head = u32::from(lead) & (0x3F >> want);
    let code = bytes[1..length].iter().fold(head, |code, &b| code << 6 | u32::from(b & 0x3F));
    if code == 0 && length == 2 {
        return (Some('\0'), length);
    }
    let fits = code >= smallest;
    (char::from_u32(code).filter(|&c| fits && !is_noncharacter(c)), length)
}

/// Characters that Unicode promises never to assign.
pub(super) fn is_noncharacter(c: char) -> bool {
    let code = u32::from(c);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

/// Text for an error message: what is broken becomes U+FFFD.
pub(super) fn lossy(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let (c, length) = first(bytes);
        text.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
        bytes = &bytes[length..];
    }
    text
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn all_that_std_encodes_is_read_but_noncharacters() {
        for c in '\0'..=char::MAX {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).as_bytes();
            let wanted = (!is_noncharacter(c)).then_some(c);
            assert_eq!(first(bytes), (wanted, bytes.len()), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn broken_sequences_count_as_qemu_counts_them() {
        // Each input and its replacement were seen on the wire of QEMU 7.2.22.
        let seen: [(&[u8], &str); 12] = [
            (b"\xc3", "\u{FFFD}"),
            (b"\xe2\x82", "\u{FFFD}"),
            (b"\x80\x80", "\u{FFFD}\u{FFFD}"),
            (b"\xc0\x80", "\0"),
            (b"\xed\xa0\x80", "\u{FFFD}"),
            (b"\xf8\x88\x80\x80\x80", "\u{FFFD}"),
            (b"\xfc\x84\x80\x80\x80\x80", "\u{FFFD}"),
            (b"\xef\xbf\xbf", "\u{FFFD}"),
            (b"\xc3\xc3\xa9", "\u{FFFD}\u{E9}"),
            (b"\xf4\x90\x80\x80", "\u{FFFD}"),
            (b"\xe0\x80\x80", "\u{FFFD}"),
            (b"\xfe\xff", "\u{FFFD}\u{FFFD}"),
        ];
        for (bytes, text) in seen {
            assert_eq!(lossy(bytes), text, "{bytes:x?}");
        }
    }
}
