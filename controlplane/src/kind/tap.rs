//! `tap`: an interface of the kernel whose other end is a descriptor.
//!
//! There are four ways to come by the descriptors (one given, several given, a helper makes one, we make them),
//! and each forbids the options of the others. QEMU's refusals list the forbidden options by name, not quite all
//! of them and not always those that are checked; clients see the texts, so they are kept as they are.

pub mod prepare;

use super::{Kind, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::Size;
use crate::qmp::qapi::define::object;

object! {
    /// Options of `tap`.
    #[derive(Default)]
    pub struct Options {
        /// Name of the interface; may be a pattern (`tap%d`).
        ifname: Option<String>,
        /// A descriptor, by number or name.
        fd: Option<String>,
        /// Descriptors, by number or name, with colons between them.
        fds: Option<String>,
        /// What runs when the interface is there.
        script: Option<String>,
        /// What runs when it goes.
        downscript: Option<String>,
        /// The bridge that the helper puts it into.
        br: Option<String>,
        /// A program that makes the interface.
        helper: Option<String>,
        /// Limit of the socket's send buffer in bytes.
        sndbuf: Option<Size>,
        /// Whether frames carry a virtio header on the descriptor.
        vnet_hdr: Option<bool>,
        /// Whether the kernel moves the frames.
        vhost: Option<bool>,
        /// A descriptor of the kernel's vhost, by number or name.
        vhostfd: Option<String>,
        /// Several of them.
        vhostfds: Option<String>,
        /// Whether it is a fault if the kernel cannot.
        vhostforce: Option<bool>,
        /// How many queues.
        queues: Option<u32>,
        /// How long a queue without work is looked at before it sleeps.
        poll_us as "poll-us": Option<u32>,
    }
}

/// The bridge that helpers put interfaces into if none is named.
pub const BRIDGE_DEFAULT: &str = "br0";
/// Run when an interface is there, unless told otherwise.
pub const SCRIPT_DEFAULT: &str = "/etc/qemu-ifup";
/// Run when an interface goes, unless told otherwise.
pub const DOWNSCRIPT_DEFAULT: &str = "/etc/qemu-ifdown";

/// A tap that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Where its descriptors come from.
    pub source: Source,
    /// Limit of the send buffer in bytes. None: as large as can be, and no fault if it cannot be set.
    pub sndbuf: Option<i32>,
    /// What is wanted of the kernel's vhost. A refusal is due only once the descriptors are open: until then, other
    /// faults come first.
    pub vhost: Result<Option<Vhost>, QmpError>,
    /// How long a queue without work is looked at before it sleeps.
    pub poll_us: Option<u32>,
}

/// Where a tap's descriptors come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// One is given, by number or name.
    Fd(String),
    /// One a queue is given, by number or name.
    Fds(Vec<String>),
    /// A program makes one.
    Helper {
        /// The program.
        helper: String,
        /// The bridge.
        bridge: String,
    },
    /// They are opened.
    Interface(Interface),
}

/// An interface to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name or pattern.
    pub name: Option<String>,
    /// How many queues; at least one.
    pub queues: u32,
    /// Whether frames must (or must not) carry a virtio header; if absent they do where the kernel can.
    pub vnet_hdr: Option<bool>,
    /// What runs when it is there.
    pub script: Option<String>,
    /// What runs when it goes.
    pub downscript: Option<String>,
}

/// What is wanted of the kernel's vhost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vhost {
    /// Its descriptors by number or name, one a queue; none if it is to be opened.
    pub fds: Vec<String>,
    /// Whether it is a fault if the kernel cannot.
    pub is_forced: bool,
}

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, _around: &dyn Surroundings) -> Result<Checked, QmpError> {
        Ok(Checked {
            source: self.source()?,
            sndbuf: self.sndbuf.map(sndbuf_bytes),
            vhost: self.vhost(),
            poll_us: self.poll_us,
        })
    }
}

impl Options {
    fn source(&self) -> Result<Source, QmpError> {
        if let Some(fd) = &self.fd {
            self.check_fd()?;
            return Ok(Source::Fd(fd.clone()));
        }
        if let Some(fds) = &self.fds {
            return self.given_fds(fds).map(Source::Fds);
        }
        if let Some(helper) = &self.helper {
            self.check_helper()?;
            let bridge = self.br.clone().unwrap_or_else(|| BRIDGE_DEFAULT.to_owned());
            return Ok(Source::Helper { helper: helper.clone(), bridge });
        }
        if self.vhostfds.is_some() {
            return Err(QmpError::generic("vhostfds= is invalid if fds= wasn't specified"));
        }
        self.interface().map(Source::Interface)
    }

    /// What is about an interface that we make ourselves.
    fn names_an_interface(&self) -> bool {
        self.ifname.is_some() || self.script.is_some() || self.downscript.is_some() || self.vnet_hdr.is_some()
    }

    fn check_fd(&self) -> Result<(), QmpError> {
        let is_foreign = self.names_an_interface()
            || self.helper.is_some()
            || self.queues.is_some()
            || self.fds.is_some()
            || self.vhostfds.is_some();
        refuse_if(
            is_foreign,
            "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, fds=, and vhostfds= are invalid with fd=",
        )
    }

    fn given_fds(&self, fds: &str) -> Result<Vec<String>, QmpError> {
        let is_foreign = self.names_an_interface()
            || self.helper.is_some()
            || self.queues.is_some()
            || self.vhostfd.is_some();
        refuse_if(
            is_foreign,
            "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, and vhostfd= are invalid with fds=",
        )?;
        let names = split_names(fds);
        refuse_if(names.is_empty(), NO_QUEUE)?;
        let vhost_count = self.vhostfds.as_deref().map(|fds| split_names(fds).len());
        refuse_if(
            vhost_count.is_some_and(|count| count != names.len()),
            "The number of fds passed does not match the number of vhostfds passed",
        )?;
        Ok(names)
    }

    fn check_helper(&self) -> Result<(), QmpError> {
        refuse_if(
            self.names_an_interface() || self.queues.is_some() || self.vhostfds.is_some(),
            "ifname=, script=, downscript=, vnet_hdr=, queues=, and vhostfds= are invalid with helper=",
        )
    }

    fn interface(&self) -> Result<Interface, QmpError> {
        let queues = self.queues.unwrap_or(1);
        refuse_if(queues == 0, NO_QUEUE)?;
        Ok(Interface {
            name: self.ifname.clone(),
            queues,
            vnet_hdr: self.vnet_hdr,
            script: script(self.script.as_deref(), SCRIPT_DEFAULT),
            downscript: script(self.downscript.as_deref(), DOWNSCRIPT_DEFAULT),
        })
    }

    fn vhost(&self) -> Result<Option<Vhost>, QmpError> {
        let fds = match (&self.vhostfd, &self.vhostfds) {
            (Some(fd), _) => vec![fd.clone()],
            (None, Some(fds)) => split_names(fds),
            (None, None) => Vec::new(),
        };
        let is_forced = self.vhostforce == Some(true);
        if self.vhost.unwrap_or(!fds.is_empty() || is_forced) {
            return Ok(Some(Vhost { fds, is_forced }));
        }
        refuse_if(!fds.is_empty(), "vhostfd(s)= is not valid without vhost")?;
        Ok(None)
    }
}

fn refuse_if(is_wrong: bool, text: &str) -> Result<(), QmpError> {
    if is_wrong { Err(QmpError::generic(text)) } else { Ok(()) }
}

/// QEMU dies of it; the text is that of its vhost-user. Too many are the kernel's to refuse.
const NO_QUEUE: &str = "tap number of queues must be in range [1, 1024]";

/// Names with colons between them; one behind the last is not a name more.
fn split_names(text: &str) -> Vec<String> {
    let names = text.strip_suffix(':').unwrap_or(text);
    if text.is_empty() { Vec::new() } else { names.split(':').map(str::to_owned).collect() }
}

/// The kernel takes an `int`, and 0 stands for the largest.
fn sndbuf_bytes(size: Size) -> i32 {
    match i32::try_from(size.0) {
        Ok(0) | Err(_) => i32::MAX,
        Ok(bytes) => bytes,
    }
}

/// What is to be run: nothing for `no` and for an empty text.
fn script(given: Option<&str>, default: &str) -> Option<String> {
    match given {
        None => Some(default.to_owned()),
        Some("" | "no") => None,
        Some(path) => Some(path.to_owned()),
    }
}
