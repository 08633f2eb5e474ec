//! Where a guest's front end attaches: a unix socket of the NIC's own.
//!
//! Usually the NIC listens, one front end at a time, the next one waiting until it has left; the path is
//! `RUNTIME_DIR/nic-NAME.sock`, or what the property `socket` says. `socket-mode` and `socket-group` say who
//! may connect: this user alone, unless they say more. With `socket-server=off` it connects, and tries again every
//! `socket-reconnect-ms`.
//!
//! Or the socket is lent by a character device, which the property `chardev` names. That one stays when the NIC goes,
//! and is busy until then; who connects, and how often, is what it was made with.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Gid, Mode};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::connection::{Opened, Role, Source, Whereabouts, whereabouts};
use crate::host::{group, stream_socket, words};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::{Dialect, Place as QapiPlace, QapiType as _};
use crate::qmp::types::socket_address::{SocketAddress, UnixSocketAddress};

/// How often a NIC that connects tries again, unless it says otherwise.
const RETRY_MS: u64 = 1000;

/// Who may connect, unless somebody says otherwise: its owner.
const MODE: u32 = 0o600;

/// What properties say about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The character device that lends its socket.
    pub chardev: Option<String>,
    /// Its path.
    pub path: Option<String>,
    /// Permissions of a path that we listen at.
    pub mode: Option<u32>,
    /// Its group.
    pub group: Option<String>,
    /// Whether we listen.
    pub is_server: Option<bool>,
    /// How often we try again if not.
    pub reconnect_ms: Option<u64>,
}

/// What is kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its path.
    pub path: String,
    /// After how long we try again, if it is we who connect.
    pub retry_ms: Option<u64>,
    /// Who lends it.
    pub lender: Option<Lender>,
}

/// A character device that lends its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lender {
    /// Its name.
    pub id: String,
    /// Where it is; None if its socket was given.
    pub address: Option<UnixSocketAddress>,
    /// Who begins.
    pub is_server: bool,
}

impl Wanted {
    /// Checks what properties say together.
    ///
    /// # Errors
    /// If one is for a socket of the NIC's own, and there is none.
    pub fn check(&self) -> Result<(), QmpError> {
        let own = Wanted { chardev: None, ..self.clone() };
        if self.chardev.is_some() && own != Wanted::default() {
            return Err(QmpError::generic(
                "'chardev' brings its socket: it takes no property of another one",
            ));
        }
        Ok(())
    }

    /// Where it will be, if it is the NIC's own.
    ///
    /// # Errors
    /// If two properties contradict each other.
    pub fn place(&self, name: &str, directory: &Path) -> Result<Place, QmpError> {
        let is_server = self.is_server.unwrap_or(true);
        if is_server && self.reconnect_ms.is_some() {
            return Err(QmpError::generic(
                "'socket-reconnect-ms' is for NICs that connect: 'socket-server=off'",
            ));
        }
        if !is_server && (self.mode.is_some() || self.group.is_some() || self.path.is_none()) {
            return Err(QmpError::generic(
                "a NIC that connects needs 'socket', and takes neither 'socket-mode' nor 'socket-group'",
            ));
        }
        let default = || directory.join(format!("nic-{name}.sock")).to_string_lossy().into_owned();
        let path = self.path.clone().unwrap_or_else(default);
        let retry_ms = (!is_server).then(|| self.reconnect_ms.unwrap_or(RETRY_MS));
        Ok(Place { path, retry_ms, lender: None })
    }

    /// Opens it, if we are to listen.
    ///
    /// # Errors
    /// In words; nothing is left behind.
    pub fn open(&self, place: &Place) -> Result<Opened, QmpError> {
        if place.retry_ms.is_some() {
            return Ok(Opened::Nothing);
        }
        let failed = |why: &str| QmpError::generic(format!("Failed to bind socket to {}: {why}", place.path));
        let group = self.group.as_deref().map(group::find).transpose().map_err(|why| failed(&why))?;
        let listener = listen(place).map_err(|why| failed(&why))?;
        let opened = admit(&place.path, self.mode.unwrap_or(MODE), group);
        opened.map_err(|errno| {
            place.remove();
            failed(&words(errno))
        })?;
        Ok(Opened::Listener(listener))
    }
}

impl Place {
    /// Where connections come from; also asked by a control plane that takes over.
    #[must_use]
    pub fn source(&self, name: &str) -> Source {
        let (id, retry) = (name.to_owned(), self.retry_ms.map(Duration::from_millis));
        if let Some(Lender { address, is_server, .. }) = &self.lender {
            let role = if *is_server { Role::Server } else { Role::Client { retry } };
            let place = address.clone().map(SocketAddress::Unix);
            return Source { id, place, role, is_announced: true, is_lent: true };
        }
        let role = if retry.is_some() { Role::Client { retry } } else { Role::Server };
        Source { id, place: Some(self.address()), role, is_announced: true, is_lent: false }
    }

    /// One line for people.
    #[must_use]
    pub fn info(&self) -> String {
        match &self.lender {
            Some(lender) => format!("chardev={}", lender.id),
            None => format!("socket={}", self.path),
        }
    }

    fn address(&self) -> SocketAddress {
        SocketAddress::Unix(UnixSocketAddress { path: self.path.clone(), is_abstract: None, tight: None })
    }

    /// Removes what was listened at, if it is the NIC's own.
    pub fn remove(&self) {
        if self.retry_ms.is_none() && self.lender.is_none() {
            // Whoever removed it already did what we wanted.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// As it is kept on disk.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.lender {
            None => json!([self.path, self.retry_ms]),
            Some(Lender { id, address, is_server }) => {
                let address = address.as_ref().map(UnixSocketAddress::print);
                json!([self.path, self.retry_ms, id, address, is_server])
            }
        }
    }

    /// Back; `None` if it is something else.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let (path, retry_ms, lender) = match &value.as_array()?[..] {
            [path, retry_ms] => (path, retry_ms, None),
            [path, retry_ms, id, address, is_server] => {
                let visit = |value| UnixSocketAddress::visit(&QapiPlace::root(value, Dialect::Json)).ok();
                let address = if address.is_null() { None } else { Some(visit(address)?) };
                let (id, is_server) = (id.as_str()?.to_owned(), is_server.as_bool()?);
                (path, retry_ms, Some(Lender { id, address, is_server }))
            }
            _something_else => return None,
        };
        let retry_ms = if retry_ms.is_null() { None } else { Some(retry_ms.as_u64()?) };
        Some(Place { path: path.as_str()?.to_owned(), retry_ms, lender })
    }
}

fn listen(place: &Place) -> Result<OwnedFd, String> {
    let Whereabouts::Known(endpoints) = whereabouts(&place.address(), true)? else {
        return Err("it has no path".to_owned());
    };
    let endpoint = endpoints.first().ok_or("it has no path")?;
    stream_socket::listen(endpoint).map_err(words)
}

/// Lets those connect who may. Until then the umask has said who.
fn admit(path: &str, mode: u32, group: Option<u32>) -> Result<(), Errno> {
    if let Some(group) = group {
        rustix::fs::chown(path, None, Some(Gid::from_raw(group)))?;
    }
    rustix::fs::chmod(path, Mode::from_raw_mode(mode))
}

#[cfg(test)]
mod test {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn contradictions_are_refused() {
        let folder = Path::new("/run/x");
        let connects = Wanted { is_server: Some(false), path: Some("/y".to_owned()), ..Wanted::default() };
        assert_eq!(connects.place("n", folder).unwrap().retry_ms, Some(1000));
        for wrong in [
            Wanted { reconnect_ms: Some(1), ..Wanted::default() },
            Wanted { mode: Some(0o660), ..connects.clone() },
            Wanted { path: None, ..connects },
        ] {
            assert!(wrong.place("n", folder).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_lent_socket_comes_alone_and_is_written_down() {
        let lent = Wanted { chardev: Some("c0".to_owned()), ..Wanted::default() };
        assert!(lent.check().is_ok());
        assert!(Wanted { mode: Some(0o660), ..lent }.check().is_err());
        let unix = UnixSocketAddress { path: "/x".to_owned(), is_abstract: Some(true), tight: None };
        for (address, retry_ms) in [(Some(unix), Some(5)), (None, None)] {
            let lender = Lender { id: "c0".to_owned(), address, is_server: retry_ms.is_none() };
            let place = Place { path: "/x".to_owned(), retry_ms, lender: Some(lender) };
            assert_eq!(Place::from_json(&place.to_json()), Some(place.clone()));
            assert!(place.source("n").is_lent);
        }
    }

    #[test]
    fn socket_is_for_its_owner_unless_said_otherwise_and_goes() {
        let folder = std::env::temp_dir();
        let name = format!("framewire-{}", std::process::id());
        for (mode, wanted) in [(None, 0o600), (Some(0o660), 0o660)] {
            let socket = Wanted { mode, ..Wanted::default() };
            let place = socket.place(&name, &folder).unwrap();
            assert!(matches!(socket.open(&place), Ok(Opened::Listener(_))));
            let file = std::fs::metadata(&place.path).unwrap();
            assert_eq!(file.permissions().mode() & 0o777, wanted);
            assert_eq!(Place::from_json(&place.to_json()), Some(place.clone()));
            place.remove();
            assert!(std::fs::metadata(&place.path).is_err());
        }
        let nobodys = Wanted { group: Some("no-such-group".to_owned()), ..Wanted::default() };
        let place = nobodys.place(&name, &folder).unwrap();
        assert!(nobodys.open(&place).unwrap_err().desc.ends_with("no group 'no-such-group'"));
    }
}
