//! From a string token, quotes and escapes included, to its text.

use super::codepoint::{first, is_noncharacter, lossy};

/// Length of `\uXXXX`.
const UNICODE_ESCAPE_BYTES: usize = 6;

/// The text that the token stands for, or what is wrong with it.
pub(super) fn decode(mut token: Vec<u8>) -> Result<String, String> {
    if !is_plain(&token) {
        return decode_slowly(&token);
    }
    token.pop();
    token.remove(0);
    String::from_utf8(token).map_err(|_| INVALID_UTF8.to_owned())
}

const INVALID_UTF8: &str = "JSON parse error, invalid UTF-8 sequence in string";

/// Nothing in it needs more than its quotes taken away: nearly every string that a client sends.
fn is_plain(token: &[u8]) -> bool {
    !token.contains(&b'\\')
        && std::str::from_utf8(token).is_ok_and(|text| text.is_ascii() || !text.contains(is_noncharacter))
}

fn decode_slowly(token: &[u8]) -> Result<String, String> {
    let end = token.len() - 1;
    let mut text = String::with_capacity(token.len());
    let mut at = 1;
    while at < end {
        let (c, length) = if token[at] == b'\\' {
            escape(&token[at..])?
        } else {
            let (c, length) = first(&token[at..end]);
            (c.ok_or(INVALID_UTF8)?, length)
        };
        text.push(c);
        at += length;
    }
    Ok(text)
}

/// The character that an escape stands for and the escape's length. `rest` goes on to the closing quote, which
/// QEMU shows where an escape runs into it.
fn escape(rest: &[u8]) -> Result<(char, usize), String> {
    let c = match rest[1] {
        b'"' => '"',
        b'\'' => '\'',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(rest),
        _ => return Err("JSON parse error, invalid escape sequence in string".to_owned()),
    };
    Ok((c, 2))
}

fn unicode(rest: &[u8]) -> Result<(char, usize), String> {
    let mut length = UNICODE_ESCAPE_BYTES;
    let mut code = hex(rest);
    if let Some(high @ 0xD800..=0xDBFF) = code {
        code = None;
        let second = rest.get(length..).unwrap_or(&[]);
        if let (true, Some(low @ 0xDC00..=0xDFFF)) = (second.starts_with(b"\\u"), hex(second)) {
            code = Some(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00));
            length += UNICODE_ESCAPE_BYTES;
        }
    }
    match code.and_then(char::from_u32).filter(|&c| !is_noncharacter(c)) {
        Some(c) => Ok((c, length)),
        None => {
            let shown = lossy(&rest[..length.min(rest.len())]);
            Err(format!("JSON parse error, {shown} is not a valid Unicode character"))
        }
    }
}

/// The four digits behind `\u`.
fn hex(escape: &[u8]) -> Option<u32> {
    let digits = escape.get(2..UNICODE_ESCAPE_BYTES)?;
    digits.iter().try_fold(0, |code, &b| Some(code << 4 | char::from(b).to_digit(16)?))
}
