//! The runtime directory: where one Framewire keeps what the next must find.
//!
//! ```text
//! lock            held while a control plane runs; its text is that one's process id
//! dataplane.sock  on which the data plane waits for a next control plane
//! inventory.0 .1  what exists, written alternately
//! chardevs        how character devices were asked for
//! qmp.sock        a monitor for `framewire qmp` and `framewire status`
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why a runtime directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be made, or its lock cannot be opened.
    #[error("runtime directory {}: {error}; choose another with --runtime-dir", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another control plane has it.
    #[error(
        "runtime directory {} is in use by process {owner}; end that one, or choose another with --runtime-dir",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process id of the other one, as it wrote it.
        owner: String,
    },
}

/// A runtime directory that this process has locked.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    _lock: File,
}

/// Where it is unless the operator says otherwise.
#[must_use]
pub fn default_path() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !rustix::process::geteuid().is_root());
    own.map_or_else(|| PathBuf::from("/run"), PathBuf::from).join("framewire")
}

/// The monitor for our own command line.
#[must_use]
pub fn monitor_path(directory: &Path) -> PathBuf {
    directory.join("qmp.sock")
}

impl RuntimeDir {
    /// Makes the directory if it is not there, and locks it for the life of the value.
    ///
    /// # Errors
    /// If it cannot be made, or another process has it.
    pub fn lock(path: &Path) -> Result<Self, Error> {
        let unusable = |error| Error::Unusable { path: path.to_owned(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options.open(path.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // Whoever has just taken it may not have written yet.
                let _ = lock.read_to_string(&mut owner);
                return Err(Error::InUse { path: path.to_owned(), owner: owner.trim().to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let written = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(unusable)?;
        Ok(RuntimeDir { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// On which the data plane waits for a next control plane.
    #[must_use]
    pub fn data_plane_socket(&self) -> PathBuf {
        self.path.join("dataplane.sock")
    }

    /// How character devices were asked for.
    #[must_use]
    pub fn chardevs(&self) -> PathBuf {
        self.path.join("chardevs")
    }

    /// Removes what a clean end leaves: the lock last, so that nobody finds half of it.
    pub fn clean(&self) {
        let (data_plane, monitor) = (self.data_plane_socket(), monitor_path(&self.path));
        for path in [data_plane, monitor, self.chardevs(), self.path.join("lock")] {
            // What is not there needs no removing.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn second_process_is_refused_and_told_who_has_it() {
        let path = std::env::temp_dir().join(format!("framewire-lock-{}", std::process::id()));
        let first = RuntimeDir::lock(&path).unwrap();
        // A lock belongs to the open file, so a second opening is as good as a second process.
        let refused = RuntimeDir::lock(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("in use by process {};", std::process::id())), "{refused}");
        drop(first);
        RuntimeDir::lock(&path).unwrap().clean();
        std::fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn directory_that_cannot_be_made_names_the_remedy() {
        let refused = RuntimeDir::lock(Path::new("/dev/null/x")).unwrap_err().to_string();
        assert!(refused.contains("--runtime-dir"), "{refused}");
    }
}
