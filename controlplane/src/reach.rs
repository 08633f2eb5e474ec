//! Remotes that must be reached again and again: the paths that unix `dgram` netdevs send to.
//!
//! Such a socket is connected by us ([`crate::kind::dgram::prepare`] says why). Its remote may not be there yet,
//! may go, and may come again as another socket under the same path; and the kernel tells nobody who does not send.
//! Connecting anew to a remote that is the same costs one system call and changes nothing, so that is what is done:
//! soon and then more rarely as long as nobody is there, once a second afterwards.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::inventory::Port;
use crate::kind::dgram::prepare::connect;
use crate::vault::Vault;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// One remote.
#[derive(Debug)]
struct Remote {
    path: String,
    next: Instant,
    pause: Duration,
}

/// All of them, by the key of the queue that sends to it.
#[derive(Debug, Default)]
pub struct Reach {
    remotes: BTreeMap<u64, Remote>,
}

/// The path that a port sends to, if it sends to one.
fn remote_path(port: &Port) -> Option<&str> {
    let remote = port.description.arguments.get("remote")?;
    let is_unix_dgram = port.kind() == "dgram" && remote.get("type")?.as_str() == Some("unix");
    is_unix_dgram.then(|| remote.get("path")?.as_str())?
}

impl Reach {
    /// From now on the remote of this port is to be reached, if it has one.
    pub fn begin(&mut self, port: &Port) {
        let (Some(path), Some(queue)) = (remote_path(port), port.queues.first()) else { return };
        let remote = Remote { path: path.to_owned(), next: Instant::now(), pause: FIRST };
        self.remotes.insert(queue.key, remote);
    }

    /// A queue's peer is gone: a new one may be there already.
    pub fn hurry(&mut self, queue: u64) {
        if let Some(remote) = self.remotes.get_mut(&queue) {
            (remote.next, remote.pause) = (Instant::now(), FIRST);
        }
    }

    /// When the next is due.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.remotes.values().map(|remote| remote.next).min()
    }

    /// Tries all that are due. Queues that the vault does not have any more are forgotten.
    pub fn try_due(&mut self, vault: &Vault) {
        let now = Instant::now();
        self.remotes.retain(|key, remote| {
            let Some(socket) = vault.get(*key).and_then(|kept| kept.descriptors.first()) else {
                return false;
            };
            if remote.next <= now {
                let reached = connect(socket, &remote.path);
                remote.settle(now, reached);
            }
            true
        });
    }
}

impl Remote {
    fn settle(&mut self, now: Instant, reached: Result<(), Errno>) {
        self.pause = if reached.is_ok() { LONGEST } else { (self.pause * 2).min(LONGEST) };
        self.next = now + if reached.is_ok() { LONGEST } else { self.pause / 2 };
    }
}
