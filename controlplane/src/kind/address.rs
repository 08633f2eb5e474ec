//! IPv4 addresses and ports as QEMU's older options write them.
//!
//! `socket`, `dgram` and `user` read addresses by C's `inet_aton` and ports by `strtol`: `127.1` is an address,
//! `0x50` and `80x` are ports. Rust's own parsers refuse all of these, and a client that relies on one of them
//! would be stopped by us alone; so the old rules are written out here, once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use super::Surroundings;
use crate::host::lookup::Question;
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::number::{Base, c_integer, whole_integer};

/// An address of one to four numbers, the last of which fills what is left; each decimal, octal or hexadecimal.
#[must_use]
pub fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    // What follows white space is ignored.
    let text = text.split([' ', '\t', '\n', '\x0b', '\x0c', '\r']).next()?;
    let parts: Vec<&str> = text.split('.').collect();
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 {
        return None;
    }
    let mut address = 0_u32;
    for part in leading {
        address = address << 8 | u32::from(u8::try_from(unsigned(part)?).ok()?);
    }
    let bits_left = 32 - 8 * u32::try_from(leading.len()).ok()?;
    let last = u32::try_from(unsigned(last)?).ok().filter(|last| u64::from(*last) >> bits_left == 0)?;
    let leading_address = u32::try_from(u64::from(address) << bits_left).ok()?;
    Some(Ipv4Addr::from_bits(leading_address | last))
}

/// A number without sign.
fn unsigned(text: &str) -> Option<i128> {
    text.starts_with(|first: char| first.is_ascii_digit()).then(|| whole_integer(text, Base::Prefixed))?
}

/// Host and port of one text.
pub fn host_and_port(text: &str, around: &dyn Surroundings) -> Result<SocketAddrV4, QmpError> {
    let missing =
        || QmpError::generic(format!("host address '{text}' doesn't contain ':' separating host from port"));
    let (host, port) = text.split_once(':').ok_or_else(missing)?;
    resolve(host, port, around)
}

/// Host and port of two texts.
pub fn resolve(host: &str, port: &str, around: &dyn Surroundings) -> Result<SocketAddrV4, QmpError> {
    let host = resolve_host(host, around)?;
    let invalid = || QmpError::generic(format!("port number '{port}' is invalid"));
    let (port, _ignored) = c_integer(port, Base::Prefixed).ok_or_else(invalid)?;
    Ok(SocketAddrV4::new(host, wrapped_port(port)))
}

fn resolve_host(host: &str, around: &dyn Surroundings) -> Result<Ipv4Addr, QmpError> {
    if host.is_empty() {
        return Ok(Ipv4Addr::UNSPECIFIED);
    }
    if host.starts_with(|first: char| first.is_ascii_digit()) {
        let invalid = || QmpError::generic(format!("host address '{host}' is not a valid IPv4 address"));
        return inet_aton(host).ok_or_else(invalid);
    }
    let unknown = || QmpError::generic(format!("can't resolve host address '{host}'"));
    let found = around.look_up(&Question::ipv4(host)).map_err(|_why| unknown())?;
    found.iter().find_map(ipv4).ok_or_else(unknown)
}

fn ipv4(address: &SocketAddr) -> Option<Ipv4Addr> {
    match address.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

/// A port as C makes one of a `long`: modulo 65536.
fn wrapped_port(number: i128) -> u16 {
    let long = number.clamp(i64::MIN.into(), i64::MAX.into());
    u16::try_from(long.rem_euclid(65_536)).expect("a remainder of 65536 is below it")
}

/// An address of an interface, given without port.
pub fn local_interface(text: &str) -> Result<Ipv4Addr, QmpError> {
    let invalid = || QmpError::generic(format!("localaddr '{text}' is not a valid IPv4 address"));
    inet_aton(text).ok_or_else(invalid)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn addresses_are_read_as_c_reads_them() {
        let address = |a, b, c, d| Some(Ipv4Addr::new(a, b, c, d));
        assert_eq!(inet_aton("10.0.2.15"), address(10, 0, 2, 15));
        assert_eq!(inet_aton("127.1"), address(127, 0, 0, 1));
        assert_eq!(inet_aton("0x7f000001"), address(127, 0, 0, 1));
        assert_eq!(inet_aton("010.1.2.3"), address(8, 1, 2, 3));
        assert_eq!(inet_aton("10.0.515"), address(10, 0, 2, 3));
        assert_eq!(inet_aton("10.0.2.15 x"), address(10, 0, 2, 15));
        assert_eq!(inet_aton("4294967295"), address(255, 255, 255, 255));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let texts =
            ["", ".", "1.2.3.", "1.2.3.256", "256.1", "1.2.3.4.5", "4294967296", "1.2.65536", "+1", "-1"];
        for text in texts {
            assert_eq!(inet_aton(text), None, "{text:?}");
        }
    }

    #[test]
    fn ports_wrap() {
        assert_eq!(wrapped_port(131_072), 0);
        assert_eq!(wrapped_port(-1), 65_535);
        assert_eq!(wrapped_port(1 << 100), 65_535);
    }
}
