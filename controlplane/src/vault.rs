//! The vault: a duplicate of every descriptor that the data plane has, and what it was built from.
//!
//! A data plane that dies takes its descriptors along, and a tap would vanish with the last one. As long as
//! the vault holds another, the interface, the socket and what waits in its buffer live on, and the next data
//! plane is given the same. Of a guest's session it holds the connection and the safe in which the data plane keeps
//! what it must not lose ([`framewire_shared::session`]).

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use framewire_shared::handover::Build;
use framewire_shared::session::{SERVE_DESCRIPTORS, Serve};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};

use crate::amendment::Amendment;
use crate::dataplane;

/// One queue, ready to be handed over.
#[derive(Debug)]
pub struct Kept {
    /// How to build it.
    pub build: Build,
    /// What it is built from.
    pub descriptors: Vec<OwnedFd>,
}

impl Kept {
    /// As it is handed over to a data plane. Its counters go on if an earlier data plane had it.
    #[must_use]
    pub fn on_its_way(&self, counters_go_on: bool) -> dataplane::Build<'_> {
        let build = Build { counters_go_on, ..self.build };
        (build, self.descriptors.iter().map(AsFd::as_fd).collect())
    }
}

/// A guest's session, ready to be handed over.
#[derive(Debug)]
pub struct KeptSession {
    /// What it is.
    pub serve: Serve,
    /// The connection, and the two ends of its safe.
    pub descriptors: [OwnedFd; SERVE_DESCRIPTORS],
}

impl KeptSession {
    /// A new one, with an empty safe.
    ///
    /// # Errors
    /// If the kernel makes no safe.
    pub fn new(serve: Serve, connection: OwnedFd) -> Result<Self, Errno> {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (one, other) = rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None)?;
        Ok(KeptSession { serve, descriptors: [connection, one, other] })
    }

    /// Its front end finds that it was hung up on, whoever else has the connection.
    pub fn hang_up(&self) {
        // One that has gone already needs no hanging up.
        let _ = rustix::net::shutdown(&self.descriptors[0], Shutdown::Both);
    }
}

/// All queues, by key, and all sessions, by number.
#[derive(Debug, Default)]
pub struct Vault {
    kept: BTreeMap<u64, Kept>,
    sessions: BTreeMap<u64, KeptSession>,
}

impl Vault {
    /// Keeps queues.
    pub fn keep(&mut self, queues: impl IntoIterator<Item = Kept>) {
        self.kept.extend(queues.into_iter().map(|kept| (kept.build.queue, kept)));
    }

    /// Keeps a queue as it is from now on. What it was built from before and is no more is closed.
    pub fn amend(&mut self, key: u64, amendment: Amendment) {
        let Some(kept) = self.kept.get_mut(&key) else { return };
        let Amendment { options, gone, new } = amendment;
        kept.build.options = options;
        drop(kept.descriptors.splice(gone, new));
    }

    /// Lets go of every queue that is not wanted any more; descriptors are closed.
    pub fn keep_only(&mut self, mut is_wanted: impl FnMut(u64) -> bool) {
        self.kept.retain(|key, _kept| is_wanted(*key));
        self.sessions.retain(|_number, session| is_wanted(session.serve.first_queue));
    }

    /// Keeps a session.
    pub fn keep_session(&mut self, session: KeptSession) {
        self.sessions.insert(session.serve.session, session);
    }

    /// Lets go of a session.
    pub fn take_session(&mut self, number: u64) -> Option<KeptSession> {
        self.sessions.remove(&number)
    }

    /// The session of that number.
    #[must_use]
    pub fn session(&self, number: u64) -> Option<&KeptSession> {
        self.sessions.get(&number)
    }

    /// The session of the NIC whose first queue has this key.
    #[must_use]
    pub fn session_of(&self, first_queue: u64) -> Option<&KeptSession> {
        self.sessions.values().find(|session| session.serve.first_queue == first_queue)
    }

    /// All sessions, oldest first.
    pub fn sessions(&self) -> impl Iterator<Item = &KeptSession> {
        self.sessions.values()
    }

    /// Notes what guests are to know of their links, as `link_of` says for the NIC whose first queue has a key. Returns
    /// the sessions where that is something else now.
    pub fn note_links(&mut self, link_of: impl Fn(u64) -> Option<bool>) -> Vec<(u64, bool)> {
        let mut changed = Vec::new();
        for (number, session) in &mut self.sessions {
            if let Some(is_up) = link_of(session.serve.first_queue)
                && is_up != session.serve.link_is_up()
            {
                session.serve.set_link(is_up);
                changed.push((*number, is_up));
            }
        }
        changed
    }

    /// The queue of that key.
    #[must_use]
    pub fn get(&self, key: u64) -> Option<&Kept> {
        self.kept.get(&key)
    }

    /// All queues, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.kept.values()
    }
}
