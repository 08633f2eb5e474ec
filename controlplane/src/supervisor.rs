//! Keeps a data plane running: starts it, notices its end, says why, starts another.
//!
//! **At once, or later.** One that worked for a while and then ended (killed, crashed) is replaced at once: each
//! millisecond loses frames. One that ends as soon as it starts will do so again, for a reason that only an
//! operator can change, so starts are spaced out by a delay that doubles, and the reason is logged each time
//! and told to whoever asks for what needs a data plane.
//!
//! This file only starts, watches and counts. What a new one is to carry is [`crate::network`]'s.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use framewire_shared::handover::Walls;
use rustix::process::Pid;

use crate::dataplane::Attached;
use crate::dataplane::equipment::Equipment;
use crate::dataplane::trouble::Trouble;
use crate::host::process::End;

/// How long a data plane may take to be ready.
const START_MAX: Duration = Duration::from_secs(10);
/// How long one that was told to end, or killed, may take.
const END_MAX: Duration = Duration::from_secs(5);
/// The first delay, and the longest.
const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(5);
/// One that was killed is replaced at once if it had worked for this long,
const STEADY_KILLED: Duration = Duration::from_millis(50);
/// and one that ended by itself, if for this long.
const STEADY_CRASHED: Duration = Duration::from_secs(5);
/// Being killed is not one's own fault: so many in a row are replaced at once, however short they lived.
const KILLS_FORGIVEN: u32 = 4;

/// There is no data plane at the moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the data plane is not running: {why}; it is started again in {} ms", delay.as_millis())]
pub struct Unavailable {
    /// How the last one ended, or why none could be started.
    pub why: String,
    /// When the next attempt is due.
    pub delay: Duration,
}

/// The end of a data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obituary {
    /// Which process it was.
    pub pid: Pid,
    /// How it ended.
    pub why: String,
    /// How long after that another is started.
    pub delay: Duration,
}

/// Where the data plane is in its life.
#[derive(Debug)]
enum State {
    /// There is none until then.
    Down { why: String, until: Instant },
    /// It was started and has not said yet that it works.
    Starting { attached: Attached, since: Instant },
    /// It works.
    Running { attached: Attached, since: Instant, walls: Option<Walls> },
}

/// See the module's text.
#[derive(Debug)]
pub struct Supervisor {
    program: PathBuf,
    equipment: Equipment,
    state: State,
    /// How many in a row ended as soon as they had started.
    early_ends: u32,
    /// Counts the data planes, so that whoever watches one knows that it is another.
    incarnation: u64,
    obituaries: Vec<Obituary>,
}

impl Supervisor {
    /// Nothing is started yet; the first start is due at once.
    #[must_use]
    pub fn new(program: PathBuf, equipment: Equipment) -> Self {
        let state = State::Down { why: "it was not started yet".to_owned(), until: Instant::now() };
        Supervisor { program, equipment, state, early_ends: 0, incarnation: 0, obituaries: Vec::new() }
    }

    /// Takes over one that runs already.
    #[must_use]
    pub fn adopting(program: PathBuf, equipment: Equipment, attached: Attached) -> Self {
        let state = State::Running { attached, since: Instant::now(), walls: None };
        Supervisor { state, incarnation: 1, ..Supervisor::new(program, equipment) }
    }

    /// What every data plane is given.
    #[must_use]
    pub fn equipment(&self) -> &Equipment {
        &self.equipment
    }

    /// The data plane, if it works.
    #[must_use]
    pub fn running(&self) -> Option<&Attached> {
        match &self.state {
            State::Running { attached, .. } => Some(attached),
            State::Down { .. } | State::Starting { .. } => None,
        }
    }

    /// Which walls stand around it; unknown of one that another control plane started.
    #[must_use]
    pub fn walls(&self) -> Option<Walls> {
        match &self.state {
            State::Running { walls, .. } => *walls,
            State::Down { .. } | State::Starting { .. } => None,
        }
    }

    /// The data plane, whether it works already or not, and which one it is.
    #[must_use]
    pub fn watched(&self) -> Option<(u64, &Attached)> {
        match &self.state {
            State::Down { .. } => None,
            State::Starting { attached, .. } | State::Running { attached, .. } => {
                Some((self.incarnation, attached))
            }
        }
    }

    /// How often another one was started.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.incarnation.saturating_sub(1)
    }

    /// When something is to be done though nothing happens: a start, or giving up on one.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Down { until, .. } => Some(*until),
            State::Starting { since, .. } => Some(*since + START_MAX),
            State::Running { .. } => None,
        }
    }

    /// Why there is none, if there is none.
    #[must_use]
    pub fn unavailable(&self) -> Option<Unavailable> {
        match &self.state {
            State::Down { why, until } => {
                let delay = until.saturating_duration_since(Instant::now());
                Some(Unavailable { why: why.clone(), delay })
            }
            State::Starting { .. } | State::Running { .. } => None,
        }
    }

    /// Ends of data planes that nobody was told of yet.
    pub fn take_obituaries(&mut self) -> Vec<Obituary> {
        std::mem::take(&mut self.obituaries)
    }

    /// Starts one, if it is time to.
    pub fn start_if_due(&mut self) {
        let State::Down { until, .. } = &self.state else { return };
        if Instant::now() < *until {
            return;
        }
        match Attached::start(&self.program, &self.equipment) {
            Ok(attached) => {
                self.incarnation += 1;
                self.state = State::Starting { attached, since: Instant::now() };
            }
            Err(error) => {
                let why = format!("{} cannot be started: {error}", self.program.display());
                let delay = self.next_delay(true, End::Unknown);
                log::error!("data plane: {why}");
                self.state = State::Down { why, until: Instant::now() + delay };
            }
        }
    }

    /// Hears what a starting one has to say; with `wait`, waits for it. Whether it has just begun to work.
    pub fn hear(&mut self, wait: bool) -> bool {
        let State::Starting { attached, since } = &self.state else { return false };
        let deadline = *since + START_MAX;
        if !wait && !attached.has_answer() && Instant::now() < deadline {
            return false;
        }
        match attached.wait_ready(deadline) {
            Ok(walls) => {
                self.works(walls);
                true
            }
            Err(trouble) => {
                self.lost(trouble);
                false
            }
        }
    }

    /// Takes note of its end, if it has ended. To be called after [`hear`](Self::hear): one that could not start has
    /// said why before it ended.
    pub fn note_end(&mut self) {
        let ended = self.watched().and_then(|(_incarnation, attached)| attached.process.ended());
        if let Some(end) = ended {
            self.bury(end, &format!("it ended with {end}"));
        }
    }

    /// There was trouble with it: whatever state it is in, it is not fit to carry frames any more.
    pub fn lost(&mut self, trouble: Trouble) {
        let Some((_incarnation, attached)) = self.watched() else { return };
        let ended_by_itself = trouble == Trouble::Gone && attached.wait_ended(Instant::now() + END_MAX);
        if !ended_by_itself {
            attached.process.kill();
            if !attached.wait_ended(Instant::now() + END_MAX) {
                log::error!("data plane: process {} does not end", attached.process.pid.as_raw_nonzero());
            }
        }
        let end = attached.process.ended().unwrap_or(End::Unknown);
        let why = if ended_by_itself { format!("it ended with {end}") } else { trouble.to_string() };
        self.bury(end, &why);
    }

    /// Ends it for good, with everything that it carries.
    pub fn end(&mut self) {
        let Some((_incarnation, attached)) = self.watched() else { return };
        attached.end();
        if !attached.wait_ended(Instant::now() + END_MAX) {
            attached.process.kill();
        }
        // Nobody starts another: the process is about to end as well.
        let _ = attached.process.ended();
    }

    fn works(&mut self, walls: Walls) {
        let down = || State::Down { why: String::new(), until: Instant::now() };
        if let State::Starting { attached, since } = std::mem::replace(&mut self.state, down()) {
            let (pid, ms) = (attached.process.pid.as_raw_nonzero(), since.elapsed().as_millis());
            log::info!("data plane: process {pid} works after {ms} ms{}", missing(walls));
            self.state = State::Running { attached, since: Instant::now(), walls: Some(walls) };
        }
    }

    fn bury(&mut self, end: End, why: &str) {
        let is_early = match &self.state {
            State::Running { since, .. } => is_early(end, since.elapsed()),
            State::Starting { .. } => true,
            State::Down { .. } => return,
        };
        let delay = self.next_delay(is_early, end);
        let down = State::Down { why: why.to_owned(), until: Instant::now() + delay };
        let (State::Running { attached, .. } | State::Starting { attached, .. }) =
            std::mem::replace(&mut self.state, down)
        else {
            return;
        };
        let pid = attached.process.pid;
        let next = if delay.is_zero() { "now".to_owned() } else { format!("in {} ms", delay.as_millis()) };
        log::error!("data plane: process {}: {why}; another is started {next}", pid.as_raw_nonzero());
        self.obituaries.push(Obituary { pid, why: why.to_owned(), delay });
    }

    fn next_delay(&mut self, is_early: bool, end: End) -> Duration {
        if !is_early {
            self.early_ends = 0;
            return Duration::ZERO;
        }
        let forgiven = if end == KILLED { KILLS_FORGIVEN } else { 0 };
        let earlier = self.early_ends;
        self.early_ends += 1;
        let counted = earlier.checked_sub(forgiven);
        counted.map_or(Duration::ZERO, |counted| (DELAY_MIN * 2_u32.pow(counted.min(10))).min(DELAY_MAX))
    }
}

const KILLED: End = End::Signalled(libc::SIGKILL);

/// Whether one that worked for so long will likely end as soon again.
fn is_early(end: End, worked: Duration) -> bool {
    let steady = if end == KILLED { STEADY_KILLED } else { STEADY_CRASHED };
    worked < steady
}

fn missing(walls: Walls) -> &'static str {
    match (walls.network_namespace, walls.mount_namespace) {
        (0, _) => ", without namespaces of its own (the kernel allows none here)",
        (_, 0) => ", without an empty file system (the kernel allows none here)",
        (_, _) => "",
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use framewire_shared::handover::Welcome;

    fn supervisor(program: &str) -> Supervisor {
        let name = program.replace('/', "-");
        let path = std::env::temp_dir().join(format!("framewire{name}-{}", std::process::id()));
        let equipment = Equipment::create(Welcome::new(&[0]), &path).unwrap();
        std::fs::remove_file(path).unwrap();
        Supervisor::new(PathBuf::from(program), equipment)
    }

    /// Starts as often as asked, without waiting for the time to do so; returns the delays.
    fn delays(supervisor: &mut Supervisor, starts: usize) -> Vec<u128> {
        let start = |_nth| {
            let why = supervisor.unavailable().map_or(String::new(), |unavailable| unavailable.why);
            supervisor.state = State::Down { why, until: Instant::now() };
            supervisor.start_if_due();
            supervisor.hear(true);
            supervisor.unavailable().unwrap().delay.as_millis().div_ceil(100) * 100
        };
        (0..starts).map(start).collect()
    }

    #[test]
    fn one_that_ends_at_once_is_started_ever_more_rarely_and_says_why() {
        let mut supervisor = supervisor("/bin/false");
        assert_eq!(delays(&mut supervisor, 8), [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(supervisor.unavailable().unwrap().why, "it ended with exit status 1");
        assert_eq!(supervisor.take_obituaries().len(), 8);
    }

    #[test]
    fn program_that_is_missing_is_said() {
        let mut supervisor = supervisor("/nowhere/framewire-dataplane");
        assert_eq!(delays(&mut supervisor, 2), [100, 200]);
        let why = supervisor.unavailable().unwrap().to_string();
        assert!(why.contains("/nowhere/framewire-dataplane cannot be started: No such file"), "{why}");
    }

    #[test]
    fn one_that_was_killed_after_a_while_is_replaced_at_once() {
        assert!(is_early(KILLED, Duration::from_millis(40)) && !is_early(KILLED, Duration::from_millis(60)));
        let crashed = End::Signalled(libc::SIGSEGV);
        assert!(is_early(crashed, Duration::from_secs(4)) && !is_early(crashed, Duration::from_secs(6)));
        let mut supervisor = supervisor("/bin/true");
        supervisor.early_ends = 7;
        assert_eq!((supervisor.next_delay(false, KILLED), supervisor.early_ends), (Duration::ZERO, 0));
        let mut delay = || supervisor.next_delay(true, KILLED).as_millis();
        assert_eq!([(); 6].map(|()| delay()), [0, 0, 0, 0, 100, 200]);
    }
}
