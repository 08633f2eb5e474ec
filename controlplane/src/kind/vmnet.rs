//! `vmnet-host`, `vmnet-shared`, `vmnet-bridged`: networks as macOS offers them, with their counterparts on Linux.

use std::net::Ipv4Addr;

use super::{Kind, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;

object! {
    /// Options of `vmnet-host`.
    pub struct HostOptions {
        /// First address for guests.
        start_address as "start-address": Option<String>,
        /// Last address for guests.
        end_address as "end-address": Option<String>,
        /// The network's mask.
        subnet_mask as "subnet-mask": Option<String>,
        /// Whether guests are kept from each other.
        isolated: Option<bool>,
        /// Guests with the same one are on the same network.
        net_uuid as "net-uuid": Option<String>,
    }
}

object! {
    /// Options of `vmnet-shared`.
    pub struct SharedOptions {
        /// First address for guests.
        start_address as "start-address": Option<String>,
        /// Last address for guests.
        end_address as "end-address": Option<String>,
        /// The network's mask.
        subnet_mask as "subnet-mask": Option<String>,
        /// Whether guests are kept from each other.
        isolated: Option<bool>,
        /// Prefix for IPv6.
        nat66_prefix as "nat66-prefix": Option<String>,
    }
}

object! {
    /// Options of `vmnet-bridged`.
    pub struct BridgedOptions {
        /// The host's interface.
        ifname: String,
        /// Whether guests are kept from each other.
        isolated: Option<bool>,
    }
}

/// The addresses of a network; all or none are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First address for guests.
    pub start: Ipv4Addr,
    /// Last address for guests.
    pub end: Ipv4Addr,
    /// The network's mask.
    pub mask: Ipv4Addr,
}

/// A network of guests and host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its addresses; our choice if absent.
    pub range: Option<Range>,
    /// Whether guests are kept from each other.
    pub is_isolated: bool,
    /// Guests with the same one are on the same network.
    pub network: Option<String>,
}

/// The same with a way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// Its addresses; our choice if absent.
    pub range: Option<Range>,
    /// Whether guests are kept from each other.
    pub is_isolated: bool,
    /// Prefix for IPv6.
    pub nat66_prefix: Option<String>,
}

impl Kind for HostOptions {
    type Checked = Host;

    fn check(&self, _around: &dyn Surroundings) -> Result<Host, QmpError> {
        Ok(Host {
            range: range(&self.start_address, &self.end_address, &self.subnet_mask)?,
            is_isolated: self.isolated == Some(true),
            network: self.net_uuid.clone(),
        })
    }
}

impl Kind for SharedOptions {
    type Checked = Shared;

    fn check(&self, _around: &dyn Surroundings) -> Result<Shared, QmpError> {
        Ok(Shared {
            range: range(&self.start_address, &self.end_address, &self.subnet_mask)?,
            is_isolated: self.isolated == Some(true),
            nat66_prefix: self.nat66_prefix.clone(),
        })
    }
}

impl Kind for BridgedOptions {
    type Checked = Self;

    fn check(&self, _around: &dyn Surroundings) -> Result<Self, QmpError> {
        Ok(self.clone())
    }
}

fn range(
    start: &Option<String>,
    end: &Option<String>,
    mask: &Option<String>,
) -> Result<Option<Range>, QmpError> {
    match (start, end, mask) {
        (Some(start), Some(end), Some(mask)) => {
            Ok(Some(Range { start: address(start)?, end: address(end)?, mask: address(mask)? }))
        }
        (None, None, None) => Ok(None),
        _ => Err(QmpError::generic(
            "'start-address', 'end-address', 'subnet-mask' should be provided together",
        )),
    }
}

fn address(text: &str) -> Result<Ipv4Addr, QmpError> {
    text.parse().map_err(|_| QmpError::generic(format!("'{text}' is not a valid IPv4 address")))
}
