//! A name on its way to becoming addresses: a thread of its own, since a resolver may take half a minute.
//!
//! Numbers need none and are never asked for here. A lookup that nobody waits for any more ends unheard.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::host::lookup::{Question, look_up};

/// What the thread will say.
pub(super) type Answer = Result<Vec<SocketAddr>, String>;

/// A lookup under way.
#[derive(Debug)]
pub(super) struct Lookup {
    receiver: Receiver<Answer>,
}

impl Lookup {
    /// Begins; `doorbell` is rung when the answer is there.
    pub(super) fn begin(question: Question, doorbell: &Arc<OwnedFd>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let doorbell = Arc::clone(doorbell);
        thread::Builder::new().name("lookup".to_owned()).spawn(move || {
            // Nobody hears it if the port is gone meanwhile.
            let _ = sender.send(look_up(&question));
            // Full means rung.
            let _ = rustix::io::write(&*doorbell, &1_u64.to_ne_bytes());
        })?;
        Ok(Lookup { receiver })
    }

    /// The answer, once it is there.
    pub(super) fn take(&self) -> Option<Answer> {
        self.receiver.try_recv().ok()
    }
}
