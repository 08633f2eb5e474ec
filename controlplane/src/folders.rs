//! Folders that are served to guests by TFTP: what a guest asks for is opened here, or not.
//!
//! **Problem.** A name comes from a guest. Programs that joined such names to a folder's and opened the result have
//! served the whole host: by `..`, by a link, by a link made in between.
//!
//! **Chosen.** The kernel opens beneath the folder and nowhere else (`openat2` with `RESOLVE_BENEATH`), whatever links
//! there are and whoever changes them meanwhile; a link that stays inside is followed. Only regular files are given, for
//! reading; a pipe or device is opened without waiting and closed again. The data plane is given descriptors, and could
//! not open anything if it was conquered.
//!
//! All sockets on which workers ask are in one epoll descriptor, which is one source in the main loop. A folder is opened
//! anew for each request, so that it may be replaced.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use framewire_shared::driver::DriverOptions;
use framewire_shared::files::{self, Request};
use rustix::event::epoll;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::inventory::Port;
use crate::kind::{Netdev, NetdevAdd};
use crate::vault::Vault;

/// Requests of one port that are answered before others have their turn.
const REQUESTS_MAX: usize = 32;

/// All folders, by the number of their port.
#[derive(Debug)]
pub struct Folders {
    epoll: OwnedFd,
    all: BTreeMap<u64, Folder>,
    /// Somebody may still be waiting.
    is_busy: bool,
}

#[derive(Debug)]
struct Folder {
    path: String,
    /// Of the port's queue.
    key: u64,
}

impl Folders {
    /// None yet.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new() -> Result<Self, Errno> {
        Ok(Folders {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            all: BTreeMap::new(),
            is_busy: false,
        })
    }

    /// From now on this port's folder is served, if it has one.
    pub fn begin(&mut self, port: &Port, vault: &Vault) {
        if port.kind() != "user" {
            return;
        }
        let (Some(Netdev::User(options)), Some(queue)) = (NetdevAdd::of_port(port), port.queues.first())
        else {
            return;
        };
        let (Some(path), Some(socket)) = (options.tftp, socket(vault, queue.key)) else { return };
        let number = epoll::EventData::new_u64(port.number);
        if let Err(errno) = epoll::add(&self.epoll, socket, number, epoll::EventFlags::IN) {
            log::error!("port '{}': files cannot be served: {errno}", port.id);
            return;
        }
        self.all.insert(port.number, Folder { path, key: queue.key });
    }

    /// Whether there is more to be attended to.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Answers who has asked.
    pub fn attend(&mut self, vault: &Vault) {
        // The kernel forgets a socket when it is closed everywhere.
        self.all.retain(|_port, folder| vault.get(folder.key).is_some());
        self.is_busy = false;
        for folder in self.all.values() {
            let Some(socket) = socket(vault, folder.key) else { continue };
            let mut answered = 0;
            while let Ok(Some(request)) = files::next_request(socket) {
                folder.answer(socket, &request);
                answered += 1;
                if answered == REQUESTS_MAX {
                    self.is_busy = true;
                    break;
                }
            }
        }
    }
}

impl AsFd for Folders {
    /// Readable when somebody asks.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Folder {
    fn answer(&self, socket: BorrowedFd<'_>, request: &Request) {
        let opened = open(&self.path, request.name());
        let file = opened.as_ref().ok().map(|(file, bytes)| (file.as_fd(), *bytes));
        if let Err(errno) = &opened {
            log::debug!("tftp: {}: {errno}", String::from_utf8_lossy(request.name()).escape_default());
        }
        if let Err(errno) = files::answer(socket, request.ticket, file) {
            log::warn!("tftp: a worker takes no answer: {errno}");
        }
    }
}

/// The control plane's end of a port's pair, which is the last of its descriptors.
fn socket(vault: &Vault, key: u64) -> Option<BorrowedFd<'_>> {
    let kept = vault.get(key)?;
    let DriverOptions::User(options) = &kept.build.options else { return None };
    let control = options.files_at()? + 1;
    kept.descriptors.get(control).map(AsFd::as_fd)
}

/// Opens a regular file beneath a folder.
fn open(folder: &str, name: &[u8]) -> Result<(OwnedFd, u64), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let begin = name.iter().position(|byte| *byte != b'/').ok_or(Errno::ISDIR)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(&folder, &name[begin..], flags, Mode::empty(), resolve)?;
    let status = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(Errno::ISDIR);
    }
    Ok((file, u64::try_from(status.st_size).unwrap_or(0)))
}

#[cfg(test)]
mod test {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A folder with a secret beside it; removed in the end.
    struct Scene(PathBuf);

    impl Scene {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("framewire-folders-{name}-{}", std::process::id()));
            std::fs::create_dir_all(root.join("tftp/dir")).unwrap();
            std::fs::write(root.join("secret"), "no").unwrap();
            std::fs::write(root.join("tftp/a.bin"), "four").unwrap();
            std::fs::write(root.join("tftp/dir/b"), "").unwrap();
            Scene(root)
        }

        fn open(&self, name: &str) -> Result<u64, Errno> {
            open(self.0.join("tftp").to_str().unwrap(), name.as_bytes()).map(|(_file, bytes)| bytes)
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn files_beneath_are_opened() {
        let scene = Scene::new("beneath");
        for name in ["a.bin", "/a.bin", "//a.bin", "./a.bin", "dir/../a.bin"] {
            assert_eq!(scene.open(name), Ok(4), "{name}");
        }
        assert_eq!(scene.open("dir/b"), Ok(0));
        symlink("a.bin", scene.0.join("tftp/link")).unwrap();
        assert_eq!(scene.open("link"), Ok(4));
    }

    #[test]
    fn nothing_outside_is_opened() {
        let scene = Scene::new("outside");
        let folder = scene.0.join("tftp");
        symlink("../secret", folder.join("up")).unwrap();
        symlink(scene.0.join("secret"), folder.join("absolute")).unwrap();
        symlink("..", folder.join("parent")).unwrap();
        symlink("/proc/self/exe", folder.join("magic")).unwrap();
        let names = [
            "../secret",
            "dir/../../secret",
            "up",
            "absolute",
            "parent/secret",
            "magic",
            "..",
            "/",
            ".",
            "dir",
        ];
        for name in names {
            assert!(scene.open(name).is_err(), "{name}");
        }
    }

    #[test]
    fn only_regular_files_are_opened_and_nobody_waits() {
        let scene = Scene::new("pipe");
        let pipe = scene.0.join("tftp/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(scene.open("pipe"), Err(Errno::ISDIR));
        assert_eq!(scene.open("missing"), Err(Errno::NOENT));
    }
}
