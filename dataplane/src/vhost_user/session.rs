//! One session: a front end's requests, one after another, each in full before the next is looked at.
//!
//! 1. *Lift.* The queues that a request disturbs are exchanged for paused ones. Their sources are held back meanwhile and
//!    lose nothing. When a worker has given a queue back, its rings' positions are read; no worker touches it any more.
//! 2. *Change.* The device does what is asked.
//! 3. *Seat.* Queues are made of what the device is now and take the paused ones' places, or absent ones do.
//! 4. *Keep.* What a successor needs goes into the safe.
//! 5. *Answer.*
//!
//! A lift takes as long as a turn of the worker, some microseconds, and the foreman does not wait for it: the request
//! stays at hand until the queues are here.
//!
//! A guest's commands ([`super::control`]) go the same way, one after another with its front end's requests.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewire_shared::happenings::{Happening, HappeningKind};
use framewire_shared::rx_filter::RxFilter;
use framewire_shared::session::{Serve, SessionEnd};

use super::choice::Chosen;
use super::connection::Connection;
use super::control::ControlQueue;
use super::device::{Answer, Device, Disturbs};
use super::request::{Header, Request};
use super::safe::Safe;
use super::seats::Seats;
use crate::adopt::Parcel;
use crate::announce::Announcement;
use crate::driver::{AnyQueue, Guest};
use crate::registry::Exchanged;
use crate::virtqueue::GuestFault;

/// Requests and commands of one session before the others have their turn.
const REQUESTS_MAX: usize = 64;

/// How often a control queue is looked at that nobody can kick.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What a worker has, or had, under a pair's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    /// A queue without rings, which discards.
    Absent,
    /// A queue without rings, which holds back.
    Paused,
    /// The queue of this edition, with rings.
    Taken(u64),
    /// The queue of this edition was asked back.
    Lifting(u64),
}

/// What is being done.
#[derive(Debug)]
enum AtHand {
    /// The front end asks.
    Request(Header, Request),
    /// The guest asks: what it has chosen, or nothing that can be.
    Command(Option<Box<Chosen>>),
}

/// See the module's text.
#[derive(Debug)]
pub struct Session {
    serve: Serve,
    descriptors: Arc<[OwnedFd]>,
    connection: Connection,
    safe: Safe,
    device: Device,
    seats: Vec<Seat>,
    /// The guest's control queue, if it is ours and started.
    control: Option<ControlQueue>,
    /// It waits for queues to come back.
    at_hand: Option<AtHand>,
    /// How many pairs were told to be in use; none yet.
    pairs_told: usize,
}

impl Session {
    /// Takes up a session: a new one, or one that a data plane before us has left in its safe.
    ///
    /// # Errors
    /// If the safe holds what nobody can go on with.
    pub fn take_up(
        serve: Serve,
        descriptors: Arc<[OwnedFd]>,
        seats: &mut Seats<'_>,
    ) -> Result<Self, SessionEnd> {
        let mut safe = Safe::new(Arc::clone(&descriptors));
        let left = safe.take(serve)?;
        let goes_on = left.is_some();
        let mut session = Session {
            serve,
            connection: Connection::new(Arc::clone(&descriptors)),
            descriptors,
            safe,
            device: left.unwrap_or_else(|| Device::new(serve)),
            seats: vec![Seat::Absent; serve.queue_pairs.into()],
            control: None,
            at_hand: None,
            pairs_told: 0,
        };
        if goes_on {
            for pair in 0..session.seats.len() {
                if let Some(ledger) = seats.ledger(session.key(pair)) {
                    session.device.recover(pair, ledger);
                }
            }
            session.seat(seats);
            session.safe.put(&session.device)?;
            session.set_link(serve.link_is_up());
        }
        Ok(session)
    }

    /// What it was served with.
    #[must_use]
    pub fn served(&self) -> (&Serve, &[OwnedFd]) {
        (&self.serve, &self.descriptors)
    }

    /// To be watched for requests and commands, unless one is at hand.
    pub fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let kick = self.control.as_ref().and_then(ControlQueue::kick);
        let is_free = self.at_hand.is_none();
        [Some(self.connection.socket()), kick].into_iter().flatten().filter(move |_watched| is_free)
    }

    /// When it is to be looked at though nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let is_polled = self.control.as_ref().is_some_and(|control| control.kick().is_none());
        let look = is_polled.then(|| Instant::now() + LOOK_AGAIN);
        [self.connection.deadline(), look].into_iter().flatten().min()
    }

    /// Whether the queue of this key is one of its NIC's.
    #[must_use]
    pub fn has(&self, key: u64) -> bool {
        self.pair(key).is_some()
    }

    fn key(&self, pair: usize) -> u64 {
        self.serve.first_queue + pair as u64
    }

    fn pair(&self, key: u64) -> Option<usize> {
        let pair = usize::try_from(key.checked_sub(self.serve.first_queue)?).ok()?;
        (pair < self.seats.len()).then_some(pair)
    }

    /// Does what is asked, as far as it can be done without waiting.
    ///
    /// # Errors
    /// Why the session is over.
    pub fn work(&mut self, seats: &mut Seats<'_>) -> Result<(), SessionEnd> {
        for _request in 0..REQUESTS_MAX {
            if self.at_hand.is_none() {
                self.at_hand = self.next(seats)?;
            }
            let disturbs = match &self.at_hand {
                None => {
                    self.tell_pairs(seats);
                    return Ok(());
                }
                Some(AtHand::Request(_header, request)) => self.device.disturbs(request),
                Some(AtHand::Command(Some(chosen))) if self.device.changes_queues(chosen) => Disturbs::Pairs,
                Some(AtHand::Command(_)) => Disturbs::Nothing,
            };
            if !self.lift(disturbs, seats) {
                return Ok(());
            }
            match self.at_hand.take() {
                Some(AtHand::Request(header, request)) => self.obey(header, request, seats)?,
                Some(AtHand::Command(chosen)) => self.choose(chosen.as_deref(), seats)?,
                None => {}
            }
        }
        // There may be more, which nobody tells of again.
        seats.come_back();
        Ok(())
    }

    /// What is to be done next: what the front end asks comes before what its guest does.
    fn next(&mut self, seats: &Seats<'_>) -> Result<Option<AtHand>, SessionEnd> {
        if let Some(incoming) = self.connection.receive()? {
            return Ok(Some(AtHand::Request(incoming.header, Request::parse(incoming)?)));
        }
        let Some(control) = &mut self.control else { return Ok(None) };
        let mut is_there = control.next();
        // If it was armed too late for what has come meanwhile, that is here now.
        if is_there == Ok(false) && control.kick().is_some() && control.arm() {
            is_there = control.next();
            seats.come_back();
        }
        match is_there {
            Ok(true) => Ok(Some(AtHand::Command(self.device.asked(control.command()).map(Box::new)))),
            Ok(false) => Ok(None),
            Err(fault) => {
                self.give_up_control(fault, seats);
                Ok(None)
            }
        }
    }

    /// The guest has broken its control queue, and nothing else.
    fn give_up_control(&mut self, fault: GuestFault, seats: &Seats<'_>) {
        self.take_control_down(true);
        let (kind, queue) = (HappeningKind::GuestFault, self.key(0));
        seats.tell(Happening { kind, queue, detail: fault as u64 });
    }

    fn take_control_down(&mut self, is_faulty: bool) {
        if let Some(control) = self.control.take() {
            self.device.control_stands(control.position(), is_faulty);
        }
    }

    /// A guest's command, with its queues in our hands if it changes them. It is answered last: by then it is in
    /// effect, and kept.
    fn choose(&mut self, chosen: Option<&Chosen>, seats: &mut Seats<'_>) -> Result<(), SessionEnd> {
        if let Some(Chosen { choice, is_filter }) = chosen {
            self.device.choice = *choice;
            self.seat(seats);
            if *is_filter && !std::mem::replace(&mut self.device.is_filter_told, true) {
                self.tell(HappeningKind::FilterChanged, 0, seats);
            }
            self.safe.put(&self.device)?;
        }
        if let Some(control) = &mut self.control {
            control.answer(chosen.is_some());
        }
        Ok(())
    }

    /// What the guest is to know of its link.
    pub fn set_link(&mut self, is_up: bool) {
        self.serve.set_link(is_up);
        if std::mem::replace(&mut self.device.link_is_up, is_up) != is_up {
            self.keep();
            self.device.tell_config();
        }
    }

    /// The guest is to announce itself, if it can be asked to.
    pub fn announce(&mut self) {
        if self.device.ask_to_announce() {
            self.keep();
            self.device.tell_config();
        }
    }

    /// Something has changed that no request is about. A session whose safe is broken ends with its next request.
    fn keep(&mut self) {
        let _ = self.safe.put(&self.device);
    }

    /// What the guest lets through; the next change is told again.
    pub fn filter(&mut self) -> RxFilter {
        if std::mem::replace(&mut self.device.is_filter_told, false) {
            self.keep();
        }
        self.device.filter()
    }

    /// Tells how many pairs are in use, if that is another number now: the wire is laid anew then, so that what another
    /// pair would receive comes to one of those. A guest that uses none just now is about to change that.
    fn tell_pairs(&mut self, seats: &Seats<'_>) {
        let in_use = (0..self.seats.len()).take_while(|pair| self.device.receives(*pair)).count();
        if self.seats.len() > 1 && in_use > 0 && in_use != self.pairs_told {
            self.pairs_told = in_use;
            self.tell(HappeningKind::SessionPairs, in_use as u64, seats);
        }
    }

    /// Steps 2 to 5.
    fn obey(&mut self, header: Header, request: Request, seats: &mut Seats<'_>) -> Result<(), SessionEnd> {
        let is_change = !matches!(
            request,
            Request::GetFeatures
                | Request::GetProtocolFeatures
                | Request::GetQueueNum
                | Request::GetMaxMemSlots
        );
        let announced = if let Request::SendRarp(address) = request { Some(address) } else { None };
        let has_agreed = matches!(request, Request::SetFeatures(_));
        let outcome = self.device.obey(request);
        self.seat(seats);
        if is_change {
            self.safe.put(&self.device)?;
        }
        if let Some(address) = announced {
            seats.announce(Announcement { queue: self.key(0), address });
        }
        if has_agreed && outcome.is_ok() {
            self.tell(HappeningKind::SessionFeatures, self.device.features(), seats);
        }
        let acknowledges = header.needs_reply && self.device.acknowledges();
        match outcome {
            Ok(Answer::None) if acknowledges => self.connection.send(&header.answer(&0u64.to_le_bytes())),
            Ok(Answer::None) => Ok(()),
            Ok(Answer::Number(number)) => self.connection.send(&header.answer(&number.to_le_bytes())),
            Ok(Answer::Bytes(bytes)) => self.connection.send(&header.answer(&bytes)),
            Err(_refused) if acknowledges => self.connection.send(&header.answer(&1u64.to_le_bytes())),
            Err(_refused) => Err(SessionEnd::Refused),
        }
    }

    /// Asks for the queues that are disturbed. Returns whether all of them are here.
    fn lift(&mut self, disturbs: Disturbs, seats: &mut Seats<'_>) -> bool {
        if disturbs == Disturbs::All {
            self.take_control_down(false);
        }
        let pairs = match disturbs {
            Disturbs::Nothing => return true,
            Disturbs::Pair(pair) => pair..pair + 1,
            Disturbs::Pairs | Disturbs::All => 0..self.seats.len(),
        };
        for pair in pairs.clone() {
            if let Seat::Taken(edition) = self.seats[pair] {
                self.seats[pair] = Seat::Lifting(edition);
                let key = self.key(pair);
                let Some(counters) = seats.counters(key) else { continue };
                match seats.exchange(key, Guest::paused(key, counters)) {
                    Some(Exchanged { replaced: Some(queue), .. }) => self.lifted(pair, &queue),
                    Some(Exchanged { replaced: None, .. }) => {}
                    // The queue is gone, and soon the session is.
                    None => self.seats[pair] = Seat::Absent,
                }
            }
        }
        self.seats[pairs].iter().all(|seat| !matches!(seat, Seat::Lifting(_)))
    }

    /// A worker has given back what has this key.
    pub fn returned(&mut self, parcel: &Parcel) {
        if let Some(pair) = self.pair(parcel.key)
            && self.seats[pair] == Seat::Lifting(parcel.edition)
        {
            self.lifted(pair, &parcel.queue);
        }
    }

    fn lifted(&mut self, pair: usize, queue: &AnyQueue) {
        self.seats[pair] = Seat::Paused;
        if let AnyQueue::Guest(guest) = queue {
            self.device.stands(pair, guest.positions(), guest.fault().is_some());
        }
    }

    /// Every pair whose rings run has a queue with them; one whose rings run no more, is absent.
    fn seat(&mut self, seats: &mut Seats<'_>) {
        for pair in 0..self.seats.len() {
            let is_started = self.device.is_started(pair);
            match self.seats[pair] {
                Seat::Absent | Seat::Paused if is_started => self.seat_pair(pair, seats),
                Seat::Paused => self.vacate(pair, seats),
                Seat::Absent | Seat::Taken(_) | Seat::Lifting(_) => {}
            }
        }
        if self.control.is_none()
            && let Some(ledger) = seats.ledger(self.key(0))
        {
            self.control = self.device.control(&ledger.controlq);
        }
    }

    fn seat_pair(&mut self, pair: usize, seats: &mut Seats<'_>) {
        let key = self.key(pair);
        let (Some(counters), Some(ledger)) = (seats.counters(key), seats.ledger(key)) else { return };
        let rings = self.device.pair(pair, ledger);
        if rings.iter().all(Option::is_none) {
            return self.vacate(pair, seats);
        }
        let guest = Guest::new(key, counters, self.device.manners(), rings).behind(self.device.sieve());
        if let Some(Exchanged { edition, .. }) = seats.exchange(key, guest) {
            self.seats[pair] = Seat::Taken(edition);
        }
    }

    fn vacate(&mut self, pair: usize, seats: &mut Seats<'_>) {
        let key = self.key(pair);
        if let Some(counters) = seats.counters(key) {
            // What comes back for it, has no rings, or is closed when it does.
            let _ = seats.exchange(key, Guest::absent(key, counters));
        }
        self.seats[pair] = Seat::Absent;
    }

    /// Gives everything up. Its queues are as before the guest came.
    pub fn end(&mut self, seats: &mut Seats<'_>) {
        self.control = None;
        self.connection.shut_down();
        self.safe.clear();
        (0..self.seats.len()).for_each(|pair| self.vacate(pair, seats));
    }

    /// Tells the control plane that it has ended by itself.
    pub fn tell_end(&self, end: SessionEnd, seats: &Seats<'_>) {
        self.tell(HappeningKind::SessionEnded, end as u64, seats);
    }

    fn tell(&self, kind: HappeningKind, detail: u64, seats: &Seats<'_>) {
        seats.tell(Happening { kind, queue: self.serve.session, detail });
    }
}
