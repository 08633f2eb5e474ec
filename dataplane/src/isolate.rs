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

use std::collections::BTreeMap;

use framewire_shared::handover::Walls;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{DumpableBehavior, Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::{adopt, doorbell, driver, foreman, uring, vhost_user, virtqueue};

/// What the allocator, the standard library and the end of the process need.
const SYSTEM_CALLS: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Who is nobody, everywhere.
const NOBODY: u32 = 65534;

/// Steps 1 to 3. The process has one thread.
///
/// # Errors
/// If a step fails that every kernel allows. Namespaces may be missing: see the result.
pub fn give_up_privileges() -> rustix::io::Result<Walls> {
    rustix::thread::set_no_new_privs(true)?;
    raise_descriptor_limit();
    let walls = enter_namespaces();
    become_nobody()?;
    let none = CapabilitySet::empty();
    let _ = rustix::thread::clear_ambient_capability_set();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(walls)
}

/// Each queue holds a descriptor; the soft limit is for programs that use `select`.
fn raise_descriptor_limit() {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn enter_namespaces() -> Walls {
    let wanted = UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: none of these flags unshares the descriptor table or the address space, which is what could
    // break a library's assumptions; and the process has one thread.
    let own = unsafe { rustix::thread::unshare_unsafe(wanted) };
    // SAFETY: as above.
    let entered = own.or_else(|_| unsafe { rustix::thread::unshare_unsafe(wanted | UnshareFlags::NEWUSER) });
    if entered.is_err() {
        return Walls::default();
    }
    Walls { network_namespace: 1, mount_namespace: u32::from(empty_the_root().is_ok()) }
}

/// Leaves nothing of the file system but an empty directory that cannot be written.
fn empty_the_root() -> rustix::io::Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    let flags = MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::RDONLY;
    rustix::mount::mount("none", "/tmp", "tmpfs", flags, Some(c"nr_inodes=2,nr_blocks=0,mode=0555"))
        .or_else(|_| rustix::mount::mount("none", "/tmp", "tmpfs", flags, None))?;
    rustix::process::chdir("/tmp")?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

fn become_nobody() -> rustix::io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    let changed = rustix::thread::set_thread_groups(&[])
        .and_then(|()| rustix::thread::set_thread_res_gid(group, group, group))
        .and_then(|()| rustix::thread::set_thread_res_uid(user, user, user));
    match changed {
        // In a user namespace that maps nobody, or without the capabilities: there is nothing to give up.
        Err(Errno::INVAL | Errno::PERM) => Ok(()),
        changed => changed,
    }
}

/// Step 5, for all threads.
///
/// # Errors
/// If the kernel has no seccomp.
pub fn shut_the_door() -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter_all_threads(&filter()?)
}

fn filter() -> Result<BpfProgram, seccompiler::Error> {
    let declared = [
        SYSTEM_CALLS,
        adopt::SYSTEM_CALLS,
        doorbell::SYSTEM_CALLS,
        foreman::SYSTEM_CALLS,
        uring::SYSTEM_CALLS,
        vhost_user::SYSTEM_CALLS,
    ];
    let declared = declared.into_iter().chain(driver::SYSTEM_CALLS).chain(virtqueue::SYSTEM_CALLS);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        declared.flatten().map(|call| (*call, Vec::new())).collect();
    for (call, condition) in conditions()? {
        if let Some(rule) = rules.get_mut(&call) {
            rule.push(SeccompRule::new(vec![condition])?);
        }
    }
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?.try_into()?)
}

/// Calls that are allowed for one use only.
fn conditions() -> Result<[(i64, SeccompCondition); 4], seccompiler::Error> {
    let (equal, exec) = (|| SeccompCmpOp::Eq, u64::from(libc::PROT_EXEC.unsigned_abs()));
    let seals = u64::from(libc::F_GET_SEALS.unsigned_abs());
    let naming = u64::from(libc::PR_SET_NAME.unsigned_abs());
    Ok([
        // Threads are renamed; nothing else is changed about them.
        (libc::SYS_prctl, SeccompCondition::new(0, SeccompCmpArgLen::Dword, equal(), naming)?),
        // Memory that was handed over is checked before it is mapped; descriptors stay as they are.
        (libc::SYS_fcntl, SeccompCondition::new(1, SeccompCmpArgLen::Dword, equal(), seals)?),
        // Eventfds are made non-blocking.
        (libc::SYS_ioctl, SeccompCondition::new(1, SeccompCmpArgLen::Dword, equal(), libc::FIONBIO)?),
        // Memory is never made executable.
        (libc::SYS_mmap, SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(exec), 0)?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

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
