//! DHCPv6: where the DNS server is, and what to boot. Addresses are given by router advertisements.
//!
//! So one message is answered, the one that asks for information alone. What asks for an address gets no answer, nor
//! does what is not whole. QEMU answers from a port whose bytes are swapped, without saying who the server is, and with
//! a boot file called `(null)` where there is none; RFC 8415 wants port 547 and the server's identifier, and that is
//! what is done here.

use std::io::{Cursor, Write};
use std::net::Ipv6Addr;

use super::Mac;

/// The longest reply.
pub const REPLY_BYTES_MAX: usize =
    4 + (4 + CLIENT_BYTES_MAX) + (4 + SERVER_BYTES) + (4 + 16) + (4 + URL_BYTES_MAX);

const CLIENT_BYTES_MAX: usize = 256;
const SERVER_BYTES: usize = 10;
/// `tftp://[`, an address at full length, `]/`, and the longest boot file.
const URL_BYTES_MAX: usize = 8 + 39 + 2 + super::dhcp::FILE_BYTES_MAX;

const INFORMATION_REQUEST: u8 = 11;
const REPLY: u8 = 7;

/// Codes of options.
mod code {
    pub(super) const CLIENT: u16 = 1;
    pub(super) const SERVER: u16 = 2;
    pub(super) const ADDRESS: u16 = 5;
    pub(super) const ASKED_FOR: u16 = 6;
    pub(super) const DNS: u16 = 23;
    pub(super) const BOOT_URL: u16 = 59;
}

/// What the server knows.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// The host's address.
    pub host: Ipv6Addr,
    /// Its MAC address, by which it is known.
    pub mac: Mac,
    /// The DNS server's address.
    pub dns: Ipv6Addr,
    /// The boot file; none if empty.
    pub file: &'a [u8],
}

/// What is asked for.
#[derive(Debug, Default)]
struct Request<'a> {
    transaction: [u8; 3],
    client: Option<&'a [u8]>,
    wants_dns: bool,
    wants_boot_url: bool,
}

impl<'a> Request<'a> {
    fn read(datagram: &'a [u8]) -> Option<Self> {
        let [INFORMATION_REQUEST, a, b, c, options @ ..] = datagram else { return None };
        let mut request = Request { transaction: [*a, *b, *c], ..Request::default() };
        let mut options = options;
        // What could be no more than an empty option is not looked at.
        while let [code_high, code_low, length_high, length_low, rest @ ..] = options
            && !rest.is_empty()
        {
            let code = u16::from_be_bytes([*code_high, *code_low]);
            let length = u16::from_be_bytes([*length_high, *length_low]);
            let (value, rest) = rest.split_at_checked(usize::from(length))?;
            request.note(code, value)?;
            options = rest;
        }
        Some(request)
    }

    /// Takes notice of an option. None if the request is not to be answered.
    fn note(&mut self, code: u16, value: &'a [u8]) -> Option<()> {
        match code {
            code::CLIENT if value.len() <= CLIENT_BYTES_MAX => self.client = Some(value),
            code::CLIENT | code::ADDRESS => return None,
            code::ASKED_FOR => {
                let (codes, []) = value.as_chunks() else { return None };
                for code in codes {
                    self.wants_dns |= u16::from_be_bytes(*code) == code::DNS;
                    self.wants_boot_url |= u16::from_be_bytes(*code) == code::BOOT_URL;
                }
            }
            _other => {}
        }
        Some(())
    }
}

/// The reply to a datagram, and how long it is; none if there is none to give, or no room for it.
pub fn answer(datagram: &[u8], server: &Server<'_>, reply: &mut [u8]) -> Option<usize> {
    let request = Request::read(datagram)?;
    let [a, b, c] = request.transaction;
    let mut reply = Cursor::new(reply);
    reply.write_all(&[REPLY, a, b, c]).ok()?;
    if let Some(client) = request.client {
        put(&mut reply, code::CLIENT, &[client])?;
    }
    // A link-layer identifier (type 3) of Ethernet (type 1).
    put(&mut reply, code::SERVER, &[&[0, 3, 0, 1], &server.mac])?;
    if request.wants_dns {
        put(&mut reply, code::DNS, &[&server.dns.octets()])?;
    }
    if request.wants_boot_url && !server.file.is_empty() {
        put(&mut reply, code::BOOT_URL, &[b"tftp://[", &full(server.host), b"]/", server.file])?;
    }
    usize::try_from(reply.position()).ok()
}

fn put(reply: &mut Cursor<&mut [u8]>, code: u16, pieces: &[&[u8]]) -> Option<()> {
    let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
    reply.write_all(&code.to_be_bytes()).ok()?;
    reply.write_all(&u16::try_from(length).ok()?.to_be_bytes()).ok()?;
    pieces.iter().try_for_each(|piece| reply.write_all(piece)).ok()
}

/// An address with all its digits.
fn full(address: Ipv6Addr) -> [u8; 39] {
    let mut text = [b':'; 39];
    for (word, at) in address.segments().into_iter().zip(text.chunks_mut(5)) {
        for (digit, at) in at.iter_mut().take(4).enumerate() {
            let nibble = u32::from(word >> (12 - 4 * digit)) & 15;
            *at = char::from_digit(nibble, 16).map_or(b'0', |digit| digit as u8);
        }
    }
    text
}

#[cfg(test)]
mod test;
