//! From bytes to tokens.
//!
//! A table of 256 columns for each state (as flex would make, and QEMU has) was rejected: the states are few
//! and a `match` can be read. The one loop that matters for speed, the inside of a string, is a search for the
//! next byte that is special.
//!
//! A byte that fits nowhere makes a [`Kind::Stray`] of all that the token had until then, that byte included.
//! After it, bytes are skipped until one at which a sane client may have begun anew.

use std::mem;

use super::TOKEN_TEXT_MAX_BYTES;

/// What a token is. Its text stays with the lexer until the next token begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    BraceOpen,
    BraceClose,
    BracketOpen,
    BracketClose,
    Colon,
    Comma,
    Integer,
    Float,
    /// A word of lower-case letters, a known one or not.
    Word,
    /// With its quotes and escapes.
    String,
    /// No token at all.
    Stray,
    /// The text grew past the limit before it became a token.
    Endless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Start,
    /// After a stray byte.
    Recovery,
    Word,
    String {
        quote: u8,
    },
    Escape {
        quote: u8,
    },
    Sign,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// What one byte means.
enum Step {
    /// It belongs to no token.
    Skip,
    /// It belongs to the token, which goes on.
    Grow(State),
    /// It completes the token.
    Complete(Kind),
    /// The token was complete before it; it is to be looked at again.
    Before(Kind),
    /// It can start something new; it is to be looked at again.
    Restart,
}

/// Tokens kept for reuse are at most this large; larger ones are given back to the allocator.
const TEXT_KEPT_BYTES: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Lexer {
    state: State,
    text: Vec<u8>,
    /// The text is that of a token that was handed out.
    complete: bool,
}

impl Lexer {
    /// The next token; `bytes` then begins behind it. None when the bytes are used up.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Kind> {
        self.forget_complete();
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.text.len() > TOKEN_TEXT_MAX_BYTES {
                return Some(self.emit(Kind::Endless, State::Start));
            }
            if let State::String { quote } = self.state
                && self.take_plain(bytes, quote)
            {
                continue;
            }
            match step(self.state, byte) {
                Step::Before(kind) => return Some(self.emit(kind, State::Start)),
                Step::Restart => self.state = State::Start,
                Step::Skip => *bytes = rest,
                Step::Grow(state) => {
                    *bytes = rest;
                    self.text.push(byte);
                    self.state = state;
                }
                Step::Complete(kind) => {
                    *bytes = rest;
                    self.text.push(byte);
                    let next = if kind == Kind::Stray { State::Recovery } else { State::Start };
                    return Some(self.emit(kind, next));
                }
            }
        }
        None
    }

    /// The token that the end of all bytes completes.
    pub(super) fn finish(&mut self) -> Option<Kind> {
        self.forget_complete();
        let kind = match self.state {
            State::Start | State::Recovery => return None,
            State::Word => Kind::Word,
            State::Zero | State::Digits => Kind::Integer,
            State::Fraction | State::ExponentDigits => Kind::Float,
            State::String { .. }
            | State::Escape { .. }
            | State::Sign
            | State::Point
            | State::Exponent
            | State::ExponentSign => Kind::Stray,
        };
        Some(self.emit(kind, State::Start))
    }

    /// The token's bytes.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The token's bytes, given away: strings become values without being copied.
    pub(super) fn take_text(&mut self) -> Vec<u8> {
        mem::take(&mut self.text)
    }

    /// Takes what is nothing special inside of a string, up to the limit. False if there is nothing of it.
    fn take_plain(&mut self, bytes: &mut &[u8], quote: u8) -> bool {
        let room = TOKEN_TEXT_MAX_BYTES + 1 - self.text.len();
        let reach = &bytes[..bytes.len().min(room)];
        let plain = reach.iter().position(|&b| ends_plain(b, quote)).unwrap_or(reach.len());
        self.text.extend_from_slice(&bytes[..plain]);
        *bytes = &bytes[plain..];
        plain > 0
    }

    fn emit(&mut self, kind: Kind, next: State) -> Kind {
        self.state = next;
        self.complete = true;
        kind
    }

    fn forget_complete(&mut self) {
        if mem::take(&mut self.complete) {
            if self.text.capacity() > TEXT_KEPT_BYTES {
                self.text = Vec::new();
            }
            self.text.clear();
        }
    }
}

fn ends_plain(byte: u8, quote: u8) -> bool {
    byte == quote || byte == b'\\' || !(0x20..0xFE).contains(&byte)
}

fn step(state: State, byte: u8) -> Step {
    match state {
        State::Start => start(byte),
        State::Recovery => match byte {
            b'[' | b']' | b'{' | b'}' | b':' | b',' | 0xFE..=0xFF => Step::Restart,
            b'\t' | 0x20..=0xFD => Step::Skip,
            0..=0x1F => Step::Restart,
        },
        State::Word => match byte {
            b'a'..=b'z' => Step::Grow(State::Word),
            _ => Step::Before(Kind::Word),
        },
        State::String { quote } => match byte {
            b'\\' => Step::Grow(State::Escape { quote }),
            _ if byte == quote => Step::Complete(Kind::String),
            _ => Step::Complete(Kind::Stray),
        },
        State::Escape { quote } => match byte {
            0x20..=0xFD => Step::Grow(State::String { quote }),
            _ => Step::Complete(Kind::Stray),
        },
        State::Sign
        | State::Zero
        | State::Digits
        | State::Point
        | State::Fraction
        | State::Exponent
        | State::ExponentSign
        | State::ExponentDigits => number(state, byte),
    }
}

fn start(byte: u8) -> Step {
    match byte {
        b' ' | b'\t' | b'\r' | b'\n' => Step::Skip,
        b'{' => Step::Complete(Kind::BraceOpen),
        b'}' => Step::Complete(Kind::BraceClose),
        b'[' => Step::Complete(Kind::BracketOpen),
        b']' => Step::Complete(Kind::BracketClose),
        b':' => Step::Complete(Kind::Colon),
        b',' => Step::Complete(Kind::Comma),
        b'"' | b'\'' => Step::Grow(State::String { quote: byte }),
        b'a'..=b'z' => Step::Grow(State::Word),
        b'-' => Step::Grow(State::Sign),
        b'0' => Step::Grow(State::Zero),
        b'1'..=b'9' => Step::Grow(State::Digits),
        _ => Step::Complete(Kind::Stray),
    }
}

/// RFC 8259's numbers, but that a zero takes no exponent (`0e0` is read as `0` and a word), as in QEMU. Callers pass
/// only the states of a number.
fn number(state: State, byte: u8) -> Step {
    let next = match (state, byte) {
        (State::Sign, b'0') => State::Zero,
        (State::Sign, b'1'..=b'9') | (State::Digits, b'0'..=b'9') => State::Digits,
        (State::Zero | State::Digits, b'.') => State::Point,
        (State::Digits | State::Fraction, b'e' | b'E') => State::Exponent,
        (State::Point | State::Fraction, b'0'..=b'9') => State::Fraction,
        (State::Exponent, b'+' | b'-') => State::ExponentSign,
        (State::Exponent | State::ExponentSign | State::ExponentDigits, b'0'..=b'9') => State::ExponentDigits,
        (State::Digits, _) => return Step::Before(Kind::Integer),
        (State::Zero, _) if !byte.is_ascii_digit() => return Step::Before(Kind::Integer),
        (State::Fraction | State::ExponentDigits, _) => return Step::Before(Kind::Float),
        _ => return Step::Complete(Kind::Stray),
    };
    Step::Grow(next)
}
