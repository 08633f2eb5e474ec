//! A process to which the kernel refuses a system call, as a container's filter or a sysctl would.
//!
//! The sysctls themselves are the whole machine's, and other tests run beside this one.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// Makes the call fail with EPERM in the process that `command` starts, and in all that it starts.
pub fn system_call(command: &mut Command, number: libc::c_long) {
    let errno = u32::try_from(libc::EPERM).expect("error numbers are small");
    let filter = SeccompFilter::new(
        BTreeMap::from([(number, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        TargetArch::try_from(std::env::consts::ARCH).expect("a known processor"),
    );
    let program: BpfProgram = filter.and_then(BpfProgram::try_from).expect("a filter of one rule compiles");
    let refuse = move || seccompiler::apply_filter(&program).map_err(std::io::Error::other);
    // SAFETY: between fork and exec only calls that are safe in a signal handler are allowed; applying a filter that
    // was compiled before is two system calls.
    unsafe { command.pre_exec(refuse) };
}
