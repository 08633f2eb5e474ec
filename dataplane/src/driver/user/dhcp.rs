//! DHCP and BOOTP: the addresses that guests are given.
//!
//! **Problem.** The request is a structure of 236 bytes with a list of options behind it, every byte of it the guest's.
//! Readers that lay a structure over the packet have read past its end more than once.
//!
//! **Rejected**: a server with leases that expire. The pool is for the guests of one port; a lease that nobody gives
//! back costs one of sixteen addresses, and a guest that comes again with its MAC address gets the same one.
//!
//! **Chosen.** A pure function of the request, the network and the sixteen leases. What the network always says is put
//! together here; names and all else that depends on options comes from the control plane as one block of options,
//! which is known to fit. The reply has one length, and all of it that is not said is 0.

use std::net::Ipv4Addr;

use super::Mac;

/// Addresses in the pool.
pub const LEASES: usize = 16;
/// Bytes of every reply: the fixed part and 312 bytes of options.
pub const REPLY_BYTES: usize = FIXED_BYTES + 312;
/// Bytes of options that the control plane may add: what the others leave.
pub const FURTHER_OPTIONS_BYTES_MAX: usize = 274;
/// The longest name of a boot file; a terminator follows.
pub const FILE_BYTES_MAX: usize = 127;

/// The part of a request before its options.
const FIXED_BYTES: usize = 236;
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const LEASE_SECONDS: u32 = 86_400;
const NOT_AVAILABLE: &[u8] = b"requested address not available";

/// Where things are in the fixed part.
mod at {
    pub(super) const HARDWARE: usize = 1;
    pub(super) const TRANSACTION: usize = 4;
    pub(super) const CLIENT_ADDRESS: usize = 12;
    pub(super) const YOUR_ADDRESS: usize = 16;
    pub(super) const SERVER_ADDRESS: usize = 20;
    pub(super) const CLIENT_MAC: usize = 28;
    pub(super) const FILE: usize = 108;
}

/// Codes of options.
mod code {
    pub(super) const PAD: u8 = 0;
    pub(super) const MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const DNS: u8 = 6;
    pub(super) const WANTED_ADDRESS: u8 = 50;
    pub(super) const LEASE: u8 = 51;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const TEXT: u8 = 56;
    pub(super) const END: u8 = 255;
}

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// What the server knows.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// The host's address, which is the router's too.
    pub host: Ipv4Addr,
    /// The DNS server's.
    pub dns: Ipv4Addr,
    /// The network's mask.
    pub mask: Ipv4Addr,
    /// The first address of the pool.
    pub first: Ipv4Addr,
    /// Whether neither router nor DNS server is told.
    pub is_restricted: bool,
    /// Further options as they are sent, at most [`FURTHER_OPTIONS_BYTES_MAX`].
    pub options: &'a [u8],
    /// The boot file, at most [`FILE_BYTES_MAX`].
    pub file: &'a [u8],
}

impl Server<'_> {
    /// An address of the pool. It ends where the network does, and whoever else has an address keeps it.
    fn address(&self, slot: usize) -> Option<Ipv4Addr> {
        let further = u32::try_from(slot).ok()?;
        let address = self.first.to_bits().checked_add(further)?;
        let mask = self.mask.to_bits();
        let is_inside = (address ^ self.first.to_bits()) & mask == 0 && address | mask != u32::MAX;
        let address = Ipv4Addr::from_bits(address);
        (is_inside && address != self.host && address != self.dns).then_some(address)
    }

    fn slot(&self, address: Ipv4Addr) -> Option<usize> {
        let slot = usize::try_from(address.to_bits().checked_sub(self.first.to_bits())?).ok()?;
        (slot < LEASES && self.address(slot).is_some()).then_some(slot)
    }
}

/// Who has which address of the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leases([Option<Mac>; LEASES]);

impl Leases {
    fn is_free_or_of(&self, slot: usize, client: Mac) -> bool {
        self.0[slot].is_none_or(|owner| owner == client)
    }

    /// This address, if it can be had.
    fn take(&mut self, address: Ipv4Addr, client: Mac, server: &Server<'_>) -> Option<Ipv4Addr> {
        let slot = server.slot(address).filter(|slot| self.is_free_or_of(*slot, client))?;
        self.0[slot] = Some(client);
        Some(address)
    }

    /// The first address that can be had.
    fn take_any(&mut self, client: Mac, server: &Server<'_>) -> Option<Ipv4Addr> {
        let mut slots = 0..LEASES;
        let slot = slots.find(|slot| server.address(*slot).is_some() && self.is_free_or_of(*slot, client))?;
        self.0[slot] = Some(client);
        server.address(slot)
    }

    /// The address that a client has, or the first that it can have.
    fn keep_or_take_any(&mut self, client: Mac, server: &Server<'_>) -> Option<Ipv4Addr> {
        let own = self.0.iter().position(|owner| *owner == Some(client));
        own.and_then(|slot| server.address(slot)).or_else(|| self.take_any(client, server))
    }
}

/// What the reply says; it goes to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Who has asked.
    pub client: Mac,
    /// What it is given; none if it was refused.
    pub address: Option<Ipv4Addr>,
}

/// A request, as far as it matters.
struct Request<'a> {
    bytes: &'a [u8; FIXED_BYTES],
    message_type: u8,
    wanted: Option<Ipv4Addr>,
}

impl<'a> Request<'a> {
    fn read(datagram: &'a [u8]) -> Option<Self> {
        let (bytes, behind) = datagram.split_first_chunk::<FIXED_BYTES>()?;
        if bytes[0] != 1 {
            return None;
        }
        let Some(options) = behind.strip_prefix(&COOKIE[..]) else {
            return Some(Request { bytes, message_type: REQUEST, wanted: None });
        };
        let mut request = Request { bytes, message_type: 0, wanted: None };
        for (code, value) in Options(options) {
            match (code, value.first_chunk::<4>()) {
                (code::MESSAGE_TYPE, _) => {
                    request.message_type = value.first().copied().unwrap_or(request.message_type);
                }
                (code::WANTED_ADDRESS, Some(address)) => request.wanted = address_of(*address),
                (_other, _) => {}
            }
        }
        let client_address = address_of(array(bytes, at::CLIENT_ADDRESS));
        match request.message_type {
            REQUEST => request.wanted = request.wanted.or(client_address),
            // One that says nothing is BOOTP's: its own address field means nothing there.
            0 => request.message_type = REQUEST,
            _other => {}
        }
        Some(request)
    }

    fn client(&self) -> Mac {
        array(self.bytes, at::CLIENT_MAC)
    }
}

fn address_of(bytes: [u8; 4]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(bytes)).filter(|address| !address.is_unspecified())
}

fn array<const N: usize>(bytes: &[u8; FIXED_BYTES], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the fixed part is longer")
}

/// Code and value of each option, up to the first that is not whole.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while let [code::PAD, rest @ ..] = self.0 {
            self.0 = rest;
        }
        let [code, length, rest @ ..] = self.0 else { return None };
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        self.0 = rest;
        (*code != code::END).then_some((*code, value))
    }
}

/// What a guest that has asked is told; nothing if it is not for us, or there is nothing to give.
pub fn answer(
    datagram: &[u8],
    server: &Server<'_>,
    leases: &mut Leases,
    reply: &mut [u8; REPLY_BYTES],
) -> Option<Answer> {
    let request = Request::read(datagram)?;
    let client = request.client();
    let (message_type, address) = match (request.message_type, request.wanted) {
        (DISCOVER, wanted) => {
            let wanted = wanted.and_then(|wanted| leases.take(wanted, client, server));
            (OFFER, Some(wanted.or_else(|| leases.take_any(client, server))?))
        }
        (REQUEST, Some(wanted)) => match leases.take(wanted, client, server) {
            Some(address) => (ACK, Some(address)),
            None => (NAK, None),
        },
        (REQUEST, None) => (ACK, Some(leases.keep_or_take_any(client, server)?)),
        (_other, _) => return None,
    };
    write_fixed(&request, server, address, reply);
    let (_fixed, options) = reply.split_first_chunk_mut::<FIXED_BYTES>().expect("it is longer");
    write_options(message_type, server, options);
    Some(Answer { client, address })
}

fn write_fixed(
    request: &Request<'_>,
    server: &Server<'_>,
    address: Option<Ipv4Addr>,
    reply: &mut [u8; REPLY_BYTES],
) {
    reply.fill(0);
    let mut put = |at: usize, bytes: &[u8]| reply[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[2]);
    // Ethernet, six bytes an address.
    put(at::HARDWARE, &[1, 6]);
    put(at::TRANSACTION, &array::<4>(request.bytes, at::TRANSACTION));
    put(at::YOUR_ADDRESS, &address.unwrap_or(Ipv4Addr::BROADCAST).octets());
    put(at::SERVER_ADDRESS, &server.host.octets());
    put(at::CLIENT_MAC, &request.client());
    if address.is_some() {
        put(at::FILE, &server.file[..server.file.len().min(FILE_BYTES_MAX)]);
    }
}

fn write_options(message_type: u8, server: &Server<'_>, options: &mut [u8]) {
    let mut length = COOKIE.len();
    options[..length].copy_from_slice(&COOKIE);
    let mut put = |code: u8, value: &[u8]| {
        options[length] = code;
        options[length + 1] = u8::try_from(value.len()).expect("values here are short");
        options[length + 2..][..value.len()].copy_from_slice(value);
        length += 2 + value.len();
    };
    put(code::MESSAGE_TYPE, &[message_type]);
    if message_type == NAK {
        put(code::TEXT, NOT_AVAILABLE);
    } else {
        put(code::SERVER, &server.host.octets());
        put(code::MASK, &server.mask.octets());
        if !server.is_restricted {
            put(code::ROUTER, &server.host.octets());
            put(code::DNS, &server.dns.octets());
        }
        put(code::LEASE, &LEASE_SECONDS.to_be_bytes());
        let further = &server.options[..server.options.len().min(FURTHER_OPTIONS_BYTES_MAX)];
        options[length..][..further.len()].copy_from_slice(further);
        length += further.len();
    }
    options[length] = code::END;
}

#[cfg(test)]
mod test;
