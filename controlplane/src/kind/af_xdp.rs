//! `af-xdp`: queues of a network interface, past the kernel's stack.
//!
//! The XDP program that steers frames into our sockets is loaded by us, or (`inhibit`) by somebody else, who then
//! gives us either the sockets or the map to put ours into. Texts are those of QEMU 10.1.
//!
//! Two options are ours. `x-station` (given once for each address) shares the interface with the host: only frames
//! that are addressed to one of these stations come to us, the rest stays the host's; broadcast and multicast too, since
//! a program cannot give one frame to two. An option and not an object
//! (`object-add` knows filters): it decides which program is loaded, so it cannot change without another.
//!
//! `x-tx-checksum` leaves checksums that a guest has not completed to the interface (kernel 6.11 and newer). It must be
//! asked for: where the kernel copies frames any interface does that, as it does for the host, but a card that takes them
//! from our memory and knows no such requests would send them unfinished, and a veth hands them on as they are, to
//! a peer that is a kernel or not.

pub mod prepare;

use framewire_bpf::{SOCKETS_MAX, STATIONS_MAX};
use framewire_shared::limits::QUEUES_PER_PORT_MAX;

use super::mac::Mac;
use super::{Kind, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::{enumeration, object};
use crate::qmp::types::socket_address::Text;

enumeration! {
    /// How the program is attached.
    pub enum Mode {
        /// In the driver.
        Native = "native",
        /// In the kernel's stack: any driver, and slower.
        Skb = "skb",
    }
}

object! {
    /// Options of `af-xdp`.
    pub struct Options {
        /// The interface.
        ifname: String,
        /// How the program is attached; the driver's way if it can, if absent.
        mode: Option<Mode>,
        /// Whether frames are copied even where that is not needed.
        force_copy as "force-copy": Option<bool>,
        /// How many queues.
        queues: Option<i64>,
        /// The first queue.
        start_queue as "start-queue": Option<i64>,
        /// Whether somebody else loads the program.
        inhibit: Option<bool>,
        /// Sockets by number or name, with colons between them.
        sock_fds as "sock-fds": Option<String>,
        /// Where somebody else's map is pinned.
        map_path as "map-path": Option<String>,
        /// Our first place in that map.
        map_start_index as "map-start-index": Option<i32>,
        /// Addresses of our stations, where the interface is shared with the host.
        x_station as "x-station": Option<Vec<Text>>,
        /// Whether the interface completes checksums of what is sent, as it does for the host.
        x_tx_checksum as "x-tx-checksum": Option<bool>,
    }
}

/// An interface whose queues can be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The interface.
    pub ifname: String,
    /// How the program is attached.
    pub mode: Option<Mode>,
    /// Whether frames are copied even where that is not needed.
    pub force_copy: bool,
    /// How many queues; at least one.
    pub queues: u32,
    /// The first queue.
    pub start_queue: u32,
    /// Who steers frames to us.
    pub steering: Steering,
    /// Whose frames are ours; all of them if empty.
    pub stations: Vec<Mac>,
    /// Whether the interface completes checksums of what is sent.
    pub tx_checksum: bool,
}

/// Who steers frames to our sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steering {
    /// A program of ours.
    OurProgram,
    /// Somebody else, who made the sockets: by number or name, one a queue.
    Sockets(Vec<String>),
    /// Somebody else, with a map that we put our sockets into.
    Map {
        /// Where it is pinned.
        path: String,
        /// Our first place in it.
        start_index: u32,
    },
}

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, _around: &dyn Surroundings) -> Result<Checked, QmpError> {
        let queues = self.queues.unwrap_or(1);
        let out_of_range =
            |_| QmpError::generic(format!("invalid number of queues ({queues}) for '{}'", self.ifname));
        let start_queue = self.start_queue.unwrap_or(0);
        let no_queue =
            |_| QmpError::generic(format!("invalid start queue ({start_queue}) for '{}'", self.ifname));
        Ok(Checked {
            ifname: self.ifname.clone(),
            mode: self.mode,
            force_copy: self.force_copy == Some(true),
            queues: Queues::try_from(queues).map_err(out_of_range)?.0,
            steering: self.steering(queues)?,
            start_queue: StartQueue::try_from(start_queue).map_err(no_queue)?.0,
            stations: self.stations()?,
            tx_checksum: self.x_tx_checksum == Some(true),
        })
    }
}

/// At least one, and no more than a port may have.
struct Queues(u32);

/// One for which the map of sockets has a place.
struct StartQueue(u32);

impl TryFrom<i64> for StartQueue {
    type Error = ();

    fn try_from(number: i64) -> Result<Self, ()> {
        u32::try_from(number).ok().filter(|number| *number < SOCKETS_MAX).map(Self).ok_or(())
    }
}

impl TryFrom<i64> for Queues {
    type Error = ();

    fn try_from(count: i64) -> Result<Self, ()> {
        let is_allowed = |count: &u32| (1..=QUEUES_PER_PORT_MAX).contains(&(*count as usize));
        u32::try_from(count).ok().filter(is_allowed).map(Self).ok_or(())
    }
}

impl Options {
    fn steering(&self, queues: i64) -> Result<Steering, QmpError> {
        let is_inhibited = self.inhibit == Some(true);
        match (is_inhibited, &self.sock_fds, &self.map_path) {
            (true, None, None) => refuse("'inhibit=on' requires 'sock-fds' or 'map-path'"),
            (false, Some(_), _) | (false, None, Some(_)) => {
                refuse("'sock-fds' and 'map-path' require 'inhibit=on'")
            }
            (true, Some(_), Some(_)) => refuse("'sock-fds' and 'map-path' are mutually exclusive"),
            (_, _, None) if self.map_start_index.is_some() => refuse("'map-start-index' requires 'map-path'"),
            (false, None, None) => Ok(Steering::OurProgram),
            (true, Some(fds), None) => sockets(fds, queues),
            (true, None, Some(path)) => self.map(path),
        }
    }

    fn stations(&self) -> Result<Vec<Mac>, QmpError> {
        let texts = self.x_station.as_deref().unwrap_or_default();
        if !texts.is_empty() && self.inhibit == Some(true) {
            return Err(QmpError::generic("'x-station' requires a program of ours: 'inhibit=off'"));
        }
        if texts.len() > STATIONS_MAX {
            return Err(QmpError::generic(format!("too many stations (at most {STATIONS_MAX})")));
        }
        texts.iter().map(|text| Mac::parse(&text.str)).collect()
    }

    fn map(&self, path: &str) -> Result<Steering, QmpError> {
        let index = self.map_start_index.unwrap_or(0);
        let negative = |_| QmpError::generic(format!("'map-start-index' cannot be negative ({index})"));
        Ok(Steering::Map { path: path.to_owned(), start_index: u32::try_from(index).map_err(negative)? })
    }
}

fn sockets(fds: &str, queues: i64) -> Result<Steering, QmpError> {
    let names: Vec<String> = fds.split(':').map(str::to_owned).collect();
    if i64::try_from(names.len()) == Ok(queues) {
        return Ok(Steering::Sockets(names));
    }
    Err(QmpError::generic(format!("expected {queues} socket fds, got {}", names.len())))
}

fn refuse(text: &str) -> Result<Steering, QmpError> {
    Err(QmpError::generic(text))
}
