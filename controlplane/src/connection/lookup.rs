//! A name on its way to becoming addresses: a thread of its own, since a resolver may take half a minute.
//!
//! Numbers need none. A lookup that nobody waits for any more ends unheard.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::host::lookup::{Answer, Question, look_up};

/// A lookup under way.
#[derive(Debug)]
pub struct Lookup {
    receiver: Receiver<Answer>,
}

impl Lookup {
    /// Begins; `doorbell` is rung when the answer is there, unless its owner looks from time to time.
    ///
    /// # Errors
    /// If there can be no further thread.
    pub fn begin(question: Question, doorbell: Option<&Arc<OwnedFd>>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let doorbell = doorbell.map(Arc::clone);
        thread::Builder::new().name("lookup".to_owned()).spawn(move || {
            // Nobody hears it if the port is gone meanwhile.
            let _ = sender.send(look_up(&question));
            if let Some(doorbell) = doorbell {
                // Full means rung.
                let _ = rustix::io::write(&*doorbell, &1_u64.to_ne_bytes());
            }
        })?;
        Ok(Lookup { receiver })
    }

    /// The answer, once it is there.
    #[must_use]
    pub fn take(&self) -> Option<Answer> {
        self.receiver.try_recv().ok()
    }
}
