//! Datagrams that the virtual hosts answer themselves: by port, from request to reply.
//!
//! A service is a pure module: it is given the request as a value and its bytes, and makes the bytes of the answer.
//! Here is only who is asked at which port.

use super::packet::{Ip, Malformed, Udp};
use super::{Heard, User};

impl User {
    /// Has a service answer a datagram, if it is for one. Whether it was.
    pub(super) fn serve(&mut self, _ip: &Ip, _udp: &Udp, _heard: Heard<'_>) -> Result<bool, Malformed> {
        Ok(false)
    }
}
