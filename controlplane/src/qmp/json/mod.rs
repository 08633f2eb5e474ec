//! JSON as QEMU reads and writes it.
//!
//! The problem: a client's bytes come in pieces of any size, messages are not lines, and QEMU's dialect is
//! its own: single quotes, messages that end when brackets balance, a defined way back to sanity after
//! garbage, texts that programs compare. `serde_json`'s streaming reader was rejected: it stops for ever at
//! the first error, accepts duplicate keys, refuses single quotes, nests only 128 deep and reads a message
//! again from its beginning whenever a piece is added, so that a slow client makes it quadratic.
//!
//! So the two steps of QEMU are here, written for bounded memory: a [lexer] that looks at each byte once and
//! remembers only the token that it is in, and a [builder] that turns tokens into a value at once instead of
//! collecting them first. A syntax error inside of a message is remembered (and the rest thrown away) until the
//! message ends, because a lexical error or a limit that comes later is what QEMU would report. Values are those
//! of `serde_json`, members in the order in which they were sent.
//!
//! What one message may cost is QEMU's to say: 64 MiB of token text, 2 Mi tokens, 1024 levels. In memory that is
//! at most the text once more (strings are moved, not copied) and about 100 bytes a token.

mod builder;
mod codepoint;
mod lexer;
mod number;
mod print;
mod string;

use serde_json::Value;

pub use builder::{NESTING_MAX, TOKEN_TEXT_MAX_BYTES, TOKENS_MAX};
pub use print::{print, print_line};

/// What came out of some bytes: a value, or why there is none, in QEMU's words.
pub type Message = Result<Value, String>;

/// Turns bytes into messages, whatever the size of the pieces in which they come.
#[derive(Debug, Default)]
pub struct Reader {
    lexer: lexer::Lexer,
    builder: builder::Builder,
}

impl Reader {
    /// Reads until a message is complete or the bytes are used up. `bytes` then begins behind what was read.
    ///
    /// Nothing is looked at twice: the caller may stop after any message and go on later with the rest.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Message> {
        while let Some(kind) = self.lexer.next(bytes) {
            if let Some(message) = self.builder.take(kind, &mut self.lexer) {
                return Some(message);
            }
        }
        None
    }

    /// The end of the bytes is the end of the last token and of the last message, complete or not.
    pub fn finish(&mut self) -> Option<Message> {
        let last = self.lexer.finish().and_then(|kind| self.builder.take(kind, &mut self.lexer));
        last.or_else(|| self.builder.finish())
    }
}

/// A text that is one value, as on a command line.
///
/// # Errors
/// QEMU's text for what is wrong with it.
pub fn from_text(text: &str) -> Message {
    let mut reader = Reader::default();
    let mut rest = text.as_bytes();
    let first = match reader.next(&mut rest) {
        Some(message) => message?,
        None => return reader.finish().unwrap_or_else(|| Err("Expecting a JSON value".to_owned())),
    };
    match reader.next(&mut rest).or_else(|| reader.finish()) {
        None => Ok(first),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) => Err("Expecting at most one JSON value".to_owned()),
    }
}

#[cfg(test)]
mod test;
