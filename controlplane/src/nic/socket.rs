//! Where a guest's front end attaches: a unix socket of the NIC's own.
//!
//! Usually the NIC listens, one front end at a time, the next one waiting until it has left; the path is
//! `RUNTIME_DIR/nic-NAME.sock`, or what the property `socket` says. `socket-mode` and `socket-group` say who
//! may connect: this user alone, unless they say more. With `socket-server=off` it connects, and tries again every
//! `socket-reconnect-ms`.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Gid, Mode};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::connection::{Opened, Role, Source, Whereabouts, whereabouts};
use crate::host::{group, stream_socket, words};
use crate::qmp::answer::QmpError;
use crate::qmp::types::socket_address::{SocketAddress, UnixSocketAddress};

/// How often a NIC that connects tries again, unless it says otherwise.
const RETRY_MS: u64 = 1000;

/// Who may connect, unless somebody says otherwise: its owner.
const MODE: u32 = 0o600;

/// What properties say about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
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
}

impl Wanted {
    /// Where it will be.
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
        Ok(Place { path, retry_ms })
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
        let role = match self.retry_ms {
            Some(retry_ms) => Role::Client { retry: Some(Duration::from_millis(retry_ms)) },
            None => Role::Server,
        };
        Source { id: name.to_owned(), place: Some(self.address()), role, is_announced: true }
    }

    fn address(&self) -> SocketAddress {
        SocketAddress::Unix(UnixSocketAddress { path: self.path.clone(), is_abstract: None, tight: None })
    }

    /// Removes what was listened at.
    pub fn remove(&self) {
        if self.retry_ms.is_none() {
            // Whoever removed it already did what we wanted.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// As it is kept on disk.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!([self.path, self.retry_ms])
    }

    /// Back; `None` if it is something else.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let [path, retry_ms] = &value.as_array()?[..] else { return None };
        let retry_ms = if retry_ms.is_null() { None } else { Some(retry_ms.as_u64()?) };
        Some(Place { path: path.as_str()?.to_owned(), retry_ms })
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
