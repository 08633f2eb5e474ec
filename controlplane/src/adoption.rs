//! Finding a data plane that runs already: the control plane before us was killed.
//!
//! It waits on the socket in the runtime directory and gives everything back that it was ever given. Its pid comes
//! from the kernel, with the message: a process that was taken over must not be able to make us kill another.

use std::path::Path;
use std::time::Duration;

use framewire_shared::handover::{self, Message};
use framewire_shared::plan::Section;
use framewire_shared::publish::slot_of;
use rustix::io::Errno;
use rustix::net::sockopt;

use crate::dataplane::Attached;
use crate::dataplane::equipment::{self, Equipment};
use crate::dataplane::trouble::Trouble;
use crate::host::process::Process;
use crate::host::{socket, words};
use crate::inventory::Inventory;
use crate::vault::{Kept, KeptSession};

/// How long each message of a running data plane may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Why a data plane that is there cannot be adopted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its socket cannot be reached.
    #[error("data plane's socket {path}: {}", words(*errno))]
    Socket {
        /// Where it is.
        path: String,
        /// Why.
        errno: Errno,
    },
    /// It did not give back what was expected.
    #[error("the running data plane cannot be adopted: {0}; end it (process {pid}), then start again", pid = DisplayPid(*.1))]
    Trouble(Trouble, Option<i32>),
    /// It gave back something else than it was given, or we may not use it.
    #[error("the running data plane cannot be adopted: {0}")]
    Equipment(#[from] equipment::Error),
}

struct DisplayPid(Option<i32>);

impl std::fmt::Display for DisplayPid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => pid.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// What a running data plane gave back.
#[derive(Debug)]
pub struct Recalled {
    /// Regions and doorbells.
    pub equipment: Equipment,
    /// The process.
    pub attached: Attached,
    /// Its queues.
    pub kept: Vec<Kept>,
    /// The guests that it serves.
    pub sessions: Vec<KeptSession>,
    /// What the last control plane wrote down.
    pub inventory: Inventory,
    /// The plan in force.
    pub published: Vec<Section>,
}

/// Looks for a running data plane. `None` if there is none.
///
/// # Errors
/// [`Error`] if there is one that cannot be adopted.
pub fn recall(path: &Path, inventory: Inventory) -> Result<Option<Recalled>, Error> {
    let unreachable = |errno| Error::Socket { path: path.display().to_string(), errno };
    let connection = match socket::connect_seqpacket(path) {
        Ok(connection) => connection,
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
        Err(errno) => return Err(unreachable(errno)),
    };
    let timeout = Some(ANSWER_MAX);
    sockopt::set_socket_timeout(&connection, sockopt::Timeout::Recv, timeout).map_err(unreachable)?;
    sockopt::set_socket_passcred(&connection, true).map_err(unreachable)?;
    let trouble = |trouble: Trouble| Error::Trouble(trouble, None);
    handover::send(&connection, &Message::Recall, &[]).map_err(|error| trouble(error.into()))?;
    let sender = socket::sender_of_next_message(&connection).map_err(|errno| trouble(late(errno)))?;
    sockopt::set_socket_passcred(&connection, false).map_err(unreachable)?;
    let pid = sender.ok_or(trouble(Trouble::Gone))?;
    let trouble = |trouble: Trouble| Error::Trouble(trouble, Some(pid.as_raw_nonzero().get()));
    let (equipment, kept, sessions) = receive_all(&connection, trouble)?;
    sockopt::set_socket_timeout(&connection, sockopt::Timeout::Recv, None).map_err(unreachable)?;
    let process = Process::find(pid).map_err(|_ended| trouble(Trouble::Gone))?;
    let published = plan_in_force(&equipment);
    let attached = Attached::found(process, connection);
    Ok(Some(Recalled { equipment, attached, kept, sessions, inventory, published }))
}

fn receive_all(
    connection: &std::os::fd::OwnedFd,
    trouble: impl Fn(Trouble) -> Error,
) -> Result<(Equipment, Vec<Kept>, Vec<KeptSession>), Error> {
    let next = || match handover::receive(connection) {
        Err(handover::HandoverError::Kernel(errno)) => Err(trouble(late(errno))),
        Err(error) => Err(trouble(error.into())),
        Ok(received) => Ok(received),
    };
    let (Message::Welcome(welcome), descriptors) = next()? else { return Err(trouble(Trouble::Foreign)) };
    let equipment = Equipment::recalled(welcome, descriptors)?;
    let (mut kept, mut sessions) = (Vec::new(), Vec::new());
    loop {
        let (message, descriptors) = next()?;
        if let Message::Build(build) = message {
            kept.push(Kept { build, descriptors });
            continue;
        }
        if let Message::Serve(serve) = message {
            let descriptors = descriptors.try_into().map_err(|_odd| trouble(Trouble::Foreign))?;
            sessions.push(KeptSession { serve, descriptors });
            continue;
        }
        let total = kept.len() + sessions.len();
        let is_all = matches!(message, Message::Recalled(count) if usize::try_from(count) == Ok(total));
        return if is_all { Ok((equipment, kept, sessions)) } else { Err(trouble(Trouble::Foreign)) };
    }
}

fn late(errno: Errno) -> Trouble {
    if errno == Errno::AGAIN { Trouble::Late } else { Trouble::Kernel(errno) }
}

/// The plan that was published last, so that sections which do not change are known not to.
fn plan_in_force(equipment: &Equipment) -> Vec<Section> {
    let generation = equipment.config.generation.0.load(std::sync::atomic::Ordering::Relaxed);
    let slot = &equipment.config.slots[slot_of(generation)];
    let read = |worker| {
        let mut section = Section::default();
        // One that contradicts itself is no section to compare with.
        slot.read_into(worker, &mut section).map(|()| section).unwrap_or_default()
    };
    (0..equipment.workers()).map(read).collect()
}
