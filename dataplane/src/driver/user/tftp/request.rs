//! What a guest asks for: a file, and how it would like to have it.
//!
//! All of it is text that ends with zeros, which are looked for within the datagram and nowhere else.

use std::io::{Cursor, Write};

use super::{BLOCK_BYTES_MAX, NAME_BYTES_MAX, OPTIONS};

/// Options of one request that are looked at.
const WISHES_MAX: usize = 4;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// All sessions are taken.
    Busy,
    /// There is no such file.
    NotFound,
    /// Whatever is not as it should be.
    Violation,
    /// Anything but `octet`.
    Mode,
}

impl Fault {
    /// Number and text.
    pub(super) fn words(self) -> (u8, &'static [u8]) {
        match self {
            Fault::Busy => (0, b"Too many transfers"),
            Fault::NotFound => (1, b"File not found"),
            Fault::Violation => (2, b"Access violation"),
            Fault::Mode => (4, b"Unsupported transfer mode"),
        }
    }
}

/// One option, as it will be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// To know the size.
    Size,
    /// Blocks of this size.
    Block(u16),
    /// Seconds until the guest asks again, which is its own affair.
    Timeout(u8),
}

/// All options, in the guest's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wishes([Option<Wish>; WISHES_MAX]);

impl Wishes {
    pub(super) const NONE: Wishes = Wishes([None; WISHES_MAX]);

    pub(super) fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    /// How large blocks are to be. The last word counts.
    pub(super) fn block_bytes(&self) -> Option<u16> {
        let mut blocks = self.0.iter().flatten().filter_map(|wish| match wish {
            Wish::Block(bytes) => Some(*bytes),
            Wish::Size | Wish::Timeout(_) => None,
        });
        blocks.next_back()
    }

    /// Says which options are granted, for a file of this size.
    pub(super) fn grant(&self, size: u64, reply: &mut [u8]) -> usize {
        let mut out = Cursor::new(reply);
        let mut write = || -> std::io::Result<()> {
            out.write_all(&[0, OPTIONS])?;
            for wish in self.0.iter().flatten() {
                match wish {
                    Wish::Size => write!(out, "tsize\0{size}\0")?,
                    Wish::Block(bytes) => write!(out, "blksize\0{bytes}\0")?,
                    Wish::Timeout(seconds) => write!(out, "timeout\0{seconds}\0")?,
                }
            }
            Ok(())
        };
        match write() {
            Ok(()) => usize::try_from(out.position()).unwrap_or(0),
            Err(_no_room) => 0,
        }
    }

    fn read(mut rest: &[u8]) -> Result<Self, Fault> {
        let mut wishes = Wishes::NONE;
        let mut granted = 0;
        while !rest.is_empty() && granted < WISHES_MAX {
            let (name, behind) = text(rest).ok_or(Fault::Violation)?;
            let (value, behind) = text(behind).ok_or(Fault::Violation)?;
            rest = behind;
            if let Some(wish) = wish_of(name, value) {
                wishes.0[granted] = Some(wish);
                granted += 1;
            }
        }
        Ok(wishes)
    }
}

fn wish_of(name: &[u8], value: &[u8]) -> Option<Wish> {
    let number = number(value);
    if name.eq_ignore_ascii_case(b"tsize") {
        return (number == 0).then_some(Wish::Size);
    }
    if name.eq_ignore_ascii_case(b"timeout") {
        return u8::try_from(number).ok().filter(|seconds| *seconds > 0).map(Wish::Timeout);
    }
    let block = number.min(BLOCK_BYTES_MAX as u64);
    let block = u16::try_from(block).ok().filter(|bytes| *bytes > 0 && name.eq_ignore_ascii_case(b"blksize"));
    block.map(Wish::Block)
}

/// The digits that a text begins with, as C reads them: none are 0.
fn number(text: &[u8]) -> u64 {
    let digits = text.iter().map_while(|byte| char::from(*byte).to_digit(10));
    digits.fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(u64::from(digit)))
}

/// What is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) name: &'a [u8],
    pub(super) wishes: Wishes,
}

impl<'a> Request<'a> {
    /// Reads what follows the operation. That a folder is not left is for whoever opens to see to; what is refused
    /// here are names that QEMU refuses.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let (name, rest) = text(bytes).ok_or(Fault::Violation)?;
        let (mode, options) = text(rest).ok_or(Fault::Violation)?;
        if name.len() > NAME_BYTES_MAX || rest.len() < b"octet\0".len() {
            return Err(Fault::Violation);
        }
        if !mode.eq_ignore_ascii_case(b"octet") {
            return Err(Fault::Mode);
        }
        let leaves = name.windows(3).any(|part| part == b"../");
        if leaves || name.is_empty() || name.ends_with(b"/") {
            return Err(Fault::Violation);
        }
        Ok(Request { name, wishes: Wishes::read(options)? })
    }
}

/// A text, and what is behind the zero that ends it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}
