//! Plugs in VDE switches, which end with their switch and are plugged in again when there is another.
//!
//! **Problem.** A switch is a process that somebody starts anew: after an update, after a crash. QEMU's plug then sends
//! into nothing for good.
//!
//! **Chosen.** The control connection is looked at a few times a second, which costs one system call and needs no place
//! in the main loop. Once it has ended, the port's queue is replaced by *null* and its link goes down; the switch is
//! asked for a port again, soon and then more rarely. A switch that takes the connection and does not answer makes the
//! control plane wait, so it is given little time then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::inventory::Port;
use crate::kind::{Netdev, NetdevAdd, vde};

/// How often a plug is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// When a switch that is not there is asked for again, at most.
const LONGEST: Duration = Duration::from_secs(2);

/// How long a switch may take to answer.
pub const ANSWER: Duration = Duration::from_millis(50);

/// One plug.
#[derive(Debug)]
struct Plug {
    checked: vde::Checked,
    is_plugged: bool,
    next: Instant,
    pause: Duration,
}

/// All of them, by the number of their port.
#[derive(Debug, Default)]
pub struct Plugs {
    all: BTreeMap<u64, Plug>,
}

/// What is to be done now about a port.
#[derive(Debug)]
pub enum Due {
    /// See whether its switch is still there.
    Look,
    /// Ask the switch for a port.
    Plug(vde::Checked),
}

impl Plugs {
    /// From now on this port is looked after, if it is a plug.
    pub fn begin(&mut self, port: &Port) {
        if port.kind() != "vde" {
            return;
        }
        if let Some(Netdev::Vde(options)) = NetdevAdd::of_port(port) {
            let plug = Plug {
                checked: options.checked(),
                is_plugged: true,
                next: Instant::now() + LOOK,
                pause: LOOK,
            };
            self.all.insert(port.number, plug);
        }
    }

    /// When something is to be done.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.all.values().map(|plug| plug.next).min()
    }

    /// The ports with which something is to be done now. Those that do not exist any more are forgotten.
    pub fn all_due(&mut self, exists: impl Fn(u64) -> bool) -> Vec<(u64, Due)> {
        let now = Instant::now();
        self.all.retain(|port, _plug| exists(*port));
        let due = self.all.iter().filter(|(_port, plug)| plug.next <= now);
        let what = |plug: &Plug| if plug.is_plugged { Due::Look } else { Due::Plug(plug.checked.clone()) };
        due.map(|(port, plug)| (*port, what(plug))).collect()
    }

    /// How a port has been found, or left.
    pub fn settle(&mut self, port: u64, is_plugged: bool) {
        if let Some(plug) = self.all.get_mut(&port) {
            plug.pause = if is_plugged || plug.is_plugged { LOOK } else { (plug.pause * 2).min(LONGEST) };
            plug.is_plugged = is_plugged;
            plug.next = Instant::now() + plug.pause;
        }
    }
}
