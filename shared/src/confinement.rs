//! How a process that hostile guests may reach gives up what it does not need.
//!
//! Data plane and well are confined in the same way, and a wall that is mended in one must not stay broken in the
//! other: so this is the one place that builds them. Each process says beside its own code in which order it goes,
//! and which system calls it makes. Rejected: a crate of its own for two functions; and a service manager's sandbox,
//! since whoever starts Framewire by hand would get none.

use std::collections::BTreeMap;

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{DumpableBehavior, Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::handover::Walls;

/// What the allocator, the standard library and the end of any process need.
const RUNTIME_CALLS: &[libc::c_long] = &[
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

/// Which network a confined process lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// One without interfaces.
    Empty,
    /// That of whoever started it.
    Starters,
}

/// A system call that is allowed for some uses only. Of several for one call, one must hold.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    /// The call.
    pub call: libc::c_long,
    /// Places of arguments, and what is in the lower 32 bits there.
    pub arguments: &'static [(u8, u64)],
}

/// New privileges, other processes' looks, the file system, the user and all capabilities, for good. The process has
/// one thread.
///
/// # Errors
/// If a step fails that every kernel allows. Namespaces may be missing: see the result.
pub fn give_up_privileges(network: Network) -> rustix::io::Result<Walls> {
    rustix::thread::set_no_new_privs(true)?;
    let walls = enter_namespaces(network);
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

fn enter_namespaces(network: Network) -> Walls {
    let wanted = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    let wanted = match network {
        Network::Empty => wanted | UnshareFlags::NEWNET,
        Network::Starters => wanted,
    };
    // SAFETY: none of these flags unshares the descriptor table or the address space, which is what could
    // break a library's assumptions; and the process has one thread.
    let own = unsafe { rustix::thread::unshare_unsafe(wanted) };
    // SAFETY: as above.
    let entered = own.or_else(|_| unsafe { rustix::thread::unshare_unsafe(wanted | UnshareFlags::NEWUSER) });
    if entered.is_err() {
        return Walls::default();
    }
    Walls {
        network_namespace: u32::from(network == Network::Empty),
        mount_namespace: u32::from(empty_the_root().is_ok()),
    }
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

/// A filter that refuses, with `EPERM`, every system call but these and what any process needs. A call of `uses` must be
/// among the declared ones too. Memory is never made executable.
///
/// # Errors
/// If the machine is of a kind that filters do not know.
pub fn filter<'a>(
    declared: impl IntoIterator<Item = &'a libc::c_long>,
    uses: &[Use],
) -> Result<BpfProgram, seccompiler::Error> {
    let declared = RUNTIME_CALLS.iter().chain(declared);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = declared.map(|call| (*call, Vec::new())).collect();
    let is_not = SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.unsigned_abs()));
    let unexecutable = SeccompCondition::new(2, SeccompCmpArgLen::Qword, is_not, 0)?;
    rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![unexecutable])?]);
    for Use { call, arguments } in uses {
        if let Some(rule) = rules.get_mut(call) {
            let equal = |(place, value): &(u8, u64)| {
                SeccompCondition::new(*place, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *value)
            };
            rule.push(SeccompRule::new(arguments.iter().map(equal).collect::<Result<_, _>>()?)?);
        }
    }
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?.try_into()?)
}

/// Puts a filter before all threads of this process.
///
/// # Errors
/// If the kernel has no seccomp.
pub fn shut_the_door(filter: &BpfProgram) -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter_all_threads(filter)
}
