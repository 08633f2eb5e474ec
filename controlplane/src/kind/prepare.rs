//! From checked options to what a port consists of: descriptors that are open, bound and configured.
//!
//! A failure leaves nothing behind: what was opened is owned by values that close it, and what was done besides
//! (a script that ran) is undone by [`Prepared::take_back`].

use std::os::fd::OwnedFd;

use framewire_shared::driver::DriverOptions;

use super::{
    Checked, af_xdp, bridge, dgram, hubport, l2tpv3, not_compiled, socket, stream, tap, user, vde, vhost_vdpa,
};
use crate::connection::{Opened, Source};
use crate::host::process::run_script;
use crate::inventory::{Farewell, Role};
use crate::qmp::answer::QmpError;

/// Where the descriptors are that options name.
pub trait Descriptors {
    /// The descriptor of that number or name. A name is used up.
    ///
    /// # Errors
    /// If there is none, in QEMU's words.
    fn take(&mut self, text: &str) -> Result<OwnedFd, QmpError>;
}

/// One queue to be.
#[derive(Debug)]
pub struct PreparedQueue {
    /// For its driver.
    pub options: DriverOptions,
    /// What the driver works with.
    pub descriptors: Vec<OwnedFd>,
}

/// A port to be.
#[derive(Debug)]
pub struct Prepared {
    /// What part it plays.
    pub role: Role,
    /// The back end that it faces from the beginning.
    pub peer: Option<String>,
    /// Its queues.
    pub queues: Vec<PreparedQueue>,
    /// One line for people.
    pub info: String,
    /// What is to be run when it goes.
    pub farewell: Option<Farewell>,
    /// How long its queues are polled, if it says so.
    pub poll_us: Option<u32>,
    /// Where its connection comes from, if that comes and goes.
    pub connection: Option<(Source, Opened)>,
}

impl Prepared {
    /// A netdev.
    #[must_use]
    pub fn netdev(queues: Vec<PreparedQueue>, info: String) -> Self {
        Prepared {
            role: Role::Netdev,
            peer: None,
            queues,
            info,
            farewell: None,
            poll_us: None,
            connection: None,
        }
    }

    /// It is not wanted after all.
    pub fn take_back(self) {
        if let Some(farewell) = &self.farewell {
            say(farewell);
        }
    }
}

/// Runs what is to be run when a port goes. That it fails is only logged, as in QEMU.
pub fn say(farewell: &Farewell) {
    let Farewell { script, interface } = farewell;
    if let Err(status) = run_script(script, interface) {
        log::warn!("network script {script} for {interface} failed with status {status}");
    }
}

/// What a netdev is called.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// By clients.
    pub id: &'a str,
    /// Its kind.
    pub kind: &'a str,
}

/// Opens what a netdev consists of.
///
/// # Errors
/// In QEMU's words; nothing is left behind.
pub fn prepare(
    checked: Checked,
    netdev: Name<'_>,
    descriptors: &mut dyn Descriptors,
) -> Result<Prepared, QmpError> {
    match checked {
        Checked::None(()) => {
            let queue = PreparedQueue { options: DriverOptions::Null, descriptors: Vec::new() };
            Ok(Prepared::netdev(vec![queue], String::new()))
        }
        Checked::Tap(tap) => tap::prepare::prepare(tap, descriptors),
        Checked::Bridge(bridge) => bridge::prepare::prepare(bridge),
        Checked::Dgram(dgram) => dgram::prepare::prepare(dgram, descriptors),
        Checked::Hubport(hubport::Checked { hub, netdev }) => {
            let info = netdev.as_ref().map_or(format!("hubid={hub}"), |n| format!("hubid={hub},netdev={n}"));
            Ok(Prepared { role: Role::HubPort(hub), peer: netdev, ..Prepared::netdev(Vec::new(), info) })
        }
        Checked::Socket(socket) => socket::prepare::prepare(socket, netdev.id, descriptors),
        Checked::Stream(stream) => Ok(stream::prepare::prepare(&stream, netdev.id, descriptors)),
        Checked::AfXdp(checked) => af_xdp::prepare::prepare(&checked, descriptors),
        Checked::Vde(plug) => vde::prepare::prepare(&plug),
        Checked::L2tpv3(tunnel) => l2tpv3::prepare::prepare(&tunnel),
        Checked::User(network) => user::prepare::prepare(&network),
        // There is no driver yet; what is no such device is refused for that.
        Checked::VhostVdpa(vdpa) => vhost_vdpa::open(&vdpa, descriptors).and(Err(not_compiled(netdev.kind))),
        Checked::Nic(_)
        | Checked::Netmap(_)
        | Checked::VhostUser(_)
        | Checked::VmnetHost(_)
        | Checked::VmnetShared(_)
        | Checked::VmnetBridged(_) => Err(not_compiled(netdev.kind)),
    }
}
