//! What the data plane gives up before the first frame, in order, and why in this order.
//!
//! It parses what hostile guests send. Whoever takes it over should find nothing: no name to open, no network
//! to reach, no privilege to use, no system call but those that moving frames needs.
//!
//! 1. **No new privileges**, so that nothing below can be undone by executing something; not dumpable, so
//!    that another process of the same user cannot look inside.
//! 2. **Namespaces.** An empty network, an empty file system, no shared IPC. This needs privileges (or a user
//!    namespace), so it comes before they go. Where the kernel allows neither, the walls are missing and the
//!    control plane says so. Sockets and interfaces that were handed over stay in the namespace they are from.
//! 3. **The user** becomes nobody if it was root, and all **capabilities** go.
//! 4. The workers start and make their rings, each restricted to polling ([`crate::uring`]): a ring could
//!    otherwise open files behind the filter's back.
//! 5. **The filter**: every system call is refused with `EPERM` but those that the modules declare beside the
//!    code that makes them. It comes last since starting threads needs more, and covers all threads.
//!
//! Namespaces, user and filter are built by [`confinement`], which the well uses as well.

use framewire_shared::confinement::{self, Network, Use};
use framewire_shared::handover::Walls;
use rustix::process::{Resource, Rlimit};
use seccompiler::BpfProgram;

use crate::{adopt, doorbell, driver, foreman, uring, vhost_user, virtqueue};

/// Calls that are allowed for one use only.
const USES: &[Use] = &[
    // Threads are renamed; nothing else is changed about them.
    Use { call: libc::SYS_prctl, arguments: &[(0, libc::PR_SET_NAME.unsigned_abs() as u64)] },
    // Memory that was handed over is checked before it is mapped; descriptors stay as they are.
    Use { call: libc::SYS_fcntl, arguments: &[(1, libc::F_GET_SEALS.unsigned_abs() as u64)] },
    // A port of the host that leads to a guest is also the guest's own socket.
    Use { call: libc::SYS_fcntl, arguments: &[(1, libc::F_DUPFD_CLOEXEC.unsigned_abs() as u64)] },
    // Eventfds are made non-blocking.
    Use { call: libc::SYS_ioctl, arguments: &[(1, libc::FIONBIO)] },
];

/// Steps 1 to 3. The process has one thread.
///
/// # Errors
/// If a step fails that every kernel allows. Namespaces may be missing: see the result.
pub fn give_up_privileges() -> rustix::io::Result<Walls> {
    raise_descriptor_limit();
    confinement::give_up_privileges(Network::Empty)
}

/// Each queue holds a descriptor; the soft limit is for programs that use `select`.
fn raise_descriptor_limit() {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if let Some(all) = rustix::process::getrlimit(Resource::Nofile).current {
        driver::share_descriptors(usize::try_from(all).unwrap_or(usize::MAX));
    }
}

/// Step 5, for all threads.
///
/// # Errors
/// If the kernel has no seccomp.
pub fn shut_the_door() -> Result<(), seccompiler::Error> {
    confinement::shut_the_door(&filter()?)
}

fn filter() -> Result<BpfProgram, seccompiler::Error> {
    let declared = [
        adopt::SYSTEM_CALLS,
        doorbell::SYSTEM_CALLS,
        foreman::SYSTEM_CALLS,
        uring::SYSTEM_CALLS,
        vhost_user::SYSTEM_CALLS,
    ];
    let declared = declared.into_iter().chain(driver::SYSTEM_CALLS).chain(virtqueue::SYSTEM_CALLS);
    confinement::filter(declared.flatten(), USES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn filter_refuses_sockets_and_programs_and_lets_frames_pass() {
        // The filter holds for the thread that applies it, so the test's own ends with it.
        let outcome = std::thread::spawn(|| {
            seccompiler::apply_filter(&filter().unwrap()).unwrap();
            let socket =
                rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
            let opened = rustix::fs::open("/", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
            let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty());
            // SAFETY: no memory is named; what is asked for with no bytes of arguments is invalid.
            let map = unsafe { libc::syscall(libc::SYS_bpf, 0, 0, 0) };
            let map = (map < 0).then(|| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap());
            // What moves frames passes the filter, and fails for its own reason.
            let read = rustix::io::read(std::io::stdin(), &mut [0u8; 0]);
            (socket.err(), opened.err(), event.err(), map, read.err())
        });
        let refused = Some(Errno::PERM);
        let (socket, opened, event, map, read) = outcome.join().unwrap();
        assert_eq!([socket, opened, event, map], [refused; 4]);
        assert_ne!(read, refused);
    }
}
