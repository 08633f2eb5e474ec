//! What may go wrong with the data plane, and what an operator can do about it.

use framewire_shared::handover::{HandoverError, Step};
use rustix::io::Errno;

use crate::host::words;

/// Why the data plane did not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It has ended.
    #[error("the data plane has ended")]
    Gone,
    /// It did not answer in time.
    #[error("the data plane does not answer")]
    Late,
    /// It says something that we do not know.
    #[error("the data plane is of another version")]
    Foreign,
    /// It cannot work at all.
    #[error("the data plane cannot {}: {}{}", doing(*step), words_of(*errno), remedy(*step, *errno))]
    Unable {
        /// What it was doing.
        step: Step,
        /// What the kernel said.
        errno: i32,
    },
    /// The kernel did not let us talk to it.
    #[error("talking to the data plane: {}", words(*.0))]
    Kernel(Errno),
}

/// A queue that the data plane cannot build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data plane cannot {}: {}{}", doing(*step), words_of(*errno), remedy(*step, *errno))]
pub struct Refusal {
    /// Which.
    pub key: u64,
    /// What it was doing.
    pub step: Step,
    /// What the kernel said.
    pub errno: i32,
}

impl From<HandoverError> for Trouble {
    fn from(error: HandoverError) -> Self {
        match error {
            HandoverError::Kernel(errno) => Trouble::Kernel(errno),
            HandoverError::Gone => Trouble::Gone,
            HandoverError::Malformed => Trouble::Foreign,
        }
    }
}

fn doing(step: Step) -> &'static str {
    match step {
        Step::Regions => "map the shared memory",
        Step::Uring => "make an io_uring",
        Step::Thread => "start a worker",
        Step::Memory => "reserve frame memory",
        Step::Isolation => "give up its privileges",
        Step::Queue => "take the queue",
        Step::Session => "take up the guest's session",
    }
}

fn words_of(errno: i32) -> String {
    words(Errno::from_raw_os_error(errno))
}

fn remedy(step: Step, errno: i32) -> &'static str {
    match (step, errno) {
        (Step::Uring, libc::EPERM | libc::EACCES) => {
            " (io_uring is forbidden here: allow it with `sysctl kernel.io_uring_disabled=0`, or in the \
             container's seccomp profile)"
        }
        (Step::Uring, libc::ENOSYS) => " (this kernel has no io_uring: 6.1 or newer is needed)",
        (Step::Uring, libc::EINVAL) => " (this kernel's io_uring is too old: 6.1 or newer is needed)",
        (Step::Uring | Step::Memory, libc::ENOMEM | libc::ENOBUFS | libc::EPERM) => {
            " (too little memory may be locked: raise it with `ulimit -l unlimited`, or LimitMEMLOCK= of the \
             service)"
        }
        (Step::Thread, libc::EAGAIN) => {
            " (too many threads: raise `ulimit -u`, or TasksMax= of the service, or ask for fewer --workers)"
        }
        (Step::Queue | Step::Regions, libc::EMFILE) => " (too many descriptors: raise `ulimit -n`)",
        _other => "",
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn what_an_operator_can_change_names_the_remedy() {
        let unable = |step, errno| Trouble::Unable { step, errno }.to_string();
        assert!(unable(Step::Uring, libc::EPERM).contains("sysctl kernel.io_uring_disabled=0"));
        assert!(unable(Step::Uring, libc::ENOMEM).contains("ulimit -l"));
        assert!(unable(Step::Memory, libc::ENOMEM).contains("LimitMEMLOCK"));
        assert!(unable(Step::Thread, libc::EAGAIN).contains("--workers"));
        assert_eq!(
            unable(Step::Isolation, libc::EINVAL),
            "the data plane cannot give up its privileges: Invalid argument"
        );
    }
}
