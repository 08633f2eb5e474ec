//! TCP: connections of the guest's that end at the host's sockets, and the other way round.
//!
//! | | |
//! |---|---|
//! | `segment` | a header, read and written |
//! | `connection` | the numbers: from a segment to what is to be done |
//! | `open` | beginnings, refusals, ends |
//! | `to_host` | what the guest says goes to the socket |
//! | `to_guest` | what the socket has goes to the guest |

mod connection;
mod open;
mod segment;
mod to_guest;
mod to_host;

pub(super) use connection::Connection;
pub(super) use to_host::Outgoing;
