//! `user`: a network made up in user space, with a router, a DHCP server and a DNS server in it.
//!
//! It has the most options of all kinds. What they say together is checked in three parts, in QEMU's order: which
//! families there are and their addresses (`network`), names that go into DHCP answers (here), and forwarding
//! rules (`forward`), guest before host and each list from its end.

pub mod forward;
pub mod listen;
mod names;
pub mod network;
pub mod prepare;
pub mod resolver;
mod search_list;

use std::net::Ipv4Addr;

use self::forward::{GuestForward, HostForward};
use self::network::{Network4, Network6};
use super::address::inet_aton;
use super::{Kind, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;
use crate::qmp::qapi::number::{Base, whole_integer};
use crate::qmp::qapi::options::Opts;
use crate::qmp::types::socket_address::Text;

object! {
    /// Options of `user`.
    #[derive(Default)]
    pub struct Options {
        /// The guest's name.
        hostname: Option<String>,
        /// Whether the guest is kept from everything outside.
        restrict: Option<bool>,
        /// Whether there is IPv4.
        ipv4: Option<bool>,
        /// Whether there is IPv6.
        ipv6: Option<bool>,
        /// The network, as older clients give it.
        ip: Option<String>,
        /// The network.
        net: Option<String>,
        /// The router's address.
        host: Option<String>,
        /// Folder that TFTP serves.
        tftp: Option<String>,
        /// The file that the guest boots.
        bootfile: Option<String>,
        /// First address that DHCP gives away.
        dhcpstart: Option<String>,
        /// The DNS server's address.
        dns: Option<String>,
        /// Domains that the guest searches.
        dnssearch: Option<Vec<Text>>,
        /// The guest's domain.
        domainname: Option<String>,
        /// The network's IPv6 prefix.
        ipv6_prefix as "ipv6-prefix": Option<String>,
        /// Its length.
        ipv6_prefixlen as "ipv6-prefixlen": Option<i64>,
        /// The router's IPv6 address.
        ipv6_host as "ipv6-host": Option<String>,
        /// The DNS server's IPv6 address.
        ipv6_dns as "ipv6-dns": Option<String>,
        /// Folder that SMB serves.
        smb: Option<String>,
        /// The SMB server's address.
        smbserver: Option<String>,
        /// Ports of the host that lead to the guest.
        hostfwd: Option<Vec<Text>>,
        /// Ports of the network that lead to something on the host.
        guestfwd: Option<Vec<Text>>,
        /// The boot server's name.
        tftp_server_name as "tftp-server-name": Option<String>,
    }
}

/// A network that can be made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its IPv4 addresses.
    pub network4: Option<Network4>,
    /// Its IPv6 addresses.
    pub network6: Option<Network6>,
    /// Whether the guest is kept from everything outside.
    pub is_restricted: bool,
    /// What DHCP tells the guest.
    pub names: Names,
    /// Folder that TFTP serves.
    pub tftp: Option<String>,
    /// Folder that SMB serves, and the server's address.
    pub smb: Option<Smb>,
    /// Ports of the network that lead to something on the host, in the order in which they are to be set up.
    pub guest_forwards: Vec<GuestForward>,
    /// Ports of the host that lead to the guest, in the order in which they are to be set up.
    pub host_forwards: Vec<HostForward>,
}

/// What DHCP tells the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The guest's name.
    pub host: Option<String>,
    /// The guest's domain.
    pub domain: Option<String>,
    /// Domains that the guest searches.
    pub search: Vec<String>,
    /// The file that the guest boots.
    pub bootfile: Option<String>,
    /// The boot server's name.
    pub tftp_server: Option<String>,
}

/// A folder to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smb {
    /// The folder.
    pub folder: String,
    /// The server's address; the usual one if absent.
    pub server: Option<Ipv4Addr>,
}

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, around: &dyn Surroundings) -> Result<Checked, QmpError> {
        let (has_ipv4, has_ipv6) = self.families()?;
        let is_restricted = self.restrict == Some(true);
        let network4 = Network4::check(self, is_restricted)?;
        let smb_server = self.smb_server()?;
        let network6 = Network6::check(self, is_restricted)?;
        let names = self.names()?;
        let guest_forwards = self.guest_forwards(&network4, around)?;
        Ok(Checked {
            network4: has_ipv4.then_some(network4),
            network6: has_ipv6.then_some(network6),
            is_restricted,
            names,
            tftp: self.tftp.clone(),
            smb: self.smb.clone().map(|folder| Smb { folder, server: smb_server }),
            guest_forwards,
            host_forwards: self.host_forwards()?,
        })
    }
}

/// Names in DHCP answers have one byte for their length.
const NAME_BYTES_MAX: usize = 255;
/// The field of a DHCP answer for the boot file has room for so much and a terminator. QEMU crashes on more.
const BOOTFILE_BYTES_MAX: usize = 127;

impl Options {
    /// Which families there are: asking for one alone turns the other off.
    fn families(&self) -> Result<(bool, bool), QmpError> {
        let has_ipv4 = self.ipv4.unwrap_or(self.ipv6 != Some(true));
        let has_ipv6 = self.ipv6.unwrap_or(self.ipv4 != Some(true));
        if !has_ipv4 && (self.network().is_some() || self.host.is_some() || self.dns.is_some()) {
            return Err(QmpError::generic("IPv4 disabled but netmask/host/dns provided"));
        }
        let wants_ipv6 = self.ipv6_prefix.is_some() || self.ipv6_host.is_some() || self.ipv6_dns.is_some();
        if !has_ipv6 && wants_ipv6 {
            return Err(QmpError::generic("IPv6 disabled but prefix/host6/dns6 provided"));
        }
        if !has_ipv4 && !has_ipv6 {
            return Err(QmpError::generic("IPv4 and IPv6 disabled"));
        }
        Ok((has_ipv4, has_ipv6))
    }

    /// The network as text, whichever way it was given.
    fn network(&self) -> Option<String> {
        self.net.clone().or_else(|| self.ip.as_ref().map(|ip| format!("{ip}/24")))
    }

    fn smb_server(&self) -> Result<Option<Ipv4Addr>, QmpError> {
        let malformed = || QmpError::generic("Failed to parse SMB address");
        self.smbserver.as_deref().map(|text| inet_aton(text).ok_or_else(malformed)).transpose()
    }

    fn names(&self) -> Result<Names, QmpError> {
        if self.domainname.as_deref() == Some("") {
            return Err(QmpError::generic("'domainname' parameter cannot be empty"));
        }
        check_length("domainname", self.domainname.as_deref(), NAME_BYTES_MAX)?;
        // Sic: QEMU's text has the name of a variable.
        check_length("vhostname", self.hostname.as_deref(), NAME_BYTES_MAX)?;
        check_length("tftp-server-name", self.tftp_server_name.as_deref(), NAME_BYTES_MAX)?;
        check_length("bootfile", self.bootfile.as_deref(), BOOTFILE_BYTES_MAX)?;
        Ok(Names {
            host: self.hostname.clone(),
            domain: self.domainname.clone(),
            search: texts(self.dnssearch.as_deref()).map(str::to_owned).collect(),
            bootfile: self.bootfile.clone(),
            tftp_server: self.tftp_server_name.clone(),
        })
    }

    fn guest_forwards(
        &self,
        network: &Network4,
        around: &dyn Surroundings,
    ) -> Result<Vec<GuestForward>, QmpError> {
        let rules = texts(self.guestfwd.as_deref()).rev();
        rules.map(|rule| GuestForward::parse(rule, network, around)).collect()
    }

    fn host_forwards(&self) -> Result<Vec<HostForward>, QmpError> {
        texts(self.hostfwd.as_deref()).rev().map(HostForward::parse).collect()
    }
}

fn texts(list: Option<&[Text]>) -> impl DoubleEndedIterator<Item = &str> {
    list.unwrap_or_default().iter().map(|text| text.str.as_str())
}

fn check_length(parameter: &str, text: Option<&str>, most: usize) -> Result<(), QmpError> {
    if text.is_some_and(|text| text.len() > most) {
        let text = format!("'{parameter}' parameter cannot exceed {most} bytes");
        return Err(QmpError::generic(text));
    }
    Ok(())
}

/// The command line has a shorter way to write prefix and length: `ipv6-net=fec0::/64`.
pub fn expand_ipv6_net(opts: &mut Opts) -> Result<(), QmpError> {
    let Some(network) = opts.take("ipv6-net") else { return Ok(()) };
    let (prefix, length) = network.split_once('/').unwrap_or((&network, "64"));
    if prefix.is_empty() {
        return Err(QmpError::expects("ipv6-net", "a valid IPv6 prefix"));
    }
    if whole_integer(length, Base::Decimal).is_none() {
        return Err(QmpError::expects("ipv6-prefixlen", "a number"));
    }
    opts.set("ipv6-prefix", prefix);
    opts.set("ipv6-prefixlen", length);
    Ok(())
}
