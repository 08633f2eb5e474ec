//! Network namespaces that exist as long as a test holds them.
//!
//! They have no name: `ip netns add` leaves a mount behind when a test is killed, a descriptor does not. Tools that
//! want to name one (`ip link set X netns ...`) take the path of the descriptor instead. The kernel removes a
//! namespace and the interfaces in it with the last descriptor or process that uses it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::process::{self, Process};

/// A network namespace with its loopback interface up and IPv6 off (its chatter would disturb exact-byte tests).
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
}

impl Namespace {
    /// Makes one. Needs root.
    #[must_use]
    #[track_caller]
    #[allow(clippy::new_without_default, reason = "makes a kernel object: too much for a default")]
    pub fn new() -> Self {
        // The calling thread stays where it is: only a thread that ends at once goes there.
        let made = std::thread::scope(|scope| scope.spawn(unshare).join().expect("unshare does not panic"));
        let fd = made.unwrap_or_else(|e| panic!("cannot make a network namespace: {e}"));
        let namespace = Self { fd };
        namespace.set("net/ipv6/conf/all/disable_ipv6", "1");
        namespace.set("net/ipv6/conf/default/disable_ipv6", "1");
        namespace.ip("link set dev lo up");
        namespace
    }

    /// Lets the loopback interface have its IPv6 address. All others stay without.
    pub fn allow_loopback_v6(&self) {
        self.set("net/ipv6/conf/lo/disable_ipv6", "0");
    }

    /// Runs `work` on a thread that lives in this namespace: what it opens belongs to the namespace.
    #[track_caller]
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let inside = || {
            let moved =
                rustix::thread::move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network));
            moved.expect("a namespace that is held can be entered");
            work()
        };
        let result = std::thread::scope(|scope| scope.spawn(inside).join());
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// `ip` with these arguments; its output.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        self.call(&format!("ip {arguments}"))
    }

    /// Any command line, run to its end; its output. Panics if it fails.
    #[track_caller]
    pub fn call(&self, line: &str) -> String {
        process::run(Some(self.fd.as_fd()), process::command(line))
    }

    /// True if the command line ends well.
    #[must_use]
    pub fn succeeds(&self, line: &str) -> bool {
        let status = self.start(process::command(line)).wait(crate::wait::PATIENCE);
        status.success()
    }

    /// Starts a process in here.
    #[track_caller]
    #[must_use]
    pub fn start(&self, command: Command) -> Process {
        Process::start_in(Some(self.fd.as_fd()), command)
    }

    /// Moves an interface from here to another namespace, gives it an address (`10.0.0.1/24`) and sets it up.
    #[track_caller]
    pub fn give(&self, interface: &str, to: &Self, address: &str) {
        self.ip(&format!("link set dev {interface} netns {}", to.path()));
        to.address(interface, address);
    }

    /// Gives an interface of this namespace an address and sets it up.
    #[track_caller]
    pub fn address(&self, interface: &str, address: &str) {
        self.ip(&format!("address add {address} dev {interface}"));
        self.ip(&format!("link set dev {interface} up"));
    }

    /// Names of the interfaces in here, sorted, loopback left out.
    #[must_use]
    pub fn interfaces(&self) -> Vec<String> {
        let text = self.ip("-oneline link show");
        let mut names: Vec<String> = text.lines().filter_map(interface_name).collect();
        names.retain(|name| name != "lo");
        names.sort();
        names
    }

    /// Writes a setting of this namespace below `/proc/sys`.
    #[track_caller]
    pub fn set(&self, name: &str, value: &str) {
        self.run(|| {
            let path = format!("/proc/sys/{name}");
            std::fs::write(&path, value).unwrap_or_else(|e| panic!("cannot write {path}: {e}"));
        });
    }

    /// A path that stands for this namespace as long as it is held.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The name in a line such as `2: tap0: <BROADCAST> mtu 1500 ...`; a veth's has `@peer` behind it.
fn interface_name(line: &str) -> Option<String> {
    let name = line.split(": ").nth(1)?;
    Some(name.split('@').next()?.to_owned())
}

fn unshare() -> std::io::Result<OwnedFd> {
    // SAFETY: the call is unsafe because a thread may thereby stop sharing its descriptor table; NEWNET alone leaves
    // that as it is. The thread ends right after.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(std::fs::File::open("/proc/thread-self/ns/net")?.into())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn namespace_holds_its_own_interfaces_and_takes_them_along() {
        crate::need!(root);
        let (a, b) = (Namespace::new(), Namespace::new());
        assert_eq!(a.interfaces(), Vec::<String>::new());
        a.ip("link add v0 type veth peer name v1");
        a.give("v1", &b, "10.0.0.2/24");
        a.address("v0", "10.0.0.1/24");
        assert_eq!(a.interfaces(), ["v0"]);
        assert!(a.succeeds("ping -c 1 -W 5 10.0.0.2"));
        drop(b);
        crate::wait::wait_until("the peer of an interface in a dropped namespace to vanish", || {
            a.interfaces().is_empty()
        });
    }
}
