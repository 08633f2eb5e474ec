//! Numbers: integers up to 64 bits keep their digits, all others are doubles.
//!
//! QEMU reads `1e400` as an infinite double and, where a client used it as an id, prints the token `inf`, which is no
//! JSON. A `serde_json` number cannot be infinite, and its feature of arbitrary precision would change what
//! numbers are everywhere. So an infinite number is a string that no client can send, because it contains a
//! noncharacter, and printing knows it. Wherever a number is wanted it is refused, as an infinite double would be.

use serde_json::{Number, Value};

const INFINITE: &str = "\u{10FFFF}inf";
const MINUS_INFINITE: &str = "\u{10FFFF}-inf";

/// Reads an integer token.
pub(super) fn integer(text: &[u8]) -> Value {
    let text = as_str(text);
    if let Ok(value) = text.parse::<i64>() {
        return Value::from(value);
    }
    match text.parse::<u64>() {
        Ok(value) => Value::from(value),
        Err(_) => double(text),
    }
}

/// Reads a token with a point or an exponent.
pub(super) fn float(text: &[u8]) -> Value {
    double(as_str(text))
}

fn as_str(text: &[u8]) -> &str {
    std::str::from_utf8(text).expect("the lexer lets only ASCII into a number")
}

fn double(text: &str) -> Value {
    let value: f64 = text.parse().expect("the lexer's numbers are RFC 8259's, all of which Rust reads");
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value > 0.0 => Value::from(INFINITE),
        None => Value::from(MINUS_INFINITE),
    }
}

/// What QEMU prints for a string that stands for an infinite number.
pub(super) fn infinite(text: &str) -> Option<&'static str> {
    match text {
        INFINITE => Some("inf"),
        MINUS_INFINITE => Some("-inf"),
        _ => None,
    }
}

/// C's `%.17g`, with which QEMU prints doubles.
pub(super) fn print_double(value: f64, out: &mut String) {
    // One digit, a point, sixteen digits, `e`, the exponent: the seventeen digits, rounded exactly.
    let text = format!("{value:.16e}");
    let (mantissa, exponent) = text.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the format's exponent is a number");
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).expect("at most 16 is the exponent here");
        out.push_str(without_trailing_zeros(&format!("{value:.decimals$}")));
    } else {
        out.push_str(without_trailing_zeros(mantissa));
        out.push_str(&format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()));
    }
}

fn without_trailing_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod test {
    use super::*;

    fn printed(text: &str) -> String {
        let mut out = String::new();
        print_double(text.parse().unwrap(), &mut out);
        out
    }

    #[test]
    fn doubles_are_printed_as_qemu_prints_them() {
        // Sent as ids to QEMU 7.2.22; what came back.
        let seen = [
            ("-0.0", "-0"),
            ("1e-400", "0"),
            ("18446744073709551616", "1.8446744073709552e+19"),
            ("-9223372036854775809", "-9.2233720368547758e+18"),
            ("1.5e300", "1.5000000000000001e+300"),
            ("1e16", "10000000000000000"),
            ("1e17", "1e+17"),
            ("0.0001", "0.0001"),
            ("0.00001", "1.0000000000000001e-05"),
            ("5e-324", "4.9406564584124654e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("100000.0", "100000"),
            ("0.1", "0.10000000000000001"),
            ("1.0E-7", "9.9999999999999995e-08"),
        ];
        for (sent, back) in seen {
            assert_eq!(printed(sent), back);
        }
    }

    #[test]
    fn rounding_up_to_the_next_power_of_ten_is_seen_in_the_exponent() {
        // 17 digits of nines round to 1e17, which is printed with an exponent.
        assert_eq!(printed("99999999999999999"), "1e+17");
        assert_eq!(printed("9.9999999999999999e-5"), "0.0001");
    }

    #[test]
    fn integers_keep_64_bits() {
        assert_eq!(integer(b"18446744073709551615"), Value::from(u64::MAX));
        assert_eq!(integer(b"-9223372036854775808"), Value::from(i64::MIN));
        assert_eq!(integer(b"-0"), Value::from(0));
        assert_eq!(integer(b"18446744073709551616"), Value::from(18_446_744_073_709_551_616.0));
    }
}
