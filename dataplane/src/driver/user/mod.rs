//! The `user` driver: a made-up network.

pub mod dhcp;
pub mod dhcpv6;
pub mod fragment;
pub mod ndp;
pub mod tftp;

#[cfg(test)]
mod recorded;

/// An Ethernet address.
pub type Mac = [u8; 6];
