//! NICs that were asked to go.
//!
//! `device_del` asks the guest, which answers or does not; QEMU waits for it without end, and clients wait for
//! `DEVICE_DELETED`. No guest is asked here, since vhost-user has no such question: a front end that has not let go
//! by itself finds its connection closed. So a NIC of a machine that runs goes at once. While no machine runs QEMU
//! would do nothing until it is reset; here such a NIC waits as well, so that a client can see that it was asked,
//! but only for a second: whoever waits for the event shall have it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long one waits while no machine runs.
const PATIENCE: Duration = Duration::from_secs(1);

/// The NICs' ports, by number, and when they go.
#[derive(Debug, Default)]
pub struct Leaving {
    until: BTreeMap<u64, Instant>,
}

impl Leaving {
    /// Whether this one was asked already.
    #[must_use]
    pub fn has(&self, port: u64) -> bool {
        self.until.contains_key(&port)
    }

    /// This one is asked to go.
    pub fn ask(&mut self, port: u64, machine_runs: bool) {
        let patience = if machine_runs { Duration::ZERO } else { PATIENCE };
        self.until.insert(port, Instant::now() + patience);
    }

    /// None waits any longer: the machine was started, or reset.
    pub fn hurry(&mut self) {
        self.until.values_mut().for_each(|until| *until = Instant::now());
    }

    /// It is gone.
    pub fn forget(&mut self, port: u64) {
        self.until.remove(&port);
    }

    /// When the next one goes.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }

    /// Those whose time has come.
    #[must_use]
    pub fn take_due(&mut self) -> Vec<u64> {
        let now = Instant::now();
        let due: Vec<u64> =
            self.until.iter().filter(|(_port, until)| **until <= now).map(|(port, _until)| *port).collect();
        due.iter().for_each(|port| self.forget(*port));
        due
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn nic_of_a_running_machine_goes_at_once_and_others_when_it_starts() {
        let mut leaving = Leaving::default();
        leaving.ask(1, false);
        leaving.ask(2, true);
        assert_eq!(leaving.take_due(), [2]);
        assert!(leaving.has(1) && !leaving.has(2));
        assert!(leaving.due().unwrap() > Instant::now());
        leaving.hurry();
        assert_eq!((leaving.take_due(), leaving.due()), (vec![1], None));
    }
}
