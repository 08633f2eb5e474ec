//! THE MATCH: what each command does.
//!
//! A command changes the network by a transaction, asks about it, or belongs to the session that it came from. What
//! its arguments may be was decided before ([`crate::qmp::command`]); how it is answered comes after. So a line
//! here is one call, and the compiler says which command has none.

mod carrier;
mod chardev;
mod device;
mod human;
pub mod net;
mod nic;
mod plug;
mod report;
mod session;
mod usernet;
mod waiting;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub use self::chardev::Chardevs;
pub use self::waiting::Waiting;
use crate::connection::Connections;
use crate::folders::Folders;
use crate::host::lookup::{Answer, Question};
use crate::inventory::Inventory;
use crate::kind::prepare::Descriptors;
use crate::kind::{ChardevNature, Neighbour, Surroundings};
use crate::nameservers::NameServers;
use crate::network::Network;
use crate::nic::announce::Announcements;
use crate::nic::leaving::Leaving;
use crate::nic::rx_filter::Changed;
use crate::plugs::Plugs;
use crate::qmp::answer::{Outcome, QmpError, nothing};
use crate::qmp::command::{self, Command};
use crate::qmp::greeting;
use crate::qmp::names::{self, Meaning};
use crate::qmp::qapi::{Nothing, QapiType as _};
use crate::qmp::types::event::{Event, Halt};
use crate::qmp::types::machine::{NameInfo, RunState, ShutdownCause, StatusInfo, SysEmuTarget, TargetInfo};
use crate::qmp::types::pci::PciInfo;
use crate::qmp::{MonitorId, Monitors, Request};
use crate::reach::Reach;
use crate::wells::Wells;

/// The machine that clients believe they talk to. There is none, so this is all of it.
#[derive(Debug)]
pub struct Machine {
    /// Its name.
    pub name: Option<String>,
    /// Whether it runs. Frames move in any case.
    pub state: RunState,
}

/// All that commands work on.
#[derive(Debug)]
pub struct Server {
    /// What exists, and what carries it.
    pub network: Network,
    /// Who asks.
    pub monitors: Monitors,
    /// See there.
    pub machine: Machine,
    /// See there.
    pub chardevs: Chardevs,
    /// Remotes to be reached.
    pub reach: Reach,
    /// Plugs in switches.
    pub plugs: Plugs,
    /// Folders that are served to guests.
    pub folders: Folders,
    /// Sources of made-up networks' sockets.
    pub wells: Wells,
    /// The host's name servers.
    pub name_servers: NameServers,
    /// Ports whose connection comes and goes.
    pub connections: Connections,
    /// NICs that are announced again and again.
    pub announcements: Announcements,
    /// NICs whose filters have changed.
    pub changed_filters: Changed,
    /// NICs that were asked to go.
    pub leaving: Leaving,
    /// Where NICs listen, unless they say otherwise.
    pub runtime_dir: PathBuf,
    /// Commands that wait for somebody outside.
    pub waiting: Waiting,
    /// Somebody asked for the end.
    pub is_ending: bool,
}

/// Who gave a command.
#[derive(Debug, Clone, Copy)]
pub enum Caller<'a> {
    /// A client of a monitor.
    Client(&'a Request),
    /// The command line, or the file that it names.
    CommandLine,
}

impl Server {
    /// Executes a command, and waits for whomever it needs.
    ///
    /// # Errors
    /// As a client would read it.
    pub fn perform(&mut self, command: Command, caller: Caller<'_>) -> Outcome {
        match command {
            Command::QmpCapabilities(_) => Err(QmpError::command_not_found("qmp_capabilities")),
            Command::QueryVersion(_) => Ok(greeting::version().print()),
            Command::QueryCommands(_) => Ok(command::list().print()),
            Command::QueryQmpSchema(_) => Ok(command::schema().print()),
            Command::HumanMonitorCommand(line) => self.human(&line.command_line, caller),
            Command::QueryName(_) => Ok(NameInfo { name: self.machine.name.clone() }.print()),
            Command::QueryStatus(_) => Ok(self.machine.status().print()),
            Command::QueryTarget(_) => Ok(TargetInfo { arch: target() }.print()),
            Command::QueryPci(_) => Ok(Vec::<PciInfo>::new().print()),
            Command::Cont(_) => self.set_running(true),
            Command::Stop(_) => self.set_running(false),
            Command::SystemReset(_) => self.reset(),
            Command::Quit(_) => self.quit(ShutdownCause::HostQmpQuit),
            Command::NetdevAdd(netdev) => self.netdev_add(&netdev, caller),
            Command::NetdevDel(arguments) => self.netdev_del(&arguments.id),
            Command::SetLink(arguments) => self.set_link(&arguments.name, arguments.up),
            Command::QueryRxFilter(arguments) => self.query_rx_filter(arguments.name.as_deref()),
            Command::AnnounceSelf(arguments) => self.announce_self(arguments),
            Command::DeviceAdd(device) => self.device_add(&device),
            Command::DeviceDel(arguments) => self.device_del(&arguments.id),
            Command::ObjectAdd(arguments) => match arguments.qom_type {},
            Command::ObjectDel(arguments) => device::object_del(&arguments.id),
            Command::ChardevAdd(arguments) => self.chardev_add(&arguments, caller),
            Command::ChardevRemove(arguments) => self.chardev_remove(&arguments.id),
            Command::QueryChardev(_) => self.query_chardev(),
            Command::QueryYank(_) => self.query_yank(),
            Command::Yank(arguments) => self.yank(&arguments.instances),
            Command::Getfd(_) | Command::Closefd(_) | Command::AddFd(_) => self.descriptor(command, caller),
            Command::RemoveFd(arguments) => {
                self.monitors.fdsets.remove(arguments.fdset_id, arguments.fd).map(|()| nothing())
            }
            Command::QueryFdsets(_) => Ok(self.monitors.fdsets.query().print()),
            Command::XHostfwdAdd(asked) => self.x_hostfwd_add(asked.netdev.as_deref(), &asked.rule),
            Command::XHostfwdRemove(asked) => self.x_hostfwd_remove(asked.netdev.as_deref(), &asked.rule),
            Command::XQueryUsernet(arguments) => self.x_query_usernet(arguments.netdev.as_deref()),
            Command::XQueryStatus(arguments) => Ok(self.report(arguments.first.unwrap_or(0)).print()),
        }
    }

    /// Commands about a client's own descriptors.
    fn descriptor(&mut self, command: Command, caller: Caller<'_>) -> Outcome {
        let Caller::Client(request) = caller else {
            return Err(QmpError::generic("No file descriptor supplied via SCM_RIGHTS"));
        };
        if let Command::AddFd(arguments) = command {
            let info = self.monitors.add_fd(request, arguments.fdset_id, arguments.opaque)?;
            return Ok(info.print());
        }
        if let Command::Getfd(arguments) = &command {
            self.monitors.getfd(request, &arguments.fdname)?;
        }
        if let Command::Closefd(arguments) = &command {
            self.monitors.names(request.monitor).close(&arguments.fdname)?;
        }
        Ok(nothing())
    }

    fn set_running(&mut self, runs: bool) -> Outcome {
        if runs != self.machine.runs() {
            self.machine.state = if runs { RunState::Running } else { RunState::Paused };
            self.monitors.fdsets.set_vm_runs(runs);
            let event = if runs { Event::Resume(Nothing {}) } else { Event::Stop(Nothing {}) };
            self.monitors.broadcast(&event);
            if runs {
                self.leaving.hurry();
            }
        }
        Ok(nothing())
    }

    fn reset(&mut self) -> Outcome {
        let halt = Halt { guest: false, reason: ShutdownCause::HostQmpSystemReset };
        self.monitors.broadcast(&Event::Reset(halt));
        self.leaving.hurry();
        Ok(nothing())
    }

    /// Tells all clients that the end has begun. The main loop does the rest.
    ///
    /// # Errors
    /// Never; the type is that of a command.
    pub fn quit(&mut self, reason: ShutdownCause) -> Outcome {
        self.monitors.broadcast(&Event::Shutdown(Halt { guest: false, reason }));
        self.is_ending = true;
        Ok(nothing())
    }
}

impl Machine {
    fn runs(&self) -> bool {
        self.state == RunState::Running
    }

    fn status(&self) -> StatusInfo {
        StatusInfo { running: self.runs(), singlestep: false, status: self.state }
    }
}

/// The processor of this machine, as QEMU calls it.
fn target() -> SysEmuTarget {
    let own = std::env::consts::ARCH;
    SysEmuTarget::ALL.iter().copied().find(|target| target.name() == own).unwrap_or(SysEmuTarget::X8664)
}

/// What the checks of options may ask.
struct World<'a> {
    inventory: &'a Inventory,
    chardevs: &'a Chardevs,
    names: &'a dyn Fn(&Question) -> Answer,
}

impl Surroundings for World<'_> {
    fn netdev(&self, id: &str) -> Option<Neighbour> {
        let port = self.inventory.backend(id)?;
        Some(if port.peer.is_some() { Neighbour::Taken } else { Neighbour::Free })
    }

    fn chardev(&self, id: &str) -> Option<ChardevNature> {
        self.chardevs.nature(id)
    }

    fn look_up(&self, question: &Question) -> Answer {
        (self.names)(question)
    }
}

/// The descriptors that a caller may mean.
struct Given<'a> {
    monitors: &'a mut Monitors,
    monitor: Option<MonitorId>,
    /// Of the netdev that is being made.
    id: &'a str,
}

impl Descriptors for Given<'_> {
    fn take(&mut self, text: &str) -> Result<OwnedFd, QmpError> {
        match (names::meaning(text)?, self.monitor) {
            (Meaning::Name(name), Some(monitor)) => self.monitors.names(monitor).take(name),
            (Meaning::Name(name), None) => {
                Err(QmpError::generic(format!("File descriptor named '{name}' has not been found")))
            }
            (Meaning::Number(number), _) => names::duplicate(number).map_err(|_not_open| {
                QmpError::generic(format!(
                    "{}: Can't use file descriptor {number}: Bad file descriptor",
                    self.id
                ))
            }),
        }
    }
}
