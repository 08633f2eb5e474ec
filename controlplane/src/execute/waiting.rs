//! Commands that wait for somebody outside, while everybody else is served.
//!
//! **Problem.** Some commands can be answered only when somebody else has: `netdev_add` of a host by name when the
//! resolver has (which may take half a minute), `chardev-add` of a connection when it is there (two minutes).
//!
//! **Rejected.** Waiting for them in the main loop, as QEMU does; and threads that execute commands, whose order
//! would have to be restored by locks.
//!
//! **Chosen.** The request is put aside, unanswered, so its client is not read from; all others are served.
//! *Names* are looked up before anything is done: the command's checks are rehearsed with a resolver that takes
//! notes, threads look up what was asked, and then the command is executed with the answers known, as if it had come
//! now. *A connection* is made beside everything else, and the device is there when it is. What nobody waits for any
//! more, because its client has left, is not done.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::{Caller, Server, World, human};
use crate::chardev::attempt::Attempt;
use crate::chardev::held;
use crate::connection::Lookup;
use crate::host::lookup::{Answer, Question, look_up};
use crate::kind::NetdevAdd;
use crate::qmp::Request;
use crate::qmp::answer::Outcome;
use crate::qmp::command::Command;
use crate::qmp::types::chardev::ChardevAdd;

/// Names that were looked up for the command that is being executed.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<(Question, Answer)>);

/// All commands that wait.
#[derive(Debug, Default)]
pub struct Waiting {
    all: VecDeque<Waiter>,
    /// Names that were looked up for the command that is being executed.
    pub(super) known: Known,
}

#[derive(Debug)]
struct Waiter {
    request: Request,
    matter: Matter,
}

/// What a command waits for.
#[derive(Debug)]
pub(super) enum Matter {
    /// Names.
    Names(Names),
    /// The connection of a character device.
    Connection(Box<(ChardevAdd, Attempt)>),
}

/// Names that are being looked up.
#[derive(Debug)]
pub(super) struct Names {
    asked: Vec<(Question, Lookup)>,
    known: Known,
}

/// How far a command is.
#[derive(Debug)]
pub(super) enum Step {
    /// It has been executed.
    Done(Outcome),
    /// It waits.
    Waits(Matter),
}

impl Known {
    /// What is known of a name. One that nobody has looked up before is looked up now, and waited for.
    pub(super) fn look_up(&self, question: &Question) -> Answer {
        self.get(question).unwrap_or_else(|| look_up(question))
    }

    fn get(&self, question: &Question) -> Option<Answer> {
        self.0.iter().find(|(known, _answer)| known == question).map(|(_question, answer)| answer.clone())
    }

    /// Looks nothing up that takes time, but notes it. In its stead there is an address that leads nowhere.
    fn rehearse(&self, question: &Question, notes: &RefCell<Vec<Question>>) -> Answer {
        self.get(question).unwrap_or_else(|| {
            if question.has_only_numbers() {
                return look_up(question);
            }
            notes.borrow_mut().push(question.clone());
            Ok(vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))])
        })
    }
}

impl Names {
    /// Threads begin to look them up.
    fn begin(questions: Vec<Question>, known: Known, doorbell: &Arc<OwnedFd>) -> Self {
        let mut names = Names { asked: Vec::new(), known };
        for question in questions {
            match Lookup::begin(question.clone(), Some(doorbell)) {
                Ok(lookup) => names.asked.push((question, lookup)),
                Err(error) => names.known.0.push((question, Err(error.to_string()))),
            }
        }
        names
    }

    /// Whether all are known now.
    fn are_known(&mut self) -> bool {
        let Names { asked, known } = self;
        asked.retain_mut(|(question, lookup)| match lookup.take() {
            Some(answer) => {
                known.0.push((question.clone(), answer));
                false
            }
            None => true,
        });
        asked.is_empty()
    }
}

impl Waiting {
    /// When [`Server::attend_waiting`] is to be called though nothing happens.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let due = |waiter: &Waiter| match &waiter.matter {
            Matter::Names(_) => None,
            Matter::Connection(connection) => Some(connection.1.due()),
        };
        self.all.iter().filter_map(due).min()
    }

    /// Whether a character device of this name is being made.
    pub(super) fn has_chardev(&self, id: &str) -> bool {
        let is_it = |waiter: &Waiter| match &waiter.matter {
            Matter::Names(_) => false,
            Matter::Connection(connection) => connection.0.id == id,
        };
        self.all.iter().any(is_it)
    }
}

impl Server {
    /// Executes a request of a client, and answers it now or later.
    pub fn serve(&mut self, request: Request) {
        let step = self.begin(&request, Known::default());
        self.settle_step(request, step);
    }

    /// Goes on with the commands that wait.
    pub fn attend_waiting(&mut self) {
        let now = Instant::now();
        for _nth in 0..self.waiting.all.len() {
            let Some(mut waiter) = self.waiting.all.pop_front() else { return };
            if !self.monitors.is_waited_for(&waiter.request) {
                log::debug!("{}: its client has left before it could be done", waiter.request.name);
                continue;
            }
            match self.go_on(&mut waiter, now) {
                Some(step) => self.settle_step(waiter.request, step),
                None => self.waiting.all.push_back(waiter),
            }
        }
    }

    /// What came of one that may have waited long enough.
    fn go_on(&mut self, waiter: &mut Waiter, now: Instant) -> Option<Step> {
        match &mut waiter.matter {
            Matter::Names(names) => {
                let known = names.are_known().then(|| std::mem::take(&mut names.known))?;
                Some(self.begin(&waiter.request, known))
            }
            Matter::Connection(connection) => {
                let (chardev, attempt) = &mut **connection;
                let ended = if attempt.due() <= now { attempt.look() } else { None };
                Some(Step::Done(self.chardev_ready(chardev, ended?)))
            }
        }
    }

    fn settle_step(&mut self, request: Request, step: Step) {
        match step {
            Step::Done(outcome) => self.monitors.answer(request, outcome),
            Step::Waits(matter) => self.waiting.all.push_back(Waiter { request, matter }),
        }
    }

    fn begin(&mut self, request: &Request, known: Known) -> Step {
        let command = match request.command() {
            Ok(command) => command,
            Err(error) => return Step::Done(Err(error)),
        };
        let questions = self.questions(&command, &known);
        if !questions.is_empty() {
            return Step::Waits(Matter::Names(Names::begin(questions, known, self.connections.doorbell())));
        }
        self.waiting.known = known;
        let step = if let Command::ChardevAdd(chardev) = &command {
            self.chardev_begin(chardev, Caller::Client(request))
        } else {
            Step::Done(self.perform(command, Caller::Client(request)))
        };
        self.waiting.known = Known::default();
        step
    }

    /// What is to be looked up before a command can be executed.
    fn questions(&self, command: &Command, known: &Known) -> Vec<Question> {
        if let Command::NetdevAdd(netdev) = command {
            return self.questions_of_netdev(netdev, known);
        }
        if let Command::HumanMonitorCommand(line) = command {
            let netdev = human::netdev_of(&line.command_line);
            return netdev.map_or(Vec::new(), |netdev| self.questions_of_netdev(&netdev, known));
        }
        let Command::ChardevAdd(chardev) = command else { return Vec::new() };
        let question = chardev.check().ok().and_then(|checked| held::question(&checked));
        question.into_iter().filter(|question| known.get(question).is_none()).collect()
    }

    fn questions_of_netdev(&self, netdev: &NetdevAdd, known: &Known) -> Vec<Question> {
        let notes = RefCell::new(Vec::new());
        let names = |question: &Question| known.rehearse(question, &notes);
        let (inventory, chardevs) = (self.network.inventory(), &self.chardevs);
        // What is wrong is found again, and told, when it is executed.
        let _ = netdev.check(&World { inventory, chardevs, names: &names });
        notes.into_inner()
    }
}
