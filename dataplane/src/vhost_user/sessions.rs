//! All sessions of the data plane.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use framewire_shared::rx_filter::RxFilter;
use framewire_shared::session::{SERVE_DESCRIPTORS, Serve};
use rustix::io::Errno;

use super::seats::Seats;
use super::session::Session;
use crate::adopt::Parcel;

/// Queue pairs of one NIC: a request names a ring by eight bits.
const PAIRS_MAX: u16 = 128;

/// By number.
#[derive(Debug, Default)]
pub struct Sessions {
    sessions: Vec<Session>,
}

impl Sessions {
    /// Begins or takes up a session.
    ///
    /// # Errors
    /// Why not: `EINVAL` if it is none, `EEXIST` if it is there already, `EBUSY` if its NIC has another, `EIO` if what
    /// was left for it cannot be gone on with.
    pub fn serve(
        &mut self,
        serve: Serve,
        descriptors: Vec<OwnedFd>,
        seats: &mut Seats<'_>,
    ) -> Result<(), Errno> {
        let pairs = u64::from(serve.queue_pairs);
        let mut keys = (0..pairs).map(|pair| serve.first_queue.saturating_add(pair));
        let is_nic =
            (1..=PAIRS_MAX).contains(&serve.queue_pairs) && keys.all(|key| seats.counters(key).is_some());
        if !is_nic || descriptors.len() != SERVE_DESCRIPTORS || serve.session == 0 {
            return Err(Errno::INVAL);
        }
        if self.sessions.iter().any(|other| other.served().0.session == serve.session) {
            return Err(Errno::EXIST);
        }
        if self.sessions.iter().any(|other| (0..pairs).any(|pair| other.has(serve.first_queue + pair))) {
            return Err(Errno::BUSY);
        }
        let session = Session::take_up(serve, descriptors.into(), seats).map_err(|_end| Errno::IO)?;
        self.sessions.push(session);
        Ok(())
    }

    /// Ends a session, if there is one of this number.
    pub fn part(&mut self, session: u64, seats: &mut Seats<'_>) {
        for mut ended in self.sessions.extract_if(.., |other| other.served().0.session == session) {
            ended.end(seats);
        }
    }

    /// Ends all that have lost a queue.
    pub fn sweep(&mut self, seats: &mut Seats<'_>) {
        let has_lost = |session: &mut Session| {
            let Serve { first_queue, queue_pairs, .. } = session.served().0;
            (0..u64::from(*queue_pairs)).any(|pair| !seats.registry.contains(first_queue + pair))
        };
        let lost: Vec<_> = self.sessions.extract_if(.., has_lost).collect();
        lost.into_iter().for_each(|mut session| session.end(seats));
    }

    /// A worker has given back a queue that was exchanged. If it was lifted by a session, that goes on.
    pub fn returned(&mut self, parcel: &Parcel) {
        if let Some(session) = self.sessions.iter_mut().find(|session| session.has(parcel.key)) {
            session.returned(parcel);
        }
    }

    /// Does what front ends ask.
    pub fn work(&mut self, seats: &mut Seats<'_>) {
        self.sessions.retain_mut(|session| {
            let outcome = session.work(seats);
            if let Err(end) = outcome {
                session.end(seats);
                session.tell_end(end, seats);
            }
            outcome.is_ok()
        });
    }

    /// What the guest of this session lets through. Of a session that is not there, or whose front end has the control
    /// queue itself, nothing was heard.
    pub fn filter(&mut self, number: u64) -> RxFilter {
        let session = self.sessions.iter_mut().find(|session| session.served().0.session == number);
        session.map_or_else(|| RxFilter::fresh(0, [0; 6]), Session::filter)
    }

    /// What the guest of this session is to know of its link.
    pub fn set_link(&mut self, number: u64, is_up: bool) {
        let mut sessions = self.sessions.iter_mut();
        if let Some(session) = sessions.find(|session| session.served().0.session == number) {
            session.set_link(is_up);
        }
    }

    /// The guest whose NIC has this queue is to announce itself.
    pub fn announce(&mut self, queue: u64) {
        if let Some(session) = self.sessions.iter_mut().find(|session| session.has(queue)) {
            session.announce();
        }
    }

    /// What to watch for requests and commands.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sessions.iter().flat_map(Session::watched)
    }

    /// When to look though nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.sessions.iter().filter_map(Session::deadline).min()
    }

    /// What each was served with.
    pub fn served(&self) -> impl Iterator<Item = (&Serve, &[OwnedFd])> {
        self.sessions.iter().map(Session::served)
    }
}
