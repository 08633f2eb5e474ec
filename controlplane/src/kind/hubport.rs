//! `hubport`: joins a hub, which is there as soon as somebody has joined it.
//!
//! With `netdev` the port is peered with another netdev. QEMU dies if that one has a peer already; here it is
//! refused. A peer on the same hub, where QEMU runs in circles, is no fault: the planner never makes a loop.

use super::{Kind, Neighbour, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;

object! {
    /// Options of `hubport`.
    pub struct Options {
        /// The hub.
        hubid: i32,
        /// The netdev that the port is peered with.
        netdev: Option<String>,
    }
}

/// A port that can join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The hub.
    pub hub: i32,
    /// The netdev that the port is peered with.
    pub netdev: Option<String>,
}

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, around: &dyn Surroundings) -> Result<Checked, QmpError> {
        if let Some(netdev) = &self.netdev {
            let why = match around.netdev(netdev) {
                Some(Neighbour::Free) => None,
                Some(Neighbour::Taken) => Some("is in use"),
                None => Some("not found"),
            };
            if let Some(why) = why {
                return Err(QmpError::generic(format!("netdev '{netdev}' {why}")));
            }
        }
        Ok(Checked { hub: self.hubid, netdev: self.netdev.clone() })
    }
}
