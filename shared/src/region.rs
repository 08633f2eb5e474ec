//! The two regions: sealed memfds with a header that says what lies in them.
//!
//! **Who writes.** The control plane makes both. It maps the configuration writable and gives the data plane
//! a *read-only description* of it, from which the kernel grants no writable mapping; the data plane has no
//! `/proc` to open a better one from. (`F_SEAL_FUTURE_WRITE` would do the same, but then the next control
//! plane, after a crash of this one, could not write either.) The status region is mapped writable by the
//! data plane and read-only by the control plane.
//!
//! **Why no `SIGBUS`.** Both are sealed against shrinking and growing before they are handed over, and
//! whoever maps one checks size and seals first.
//!
//! **Versions.** The header carries a magic, an ABI version and a fingerprint of the layout, made from the
//! sizes of all records; a process that was built from other sources refuses the region.

use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::counters::{QueueCounters, WorkerCounters};
use crate::happenings::{HappeningRing, ReadIndex};
use crate::ledger::QueueLedger;
use crate::limits::{QUEUES_MAX, WORKERS_MAX};
use crate::plan::PlanSlot;
use crate::publish::Acknowledgement;
use crate::stream_memory::{ReceiveCall, SendCall, StreamMemory};
use crate::xsk_memory::XskMemory;

/// Changes whenever the meaning of a field changes without its size.
pub const ABI_VERSION: u64 = 2;

/// Threads that report happenings: the workers, then the foreman.
pub const PRODUCERS: usize = WORKERS_MAX + 1;
/// The foreman's place among the producers.
pub const FOREMAN: usize = WORKERS_MAX;

/// What a region begins with. writer: control plane, once, before anybody else sees the region
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Header {
    magic: AtomicU64,
    abi_version: AtomicU64,
    layout: AtomicU64,
    bytes: AtomicU64,
}

/// An atomic alone on its line of cache.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Line(pub AtomicU64);

/// The configuration region. writer: control plane
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Config {
    header: Header,
    /// The generation of the plan in force; its slot is [`crate::publish::slot_of`] it.
    pub generation: Line,
    /// How far the control plane has read each happening ring.
    pub read: [ReadIndex; PRODUCERS],
    /// The plans.
    pub slots: [PlanSlot; 2],
}

/// A reader's acknowledgements. writer: that reader
#[repr(C, align(64))]
#[derive(Debug)]
pub struct AcknowledgementLine {
    seen: AtomicU64,
    quiesced: AtomicU64,
}

impl AcknowledgementLine {
    /// As [`crate::publish`] wants them.
    #[must_use]
    pub fn get(&self) -> Acknowledgement<'_> {
        Acknowledgement { seen: &self.seen, quiesced: &self.quiesced }
    }

    /// Forgets what a data plane that died had acknowledged. For the data plane, before its threads start.
    pub fn clear(&self) {
        self.seen.store(0, Ordering::Relaxed);
        self.quiesced.store(0, Ordering::Relaxed);
    }
}

/// The status region. writer: data plane
#[repr(C, align(128))]
#[derive(Debug)]
pub struct Status {
    header: Header,
    /// The foreman is the last to quiesce: when it has, all workers have, and what they gave back is closed.
    pub foreman: AcknowledgementLine,
    /// The workers' acknowledgements.
    pub workers: [AcknowledgementLine; WORKERS_MAX],
    /// What the workers have done.
    pub worker_counters: [WorkerCounters; WORKERS_MAX],
    /// What the queues have done, by counter slot.
    pub queue_counters: [QueueCounters; QUEUES_MAX],
    /// Where guests' rings stand, by counter slot.
    pub ledgers: [QueueLedger; QUEUES_MAX],
    /// What happened.
    pub happenings: [HappeningRing; PRODUCERS],
}

const fn mix(hash: u64, value: usize) -> u64 {
    // FNV-1a over one word: enough to tell two layouts of our own apart.
    (hash ^ value as u64).wrapping_mul(0x0100_0000_01b3)
}

const fn fingerprint(sizes: &[usize]) -> u64 {
    let (mut hash, mut index) = (0xcbf2_9ce4_8422_2325, 0);
    while index < sizes.len() {
        hash = mix(hash, sizes[index]);
        index += 1;
    }
    hash
}

/// A type that may lie in memory shared between the processes.
///
/// # Safety
/// `repr(C)`, begins with a [`Header`], and consists of atomics and of bytes that are only reached by raw
/// pointers: any bytes are a valid value, and a shared reference may be written through by another process.
pub unsafe trait Region: Sized {
    /// Tells the regions apart.
    const MAGIC: u64;
    /// Tells layouts apart.
    const LAYOUT: u64;
    /// Shown in `/proc/PID/maps`.
    const NAME: &'static str;
    /// Its first field.
    fn header(&self) -> &Header;
}

// SAFETY: `Config` begins with its header, and every field below it is an atomic or an array of such.
unsafe impl Region for Config {
    const MAGIC: u64 = u64::from_le_bytes(*b"FWconfig");
    const LAYOUT: u64 = fingerprint(&[size_of::<Config>(), size_of::<PlanSlot>(), size_of::<ReadIndex>()]);
    const NAME: &'static str = "framewire-config";
    fn header(&self) -> &Header {
        &self.header
    }
}

// SAFETY: as above.
unsafe impl Region for Status {
    const MAGIC: u64 = u64::from_le_bytes(*b"FWstatus");
    const LAYOUT: u64 = fingerprint(&[
        size_of::<Status>(),
        size_of::<QueueCounters>(),
        size_of::<QueueLedger>(),
        size_of::<WorkerCounters>(),
        size_of::<HappeningRing>(),
    ]);
    const NAME: &'static str = "framewire-status";
    fn header(&self) -> &Header {
        &self.header
    }
}

// SAFETY: as above; its other fields are cells of bytes, which nothing refers to.
unsafe impl Region for StreamMemory {
    const MAGIC: u64 = u64::from_le_bytes(*b"FWstream");
    const LAYOUT: u64 =
        fingerprint(&[size_of::<StreamMemory>(), size_of::<ReceiveCall>(), size_of::<SendCall>()]);
    const NAME: &'static str = "framewire-stream";
    fn header(&self) -> &Header {
        &self.header
    }
}

// SAFETY: as above.
unsafe impl Region for XskMemory {
    const MAGIC: u64 = u64::from_le_bytes(*b"FWframes");
    const LAYOUT: u64 = fingerprint(&[size_of::<XskMemory>(), std::mem::offset_of!(XskMemory, umem)]);
    const NAME: &'static str = "framewire-frames";
    fn header(&self) -> &Header {
        &self.header
    }
}

/// Why a region cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// The kernel said no.
    #[error("shared memory: {step}: {errno}")]
    Kernel {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        errno: rustix::io::Errno,
    },
    /// Another version's region.
    #[error("shared memory of another version of Framewire: end the process that made it, then start again")]
    Foreign,
}

fn kernel(step: &'static str) -> impl Fn(rustix::io::Errno) -> RegionError {
    move |errno| RegionError::Kernel { step, errno }
}

/// A region mapped into this process.
pub struct Mapping<T: Region> {
    base: NonNull<T>,
}

// SAFETY: a `Mapping` is a shared reference to atomics that lives as long as the value.
unsafe impl<T: Region> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T: Region> Sync for Mapping<T> {}

impl<T: Region> fmt::Debug for Mapping<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping<{}>", T::NAME)
    }
}

fn seals() -> SealFlags {
    SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL
}

impl<T: Region> Mapping<T> {
    /// Makes a region, writes its header and seals it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn create() -> Result<OwnedFd, RegionError> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memfd = rustix::fs::memfd_create(T::NAME, flags).map_err(kernel("memfd_create"))?;
        rustix::fs::ftruncate(&memfd, size_of::<T>() as u64).map_err(kernel("ftruncate"))?;
        // Only the owner may open it again through /proc: see the module's text.
        rustix::fs::fchmod(&memfd, Mode::RUSR | Mode::WUSR).map_err(kernel("fchmod"))?;
        let mapping = Self::map(&memfd, ProtFlags::READ | ProtFlags::WRITE)?;
        let header = mapping.header();
        header.magic.store(T::MAGIC, Ordering::Relaxed);
        header.abi_version.store(ABI_VERSION, Ordering::Relaxed);
        header.layout.store(T::LAYOUT, Ordering::Relaxed);
        header.bytes.store(size_of::<T>() as u64, Ordering::Relaxed);
        rustix::fs::fcntl_add_seals(&memfd, seals()).map_err(kernel("F_ADD_SEALS"))?;
        Ok(memfd)
    }

    /// Maps a region that this process may write.
    ///
    /// # Errors
    /// If it is none of ours, or the kernel refuses.
    pub fn writable(memfd: &OwnedFd) -> Result<Self, RegionError> {
        Self::checked(memfd, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps a region that this process only reads. Writing through the result ends the process.
    ///
    /// # Errors
    /// If it is none of ours, or the kernel refuses.
    pub fn read_only(memfd: &OwnedFd) -> Result<Self, RegionError> {
        Self::checked(memfd, ProtFlags::READ)
    }

    fn checked(memfd: &OwnedFd, protection: ProtFlags) -> Result<Self, RegionError> {
        let size = rustix::fs::fstat(memfd).map_err(kernel("fstat"))?.st_size;
        let sealed = rustix::fs::fcntl_get_seals(memfd).map_err(kernel("F_GET_SEALS"))?;
        if u64::try_from(size) != Ok(size_of::<T>() as u64) || !sealed.contains(seals()) {
            return Err(RegionError::Foreign);
        }
        let mapping = Self::map(memfd, protection)?;
        let header = mapping.header();
        let told = [&header.magic, &header.abi_version, &header.layout, &header.bytes];
        let known = [T::MAGIC, ABI_VERSION, T::LAYOUT, size_of::<T>() as u64];
        if told.map(|word| word.load(Ordering::Relaxed)) != known {
            return Err(RegionError::Foreign);
        }
        Ok(mapping)
    }

    fn map(memfd: &OwnedFd, protection: ProtFlags) -> Result<Self, RegionError> {
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), size_of::<T>(), protection, MapFlags::SHARED, memfd, 0)
        };
        let base = base.map_err(kernel("mmap"))?;
        Ok(Mapping { base: NonNull::new(base.cast()).expect("mmap never returns null") })
    }
}

impl<T: Region> Deref for Mapping<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the mapping has the size of `T` and is sealed (or still ours alone, in `create`), is page
        // aligned, lives until drop, and `T: Region` allows any bytes and foreign writes.
        unsafe { self.base.as_ref() }
    }
}

impl<T: Region> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: `base` is a mapping of this size made in `map`; no reference outlives the value.
        // Unmapping one's own mapping cannot fail in a way that matters.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), size_of::<T>()) };
    }
}

/// A second description of a memfd, which grants reading only: what the data plane gets.
///
/// # Errors
/// If `/proc` is not mounted.
pub fn read_only_description(memfd: impl AsFd) -> Result<OwnedFd, RegionError> {
    reopen(memfd, OFlags::RDONLY)
}

/// A writable description of a memfd, from a read-only one: for the owner, after the first control plane died.
///
/// # Errors
/// If this process is not its owner.
pub fn writable_description(memfd: impl AsFd) -> Result<OwnedFd, RegionError> {
    reopen(memfd, OFlags::RDWR)
}

fn reopen(memfd: impl AsFd, flags: OFlags) -> Result<OwnedFd, RegionError> {
    let path = format!("/proc/self/fd/{}", memfd.as_fd().as_raw_fd());
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(kernel("reopening the region"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_mapping_writes_the_other_reads() {
        let memfd = Mapping::<Config>::create().unwrap();
        let writer = Mapping::<Config>::writable(&memfd).unwrap();
        let reader = Mapping::<Config>::read_only(&read_only_description(&memfd).unwrap()).unwrap();
        writer.generation.0.store(42, Ordering::Relaxed);
        assert_eq!(reader.generation.0.load(Ordering::Relaxed), 42);
    }

    #[test]
    fn read_only_description_grants_no_writable_mapping() {
        let memfd = read_only_description(Mapping::<Config>::create().unwrap()).unwrap();
        let refused = Mapping::<Config>::writable(&memfd).unwrap_err();
        assert!(matches!(refused, RegionError::Kernel { step: "mmap", .. }), "{refused}");
        // Its owner may make a writable one from it, as a new control plane does.
        assert!(Mapping::<Config>::writable(&writable_description(&memfd).unwrap()).is_ok());
    }

    #[test]
    fn sealed_region_cannot_be_truncated() {
        let memfd = Mapping::<Status>::create().unwrap();
        assert!(rustix::fs::ftruncate(&memfd, 0).is_err());
    }

    #[test]
    fn foreign_memory_is_refused() {
        let memfd = Mapping::<Status>::create().unwrap();
        assert!(matches!(Mapping::<Config>::read_only(&memfd), Err(RegionError::Foreign)));
        Mapping::<Status>::writable(&memfd).unwrap().header.layout.store(1, Ordering::Relaxed);
        assert!(matches!(Mapping::<Status>::read_only(&memfd), Err(RegionError::Foreign)));
    }
}
