//! A network of one's own, that is gone when the tool is gone, however it ends.
//!
//! Network namespaces with names stay behind when the tool that made them is killed, and so do the processes in
//! them. So the tool runs itself again as the first process of new network, mount and process namespaces: when that
//! one ends, the kernel kills whatever is left in there and takes the interfaces away; and the kernel ends it when
//! the outer one ends. Files go to a memory file system that is mounted in there only.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::calls::{self, Namespaces};
use crate::error::{Doing as _, Error, Result};

/// The first word of the inner run's command line; users have no need of it.
pub const INSIDE: &str = "inside";

/// Runs this program again with `args`, in new namespaces; returns how it ended.
///
/// # Errors
/// If the namespaces cannot be made: it takes root, or the capabilities CAP_SYS_ADMIN and CAP_NET_ADMIN.
pub fn run_inside(args: &[std::ffi::OsString]) -> Result<ExitCode> {
    let program = std::env::current_exe().doing("finding this program")?;
    let folder = std::env::temp_dir().join(format!("framewire-perf.{}", std::process::id()));
    std::fs::create_dir_all(&folder).doing(format!("making {}", folder.display()))?;
    calls::unshare(Namespaces::Processes).doing("making namespaces (run as root)")?;
    let status = Command::new(program).arg(INSIDE).arg(&folder).args(args).status();
    // Empty: what was mounted on it is gone with the namespace.
    let _ = std::fs::remove_dir(&folder);
    let code = status.doing("running inside the namespaces")?.code();
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// Makes the new namespaces usable; called once, by the first process in them.
///
/// # Errors
/// If something cannot be mounted or set.
pub fn settle(folder: &Path) -> Result<PathBuf> {
    set_parent_process_death_signal(Some(Signal::KILL)).doing("ending with the outer process")?;
    calls::unshare(Namespaces::NetworkAndMounts).doing("making namespaces (run as root)")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).doing("keeping mounts to ourselves")?;
    // Both show the namespaces of whoever mounted them.
    for (kind, target) in [("proc", Path::new("/proc")), ("sysfs", Path::new("/sys")), ("tmpfs", folder)] {
        mount(kind, target, kind, MountFlags::NOSUID, None)
            .doing(format!("mounting {}", target.display()))?;
    }
    ip("link set lo up")?;
    // Neighbour discovery and the like would mix with what is counted.
    set("net/ipv6/conf/all/disable_ipv6", "1");
    set("net/ipv6/conf/default/disable_ipv6", "1");
    // Otherwise ten unix datagrams are all that may wait, for every device alike.
    set("net/unix/max_dgram_qlen", "512");
    Ok(folder.to_owned())
}

/// Runs `ip` with these words.
///
/// # Errors
/// If it is not installed, or says no.
pub fn ip(words: &str) -> Result<()> {
    program("ip", &words.split(' ').collect::<Vec<_>>())
}

/// Runs a program to its end.
///
/// # Errors
/// If it is not installed, or fails.
pub fn program(name: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(name).args(args).output().doing(format!("running {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Program { program: format!("{name} {}", args.join(" ")), reason: said.trim().to_owned() })
}

/// Some kernels lack some of these: the figures do not depend on them alone.
fn set(name: &str, value: &str) {
    let _ = std::fs::write(Path::new("/proc/sys").join(name), value);
}
