//! What a made-up network tells about its flows: one record each, as `info usernet` shows them.
//!
//! They are written by a process that parses what guests send, so everything in them is only ever shown: nothing is an
//! index, a length or a descriptor of the reader's. They travel in a file of the reader's own, since they may be many.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Flows of one network at most.
pub const FLOWS_MAX: usize = 65_536;

/// Where a connection is in its life, by libslirp's names.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The host's end is not connected yet.
    SynSent = 0,
    /// The guest has not answered yet.
    SynReceived = 1,
    /// Both ends may speak.
    Established = 2,
    /// The guest has ended.
    CloseWait = 3,
    /// The host has ended, and the guest has not acknowledged that.
    FinWait1 = 4,
    /// The host has ended, and the guest knows.
    FinWait2 = 5,
    /// Both have ended.
    LastAck = 6,
}

impl State {
    const ALL: [State; 7] = [
        State::SynSent,
        State::SynReceived,
        State::Established,
        State::CloseWait,
        State::FinWait1,
        State::FinWait2,
        State::LastAck,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::SynSent => "SYN_SENT",
            State::SynReceived => "SYN_RCVD",
            State::Established => "ESTABLISHED",
            State::CloseWait => "CLOSE_WAIT",
            State::FinWait1 => "FIN_WAIT_1",
            State::FinWait2 => "FIN_WAIT_2",
            State::LastAck => "LAST_ACK",
        }
    }
}

/// What a flow carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// A connection.
    Tcp(State),
    /// Datagrams, for so many seconds more.
    Udp(u32),
    /// Echoes, for so many seconds more.
    Ping(u32),
}

/// One flow.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct FlowRecord {
    source: [u8; 16],
    destination: [u8; 16],
    ports: [u16; 2],
    /// The descriptor of the host's socket, in the data plane.
    pub descriptor: i32,
    /// Bytes that wait to be taken by the host,
    pub to_host: u32,
    /// and by the guest.
    pub to_guest: u32,
    /// Seconds, or a connection's state.
    detail: u32,
    kind: u32,
    /// Flows that began later have a larger one.
    pub serial: u32,
}

const TCP: u32 = 0;
const UDP: u32 = 1;
const PING: u32 = 2;

impl FlowRecord {
    /// A flow from `source`, where it began, to `destination`.
    #[must_use]
    pub fn new(carries: Carries, source: SocketAddr, destination: SocketAddr) -> Self {
        let (kind, detail) = match carries {
            Carries::Tcp(state) => (TCP, state as u32),
            Carries::Udp(seconds) => (UDP, seconds),
            Carries::Ping(seconds) => (PING, seconds),
        };
        FlowRecord {
            source: octets(source.ip()),
            destination: octets(destination.ip()),
            ports: [source.port(), destination.port()],
            descriptor: -1,
            to_host: 0,
            to_guest: 0,
            detail,
            kind,
            serial: 0,
        }
    }

    /// The same, with the host's socket, what waits for the guest, and when it began among others.
    #[must_use]
    pub fn with(self, descriptor: i32, to_guest: u32, serial: u32) -> Self {
        FlowRecord { descriptor, to_guest, serial, ..self }
    }

    /// What it carries, if it is something that we know.
    #[must_use]
    pub fn carries(&self) -> Option<Carries> {
        match self.kind {
            TCP => State::ALL.get(self.detail as usize).copied().map(Carries::Tcp),
            UDP => Some(Carries::Udp(self.detail)),
            PING => Some(Carries::Ping(self.detail)),
            _unknown => None,
        }
    }

    /// Where it began, and where it leads.
    #[must_use]
    pub fn ends(&self) -> [SocketAddr; 2] {
        let [source, destination] = [self.source, self.destination].map(|octets| {
            let address = Ipv6Addr::from(octets);
            address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
        });
        [SocketAddr::new(source, self.ports[0]), SocketAddr::new(destination, self.ports[1])]
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_come_back_as_written() {
        let ends = ["10.0.2.15:1", "[fec0::2]:65535"].map(|text| text.parse().unwrap());
        let states = State::ALL.map(Carries::Tcp);
        for carries in states.into_iter().chain([Carries::Udp(240), Carries::Ping(0)]) {
            let record = FlowRecord::new(carries, ends[0], ends[1]);
            assert_eq!((record.carries(), record.ends()), (Some(carries), ends));
        }
    }

    #[test]
    fn what_is_unknown_carries_nothing() {
        let mut record = FlowRecord::new_zeroed();
        (record.kind, record.detail) = (TCP, u32::MAX);
        assert_eq!(record.carries(), None);
        record.kind = u32::MAX;
        assert_eq!(record.carries(), None);
    }

    use zerocopy::FromZeros as _;
}
