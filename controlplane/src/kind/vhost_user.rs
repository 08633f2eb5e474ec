//! `vhost-user`: we are the front end of somebody else's back end.

use super::{ChardevNature, Kind, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;

object! {
    /// Options of `vhost-user`.
    pub struct Options {
        /// The character device that leads to the back end.
        chardev: String,
        /// Without meaning; accepted for old clients.
        vhostforce: Option<bool>,
        /// How many queues.
        queues: Option<i64>,
    }
}

/// The most queues a netdev can have.
const QUEUES_MAX: u32 = 1024;

/// A back end that can be spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The character device that leads to it.
    pub chardev: String,
    /// How many queues.
    pub queues: u32,
}

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, around: &dyn Surroundings) -> Result<Checked, QmpError> {
        let chardev = &self.chardev;
        let refuse = |why: &str| Err(QmpError::generic(format!("chardev \"{chardev}\" {why}")));
        match around.chardev(chardev) {
            None => return refuse("not found"),
            Some(ChardevNature::NoSocket) => return refuse("is not reconnectable"),
            Some(ChardevNature::OtherSocket) => return refuse("does not support FD passing"),
            Some(ChardevNature::UnixSocket) => {}
        }
        Ok(Checked { chardev: chardev.clone(), queues: self.queue_count()? })
    }
}

impl Options {
    fn queue_count(&self) -> Result<u32, QmpError> {
        let count = u32::try_from(self.queues.unwrap_or(1)).ok();
        let out_of_range =
            || QmpError::generic(format!("vhost-user number of queues must be in range [1, {QUEUES_MAX}]"));
        count.filter(|count| (1..=QUEUES_MAX).contains(count)).ok_or_else(out_of_range)
    }
}
