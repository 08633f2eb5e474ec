//! `af-xdp`: queues of a network interface, past the kernel's stack.
//!
//! The XDP program that steers frames into our sockets is loaded by us, or (`inhibit`) by somebody else, who then
//! gives us either the sockets or the map to put ours into. Texts are those of QEMU 10.1.

use super::{Kind, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::{enumeration, object};

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
            start_queue: u32::try_from(start_queue).map_err(no_queue)?,
        })
    }
}

/// At least one.
struct Queues(u32);

impl TryFrom<i64> for Queues {
    type Error = ();

    fn try_from(count: i64) -> Result<Self, ()> {
        u32::try_from(count).ok().filter(|count| *count > 0).map(Self).ok_or(())
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
