//! Datagrams that the virtual hosts answer themselves: by port, from request to reply.
//!
//! A service is a pure module: it is given the request as a value and its bytes, and makes the bytes of the answer.
//! Here is only who is asked at which port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::dhcp::{self, Leases};
use super::dhcpv6;
use super::files;
use super::header::{Path, TTL, mac_of4, mac_of6};
use super::packet::{Ip, Malformed, UDP_BYTES, Udp};
use super::translate::Alias;
use super::{Heard, User, copied};

/// Where guests ask for addresses, and where they are told.
const DHCP_PORTS: [u16; 2] = [67, 68];
const DHCPV6_PORT: u16 = 547;
/// Where all DHCPv6 servers and relays listen.
const DHCPV6_GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
const BROADCAST: [u8; 6] = [0xff; 6];
/// The type of service of what is answered here: low delay.
pub(super) const TOS: u8 = 0x10;

/// What the services remember.
#[derive(Debug)]
pub(super) struct Services {
    leases: Leases,
    pub(super) tftp: files::Server,
}

impl Services {
    /// Of a new network; `random` keeps apart what is said to it from what was said to one before.
    pub(super) fn new(random: u32) -> Self {
        Services { leases: Leases::default(), tftp: files::Server::new(random) }
    }
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Dhcp,
    Dhcpv6,
    Tftp,
}

impl User {
    /// Has a service answer a datagram, if it is for one. Whether it was.
    pub(super) fn serve(&mut self, ip: &Ip, udp: &Udp, heard: Heard<'_>) -> Result<bool, Malformed> {
        let Some(service) = self.service(udp) else { return Ok(false) };
        let bytes = UDP_BYTES + udp.bytes;
        if !heard.frame.offload.needs_checksum() && !self.is_sound(ip, udp, heard) {
            return Err(Malformed);
        }
        let datagram = copied(&mut self.copy, heard, ip.at, bytes)?;
        // The payload is looked at while answers are made.
        let mut payload = [0; super::COPY_BYTES];
        let payload = &mut payload[..udp.bytes];
        payload.copy_from_slice(&datagram[UDP_BYTES..]);
        match service {
            Service::Dhcp => self.serve_dhcp(payload),
            Service::Dhcpv6 => self.serve_dhcpv6(ip, udp, payload),
            Service::Tftp => self.serve_tftp(ip, udp, payload),
        }
        Ok(true)
    }

    fn service(&self, udp: &Udp) -> Option<Service> {
        let options = &self.translator.options;
        match (udp.destination.ip(), udp.destination.port()) {
            (IpAddr::V4(address), 67) => {
                let is_ours = address.octets() == options.ipv4.host || address.is_broadcast();
                is_ours.then_some(Service::Dhcp)
            }
            (IpAddr::V4(address), files::PORT) => {
                (address.octets() == options.ipv4.host).then_some(Service::Tftp)
            }
            // Who is restricted gets nothing by UDP over IPv6.
            (IpAddr::V6(_), _) if options.is_restricted != 0 => None,
            (IpAddr::V6(address), DHCPV6_PORT) => {
                let is_ours = address.octets() == options.ipv6.host || address == DHCPV6_GROUP;
                is_ours.then_some(Service::Dhcpv6)
            }
            (address @ IpAddr::V6(_), files::PORT) => {
                let is_host = self.translator.alias(address) == Some(Alias::Host);
                is_host.then_some(Service::Tftp)
            }
            (_, _) => None,
        }
    }

    fn serve_dhcp(&mut self, request: &[u8]) {
        let options = &self.translator.options;
        let host = Ipv4Addr::from(options.ipv4.host);
        let server = dhcp::Server {
            host,
            dns: options.ipv4.dns.into(),
            mask: options.ipv4.mask.into(),
            first: options.ipv4.dhcp_start.into(),
            is_restricted: options.is_restricted != 0,
            options: options.dhcp(),
            file: options.bootfile(),
        };
        let mut reply = [0; dhcp::REPLY_BYTES];
        let Some(answer) = dhcp::answer(request, &server, &mut self.services.leases, &mut reply) else {
            return;
        };
        if let Some(address) = answer.address {
            self.learn(address.into(), answer.client);
        }
        let path = Path {
            to: BROADCAST,
            from: mac_of4(host),
            source: host.into(),
            destination: Ipv4Addr::BROADCAST.into(),
            ttl: TTL,
            tos: TOS,
        };
        self.replies.datagram(&path, DHCP_PORTS, &reply);
    }

    fn serve_dhcpv6(&mut self, ip: &Ip, udp: &Udp, request: &[u8]) {
        let options = &self.translator.options;
        let host = Ipv6Addr::from(options.ipv6.host);
        let server = dhcpv6::Server {
            host,
            mac: mac_of6(host),
            dns: options.ipv6.dns.into(),
            file: options.bootfile(),
        };
        let mut reply = [0; dhcpv6::REPLY_BYTES_MAX];
        let Some(bytes) = dhcpv6::answer(request, &server, &mut reply) else { return };
        let path = self.translator.path(ip.from, host.into(), ip.source);
        self.replies.datagram(&path, [DHCPV6_PORT, udp.source.port()], &reply[..bytes]);
    }
}
