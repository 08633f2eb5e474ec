//! THE TABLE of kinds: what QMP calls it → its options, its checks, whether its driver is built.
//!
//! A kind is one file (options, checks, preparation of its host resources) and one line here. In QEMU a new kind
//! touches eight shared files; here the compiler leads from this line to every place that must know.
//!
//! Kinds are checked in QEMU's order: form (the visitor), syntax of the id, id taken, the kind's own rules. QEMU
//! asks for "compiled in" before all but the syntax of the id, because what is left out of its build has no rules
//! there. Here every kind has its rules already, so that a client meets the same refusals before and after a
//! driver is built, and a missing driver is the last thing to say.

pub mod address;
pub mod af_xdp;
pub mod bridge;
pub mod dgram;
pub mod hubport;
pub mod l2tpv3;
pub mod mac;
pub mod netmap;
pub mod nic;
pub mod none;
pub mod prepare;
pub mod socket;
pub mod stream;
pub mod tap;
pub mod user;
pub mod vde;
pub mod vhost_user;
pub mod vhost_vdpa;
pub mod vmnet;

use serde_json::Value;

use crate::host::lookup::{Answer, Question};
use crate::inventory::Port;
use crate::qmp::answer::QmpError;
use crate::qmp::json;
use crate::qmp::qapi::define::{object, union};
use crate::qmp::qapi::options::{Opts, keyval};
use crate::qmp::qapi::{Dialect, Object, Place, QapiType};

/// What a kind's file provides.
pub trait Kind: Object {
    /// The options once they make sense: what the kind's preparation works from.
    type Checked;

    /// Checks what the options say together, in QEMU's order and words. Opens nothing, changes nothing.
    fn check(&self, around: &dyn Surroundings) -> Result<Self::Checked, QmpError>;
}

/// What checks must know of the world outside of the options. They may ask, and nothing else.
pub trait Surroundings {
    /// The netdev of this id.
    fn netdev(&self, id: &str) -> Option<Neighbour>;

    /// The character device of this id.
    fn chardev(&self, id: &str) -> Option<ChardevNature>;

    /// What addresses a name has.
    fn look_up(&self, question: &Question) -> Answer;
}

/// What a hub port must know of the netdev that it wants as its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// Nobody is its peer.
    Free,
    /// It has a peer already.
    Taken,
}

/// What a vhost-user netdev must know of its character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChardevNature {
    /// Descriptors can be passed: a unix socket.
    UnixSocket,
    /// A socket of another family.
    OtherSocket,
    /// No socket at all.
    NoSocket,
}

/// Declares all kinds.
macro_rules! kinds {
    ($( $(#[$meta:meta])* $variant:ident($options:ty) = $name:literal, driver: $built:ident; )+) => {
        union! {
            /// A netdev's kind and options.
            pub enum Netdev by "type" {
                $( $(#[$meta])* $variant(Box<$options>) = $name ),+
            }
        }

        /// A netdev's options once they are checked.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Checked {
            $( $(#[$meta])* $variant(<$options as Kind>::Checked), )+
        }

        impl Netdev {
            /// Checks what the options say together.
            pub fn check(&self, around: &dyn Surroundings) -> Result<Checked, QmpError> {
                match self { $( Self::$variant(options) => options.check(around).map(Checked::$variant), )+ }
            }

            /// Whether frames of this kind can be moved yet.
            #[must_use]
            pub fn driver(&self) -> Driver {
                match self { $( Self::$variant(_) => Driver::$built, )+ }
            }
        }
    };
}

/// Whether the driver of a kind is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// It is.
    Built,
    /// Options are checked, and that is all: QEMU has it, and asks whether the name is free first.
    Missing,
    /// The same, and what they name is opened: what is no such device is refused for that.
    Opened,
    /// Options are checked, and that is all; QEMU as it was recorded does not have it either, and says so first.
    Foreign,
}

kinds! {
    /// Takes frames and discards them.
    None(none::Options) = "none", driver: Built;
    /// A guest's NIC.
    Nic(nic::Options) = "nic", driver: Built;
    /// A network made up in user space.
    User(user::Options) = "user", driver: Built;
    /// A tap interface.
    Tap(tap::Options) = "tap", driver: Built;
    /// A layer-two tunnel.
    L2tpv3(l2tpv3::Options) = "l2tpv3", driver: Built;
    /// TCP or UDP, in the older spelling of `stream` and `dgram`.
    Socket(socket::Options) = "socket", driver: Built;
    /// Frames over a stream socket.
    Stream(stream::Options) = "stream", driver: Built;
    /// Frames as datagrams.
    Dgram(dgram::Options) = "dgram", driver: Built;
    /// A port of a VDE switch.
    Vde(vde::Options) = "vde", driver: Built;
    /// A tap interface that a helper makes and puts into a bridge.
    Bridge(bridge::Options) = "bridge", driver: Built;
    /// A port of a hub.
    Hubport(hubport::Options) = "hubport", driver: Built;
    /// A netmap port.
    Netmap(netmap::Options) = "netmap", driver: Foreign;
    /// A vhost-user back end.
    VhostUser(vhost_user::Options) = "vhost-user", driver: Missing;
    /// A vDPA device.
    VhostVdpa(vhost_vdpa::Options) = "vhost-vdpa", driver: Opened;
    /// A network interface by AF_XDP.
    AfXdp(af_xdp::Options) = "af-xdp", driver: Built;
    /// A network of guests and host.
    VmnetHost(vmnet::HostOptions) = "vmnet-host", driver: Missing;
    /// A network of guests and host with a way out.
    VmnetShared(vmnet::SharedOptions) = "vmnet-shared", driver: Missing;
    /// A guest on a network of the host.
    VmnetBridged(vmnet::BridgedOptions) = "vmnet-bridged", driver: Missing;
}

object! {
    /// Arguments of `netdev_add`; also what the inventory keeps of a netdev.
    pub struct NetdevAdd {
        /// Its name.
        id: String,
        ..netdev: Netdev,
    }
}

impl NetdevAdd {
    /// The netdev that a port was made with, if it is one.
    #[must_use]
    pub fn of_port(port: &Port) -> Option<Netdev> {
        let arguments = Value::Object(port.description.arguments.clone());
        Self::visit(&Place::root(&arguments, Dialect::Json)).ok().map(|add| add.netdev)
    }

    /// All checks of `netdev_add` that need no system call, in QEMU's order.
    pub fn check(&self, around: &dyn Surroundings) -> Result<Checked, QmpError> {
        check_identifier("id", &self.id)?;
        if self.netdev.driver() == Driver::Foreign {
            return Err(not_compiled(self.kind()));
        }
        if around.netdev(&self.id).is_some() {
            return Err(QmpError::duplicate_id(&self.id));
        }
        let checked = self.netdev.check(around)?;
        match self.netdev.driver() {
            Driver::Built | Driver::Opened => Ok(checked),
            Driver::Missing | Driver::Foreign => Err(not_compiled(self.kind())),
        }
    }

    /// The name of its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        crate::qmp::qapi::Union::case(&self.netdev)
    }

    /// Reads a `--netdev` option: JSON, or the syntax that QEMU reads this type in.
    pub fn from_option(text: &str) -> Result<Self, QmpError> {
        if text.starts_with('{') {
            let value = json::from_text(text).map_err(QmpError::generic)?;
            return Self::visit(&Place::root(&value, Dialect::Json));
        }
        let opts = Opts::parse(text, "type");
        if matches!(opts.get("type"), Some("stream" | "dgram")) {
            let value = keyval(text, "type")?;
            return Self::visit(&Place::root(&value, Dialect::Keyval));
        }
        Self::from_opts(opts)
    }

    /// Reads options in the older syntax: what `netdev_add` of the human monitor takes for any type.
    pub fn from_opts(mut opts: Opts) -> Result<Self, QmpError> {
        // Of all keys of an option the id alone is looked at while the text is still being read.
        opts.get("id").map_or(Ok(()), |id| check_identifier("id", id))?;
        user::expand_ipv6_net(&mut opts)?;
        Self::visit(&Place::root(&opts.into_value(), Dialect::Opts))
    }
}

fn not_compiled(kind: &str) -> QmpError {
    QmpError::generic(format!("network backend '{kind}' is not compiled into this binary"))
}

/// An id as QEMU wants it: a letter, then letters, digits, `-`, `.`, `_`.
pub fn check_identifier(parameter: &str, text: &str) -> Result<(), QmpError> {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(is_inside) {
        Ok(())
    } else {
        Err(QmpError::expects(parameter, "an identifier"))
    }
}

#[cfg(test)]
mod test;
