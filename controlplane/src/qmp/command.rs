//! THE TABLE of commands: name → typed arguments → [`Command`].
//!
//! Dispatchers of protocols rot first: names in one place, argument checks in another, the list for
//! `query-commands` in a third. Here one line a command gives its variant, the reading of its arguments, whether
//! it may run out of band, its line in `query-commands` and its entry in `query-qmp-schema`. What a command does
//! is not here: `execute` matches on [`Command`] and the compiler tells it what it forgot.

use serde_json::{Map, Value};

use super::answer::QmpError;
use super::qapi::schema::SchemaInfo;
use super::qapi::{Dialect, Nothing, Place, QapiType, Schema};
use super::types::chardev::{ChardevAdd, ChardevInfo, ChardevRemove, ChardevReturn};
use super::types::descriptor::{AddFd, AddFdInfo, FdName, FdsetInfo, RemoveFd};
use super::types::device::{DeviceAdd, DeviceDel, ObjectAdd, ObjectDel};
use super::types::event::Event;
use super::types::machine::{NameInfo, StatusInfo, TargetInfo};
use super::types::net::{AnnounceSelf, NetdevDel, QueryRxFilter, RxFilterInfo, SetLink};
use super::types::pci::PciInfo;
use super::types::session::{CommandInfo, HumanMonitorCommand, QmpCapabilities, VersionInfo};
use super::types::status::{QueryStatus, Report};
use super::types::usernet::{UsernetInfo, XHostfwd, XQueryUsernet};
use super::types::yank::{Yank, YankInstance};
use crate::kind::NetdevAdd;

/// What the table knows of a command.
#[derive(Debug)]
pub struct Entry {
    /// Its name on the wire.
    pub name: &'static str,
    /// Whether it may be executed out of band.
    pub allow_oob: bool,
    read: fn(&Place<'_>) -> Result<Command, QmpError>,
    describe: fn(&mut Schema),
}

/// What a line of the table says, or what is usual.
macro_rules! given {
    ($usual:expr;) => {
        $usual
    };
    ($usual:expr; $given:expr) => {
        $given
    };
}

/// Declares all commands.
macro_rules! commands {
    ($(
        $(#[$meta:meta])*
        $variant:ident($arguments:ty) = $name:literal -> $return:ty
            $(, oob = $oob:literal)? $(, features = $features:expr)?;
    )*) => {
        /// A command with its arguments, checked for form.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Command { $( $(#[$meta])* $variant($arguments), )* }

        /// All commands.
        pub const TABLE: &[Entry] = &[$(
            Entry {
                name: $name,
                allow_oob: given!(false; $($oob)?),
                read: |place| <$arguments as QapiType>::visit(place).map(Command::$variant),
                describe: |schema| {
                    let features: &[&str] = given!(&[]; $($features)?);
                    schema.command::<$arguments, $return>($name, given!(false; $($oob)?), features);
                },
            },
        )*];

        impl Command {
            /// Its name on the wire.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }
        }
    };
}

commands! {
    /// Ends negotiation.
    QmpCapabilities(QmpCapabilities) = "qmp_capabilities" -> Nothing;
    /// Who we are.
    QueryVersion(Nothing) = "query-version" -> VersionInfo;
    /// What can be asked.
    QueryCommands(Nothing) = "query-commands" -> Vec<CommandInfo>;
    /// What can be asked, in full.
    QueryQmpSchema(Nothing) = "query-qmp-schema" -> Vec<SchemaInfo>;
    /// A line as a person would type it.
    HumanMonitorCommand(HumanMonitorCommand) = "human-monitor-command" -> String,
        features = &["savevm-monitor-nodes"];
    /// The machine's name.
    QueryName(Nothing) = "query-name" -> NameInfo;
    /// Whether the machine runs.
    QueryStatus(Nothing) = "query-status" -> StatusInfo;
    /// The machine's processor.
    QueryTarget(Nothing) = "query-target" -> TargetInfo;
    /// What is on PCI.
    QueryPci(Nothing) = "query-pci" -> Vec<PciInfo>;
    /// Lets the machine run.
    Cont(Nothing) = "cont" -> Nothing;
    /// Stops the machine.
    Stop(Nothing) = "stop" -> Nothing;
    /// Resets the machine.
    SystemReset(Nothing) = "system_reset" -> Nothing;
    /// Ends the server.
    Quit(Nothing) = "quit" -> Nothing;

    /// Makes a netdev.
    NetdevAdd(NetdevAdd) = "netdev_add" -> Nothing;
    /// Ends a netdev.
    NetdevDel(NetdevDel) = "netdev_del" -> Nothing;
    /// Sets the link state of a netdev or NIC.
    SetLink(SetLink) = "set_link" -> Nothing;
    /// What guests' NICs let through.
    QueryRxFilter(QueryRxFilter) = "query-rx-filter" -> Vec<RxFilterInfo>;
    /// Tells the network where the guests are.
    AnnounceSelf(AnnounceSelf) = "announce-self" -> Nothing;

    /// Makes a device.
    DeviceAdd(DeviceAdd) = "device_add" -> Nothing, features = &["json-cli", "json-cli-hotplug"];
    /// Asks a device to go.
    DeviceDel(DeviceDel) = "device_del" -> Nothing;
    /// Makes an object.
    ObjectAdd(ObjectAdd) = "object-add" -> Nothing;
    /// Ends an object.
    ObjectDel(ObjectDel) = "object-del" -> Nothing;

    /// Makes a character device.
    ChardevAdd(ChardevAdd) = "chardev-add" -> ChardevReturn;
    /// Ends a character device.
    ChardevRemove(ChardevRemove) = "chardev-remove" -> Nothing;
    /// The character devices.
    QueryChardev(Nothing) = "query-chardev" -> Vec<ChardevInfo>;

    /// Names the descriptor that came along.
    Getfd(FdName) = "getfd" -> Nothing;
    /// Closes a named descriptor.
    Closefd(FdName) = "closefd" -> Nothing;
    /// Puts the descriptor that came along into a set.
    AddFd(AddFd) = "add-fd" -> AddFdInfo;
    /// Takes descriptors out of a set.
    RemoveFd(RemoveFd) = "remove-fd" -> Nothing;
    /// The sets.
    QueryFdsets(Nothing) = "query-fdsets" -> Vec<FdsetInfo>;

    /// Tears connections off.
    Yank(Yank) = "yank" -> Nothing, oob = true;
    /// What can be torn off.
    QueryYank(Nothing) = "query-yank" -> Vec<YankInstance>, oob = true;

    /// All that `framewire status` shows.
    XQueryStatus(QueryStatus) = "x-query-status" -> Report, features = &["unstable"];
    /// Has a port of the host lead to a guest.
    XHostfwdAdd(XHostfwd) = "x-hostfwd-add" -> Nothing, features = &["unstable"];
    /// Has it no more.
    XHostfwdRemove(XHostfwd) = "x-hostfwd-remove" -> Nothing, features = &["unstable"];
    /// What goes on in made-up networks.
    XQueryUsernet(XQueryUsernet) = "x-query-usernet" -> Vec<UsernetInfo>, features = &["unstable"];
}

impl Entry {
    /// The command of this name.
    pub fn find(name: &str) -> Result<&'static Self, QmpError> {
        TABLE.iter().find(|entry| entry.name == name).ok_or_else(|| QmpError::command_not_found(name))
    }

    /// Reads the arguments, which a client may leave out.
    pub fn read(&self, arguments: Option<&Value>) -> Result<Command, QmpError> {
        let none = Value::Object(Map::new());
        (self.read)(&Place::root(arguments.unwrap_or(&none), Dialect::Json))
    }
}

/// What `query-commands` returns.
#[must_use]
pub fn list() -> Vec<CommandInfo> {
    TABLE.iter().map(|entry| CommandInfo { name: entry.name.to_owned() }).collect()
}

/// What `query-qmp-schema` returns.
#[must_use]
pub fn schema() -> Vec<SchemaInfo> {
    let mut schema = Schema::new();
    for entry in TABLE {
        (entry.describe)(&mut schema);
    }
    Event::describe_all(&mut schema);
    schema.finish()
}

#[cfg(test)]
mod test;
