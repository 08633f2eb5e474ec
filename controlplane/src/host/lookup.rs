//! What addresses a name has.
//!
//! The standard library's own lookup knows neither services ("http") nor the flags that QEMU looks names up
//! with, so this is `getaddrinfo` itself. It may take as long as the resolver's patience: while clients are served
//! it is called in threads only ([`crate::connection::Lookup`]).

use std::ffi::{CStr, CString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Which addresses are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Either.
    Both,
}

impl Families {
    /// Whether an address may be used.
    #[must_use]
    pub fn take(self, address: IpAddr) -> bool {
        match self {
            Families::V4 => address.is_ipv4(),
            Families::V6 => address.is_ipv6(),
            Families::Both => true,
        }
    }
}

/// What is to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// A name or number; empty for any address of ours, if somebody wants to listen.
    pub host: String,
    /// A service or number; empty for none.
    pub service: String,
    /// A service's number may depend on whether it is one of datagrams.
    pub is_datagram: bool,
    /// Which addresses are wanted.
    pub families: Families,
    /// Somebody wants to listen there.
    pub is_passive: bool,
    /// Neither host nor service may be a name.
    pub is_numeric: bool,
}

/// What was found, in the order in which it should be tried; or why not, in the resolver's words.
pub type Answer = Result<Vec<SocketAddr>, String>;

impl Question {
    /// Any IPv4 address of a host, whatever for.
    #[must_use]
    pub fn ipv4(host: &str) -> Self {
        Question {
            host: host.to_owned(),
            service: String::new(),
            is_datagram: false,
            families: Families::V4,
            // Addresses that the machine has no way to yet are known all the same.
            is_passive: true,
            is_numeric: false,
        }
    }

    /// Whether nobody has to be asked, since there are only numbers: the answer comes at once.
    #[must_use]
    pub fn has_only_numbers(&self) -> bool {
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        self.is_numeric || (self.host.parse::<IpAddr>().is_ok() && is_number(&self.service))
    }
}

/// Looks it up. The addresses are in the order in which they should be tried.
///
/// # Errors
/// In the resolver's words.
pub fn look_up(question: &Question) -> Answer {
    let text = |text: &str| CString::new(text).map_err(|_nul| "a name with a zero byte".to_owned());
    let (host, service) = (text(&question.host)?, text(&question.service)?);
    let hints = hints(question);
    let service = if question.service.is_empty() { std::ptr::null() } else { service.as_ptr() };
    let is_any = question.host.is_empty() && question.is_passive;
    let host = if is_any { std::ptr::null() } else { host.as_ptr() };
    let mut list: *mut libc::addrinfo = std::ptr::null_mut();
    // SAFETY: texts that end with a zero byte, hints whose pointers are null, and a place for the result.
    let result = unsafe { libc::getaddrinfo(host, service, &raw const hints, &raw mut list) };
    if result != 0 {
        // SAFETY: takes any number.
        let words = unsafe { libc::gai_strerror(result) };
        // SAFETY: its texts end with a zero byte and live for ever.
        let words = unsafe { CStr::from_ptr(words) };
        return Err(words.to_string_lossy().into_owned());
    }
    let mut addresses = Vec::new();
    let mut next = list;
    // SAFETY: a null pointer or an entry of the list, which is not freed before the loop has ended.
    while let Some(entry) = unsafe { next.as_ref() } {
        addresses.extend(address(entry));
        next = entry.ai_next;
    }
    // SAFETY: the list that `getaddrinfo` made, and nothing refers to it any more.
    unsafe { libc::freeaddrinfo(list) };
    Ok(addresses)
}

fn hints(question: &Question) -> libc::addrinfo {
    let passive = if question.is_passive { libc::AI_PASSIVE } else { libc::AI_ADDRCONFIG };
    let mapped =
        if !question.is_passive && question.families != Families::V4 { libc::AI_V4MAPPED } else { 0 };
    let numeric = if question.is_numeric { libc::AI_NUMERICHOST | libc::AI_NUMERICSERV } else { 0 };
    libc::addrinfo {
        ai_flags: passive | mapped | numeric,
        ai_family: match question.families {
            Families::V4 => libc::AF_INET,
            Families::V6 => libc::AF_INET6,
            Families::Both => libc::AF_UNSPEC,
        },
        ai_socktype: if question.is_datagram { libc::SOCK_DGRAM } else { libc::SOCK_STREAM },
        ai_protocol: 0,
        ai_addrlen: 0,
        ai_addr: std::ptr::null_mut(),
        ai_canonname: std::ptr::null_mut(),
        ai_next: std::ptr::null_mut(),
    }
}

fn address(entry: &libc::addrinfo) -> Option<SocketAddr> {
    let is = |family, bytes| entry.ai_family == family && entry.ai_addrlen as usize >= bytes;
    if is(libc::AF_INET, size_of::<libc::sockaddr_in>()) {
        // SAFETY: the resolver says that it is of this family and length; it may lie unaligned.
        let v4 = unsafe { entry.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
        let ip = Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr));
        return Some(SocketAddr::new(ip.into(), u16::from_be(v4.sin_port)));
    }
    if is(libc::AF_INET6, size_of::<libc::sockaddr_in6>()) {
        // SAFETY: as above.
        let v6 = unsafe { entry.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
        let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
        return Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into());
    }
    None
}

#[cfg(test)]
mod test {
    use super::*;

    fn question(host: &str, service: &str) -> Question {
        let (host, service) = (host.to_owned(), service.to_owned());
        Question {
            host,
            service,
            is_datagram: false,
            families: Families::V4,
            is_passive: false,
            is_numeric: false,
        }
    }

    #[test]
    fn names_and_services_are_found() {
        let found = look_up(&question("localhost", "1234")).unwrap();
        assert_eq!(found, [SocketAddr::from(([127, 0, 0, 1], 1234))]);
        let any = look_up(&Question { is_passive: true, ..question("", "0") }).unwrap();
        assert_eq!(any, [SocketAddr::from(([0, 0, 0, 0], 0))]);
    }

    #[test]
    fn numbers_need_nobody() {
        assert!(question("127.0.0.1", "80").has_only_numbers() && question("::1", "").has_only_numbers());
        assert!(!question("localhost", "80").has_only_numbers());
        assert!(!question("127.0.0.1", "http").has_only_numbers());
        assert!(Question { is_numeric: true, ..question("localhost", "80") }.has_only_numbers());
    }

    #[test]
    fn what_is_no_name_is_refused_in_words() {
        let unknown = look_up(&question("127.0.0.1", "no-such-service")).unwrap_err();
        assert!(unknown.contains("not supported"), "{unknown}");
        let named = look_up(&Question { is_numeric: true, ..question("localhost", "1") }).unwrap_err();
        assert!(named.contains("not known"), "{named}");
        assert!(look_up(&question("a\0b", "1")).is_err());
    }
}
