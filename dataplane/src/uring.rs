//! The worker's one `io_uring`: where it sleeps, and who wakes it.
//!
//! Drivers move frames with plain system calls, which measure faster here than the same calls through a
//! ring (ARCHITECTURE.md says by how much). The ring watches: each queue that dozes, and the worker's doorbell,
//! has one poll request in it. A request looks at once when it is submitted, so nothing that arrived before is
//! missed; it fires once, and is made again only when its queue dozes again. So a worker that is busy with one
//! queue pays nothing for a thousand others that are quiet.

use std::os::fd::RawFd;

use io_uring::register::Restriction;
use io_uring::{IoUring, opcode, types};

/// Requests staged between two submissions. More are submitted in between.
const SUBMISSIONS: u32 = 256;

/// Completions that wait; the kernel keeps more aside (`IORING_FEAT_NODROP`) until some are taken.
const COMPLETIONS: u32 = 4096;

/// What a poll request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Something can be received.
    Receive,
    /// Something can be sent.
    Send,
}

/// The tag of completions that tell nothing: those of cancellations.
const IGNORED: u64 = u64::MAX;

/// System calls made here, for the data plane's filter.
pub const SYSTEM_CALLS: &[libc::c_long] = &[libc::SYS_io_uring_enter];

/// A ring of poll requests.
pub struct Uring {
    ring: IoUring,
    staged: bool,
}

impl Uring {
    /// Makes it. `COOP_TASKRUN` with its flag: a completion never interrupts frames in flight; it shows at the
    /// next system call, or [`Uring::kick`] fetches it.
    ///
    /// # Errors
    /// If the kernel refuses: `EPERM` if `kernel.io_uring_disabled` forbids it.
    pub fn new() -> std::io::Result<Self> {
        let ring = IoUring::builder()
            .setup_r_disabled()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        // A ring could open files and sockets behind the system call filter's back: this one only polls.
        let allowed = [opcode::PollAdd::CODE, opcode::PollRemove::CODE];
        ring.submitter().register_restrictions(&mut allowed.map(Restriction::sqe_op))?;
        ring.submitter().register_enable_rings()?;
        Ok(Uring { ring, staged: false })
    }

    /// Watches a descriptor until it is ready, once.
    pub fn watch(&mut self, descriptor: RawFd, readiness: Readiness, tag: u64) {
        let events = match readiness {
            Readiness::Receive => libc::POLLIN,
            Readiness::Send => libc::POLLOUT,
        };
        let events = u32::try_from(events).expect("poll masks are positive");
        self.stage(&opcode::PollAdd::new(types::Fd(descriptor), events).build().user_data(tag));
    }

    /// Ends the watch with this tag. It completes all the same, so that nothing is in flight afterwards.
    pub fn forget(&mut self, tag: u64) {
        self.stage(&opcode::PollRemove::new(tag).build().user_data(IGNORED));
    }

    fn stage(&mut self, entry: &io_uring::squeue::Entry) {
        loop {
            // SAFETY: poll requests name a descriptor and no memory. A descriptor outlives its watch: a queue
            // leaves its worker only after its watches have completed, and doorbells live for ever.
            let pushed = unsafe { self.ring.submission().push(entry) };
            self.staged = true;
            match pushed {
                Ok(()) => return,
                Err(_full) => self.submit(0),
            }
        }
    }

    /// Submits what is staged and fetches completions that wait in the kernel, if there are any.
    #[inline]
    pub fn kick(&mut self) {
        let submission = self.ring.submission();
        let waiting = submission.taskrun() || submission.cq_overflow();
        drop(submission);
        if self.staged || waiting {
            self.submit(0);
        }
    }

    /// Submits what is staged and sleeps until something completes.
    pub fn sleep(&mut self) {
        self.submit(1);
    }

    fn submit(&mut self, wanted: usize) {
        match self.ring.submit_and_wait(wanted) {
            Ok(_count) => self.staged = false,
            // Interrupted, or completions must be taken first: the next turn tries again.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
            Err(error) => panic!("io_uring_enter: {error}"),
        }
    }

    /// The next completed watch's tag.
    #[inline]
    pub fn completed(&mut self) -> Option<u64> {
        loop {
            let tag = self.ring.completion().next()?.user_data();
            if tag != IGNORED {
                return Some(tag);
            }
        }
    }
}
