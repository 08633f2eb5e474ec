//! From tokens to a value.
//!
//! A message ends when its brackets balance, not when its value is complete: `{]` ends and is wrong, and
//! `{"id": [1}` goes on. So brackets are counted apart from the value, and the first syntax error is kept until
//! the count says that the message is over. The value is built with a stack of its own: a client's nesting costs
//! no stack of ours.

use std::mem;

use serde_json::{Map, Value};

use super::lexer::{Kind, Lexer};
use super::{Message, codepoint, number, string};

/// The text of all tokens of a message.
pub const TOKEN_TEXT_MAX_BYTES: usize = 64 << 20;
/// The tokens of a message.
pub const TOKENS_MAX: usize = 2 << 20;
/// Open braces and brackets together.
pub const NESTING_MAX: i64 = 1024;

/// An object or list that is not closed yet.
#[derive(Debug)]
enum Open {
    List { items: Vec<Value>, next: InList },
    Dict { members: Map<String, Value>, next: InDict },
}

#[derive(Debug)]
enum InList {
    ItemOrEnd,
    Item,
    Separator,
}

#[derive(Debug)]
enum InDict {
    KeyOrEnd,
    Key,
    Colon(String),
    Member(String),
    Separator,
}

#[derive(Debug, Default)]
pub(super) struct Builder {
    open: Vec<Open>,
    /// The message's value, or its first error.
    result: Option<Message>,
    braces: i64,
    brackets: i64,
    tokens: usize,
    text_bytes: usize,
}

impl Builder {
    /// Takes the token that the lexer is at. A message if this token ends one.
    pub(super) fn take(&mut self, kind: Kind, lexer: &mut Lexer) -> Option<Message> {
        self.count_bracket(kind);
        if let Err(refusal) = self.check(kind, lexer.text()) {
            *self = Self::default();
            return Some(Err(refusal));
        }
        self.tokens += 1;
        self.text_bytes += lexer.text().len();
        if self.result.is_none()
            && let Err(error) = self.place(kind, lexer)
        {
            self.open.clear();
            self.result = Some(Err(error));
        }
        self.is_over().then(|| mem::take(self).into_message())
    }

    /// There are no more tokens. The message that was begun, if one was.
    pub(super) fn finish(&mut self) -> Option<Message> {
        (self.tokens > 0).then(|| mem::take(self).into_message())
    }

    fn into_message(self) -> Message {
        self.result.unwrap_or_else(|| syntax("premature EOI"))
    }

    fn count_bracket(&mut self, kind: Kind) {
        match kind {
            Kind::BraceOpen => self.braces += 1,
            Kind::BraceClose => self.braces -= 1,
            Kind::BracketOpen => self.brackets += 1,
            Kind::BracketClose => self.brackets -= 1,
            Kind::Colon
            | Kind::Comma
            | Kind::Integer
            | Kind::Float
            | Kind::Word
            | Kind::String
            | Kind::Stray
            | Kind::Endless => {}
        }
    }

    /// What ends a message at once, whatever it was until now.
    fn check(&self, kind: Kind, text: &[u8]) -> Result<(), String> {
        if kind == Kind::Stray {
            // The text goes through a C string in QEMU.
            let shown = text.split(|&b| b == 0).next().unwrap_or(&[]);
            return Err(format!("JSON parse error, stray '{}'", codepoint::lossy(shown)));
        }
        // QEMU counts the terminating NUL of the token at hand, not of those before it.
        if kind == Kind::Endless || self.text_bytes + text.len() + 1 > TOKEN_TEXT_MAX_BYTES {
            return Err("JSON token size limit exceeded".to_owned());
        }
        if self.tokens + 1 > TOKENS_MAX {
            return Err("JSON token count limit exceeded".to_owned());
        }
        if self.braces + self.brackets > NESTING_MAX {
            return Err("JSON nesting depth limit exceeded".to_owned());
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.braces < 0 || self.brackets < 0 || (self.braces == 0 && self.brackets == 0)
    }

    /// Puts a token where it belongs.
    fn place(&mut self, kind: Kind, lexer: &mut Lexer) -> Result<(), String> {
        match self.open.last_mut() {
            None => self.begin_value(kind, lexer),
            Some(Open::List { next, .. }) => match next {
                InList::ItemOrEnd if kind == Kind::BracketClose => self.close(),
                InList::ItemOrEnd | InList::Item => self.begin_value(kind, lexer),
                InList::Separator if kind == Kind::BracketClose => self.close(),
                InList::Separator if kind == Kind::Comma => {
                    *next = InList::Item;
                    Ok(())
                }
                InList::Separator => syntax("expected separator in list"),
            },
            Some(Open::Dict { next, .. }) => match next {
                InDict::KeyOrEnd if kind == Kind::BraceClose => self.close(),
                InDict::KeyOrEnd | InDict::Key | InDict::Member(_) => self.begin_value(kind, lexer),
                InDict::Colon(key) if kind == Kind::Colon => {
                    *next = InDict::Member(mem::take(key));
                    Ok(())
                }
                InDict::Colon(_) => syntax("missing : in object pair"),
                InDict::Separator if kind == Kind::BraceClose => self.close(),
                InDict::Separator if kind == Kind::Comma => {
                    *next = InDict::Key;
                    Ok(())
                }
                InDict::Separator => syntax("expected separator in dict"),
            },
        }
    }

    fn begin_value(&mut self, kind: Kind, lexer: &mut Lexer) -> Result<(), String> {
        let value = match kind {
            Kind::BraceOpen => {
                self.open.push(Open::Dict { members: Map::new(), next: InDict::KeyOrEnd });
                return Ok(());
            }
            Kind::BracketOpen => {
                self.open.push(Open::List { items: Vec::new(), next: InList::ItemOrEnd });
                return Ok(());
            }
            Kind::String => Value::String(string::decode(lexer.take_text())?),
            Kind::Integer => number::integer(lexer.text()),
            Kind::Float => number::float(lexer.text()),
            Kind::Word => word(lexer.text())?,
            Kind::BraceClose
            | Kind::BracketClose
            | Kind::Colon
            | Kind::Comma
            | Kind::Stray
            | Kind::Endless => {
                return syntax("expecting value");
            }
        };
        self.put(value)
    }

    fn close(&mut self) -> Result<(), String> {
        match self.open.pop() {
            Some(Open::List { items, .. }) => self.put(Value::Array(items)),
            Some(Open::Dict { members, .. }) => self.put(Value::Object(members)),
            None => syntax("expecting value"),
        }
    }

    /// Puts a complete value into what is open around it.
    fn put(&mut self, value: Value) -> Result<(), String> {
        match self.open.last_mut() {
            None => self.result = Some(Ok(value)),
            Some(Open::List { items, next }) => {
                items.push(value);
                *next = InList::Separator;
            }
            Some(Open::Dict { members, next }) => match mem::replace(next, InDict::Separator) {
                InDict::Member(key) if members.contains_key(&key) => return syntax("duplicate key"),
                InDict::Member(key) => {
                    members.insert(key, value);
                }
                InDict::KeyOrEnd | InDict::Key | InDict::Colon(_) | InDict::Separator => {
                    *next = InDict::Colon(key(value)?);
                }
            },
        }
        Ok(())
    }
}

/// QEMU reads a whole value where a key belongs, and only then looks what it is.
fn key(value: Value) -> Result<String, String> {
    match value {
        Value::String(key) if number::infinite(&key).is_none() => Ok(key),
        Value::String(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Object(_) => syntax("key is not a string in object"),
    }
}

fn word(text: &[u8]) -> Result<Value, String> {
    match text {
        b"null" => Ok(Value::Null),
        b"true" => Ok(Value::Bool(true)),
        b"false" => Ok(Value::Bool(false)),
        _ => Err(format!("JSON parse error, invalid keyword '{}'", codepoint::lossy(text))),
    }
}

fn syntax<T>(what: &str) -> Result<T, String> {
    Err(format!("JSON parse error, {what}"))
}
