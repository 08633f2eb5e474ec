//! The data plane's slow thread: receives descriptors, builds queues, hands them to workers, takes them back.
//!
//! It sleeps on these: the handover socket (requests of the control plane), its doorbell (a plan was
//! published, or a worker gave a queue back or quiesced), and, while there is no control plane, the listener
//! on which the next one will connect; besides, on the sockets of guests' front ends ([`crate::vhost_user`]). If the
//! control plane dies, nothing here changes but that.
//!
//! The foreman is the last to quiesce: when every worker has, and every queue that the plan no longer mentions
//! is closed. So the control plane waits for one acknowledgement only.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use framewire_shared::flows::{FLOWS_MAX, FlowRecord};
use framewire_shared::handover::{self, Build, HandoverError, Message, Step, Welcome};
use framewire_shared::plan::Section;
use framewire_shared::publish::{Sound, Subscriber};
use rustix::event::{PollFd, PollFlags};
use rustix::net::SocketFlags;
use rustix::time::Timespec;
use zerocopy::IntoBytes as _;

use crate::announce::Announcement;
use crate::crew::{Crew, Premises};
use crate::doorbell;
use crate::driver;
use crate::errand::{Errand, Task};
use crate::registry::Registry;
use crate::vhost_user::Sessions;
use crate::vhost_user::seats::Seats;

/// System calls made here, for the data plane's filter.
pub const SYSTEM_CALLS: &[libc::c_long] = &[
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_accept4,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_close,
    libc::SYS_exit_group,
];

/// What the data plane was welcomed with; kept to be sent back to the next control plane.
#[derive(Debug)]
pub struct Belongings {
    /// How the data plane works.
    pub welcome: Welcome,
    /// Configuration region, status region, control plane's doorbell, foreman's doorbell, listener.
    pub descriptors: &'static [OwnedFd],
}

impl Belongings {
    fn listener(&self) -> BorrowedFd<'static> {
        self.descriptors[4].as_fd()
    }
}

/// The foreman.
pub struct Foreman {
    control: Option<OwnedFd>,
    belongings: Belongings,
    premises: Premises,
    crew: Crew,
    registry: Registry,
    sessions: Sessions,
    plan: Subscriber<'static>,
    sections: Vec<Section>,
    is_unfinished: bool,
    /// Where what a queue tells is to be written.
    report: Option<OwnedFd>,
}

impl Foreman {
    /// After the crew has started.
    #[must_use]
    pub fn new(control: OwnedFd, belongings: Belongings, premises: Premises, crew: Crew) -> Self {
        let plan = Subscriber::new(&premises.config.generation.0, premises.status.foreman.get());
        let sections = (0..crew.len()).map(|_worker| Section::default()).collect();
        let control = Some(control);
        let (registry, sessions) = (Registry::default(), Sessions::default());
        Foreman {
            control,
            belongings,
            premises,
            crew,
            registry,
            sessions,
            plan,
            sections,
            is_unfinished: true,
            report: None,
        }
    }

    /// Works until the process ends.
    pub fn run(mut self) -> ! {
        loop {
            self.sleep();
            doorbell::hush(self.premises.foreman);
            self.serve();
            self.keep_order();
        }
    }

    fn sleep(&self) {
        // Without a control plane, the next one is waited for.
        let other = self.control.as_ref().map_or(self.belongings.listener(), AsFd::as_fd);
        let watched = [self.premises.foreman, other].into_iter().chain(self.sessions.sockets());
        let mut watched: Vec<_> =
            watched.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN)).collect();
        let left =
            self.sessions.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        // Interrupted or not, the rounds that follow look for themselves.
        let _ = rustix::event::poll(&mut watched, left.as_ref());
    }

    /// The sessions, and what they work with.
    fn sessions(&mut self) -> (&mut Sessions, Seats<'_>) {
        let Foreman { registry, crew, premises, sessions, .. } = self;
        (sessions, Seats { registry, crew, premises: *premises })
    }

    /// Answers the requests that wait, or takes up a new control plane.
    fn serve(&mut self) {
        let Some(control) = self.control.take() else {
            let accepted = rustix::net::accept_with(
                self.belongings.listener(),
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            );
            self.control = accepted.ok();
            return;
        };
        loop {
            match handover::receive(&control) {
                Ok((message, descriptors)) => {
                    if self.answer(&control, message, descriptors).is_err() {
                        return;
                    }
                }
                Err(HandoverError::Kernel(rustix::io::Errno::AGAIN)) => {
                    self.control = Some(control);
                    return;
                }
                Err(HandoverError::Kernel(_) | HandoverError::Gone | HandoverError::Malformed) => return,
            }
        }
    }

    fn answer(
        &mut self,
        control: &OwnedFd,
        message: Message,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), HandoverError> {
        match message {
            Message::Build(build) => {
                let answer = self.build(build, descriptors);
                send(control, &answer, &[])
            }
            Message::Discard(key) => {
                self.registry.discard(key);
                self.end_lost_sessions();
                send(control, &Message::Discarded(key), &[])
            }
            Message::Recall => self.recall(control),
            Message::Serve(serve) => {
                let (sessions, mut seats) = self.sessions();
                let answer = match sessions.serve(serve, descriptors, &mut seats) {
                    Ok(()) => Message::Serving(serve.session),
                    Err(errno) => Message::Failed(serve.session, Step::Session, errno.raw_os_error()),
                };
                send(control, &answer, &[])
            }
            Message::Part(session) => {
                let (sessions, mut seats) = self.sessions();
                sessions.part(session, &mut seats);
                send(control, &Message::Parted(session), &[])
            }
            Message::Announce(queue, address) => self.announce(control, Announcement { queue, address }),
            Message::Amend(build) => self.amend(control, build, descriptors),
            Message::Describe(queue) => {
                self.report = descriptors.into_iter().next();
                let flows = Vec::with_capacity(FLOWS_MAX);
                self.send_out(control, Errand { queue, task: Task::Describe(flows), outcome: None })
            }
            Message::AskFilter(session) => {
                send(control, &Message::Filter(session, self.sessions.filter(session)), &[])
            }
            Message::SetLink(session, is_up) => {
                self.sessions.set_link(session, is_up);
                send(control, &Message::LinkSet(session), &[])
            }
            Message::End => std::process::exit(0),
            Message::Welcome(_)
            | Message::Ready(_)
            | Message::Unable(..)
            | Message::Built(_)
            | Message::Failed(..)
            | Message::Discarded(_)
            | Message::Recalled(_)
            | Message::Serving(_)
            | Message::Parted(_)
            | Message::Announced(_)
            | Message::Amended(_)
            | Message::Described(_)
            | Message::Filter(..)
            | Message::LinkSet(_) => Err(HandoverError::Malformed),
        }
    }

    fn build(&mut self, build: Build, descriptors: Vec<OwnedFd>) -> Message {
        let Build { queue: key, counter_slot, counters_go_on, options } = build;
        let counters = self.premises.status.queue_counters.get(counter_slot as usize);
        let Some(counters) = counters.filter(|_| key != 0 && !self.registry.contains(key)) else {
            return Message::Failed(key, Step::Queue, libc::EINVAL);
        };
        if !counters_go_on {
            counters.clear();
        }
        let descriptors: Arc<[OwnedFd]> = descriptors.into();
        match driver::build(key, &options, &descriptors, counters) {
            Ok(queue) => {
                self.registry.add(build, descriptors, Box::new(queue), self.plan.adopted());
                self.want();
                Message::Built(key)
            }
            Err(errno) => Message::Failed(key, Step::Queue, errno.raw_os_error()),
        }
    }

    /// Has an address announced by the worker that carries the queue, if one does, and by its guest, if that can be asked.
    fn announce(&mut self, control: &OwnedFd, announcement: Announcement) -> Result<(), HandoverError> {
        let queue = announcement.queue;
        if let Some(worker) = self.registry.holder(queue) {
            self.crew.announce(worker, announcement);
        }
        self.sessions.announce(queue);
        send(control, &Message::Announced(queue), &[])
    }

    /// From now on a queue is as if it had been built so.
    fn amend(
        &mut self,
        control: &OwnedFd,
        build: Build,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), HandoverError> {
        let Build { queue, options, .. } = build;
        let descriptors: Arc<[OwnedFd]> = descriptors.into();
        // What a next control plane is told is true as soon as this one has been told so, and not later.
        self.registry.amend(&options, queue, Arc::clone(&descriptors));
        let task = Task::Amend(Box::new(options), descriptors);
        self.send_out(control, Errand { queue, task, outcome: None })
    }

    /// Has an errand done by whoever has the queue: here at once, or by a worker that will give it back.
    fn send_out(&mut self, control: &OwnedFd, mut errand: Errand) -> Result<(), HandoverError> {
        if let Some(queue) = self.registry.here(errand.queue) {
            errand.outcome = Some(queue.perform(&mut errand.task));
        } else if let Some(worker) = self.registry.holder(errand.queue) {
            self.crew.send(worker, Box::new(errand));
            return Ok(());
        } else {
            errand.outcome = Some(Err(rustix::io::Errno::NOENT));
        }
        self.conclude(control, errand)
    }

    /// Tells what came of an errand. Whatever was taken out of the queue is closed by now.
    fn conclude(&mut self, control: &OwnedFd, errand: Errand) -> Result<(), HandoverError> {
        let Errand { queue, task, outcome } = errand;
        let outcome = outcome.unwrap_or(Ok(()));
        let done = match &task {
            Task::Amend(..) => outcome.map(|()| Message::Amended(queue)),
            Task::Describe(flows) => outcome
                .and_then(|()| write_down(self.report.take(), flows))
                .map(|()| Message::Described(queue)),
        };
        drop(task);
        let failed = |errno: rustix::io::Errno| Message::Failed(queue, Step::Queue, errno.raw_os_error());
        send(control, &done.unwrap_or_else(failed), &[])
    }

    /// Concludes what workers have done. One that had given the queue back meanwhile leaves it to whoever has it now.
    fn conclude_errands(&mut self) {
        while let Some(errand) = self.crew.done() {
            let Some(control) = self.control.take() else { continue };
            let concluded = match errand.outcome {
                Some(_) => self.conclude(&control, *errand),
                None => self.send_out(&control, *errand),
            };
            self.control = concluded.is_ok().then_some(control);
        }
    }

    /// Sends everything that a new control plane needs.
    fn recall(&self, control: &OwnedFd) -> Result<(), HandoverError> {
        let doorbells = self.crew.doorbells();
        let descriptors: Vec<_> =
            self.belongings.descriptors.iter().map(AsFd::as_fd).chain(doorbells).collect();
        send(control, &Message::Welcome(self.belongings.welcome), &descriptors)?;
        let mut count = 0;
        for (build, descriptors) in self.registry.iter() {
            let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            send(control, &Message::Build(*build), &descriptors)?;
            count += 1;
        }
        for (serve, descriptors) in self.sessions.served() {
            let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            send(control, &Message::Serve(*serve), &descriptors)?;
            count += 1;
        }
        send(control, &Message::Recalled(count), &[])
    }

    fn want(&mut self) {
        self.registry.want(self.sections.iter());
    }

    /// Brings every queue to where the plan wants it; tells when all is in effect.
    fn keep_order(&mut self) {
        if let Some(generation) = self.plan.changed() {
            self.see(generation);
        }
        self.collect();
        let (sessions, mut seats) = self.sessions();
        sessions.work(&mut seats);
        let (registry, crew) = (&mut self.registry, &mut self.crew);
        registry.deliver(|worker, parcel| crew.deliver(worker, parcel));
        self.conclude_errands();
        self.maybe_quiesce();
    }

    /// Takes back what workers have given back.
    fn collect(&mut self) {
        while let Some(parcel) = self.crew.collect() {
            if let Some(retired) = self.registry.returned(parcel) {
                self.sessions.returned(&retired);
            }
        }
    }

    /// Sessions of NICs that are there no more, end.
    fn end_lost_sessions(&mut self) {
        let (sessions, mut seats) = self.sessions();
        sessions.sweep(&mut seats);
    }

    fn see(&mut self, generation: u64) {
        let (slots, sections) = (&self.premises.config.slots, &mut self.sections);
        self.plan.see(generation, |slot| {
            for (worker, section) in sections.iter_mut().enumerate() {
                // The worker itself takes a section that contradicts itself as an empty one, too.
                let _ = slots[slot].read_into(worker, section);
            }
        });
        self.want();
        self.is_unfinished = true;
    }

    fn maybe_quiesce(&mut self) {
        let generation = self.plan.adopted();
        let mut workers = self.premises.status.workers.iter().take(self.crew.len());
        if !self.is_unfinished || !workers.all(|worker| worker.get().has_quiesced::<Sound>(generation)) {
            return;
        }
        // After the last worker has quiesced nothing more is given back, so what is here and unwanted goes.
        self.collect();
        self.registry.sweep(generation);
        self.end_lost_sessions();
        self.is_unfinished = false;
        self.plan.quiesce();
        doorbell::ring(self.premises.control);
    }
}

/// Writes what a queue has told into a file, from its beginning.
fn write_down(report: Option<OwnedFd>, flows: &[FlowRecord]) -> rustix::io::Result<()> {
    let report = report.ok_or(rustix::io::Errno::BADF)?;
    let mut bytes = flows.as_bytes();
    while !bytes.is_empty() {
        let written = rustix::io::write(&report, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Sends, waiting for room: the control plane reads what it has asked for.
fn send(control: &OwnedFd, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), HandoverError> {
    loop {
        match handover::send(control, message, descriptors) {
            Err(HandoverError::Kernel(rustix::io::Errno::AGAIN)) => {
                let mut room = [PollFd::new(control, PollFlags::OUT)];
                let _ = rustix::event::poll(&mut room, None);
            }
            sent => return sent,
        }
    }
}
