//! Guest memory whose file is cut short under us.
//!
//! **Problem.** Guest memory is a file that somebody else owns. Truncate it, and the next access beyond its
//! end is a `SIGBUS`, which ends the process: every other port would pay for one hostile front end.
//!
//! **Rejected.** Accepting only files sealed against shrinking: memory on hugetlbfs, as DPDK and QEMU's
//! `memory-backend-file` make it, cannot be sealed. Copying through system calls that answer `EFAULT`: a system
//! call a frame.
//!
//! **Chosen.** Every mapping of guest memory is entered in a table that the signal's handler can read. A fault
//! inside one replaces the *whole* mapping by zeros of our own and marks it; the instruction is repeated and
//! goes on. Replacing all of it, not one page, means one signal for each mapping at most, and hugetlb mappings
//! can only be replaced so. Queues look at one counter a burst ([`count`]) and give up when it was their
//! memory. A fault anywhere else is our own bug, and ends the process as it should.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// Mappings of all guests together.
const MAPPINGS_MAX: usize = 8192;

struct Entry {
    /// Where it begins; 0 is a free entry, 1 one that is being filled in.
    base: AtomicUsize,
    len: AtomicUsize,
    is_cut: AtomicBool,
}

static TABLE: [Entry; MAPPINGS_MAX] =
    [const { Entry { base: AtomicUsize::new(0), len: AtomicUsize::new(0), is_cut: AtomicBool::new(false) } };
        MAPPINGS_MAX];

static CUTS: AtomicU32 = AtomicU32::new(0);

const TAKEN: usize = 1;

/// How many mappings were cut so far. Whoever sees it change asks [`Guarded::is_cut`].
#[inline]
pub fn count() -> u32 {
    CUTS.load(Ordering::Relaxed)
}

/// A mapping that is in the table. Leaves it when dropped; unmap only after that.
#[derive(Debug)]
pub struct Guarded {
    entry: usize,
}

impl Guarded {
    /// Enters `len` bytes at `base`. `None` if the table is full.
    pub fn enter(base: *mut u8, len: usize) -> Option<Self> {
        let claim = |entry: &Entry| {
            entry.base.compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let index = TABLE.iter().position(claim)?;
        let entry = &TABLE[index];
        entry.is_cut.store(false, Ordering::Relaxed);
        entry.len.store(len, Ordering::Relaxed);
        // Release: whoever finds this base finds the length.
        entry.base.store(base.addr(), Ordering::Release);
        Some(Guarded { entry: index })
    }

    /// Whether its file was cut: what is mapped now are zeros that nobody shares.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        TABLE[self.entry].is_cut.load(Ordering::Relaxed)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        TABLE[self.entry].base.store(0, Ordering::Release);
    }
}

/// Has the kernel call us on `SIGBUS`.
///
/// # Errors
/// If it refuses.
pub fn install() -> std::io::Result<()> {
    // SAFETY: zeros are a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_bus_error;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: `action` is complete, and the handler does only what a signal handler may: atomics and mmap.
    match unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

extern "C" fn on_bus_error(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler installed with `SA_SIGINFO`.
    let info = unsafe { &*info };
    // SAFETY: for `SIGBUS` the address is the field of the union that is set.
    let address = unsafe { info.si_addr() }.addr();
    if !TABLE.iter().any(|entry| replace(entry, address)) {
        // None of ours: the instruction is repeated and ends the process.
        // SAFETY: the default action may be set at any time.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
    }
}

/// Puts zeros in the place of the mapping of this entry, if `address` is in it.
fn replace(entry: &Entry, address: usize) -> bool {
    // Acquire: pairs with `enter`.
    let base = entry.base.load(Ordering::Acquire);
    let len = entry.len.load(Ordering::Relaxed);
    if base <= TAKEN || !(base..base + len).contains(&address) {
        return false;
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    let at = std::ptr::with_exposed_provenance_mut(base);
    // SAFETY: exactly the mapping that was entered is replaced, and it is still mapped: it leaves the table
    // before it is unmapped. Nobody has references into guest memory. `mmap` keeps to itself in a handler.
    let mapped = unsafe { libc::mmap(at, len, protection, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return false;
    }
    entry.is_cut.store(true, Ordering::Relaxed);
    CUTS.fetch_add(1, Ordering::Relaxed);
    true
}
