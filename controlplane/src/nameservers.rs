//! The host's name servers, followed as they change.
//!
//! Who changes `/etc/resolv.conf` writes it anew, puts another file in its place, or changes what it is a link to. So the
//! file is watched itself, wherever it is, and the folder that has its name; and what it says is compared, since most
//! changes change nothing. Networks are told, and questions that are on their way are answered by whoever was asked.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use framewire_shared::driver::{DriverOptions, UserOptions};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::amendment::Amendment;
use crate::kind::user::resolver::{FILE, Resolvers};
use crate::network::Network;

/// Watches them.
#[derive(Debug)]
pub struct NameServers {
    inotify: OwnedFd,
    known: Resolvers,
}

impl NameServers {
    /// Those of this host, now.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new() -> Result<Self, Errno> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let servers = NameServers { inotify, known: Resolvers::of_host() };
        servers.watch();
        Ok(servers)
    }

    /// Tells all networks if they are others than before.
    pub fn attend(&mut self, network: &mut Network) {
        if !self.has_news() {
            return;
        }
        self.watch();
        let now = Resolvers::of_host();
        if now != self.known {
            self.known = now;
            self.tell(network);
        }
    }

    /// Tells all networks, also those that an earlier control plane has made.
    pub fn tell(&self, network: &mut Network) {
        let changed = network.vault().iter().filter_map(|kept| {
            let DriverOptions::User(before) = kept.build.options else { return None };
            let options = with(before, &self.known);
            (options != before).then_some((kept.build.queue, options))
        });
        let changed: Vec<(u64, UserOptions)> = changed.collect();
        for (key, options) in changed {
            let amendment = Amendment { options: DriverOptions::User(options), gone: 0..0, new: Vec::new() };
            if let Err(error) = network.amend(key, amendment) {
                log::error!("a network is not told of the host's name server: {error}");
            }
        }
    }

    /// Whether anything has happened to the file.
    fn has_news(&self) -> bool {
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut space);
        let mut has_news = false;
        while reader.next().is_ok() {
            has_news = true;
        }
        has_news
    }

    /// Watches the file that has the name now. One that is watched already stays so.
    fn watch(&self) {
        use inotify::WatchFlags;
        let whole = WatchFlags::CLOSE_WRITE | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let named = WatchFlags::CREATE | WatchFlags::MOVED_TO;
        let file = std::path::Path::new(FILE);
        let target = std::fs::canonicalize(file).ok();
        let folders = [file.parent(), target.as_deref().and_then(std::path::Path::parent)];
        let folders = folders.into_iter().flatten().map(|folder| (folder, named));
        for (path, flags) in folders.chain([(file, whole)]) {
            let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
            // What is not there will be created in a folder that is.
            let _ = inotify::add_watch(&self.inotify, path.as_c_str(), flags);
        }
    }
}

impl AsFd for NameServers {
    /// Readable when something has happened.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// A network with these name servers behind its own.
fn with(mut options: UserOptions, resolvers: &Resolvers) -> UserOptions {
    if options.ipv4.is_on != 0 {
        options.ipv4.resolver = resolvers.ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
    }
    if options.ipv6.is_on != 0 {
        let (address, scope) = resolvers.ipv6.unwrap_or((Ipv6Addr::UNSPECIFIED, 0));
        (options.ipv6.resolver, options.ipv6.resolver_scope) = (address.octets(), scope);
    }
    options
}
