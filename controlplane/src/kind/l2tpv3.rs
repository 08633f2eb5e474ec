//! `l2tpv3`: a static layer-two tunnel over IP or UDP (RFC 3931).
//!
//! Two options do not mean what they say. `cookie64` counts if it is present, even as `false`: peers configured
//! that way exist. `pincounter` without `counter` makes QEMU write four bytes that its header has no room for; it
//! stands for both here, which is what its documentation promises.

pub mod prepare;

use std::net::SocketAddr;

use framewire_shared::driver::{Cookies, Counter};

use super::{Kind, Surroundings};
use crate::host::lookup::{Families, Question};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;

object! {
    /// Options of `l2tpv3`.
    pub struct Options {
        /// Our address.
        src: String,
        /// The peer's address.
        dst: String,
        /// Our UDP port.
        srcport: Option<String>,
        /// The peer's UDP port.
        dstport: Option<String>,
        /// Whether addresses are IPv6.
        ipv6: Option<bool>,
        /// Whether the tunnel is over UDP.
        udp: Option<bool>,
        /// Whether cookies have 64 bits.
        cookie64: Option<bool>,
        /// Whether frames are counted.
        counter: Option<bool>,
        /// Whether the counter stands still at 0.
        pincounter: Option<bool>,
        /// Cookie of frames that we send.
        txcookie: Option<u64>,
        /// Cookie of frames that we receive.
        rxcookie: Option<u64>,
        /// Session of frames that we send.
        txsession: u32,
        /// Session of frames that we receive; the same if absent.
        rxsession: Option<u32>,
        /// Bytes between header and frame.
        offset: Option<u32>,
    }
}

/// The largest offset; QEMU's text says one less.
const OFFSET_BYTES_MAX: u32 = 256;

/// A tunnel whose addresses can be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Our address, as far as it is known; why it is not is told when its turn comes.
    pub local: Result<SocketAddr, String>,
    /// The peer's.
    pub remote: Result<SocketAddr, String>,
    /// Whether addresses are IPv6.
    pub is_ipv6: bool,
    /// Whether it is over UDP, not directly over IP.
    pub is_udp: bool,
    /// The cookies.
    pub cookies: Option<Cookies>,
    /// What the counter does.
    pub counter: Counter,
    /// Session of frames that we send.
    pub send_session: u32,
    /// Session of frames that we receive.
    pub receive_session: u32,
    /// Bytes between header and frame.
    pub offset_bytes: u32,
}

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, around: &dyn Surroundings) -> Result<Checked, QmpError> {
        let offset_bytes = self.offset.unwrap_or(0);
        if offset_bytes > OFFSET_BYTES_MAX {
            return Err(QmpError::generic("offset must be less than 256 bytes"));
        }
        let cookies = self.cookies()?;
        let (local_port, remote_port) = self.ports()?;
        Ok(Checked {
            cookies,
            is_udp: self.udp == Some(true),
            counter: self.counter(),
            local: self.resolve(&self.src, local_port, around),
            remote: self.resolve(&self.dst, remote_port, around),
            is_ipv6: self.ipv6 == Some(true),
            send_session: self.txsession,
            receive_session: self.rxsession.unwrap_or(self.txsession),
            offset_bytes,
        })
    }
}

impl Options {
    fn cookies(&self) -> Result<Option<Cookies>, QmpError> {
        let is_64_bit = self.cookie64.is_some();
        match (self.txcookie, self.rxcookie) {
            (Some(send), Some(receive)) => Ok(Some(Cookies { send, receive, is_64_bit })),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => {
                Err(QmpError::generic("require both 'rxcookie' and 'txcookie' or neither"))
            }
        }
    }

    /// By number or name of service; empty if there are none.
    fn ports(&self) -> Result<(&str, &str), QmpError> {
        if self.udp != Some(true) {
            return Ok(("", ""));
        }
        match (&self.srcport, &self.dstport) {
            (Some(src), Some(dst)) => Ok((src, dst)),
            (Some(_) | None, None) | (None, Some(_)) => {
                Err(QmpError::generic("need both src and dst port for udp"))
            }
        }
    }

    /// The first address that the resolver has. Without a port it is that of a raw socket.
    fn resolve(&self, host: &str, port: &str, around: &dyn Surroundings) -> Result<SocketAddr, String> {
        let question = Question {
            host: host.to_owned(),
            service: port.to_owned(),
            is_datagram: true,
            families: if self.ipv6 == Some(true) { Families::V6 } else { Families::V4 },
            // Addresses that the machine has no way to yet are known all the same.
            is_passive: true,
            is_numeric: false,
        };
        around.look_up(&question)?.into_iter().next().ok_or_else(|| "no address".to_owned())
    }

    fn counter(&self) -> Counter {
        if self.pincounter == Some(true) {
            Counter::Pinned
        } else if self.counter == Some(true) {
            Counter::Counting
        } else {
            Counter::Absent
        }
    }
}
