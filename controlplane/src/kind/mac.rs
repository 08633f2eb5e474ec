//! Ethernet addresses as QEMU's options write them.

use crate::qmp::answer::QmpError;
use crate::qmp::qapi::number::{Base, c_integer, whole_integer};

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Six hexadecimal numbers with `:` or `-` between them, or one number below 2^24 for the last three bytes.
    pub fn parse(text: &str) -> Result<Self, QmpError> {
        read(text).ok_or_else(|| QmpError::generic("invalid syntax for ethernet address"))
    }

    /// An address of many, which no NIC can have.
    #[must_use]
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

fn read(text: &str) -> Option<Mac> {
    let offset = whole_integer(text, Base::Prefixed).and_then(|offset| u32::try_from(offset).ok());
    if let Some([0, a, b, c]) = offset.map(u32::to_be_bytes) {
        return Some(Mac([0, 0, 0, a, b, c]));
    }
    let mut bytes = [0; 6];
    let mut rest = text;
    for (index, byte) in bytes.iter_mut().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix([':', '-'])?;
        }
        let (value, after) = c_integer(rest, Base::Hexadecimal)?;
        *byte = u8::try_from(value).ok()?;
        rest = after;
    }
    rest.is_empty().then_some(Mac(bytes))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        assert_eq!(read("52:54:00-aa:bb:1"), Some(Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1])));
        assert_eq!(read("0x123456"), Some(Mac([0, 0, 0, 0x12, 0x34, 0x56])));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["zz", "", "52:54:00:aa:bb", "52:54:00:aa:bb:01:02", "52:54:00:aa:bb:100", "16777216"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
