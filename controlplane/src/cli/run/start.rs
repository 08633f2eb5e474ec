//! The start of a server, in order, and its end.
//!
//! The runtime directory is locked first, so that everything after it has one owner. The data plane comes before the
//! monitors: who can connect can use it. A start that fails ends what it has started, except a data plane that was
//! adopted: that one carried frames before, and goes on.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use framewire_shared::handover::Welcome;

use super::arguments::Arguments;
use super::config;
use crate::adoption::{self, Recalled};
use crate::chardev::file::ChardevFile;
use crate::cli::Failure;
use crate::connection::Connections;
use crate::dataplane::equipment::Equipment;
use crate::execute::{Caller, Chardevs, Machine, Server, Waiting};
use crate::folders::Folders;
use crate::host::runtime_dir::{RuntimeDir, monitor_path};
use crate::host::words;
use crate::inventory::file::InventoryFile;
use crate::nameservers::NameServers;
use crate::network::Network;
use crate::nic::announce::Announcements;
use crate::nic::leaving::Leaving;
use crate::nic::naming;
use crate::nic::rx_filter::Changed;
use crate::plugs::Plugs;
use crate::qmp::Monitors;
use crate::qmp::command::Command;
use crate::qmp::endpoint::{Address, Endpoint};
use crate::qmp::qapi::QapiType as _;
use crate::qmp::types::chardev::ChardevAdd;
use crate::qmp::types::machine::RunState;
use crate::reach::Reach;
use crate::serve::MONITORS;
use crate::wells::Wells;

/// The other program's name; it lies beside this one.
const DATA_PLANE: &str = "framewire-dataplane";

/// Starts, or takes over, everything. What waits for others on the way stops as soon as `interruption` is readable.
pub(super) fn start(
    arguments: &Arguments,
    interruption: BorrowedFd<'_>,
) -> Result<(Server, RuntimeDir), Failure> {
    let directory = RuntimeDir::lock(&arguments.runtime_dir).map_err(Failure::new)?;
    let (network, was_adopted) = network(arguments, &directory)?;
    let endpoints = arguments.monitors.iter().cloned().chain([own_monitor(&directory)]);
    let monitors = match Monitors::open(endpoints, MONITORS, interruption) {
        Ok(monitors) => monitors,
        Err(error) => {
            if !was_adopted {
                network.end();
                directory.clean();
            }
            return Err(Failure::new(error));
        }
    };
    let connections = Connections::new().map_err(|errno| Failure::new(words(errno)))?;
    let saved = if was_adopted {
        ChardevFile::read(&directory.chardevs())
    } else {
        // What is not there needs no removing; what is, belongs to one that has ended with all that it had.
        let _ = std::fs::remove_file(directory.chardevs());
        Vec::new()
    };
    let chardevs = Chardevs::new(arguments.monitors.clone(), ChardevFile::at(directory.chardevs()));
    let folders = Folders::new().map_err(|errno| Failure::new(words(errno)))?;
    let wells = Wells::new().map_err(|errno| Failure::new(words(errno)))?;
    let name_servers = NameServers::new().map_err(|errno| Failure::new(words(errno)))?;
    let outside = Outside { connections, folders, wells, name_servers };
    let mut server = server(arguments, network, monitors, chardevs, outside);
    match populate(&mut server, arguments, &saved) {
        Ok(()) => Ok((server, directory)),
        Err(failure) if was_adopted => {
            server.monitors.shutdown();
            Err(failure)
        }
        Err(failure) => {
            end(server, &directory);
            Err(failure)
        }
    }
}

/// Ends everything, as asked.
pub(super) fn end(mut server: Server, directory: &RuntimeDir) {
    server.say_farewell();
    let Server { monitors, network, .. } = server;
    network.end();
    monitors.shutdown();
    directory.clean();
}

/// The network, and whether it carried frames before.
fn network(arguments: &Arguments, directory: &RuntimeDir) -> Result<(Network, bool), Failure> {
    let program = data_plane_program()?;
    let (file, inventory) = InventoryFile::open(directory.path());
    let inventory = inventory.unwrap_or_default();
    let known = inventory.ports().len();
    let socket = directory.data_plane_socket();
    if let Some(recalled) = adoption::recall(&socket, inventory).map_err(Failure::new)? {
        warn_of_other_workers(arguments, &recalled);
        let adopted = Network::adopt(program, recalled, file, arguments.poll_us);
        return Ok((adopted.map_err(Failure::new)?, true));
    }
    if known > 0 {
        log::warn!("the data plane that carried {known} ports here is gone; beginning without them");
    }
    let equipment = Equipment::create(Welcome::new(&arguments.cpus), &socket).map_err(Failure::new)?;
    let mut network = Network::new(program, equipment, file, arguments.poll_us);
    match network.wait_running() {
        Ok(()) => Ok((network, false)),
        Err(unavailable) => {
            network.end();
            directory.clean();
            Err(Failure::new(unavailable.why))
        }
    }
}

fn warn_of_other_workers(arguments: &Arguments, recalled: &Recalled) {
    if recalled.equipment.welcome != Welcome::new(&arguments.cpus) {
        let workers = recalled.equipment.workers();
        log::warn!("--workers, --cpus: the running data plane keeps its {workers} workers as they are");
    }
}

/// What goes on outside of both processes, and is watched.
struct Outside {
    connections: Connections,
    folders: Folders,
    wells: Wells,
    name_servers: NameServers,
}

fn server(
    arguments: &Arguments,
    network: Network,
    monitors: Monitors,
    chardevs: Chardevs,
    outside: Outside,
) -> Server {
    let Outside { connections, folders, wells, name_servers } = outside;
    // There is no processor to start here, so nobody has said `cont` yet, as after QEMU's -S. Frames flow in
    // every state.
    let machine = Machine { name: arguments.name.clone(), state: RunState::Prelaunch };
    let mut server = Server {
        network,
        monitors,
        machine,
        chardevs,
        reach: Reach::default(),
        plugs: Plugs::default(),
        folders,
        wells,
        name_servers,
        connections,
        announcements: Announcements::default(),
        changed_filters: Changed::default(),
        leaving: Leaving::default(),
        runtime_dir: arguments.runtime_dir.clone(),
        waiting: Waiting::default(),
        is_ending: false,
    };
    for port in server.network.inventory().ports() {
        server.reach.begin(port);
        server.plugs.begin(port);
        server.folders.begin(port, server.network.vault());
        server.wells.begin(port, server.network.vault());
    }
    // What has changed while nobody looked.
    server.name_servers.tell(&mut server.network);
    server.recall_connections();
    server
}

/// Makes the character devices again that were `saved`, and what the command line asks for.
fn populate(server: &mut Server, arguments: &Arguments, saved: &[ChardevAdd]) -> Result<(), Failure> {
    let ids = server.network.inventory().ports().iter().map(|port| port.id.clone());
    let mut adopted: BTreeSet<String> = ids.collect();
    let nics = naming::nics(server.network.inventory()).map(|(port, _nic)| port.number);
    let mut adopted_nics: BTreeSet<u64> = nics.collect();
    let recalled = server.recall_chardevs(saved);
    for chardev in &arguments.chardevs {
        let made = if recalled.contains(&chardev.id) {
            server.check_recalled(chardev)
        } else {
            server.perform(Command::ChardevAdd(chardev.clone()), Caller::CommandLine).map(drop)
        };
        made.map_err(|error| Failure::new(format!("--chardev id={}: {error}", chardev.id)))?;
    }
    for netdev in &arguments.netdevs {
        let made = if adopted.remove(&netdev.id) {
            server.check_adopted(netdev)
        } else {
            server.perform(Command::NetdevAdd(netdev.clone()), Caller::CommandLine).map(drop)
        };
        made.map_err(|error| Failure::new(format!("--netdev id={}: {error}", netdev.id)))?;
    }
    add_devices(server, arguments, &mut adopted_nics)?;
    arguments.config.as_ref().map_or(Ok(()), |file| config::replay(server, file))
}

/// Makes the devices that an adopted data plane does not have.
fn add_devices(
    server: &mut Server,
    arguments: &Arguments,
    adopted: &mut BTreeSet<u64>,
) -> Result<(), Failure> {
    for device in &arguments.devices {
        let found = server.adopted_device(device, |port| adopted.contains(&port.number));
        let made = found.and_then(|found| match found {
            Some(number) => {
                adopted.remove(&number);
                Ok(())
            }
            None => server.perform(Command::DeviceAdd(device.clone()), Caller::CommandLine).map(drop),
        });
        made.map_err(|error| Failure::new(format!("--device {}: {error}", device.print())))?;
    }
    Ok(())
}

/// For `framewire qmp` and `framewire status`, so that they need not wait for the operator's clients.
fn own_monitor(directory: &RuntimeDir) -> Endpoint {
    let path = monitor_path(directory.path()).to_string_lossy().into_owned();
    Endpoint { address: Address::Unix(path), server: true, wait: false, reconnect: std::time::Duration::ZERO }
}

fn data_plane_program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|error| Failure::new(format!("own program: {error}")))?;
    let program = own.with_file_name(DATA_PLANE);
    if program.is_file() {
        return Ok(program);
    }
    Err(Failure::new(format!("{}: not found; it belongs beside framewire itself", program.display())))
}
