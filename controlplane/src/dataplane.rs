//! The data plane, as seen from here: what it is equipped with, and how to talk with one that runs.
//!
//! [`Equipment`] outlives any one of them: a successor is given the same regions, so its counters go on and
//! the plan in force is already there. [`Attached`] is one running process: requests by the handover socket,
//! answers in order; every wait is bounded by a deadline and ends at once if the process does.

pub mod equipment;
pub mod trouble;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use framewire_shared::handover::{self, Message, Walls};
use framewire_shared::plan::Section;
use framewire_shared::publish::{Acknowledgement, Publisher, Sound, StillRead};
use framewire_shared::rx_filter::RxFilter;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::time::Timespec;

use self::equipment::Equipment;
use self::trouble::{Refusal, Trouble};
use crate::host::process::Process;
use crate::vault::KeptSession;

/// A queue on its way: how to build it, and from what.
pub type Build<'a> = (handover::Build, Vec<BorrowedFd<'a>>);

/// Requests on their way at once: enough to keep both sides busy, few enough for the socket's buffer.
const UNANSWERED_MAX: usize = 32;

/// The foreman rings when a plan has quiesced, but not when one was merely seen.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A running data plane.
#[derive(Debug)]
pub struct Attached {
    /// The process.
    pub process: Process,
    socket: OwnedFd,
}

/// What woke a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    Ready,
    Ended,
    Late,
}

impl Attached {
    /// Starts one. What it begins with waits for it in its socket.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn start(program: &Path, equipment: &Equipment) -> io::Result<Self> {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (ours, theirs) = rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None)?;
        let welcome = Message::Welcome(equipment.welcome);
        handover::send(&ours, &welcome, &equipment.descriptors()).map_err(io::Error::other)?;
        Ok(Attached { process: Process::start(program, theirs)?, socket: ours })
    }

    /// One that runs already, and the socket to it.
    #[must_use]
    pub fn found(process: Process, socket: OwnedFd) -> Self {
        Attached { process, socket }
    }

    /// The handover socket, to be watched.
    #[must_use]
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Waits until it works.
    ///
    /// # Errors
    /// [`Trouble`], among it what it was lacking.
    pub fn wait_ready(&self, deadline: Instant) -> Result<Walls, Trouble> {
        let answer = self.next_answer(deadline)?;
        if let Message::Unable(step, errno) = answer {
            return Err(Trouble::Unable { step, errno });
        }
        if let Message::Ready(walls) = answer { Ok(walls) } else { Err(Trouble::Foreign) }
    }

    /// Hands queues over, in order, and waits for all answers. Returns those that cannot be built.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn build<'a>(
        &self,
        queues: impl Iterator<Item = Build<'a>>,
        deadline: Instant,
    ) -> Result<Vec<Refusal>, Trouble> {
        let mut unanswered: VecDeque<u64> = VecDeque::new();
        let mut refused = Vec::new();
        for (build, descriptors) in queues {
            if unanswered.len() == UNANSWERED_MAX {
                refused.extend(self.built(unanswered.pop_front(), deadline)?);
            }
            handover::send(&self.socket, &Message::Build(build), &descriptors)?;
            unanswered.push_back(build.queue);
        }
        for key in unanswered {
            refused.extend(self.built(Some(key), deadline)?);
        }
        Ok(refused)
    }

    /// Takes one answer to a `Build`.
    fn built(&self, expected: Option<u64>, deadline: Instant) -> Result<Option<Refusal>, Trouble> {
        let Some(key) = expected else { return Err(Trouble::Foreign) };
        self.done(key, Message::Built(key), deadline)
    }

    /// Has a queue be as if it had been built so, and waits until it is. Returns why, if it cannot.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn amend(
        &self,
        build: handover::Build,
        descriptors: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<Option<Refusal>, Trouble> {
        handover::send(&self.socket, &Message::Amend(build), descriptors)?;
        self.done(build.queue, Message::Amended(build.queue), deadline)
    }

    /// Has what goes on in a queue written into a file. Returns why, if it cannot be.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn describe(
        &self,
        queue: u64,
        report: &OwnedFd,
        deadline: Instant,
    ) -> Result<Option<Refusal>, Trouble> {
        handover::send(&self.socket, &Message::Describe(queue), &[report.as_fd()])?;
        self.done(queue, Message::Described(queue), deadline)
    }

    /// Waits for one answer about something: that it is done, or why it is not.
    fn done(&self, about: u64, done: Message, deadline: Instant) -> Result<Option<Refusal>, Trouble> {
        let answer = self.next_answer(deadline)?;
        if let Message::Failed(key, step, errno) = answer
            && key == about
        {
            return Ok(Some(Refusal { key, step, errno }));
        }
        if answer == done { Ok(None) } else { Err(Trouble::Foreign) }
    }

    /// Gives up queues that no plan mentions.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn discard(&self, keys: impl Iterator<Item = u64>, deadline: Instant) -> Result<(), Trouble> {
        for key in keys {
            handover::send(&self.socket, &Message::Discard(key), &[])?;
            if self.next_answer(deadline)? != Message::Discarded(key) {
                return Err(Trouble::Foreign);
            }
        }
        Ok(())
    }

    /// Hands a session over, and waits until it has begun or goes on. Returns why, if it does not.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn serve(&self, session: &KeptSession, deadline: Instant) -> Result<Option<Refusal>, Trouble> {
        let number = session.serve.session;
        let descriptors: Vec<BorrowedFd<'_>> = session.descriptors.iter().map(AsFd::as_fd).collect();
        handover::send(&self.socket, &Message::Serve(session.serve), &descriptors)?;
        self.done(number, Message::Serving(number), deadline)
    }

    /// Ends a session, if it has not ended.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn part(&self, session: u64, deadline: Instant) -> Result<(), Trouble> {
        handover::send(&self.socket, &Message::Part(session), &[])?;
        let answer = self.next_answer(deadline)?;
        if answer == Message::Parted(session) { Ok(()) } else { Err(Trouble::Foreign) }
    }

    /// Has addresses announced, each at the queue of that key, and waits until the workers know.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn announce(
        &self,
        addresses: impl Iterator<Item = (u64, [u8; 6])>,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let mut unanswered: VecDeque<u64> = VecDeque::new();
        for (queue, address) in addresses {
            if unanswered.len() == UNANSWERED_MAX {
                self.announced(unanswered.pop_front(), deadline)?;
            }
            handover::send(&self.socket, &Message::Announce(queue, address), &[])?;
            unanswered.push_back(queue);
        }
        unanswered.into_iter().try_for_each(|queue| self.announced(Some(queue), deadline))
    }

    /// Takes one answer to an `Announce`.
    fn announced(&self, expected: Option<u64>, deadline: Instant) -> Result<(), Trouble> {
        let answer = self.next_answer(deadline)?;
        if expected.map(Message::Announced) == Some(answer) { Ok(()) } else { Err(Trouble::Foreign) }
    }

    /// Has a guest told of its link, and waits until its front end knows, if it can.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn set_link(&self, session: u64, is_up: bool, deadline: Instant) -> Result<(), Trouble> {
        handover::send(&self.socket, &Message::SetLink(session, is_up), &[])?;
        let answer = self.next_answer(deadline)?;
        if answer == Message::LinkSet(session) { Ok(()) } else { Err(Trouble::Foreign) }
    }

    /// Asks what the NIC of a session lets through.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn filter(&self, session: u64, deadline: Instant) -> Result<RxFilter, Trouble> {
        handover::send(&self.socket, &Message::AskFilter(session), &[])?;
        let answer = self.next_answer(deadline)?;
        if let Message::Filter(number, filter) = answer
            && number == session
        {
            return Ok(filter);
        }
        Err(Trouble::Foreign)
    }

    /// Publishes a plan and waits until it is in effect. `before` is what was published last.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn publish(
        &self,
        equipment: &Equipment,
        mut sections: Vec<Section>,
        before: &[Section],
        deadline: Instant,
    ) -> Result<Vec<Section>, Trouble> {
        let (config, status) = (&equipment.config, &equipment.status);
        let mut publisher: Publisher<'_> = Publisher::new(&config.generation.0);
        self.wait_until(equipment, deadline, || {
            let workers = status.workers.iter().take(sections.len()).map(|line| line.get());
            let readers = workers.chain([status.foreman.get()]);
            let fill = |slot: usize, generation| {
                revise(&mut sections, before, generation);
                config.slots[slot].write(&sections);
            };
            publisher.publish(readers, fill).map_err(|StillRead| ()).ok()
        })?;
        equipment.ring_all();
        let generation = publisher.current();
        let foreman: Acknowledgement<'_> = status.foreman.get();
        self.wait_until(equipment, deadline, || {
            foreman.has_quiesced::<Sound>(generation).then_some(generation)
        })?;
        Ok(sections)
    }

    /// Tells it to end. There is no answer.
    pub fn end(&self) {
        // If it is gone, it has ended.
        let _ = handover::send(&self.socket, &Message::End, &[]);
    }

    /// Waits until it has ended; whether it has.
    #[must_use]
    pub fn wait_ended(&self, deadline: Instant) -> bool {
        matches!(wait(&self.process.pidfd, &self.process.pidfd, deadline), Ok(Woken::Ready | Woken::Ended))
    }

    /// Whether an answer waits, or none will ever come.
    #[must_use]
    pub fn has_answer(&self) -> bool {
        matches!(wait(&self.socket, &self.process.pidfd, Instant::now()), Ok(Woken::Ready))
    }

    fn next_answer(&self, deadline: Instant) -> Result<Message, Trouble> {
        self.wait_readable(&self.socket, deadline)?;
        let (message, _none) = handover::receive(&self.socket)?;
        Ok(message)
    }

    fn wait_readable(&self, descriptor: &OwnedFd, deadline: Instant) -> Result<(), Trouble> {
        match wait(descriptor, &self.process.pidfd, deadline)? {
            Woken::Ready => Ok(()),
            Woken::Ended => Err(Trouble::Gone),
            Woken::Late => Err(Trouble::Late),
        }
    }

    /// Asks again whenever the data plane rings, and now and then.
    fn wait_until<T>(
        &self,
        equipment: &Equipment,
        deadline: Instant,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, Trouble> {
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                return Err(Trouble::Late);
            }
            let soon = deadline.min(Instant::now() + LOOK_AGAIN);
            match wait(equipment.doorbell(), &self.process.pidfd, soon)? {
                Woken::Ready => equipment.hush(),
                Woken::Ended => return Err(Trouble::Gone),
                Woken::Late => {}
            }
        }
    }
}

/// Sections that carry what they carried keep their revision, so that their workers have nothing to do.
fn revise(sections: &mut [Section], before: &[Section], generation: u64) {
    for (index, section) in sections.iter_mut().enumerate() {
        let unchanged = before.get(index).filter(|before| before.carries_the_same(section));
        section.revision = unchanged.map_or(generation, |before| before.revision);
    }
}

/// Waits for a descriptor, or for the end of a process. What is readable comes first: the last words of a
/// process that has ended are read all the same.
fn wait(descriptor: &OwnedFd, pidfd: &OwnedFd, deadline: Instant) -> Result<Woken, Trouble> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or_default();
        let mut polled =
            [descriptor.as_fd(), pidfd.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match rustix::event::poll(&mut polled, Some(&left)) {
            Ok(0) => return Ok(Woken::Late),
            Ok(_some) if polled[0].revents().contains(PollFlags::IN) => return Ok(Woken::Ready),
            Ok(_some) => return Ok(Woken::Ended),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Trouble::Kernel(errno)),
        }
    }
}

#[cfg(test)]
mod test;
