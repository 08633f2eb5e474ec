//! Numbers as the C library reads them, because option texts are full of them: `0x50` and `010` are numbers in
//! QEMU's ports and options, a blank in front is no fault, and text behind is somebody else's question.
//!
//! `str::parse` refuses all of that, so the rules of `strtol` are written out here.

/// Which notations count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Decimal, `0x` hexadecimal, leading `0` octal.
    Prefixed,
    /// Decimal only.
    Decimal,
    /// Hexadecimal, with or without `0x`.
    Hexadecimal,
}

/// More than any caller's range, and far from overflow.
const SATURATED: i128 = 1 << 100;

/// Reads the number that `text` begins with, and gives it (huge ones saturated) with the rest of the text.
/// None if there is no digit.
#[must_use]
pub fn c_integer(text: &str, base: Base) -> Option<(i128, &str)> {
    let unsigned = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let (negative, digits) = match unsigned.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, unsigned.strip_prefix('+').unwrap_or(unsigned)),
    };
    let (radix, digits) = radix_of(digits, base);
    let end = digits.find(|character: char| !character.is_digit(radix)).unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    let add = |sum: i128, digit: u32| (sum * i128::from(radix) + i128::from(digit)).min(SATURATED);
    let magnitude = digits[..end].chars().filter_map(|character| character.to_digit(radix)).fold(0, add);
    Some((if negative { -magnitude } else { magnitude }, &digits[end..]))
}

/// The radix, and the digits without their prefix. `0x` counts only if a digit follows: else `0` is the number.
fn radix_of(digits: &str, base: Base) -> (u32, &str) {
    let after_prefix = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let hexadecimal = after_prefix.filter(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit()));
    match (base, hexadecimal) {
        (Base::Decimal, _) => (10, digits),
        (Base::Prefixed | Base::Hexadecimal, Some(rest)) => (16, rest),
        (Base::Hexadecimal, None) => (16, digits),
        (Base::Prefixed, None) if digits.starts_with('0') => (8, digits),
        (Base::Prefixed, None) => (10, digits),
    }
}

/// A whole text as a number: nothing may follow.
#[must_use]
pub fn whole_integer(text: &str, base: Base) -> Option<i128> {
    c_integer(text, base).filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

/// A size: a number with an optional fraction and one of QEMU's suffixes (`64`, `1.5M`, `2G`).
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let is_hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    let base = if is_hexadecimal { Base::Hexadecimal } else { Base::Decimal };
    let (whole, rest) = c_integer(text, base).filter(|_| !text.contains('-'))?;
    let digits_end = rest.strip_prefix('.').map(|fraction| {
        let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
        fraction.split_at(end)
    });
    let (fraction, suffix) = digits_end.unwrap_or(("", rest));
    // There is no part of a byte.
    let unit = unit_of(suffix).filter(|unit| *unit > 1 || fraction.is_empty())?;
    // Nine digits after the point tell more than any unit below E can hold apart.
    let billionths: i128 = format!("{fraction:0<9.9}").parse().ok()?;
    u64::try_from(whole.checked_mul(unit)?.checked_add(billionths * unit / 1_000_000_000)?).ok()
}

fn unit_of(suffix: &str) -> Option<i128> {
    let shift = match suffix {
        "" | "B" | "b" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        "P" | "p" => 50,
        "E" | "e" => 60,
        _ => return None,
    };
    Some(1 << shift)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        assert_eq!(c_integer("80x", Base::Prefixed), Some((80, "x")));
        assert_eq!(c_integer(" -0x1F", Base::Prefixed), Some((-31, "")));
        assert_eq!(c_integer("0x", Base::Prefixed), Some((0, "x")));
        assert_eq!(c_integer("010", Base::Prefixed), Some((8, "")));
        assert_eq!(c_integer("010", Base::Decimal), Some((10, "")));
        assert_eq!(c_integer("aa:bb", Base::Hexadecimal), Some((0xaa, ":bb")));
        assert_eq!(c_integer("", Base::Prefixed), None);
        assert_eq!(c_integer("-", Base::Prefixed), None);
    }

    #[test]
    fn a_number_of_a_thousand_digits_saturates() {
        assert_eq!(whole_integer(&"9".repeat(1000), Base::Decimal), Some(SATURATED));
    }

    #[test]
    fn sizes_have_suffixes_and_fractions() {
        assert_eq!(size("64"), Some(64));
        assert_eq!(size("1.5M"), Some(1_572_864));
        assert_eq!(size("2G"), Some(1 << 31));
        assert_eq!(size("0x10k"), Some(16_384));
        assert_eq!(size("16E"), None);
        assert_eq!(size("1.2.3"), None);
        assert_eq!(size("x"), None);
        assert_eq!(size("-0"), None);
        assert_eq!(size("1.5"), None);
    }
}
