//! The network: what exists, and the data plane that carries it, kept in step.
//!
//! Everything that changes ports goes through [`Network::commit`] (in [`crate::transaction`]): a new inventory is
//! carried out whole or not at all. Everything that happens to the data plane is looked after here: one that has
//! died is replaced, and the new one is given the vault and the plan, so that what QMP has answered stays true.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use framewire_shared::happenings::Happening;
use framewire_shared::plan::{PlanTooLarge, Section};
use framewire_shared::rx_filter::RxFilter;
use framewire_shared::session::Serve;

use crate::adoption::Recalled;
use crate::dataplane::equipment::Equipment;
use crate::dataplane::trouble::{Refusal, Trouble};
use crate::inventory::file::InventoryFile;
use crate::inventory::{Inventory, Port};
use crate::planner::{self, Settings};
use crate::qmp::answer::QmpError;
use crate::supervisor::{Supervisor, Unavailable};
use crate::vault::{KeptSession, Vault};

/// How long the data plane may take to carry out a change. One that takes longer is stuck, and is replaced.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Why a change was not carried out. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no data plane to build queues.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The data plane cannot build a queue.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Two data planes in a row ended over it.
    #[error("{0}; the change was taken back")]
    Trouble(Trouble),
    /// There is no room in the plan.
    #[error(transparent)]
    TooLarge(#[from] PlanTooLarge),
    /// It could not be written down for a next control plane.
    #[error("inventory: {0}")]
    Inventory(#[from] std::io::Error),
}

impl From<Error> for QmpError {
    fn from(error: Error) -> Self {
        QmpError::generic(error.to_string())
    }
}

/// What happened to the network by itself.
#[derive(Debug)]
pub enum News {
    /// A data plane has ended.
    Died {
        /// Its process id.
        pid: i32,
        /// How it ended.
        why: String,
    },
    /// A data plane carries what there is.
    Started {
        /// Its process id.
        pid: i32,
        /// How many queues it was given.
        queues: usize,
    },
    /// A port could not be given to a new data plane and is gone.
    Lost(Box<Port>),
}

/// See the module's text.
#[derive(Debug)]
pub struct Network {
    pub(crate) inventory: Inventory,
    pub(crate) file: InventoryFile,
    pub(crate) vault: Vault,
    pub(crate) supervisor: Supervisor,
    /// What was published last.
    pub(crate) published: Vec<Section>,
    poll_us: u32,
    news: Vec<News>,
}

impl Network {
    /// An empty one. Its data plane is started when it is first looked after.
    #[must_use]
    pub fn new(program: PathBuf, equipment: Equipment, file: InventoryFile, poll_us: u32) -> Self {
        let supervisor = Supervisor::new(program, equipment);
        Network { poll_us, ..Network::with(supervisor, file, Inventory::default(), Vault::default()) }
    }

    pub(crate) fn with(
        supervisor: Supervisor,
        file: InventoryFile,
        inventory: Inventory,
        vault: Vault,
    ) -> Self {
        let (published, news) = (Vec::new(), Vec::new());
        Network { inventory, file, vault, supervisor, published, poll_us: 0, news }
    }

    /// One whose data plane runs already. Ports that the data plane does not have any more are dropped, and
    /// queues that the inventory does not know are retired.
    ///
    /// # Errors
    /// If the data plane does not go along.
    pub fn adopt(
        program: PathBuf,
        recalled: Recalled,
        file: InventoryFile,
        poll_us: u32,
    ) -> Result<Self, Error> {
        let Recalled { equipment, attached, kept, sessions, mut inventory, published } = recalled;
        let mut vault = Vault::default();
        vault.keep(kept);
        sessions.into_iter().for_each(|session| vault.keep_session(session));
        let keys = vault.iter().map(|kept| kept.build.queue);
        let last = keys.chain(vault.sessions().map(|session| session.serve.session)).max();
        inventory.never_reuse(last.unwrap_or(0));
        let lost =
            inventory.drop_ports(|port| port.queues.iter().any(|queue| vault.get(queue.key).is_none()));
        for port in &lost {
            log::warn!("port '{}': the data plane does not have it any more; it is dropped", port.id);
        }
        let supervisor = Supervisor::adopting(program, equipment, attached);
        let network = Network::with(supervisor, file, inventory, vault);
        let mut network = Network { published, poll_us, ..network };
        network.commit(network.inventory.clone(), Vec::new())?;
        // The data plane has closed what the inventory does not know; so do we, or an interface would stay.
        network.forget_the_unknown();
        let pid = network.process_id().unwrap_or_default();
        log::info!("data plane: process {pid} adopted with {} ports", network.inventory.ports().len());
        Ok(network)
    }

    /// What exists.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// The data plane's keeper.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// The vault.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// What a worker was last told to carry.
    #[must_use]
    pub fn published(&self, worker: usize) -> Option<&Section> {
        self.published.get(worker)
    }

    /// What happened since the last call.
    pub fn take_news(&mut self) -> Vec<News> {
        self.write_obituaries();
        std::mem::take(&mut self.news)
    }

    /// Notes what became of the data plane, starts another if it is time to, and gives a new one what it is to
    /// carry. Called whenever something may have happened to it.
    pub fn look_after(&mut self) {
        if self.supervisor.hear(false) {
            self.hand_all_over();
        }
        self.supervisor.note_end();
        self.supervisor.start_if_due();
    }

    /// Waits until a data plane works.
    ///
    /// # Errors
    /// [`Unavailable`] if none does, and why.
    pub fn wait_running(&mut self) -> Result<(), Unavailable> {
        self.look_after();
        if self.supervisor.hear(true) {
            self.hand_all_over();
        }
        self.supervisor.unavailable().map_or(Ok(()), Err)
    }

    /// What the data plane has told since the last call.
    pub fn take_happenings(&mut self) -> Vec<Happening> {
        self.supervisor.equipment().take_happenings()
    }

    /// Has addresses announced, each as if it had been said at the queue of that key. Without a data plane they are
    /// lost, as any frame is then.
    pub fn announce(&mut self, addresses: impl Iterator<Item = (u64, [u8; 6])>) {
        let Some(attached) = self.supervisor.running() else { return };
        if let Err(trouble) = attached.announce(addresses, Instant::now() + ANSWER_MAX) {
            self.supervisor.lost(trouble);
        }
    }

    /// What the guest at the NIC whose first queue has this key lets through; none if there is no guest.
    ///
    /// # Errors
    /// If two data planes in a row do not say.
    pub fn filter(&mut self, first_queue: u64) -> Result<Option<RxFilter>, Error> {
        let mut asked = self.try_filter(first_queue);
        if let Err(Error::Trouble(_)) = asked {
            asked = self.try_filter(first_queue);
        }
        asked
    }

    fn try_filter(&mut self, first_queue: u64) -> Result<Option<RxFilter>, Error> {
        let Some(session) = self.vault.session_of(first_queue) else { return Ok(None) };
        let number = session.serve.session;
        self.wait_running()?;
        let Some(attached) = self.supervisor.running() else { return Err(Error::Trouble(Trouble::Gone)) };
        attached.filter(number, Instant::now() + ANSWER_MAX).map(Some).map_err(|trouble| {
            self.supervisor.lost(trouble);
            Error::Trouble(trouble)
        })
    }

    /// Has a front end served. Every session is another, whatever became of it.
    ///
    /// # Errors
    /// If there is no data plane, or it cannot.
    pub fn serve(&mut self, connection: OwnedFd, describe: impl FnOnce(u64) -> Serve) -> Result<(), Error> {
        self.wait_running()?;
        let session = KeptSession::new(describe(self.inventory.next_serial()), connection)
            .map_err(|errno| Error::Trouble(Trouble::Kernel(errno)))?;
        let Some(attached) = self.supervisor.running() else { return Err(Error::Trouble(Trouble::Gone)) };
        match attached.serve(&session, Instant::now() + ANSWER_MAX) {
            Ok(None) => {
                self.vault.keep_session(session);
                Ok(())
            }
            Ok(Some(refusal)) => Err(refusal.into()),
            Err(trouble) => {
                self.supervisor.lost(trouble);
                Err(Error::Trouble(trouble))
            }
        }
    }

    /// Ends the session of the NIC whose first queue has this key, if it has one.
    pub fn part(&mut self, first_queue: u64) {
        let Some(number) = self.vault.session_of(first_queue).map(|session| session.serve.session) else {
            return;
        };
        let session = self.vault.take_session(number);
        let parted =
            self.supervisor.running().map(|attached| attached.part(number, Instant::now() + ANSWER_MAX));
        if let Some(Err(trouble)) = parted {
            self.supervisor.lost(trouble);
        }
        session.iter().for_each(KeptSession::hang_up);
    }

    /// Ends the data plane and removes what a next control plane would look for.
    pub fn end(mut self) {
        self.withdraw();
        self.supervisor.end();
        self.file.remove();
    }

    /// Has the data plane close every queue. Of a process that has ended, the kernel lets go of what its rings watched
    /// only some time later, and an interface would be there for as long.
    fn withdraw(&self) {
        let Some(attached) = self.supervisor.running() else { return };
        let nothing = planner::plan(&Inventory::default(), self.settings()).sections;
        let deadline = Instant::now() + ANSWER_MAX;
        let withdrawn = attached.publish(self.supervisor.equipment(), nothing, &self.published, deadline);
        if let Err(trouble) = withdrawn {
            log::warn!("data plane: {trouble}; it is ended as it is");
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings { workers: self.supervisor.equipment().workers(), poll_us: self.poll_us }
    }

    pub(crate) fn process_id(&self) -> Option<i32> {
        let attached = self.supervisor.running()?;
        Some(attached.process.pid.as_raw_nonzero().get())
    }

    /// Gives a new data plane the whole vault and the plan. If it fails, it is dead.
    pub(crate) fn hand_all_over(&mut self) {
        let begin = Instant::now();
        match self.try_hand_over() {
            Ok(()) => {
                self.write_obituaries();
                let pid = self.process_id().unwrap_or_default();
                let queues = self.vault.iter().count();
                let ms = begin.elapsed().as_millis();
                log::debug!("data plane: process {pid} carries {queues} queues, taken over in {ms} ms");
                // The first one is no news: nobody was without before.
                if self.supervisor.watched().is_some_and(|(incarnation, _attached)| incarnation > 1) {
                    self.news.push(News::Started { pid, queues });
                }
            }
            Err(trouble) => self.supervisor.lost(trouble),
        }
    }

    fn try_hand_over(&mut self) -> Result<(), Trouble> {
        let Some(attached) = self.supervisor.running() else { return Err(Trouble::Gone) };
        let deadline = Instant::now() + ANSWER_MAX;
        let refused = attached.build(self.vault.iter().map(|kept| kept.on_its_way(true)), deadline)?;
        self.drop_refused(&refused);
        self.serve_again(deadline)?;
        let plan = planner::plan(&self.inventory, self.settings());
        let Some(attached) = self.supervisor.running() else { return Err(Trouble::Gone) };
        let equipment = self.supervisor.equipment();
        self.published = attached.publish(equipment, plan.sections, &self.published, deadline)?;
        self.inventory.keep_workers(|key| plan.worker_of.get(&key).copied());
        self.vault.keep_only(|key| plan.worker_of.contains_key(&key));
        Ok(())
    }

    /// Sessions go on in a new data plane. One that cannot is hung up on, and its NIC waits for the next.
    fn serve_again(&mut self, deadline: Instant) -> Result<(), Trouble> {
        let Some(attached) = self.supervisor.running() else { return Err(Trouble::Gone) };
        let mut refused = Vec::new();
        for session in self.vault.sessions() {
            if let Some(refusal) = attached.serve(session, deadline)? {
                log::error!("a guest's session is lost: {refusal}");
                session.hang_up();
                refused.push(session.serve.session);
            }
        }
        for number in refused {
            self.vault.take_session(number);
        }
        Ok(())
    }

    /// Ports that worked in one data plane and cannot be built in the next (an interface that was deleted
    /// meanwhile, say) are gone.
    fn drop_refused(&mut self, refused: &[Refusal]) {
        if refused.is_empty() {
            return;
        }
        for refusal in refused {
            if let Some(port) = self.inventory.port_of_queue(refusal.key) {
                log::error!("port '{}' is lost: {refusal}", port.id);
            }
        }
        let is_refused = |key| refused.iter().any(|refusal| refusal.key == key);
        let lost = self.inventory.drop_ports(|port| port.queues.iter().any(|queue| is_refused(queue.key)));
        self.news.extend(lost.into_iter().map(|port| News::Lost(Box::new(port))));
        if let Err(error) = self.file.save(&self.inventory) {
            log::error!("inventory: {error}");
        }
    }

    fn write_obituaries(&mut self) {
        for obituary in self.supervisor.take_obituaries() {
            self.news.push(News::Died { pid: obituary.pid.as_raw_nonzero().get(), why: obituary.why });
        }
    }
}
