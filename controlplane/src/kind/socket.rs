//! `socket`: the older spelling of `stream` (listen, connect) and `dgram` (mcast, udp).

pub mod prepare;

use std::net::{Ipv4Addr, SocketAddrV4};

use super::address::{host_and_port, local_interface};
use super::{Kind, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;

object! {
    /// Options of `socket`.
    #[derive(Default)]
    pub struct Options {
        /// A socket that is open already, by number or name.
        fd: Option<String>,
        /// Where a server listens.
        listen: Option<String>,
        /// Where a client connects to.
        connect: Option<String>,
        /// A group.
        mcast: Option<String>,
        /// The interface (with `mcast`) or address (with `udp`) to receive at.
        localaddr: Option<String>,
        /// Where datagrams are sent.
        udp: Option<String>,
    }
}

/// A socket that can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// Open already, by number or name.
    Fd(String),
    /// A server for one client at a time.
    Listen(SocketAddrV4),
    /// A client.
    Connect(SocketAddrV4),
    /// Sends to a group and hears it.
    Multicast {
        /// The group.
        group: SocketAddrV4,
        /// The interface by its address.
        interface: Option<Ipv4Addr>,
    },
    /// Sends to one address; hears anyone.
    Udp {
        /// Where it is bound.
        local: SocketAddrV4,
        /// Where it sends to.
        remote: SocketAddrV4,
    },
}

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, around: &dyn Surroundings) -> Result<Checked, QmpError> {
        if self.localaddr.is_some() && self.only_way().is_some() && self.mcast.is_none() && self.udp.is_none()
        {
            return refuse("localaddr= is only valid with mcast= or udp=");
        }
        match self.only_way() {
            None => refuse("exactly one of listen=, connect=, mcast= or udp= is required"),
            Some(Way::Fd(fd)) => Ok(Checked::Fd(fd.to_owned())),
            Some(Way::Listen(address)) => host_and_port(address, around).map(Checked::Listen),
            Some(Way::Connect(address)) => host_and_port(address, around).map(Checked::Connect),
            Some(Way::Multicast(group)) => self.multicast(host_and_port(group, around)?),
            Some(Way::Udp(remote)) => self.udp(remote, around),
        }
    }
}

/// The options of which there must be exactly one.
enum Way<'a> {
    Fd(&'a str),
    Listen(&'a str),
    Connect(&'a str),
    Multicast(&'a str),
    Udp(&'a str),
}

impl Options {
    /// Whether it is a server.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.listen.is_some()
    }

    fn only_way(&self) -> Option<Way<'_>> {
        let ways = [
            self.fd.as_deref().map(Way::Fd),
            self.listen.as_deref().map(Way::Listen),
            self.connect.as_deref().map(Way::Connect),
            self.mcast.as_deref().map(Way::Multicast),
            self.udp.as_deref().map(Way::Udp),
        ];
        let mut given = ways.into_iter().flatten();
        given.next().filter(|_| given.next().is_none())
    }

    fn multicast(&self, group: SocketAddrV4) -> Result<Checked, QmpError> {
        let interface = self.localaddr.as_deref().map(local_interface).transpose()?;
        if !group.ip().is_multicast() {
            return Err(QmpError::generic(format!(
                "specified mcastaddr {} (0x{:08x}) does not contain a multicast address",
                group.ip(),
                group.ip().to_bits(),
            )));
        }
        Ok(Checked::Multicast { group, interface })
    }

    fn udp(&self, remote: &str, around: &dyn Surroundings) -> Result<Checked, QmpError> {
        let Some(local) = &self.localaddr else { return refuse("localaddr= is mandatory with udp=") };
        let local = host_and_port(local, around)?;
        Ok(Checked::Udp { local, remote: host_and_port(remote, around)? })
    }
}

fn refuse(text: &str) -> Result<Checked, QmpError> {
    Err(QmpError::generic(text))
}
