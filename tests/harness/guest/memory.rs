//! A guest's memory: files, mapped, with guest-physical addresses.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Several regions, each a file of its own.
#[derive(Debug)]
pub struct GuestMemory {
    regions: Vec<Region>,
}

/// One region.
#[derive(Debug)]
pub struct Region {
    file: OwnedFd,
    guest: u64,
    base: *mut u8,
    len: usize,
    /// Allocated so far.
    used: AtomicUsize,
}

// SAFETY: the bytes are reached by atomics and by copies only, never by references.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; whatever uses it holds the memory.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.len) };
    }
}

impl Region {
    fn new(guest: u64, len: usize, seals: SealFlags) -> Self {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("fake-guest", flags).expect("memfd_create");
        rustix::fs::ftruncate(&file, len as u64).expect("ftruncate");
        if !seals.is_empty() {
            rustix::fs::fcntl_add_seals(&file, seals).expect("F_ADD_SEALS");
        }
        let (protection, share) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, share, &file, 0) };
        Self { file, guest, base: base.expect("mmap").cast(), len, used: AtomicUsize::new(0) }
    }

    /// Its file.
    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// The guest's address of its first byte.
    pub fn guest(&self) -> u64 {
        self.guest
    }

    /// This process's address of its first byte: what a front end calls the user address.
    pub fn user(&self) -> u64 {
        self.base.addr() as u64
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.len as u64
    }
}

impl GuestMemory {
    /// Regions at these guest addresses, of these lengths. As QEMU's, they cannot be cut short.
    pub fn new(layout: &[(u64, usize)]) -> Arc<Self> {
        Self::with_seals(layout, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
    }

    /// As [`GuestMemory::new`], but anybody may cut the files.
    pub fn unsealed(layout: &[(u64, usize)]) -> Arc<Self> {
        Self::with_seals(layout, SealFlags::empty())
    }

    fn with_seals(layout: &[(u64, usize)], seals: SealFlags) -> Arc<Self> {
        let regions = layout.iter().map(|(guest, len)| Region::new(*guest, *len, seals)).collect();
        Arc::new(Self { regions })
    }

    /// The regions.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The regions' files, in their order.
    pub fn files(&self) -> Vec<BorrowedFd<'_>> {
        self.regions.iter().map(|region| std::os::fd::AsFd::as_fd(&region.file)).collect()
    }

    /// Reserves `len` bytes of a region at a multiple of `align`; returns their guest address.
    pub fn allocate(&self, region: usize, len: usize, align: usize) -> u64 {
        let region = &self.regions[region];
        let place = |used: usize| used.next_multiple_of(align);
        let used = region
            .used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (place(used) + len <= region.len).then(|| place(used) + len)
            })
            .expect("the guest has memory left");
        region.guest + place(used) as u64
    }

    fn pointer(&self, address: u64, len: usize) -> *mut u8 {
        let holds = |region: &&Region| {
            let at = address.wrapping_sub(region.guest);
            at <= region.len as u64 && region.len as u64 - at >= len as u64
        };
        let region = self.regions.iter().find(holds).expect("an address of this guest");
        region.base.wrapping_add((address - region.guest) as usize)
    }

    /// The front end's address of a guest address.
    pub fn user(&self, address: u64) -> u64 {
        self.pointer(address, 0).addr() as u64
    }

    /// Writes bytes.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let at = self.pointer(address, bytes.len());
        // SAFETY: `pointer` has checked that the region holds them; nobody has references into it.
        unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Reads bytes.
    pub fn read(&self, address: u64, into: &mut [u8]) {
        let at = self.pointer(address, into.len());
        // SAFETY: as above.
        unsafe { at.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
    }

    /// Words to be shared with a device.
    pub fn words(self: &Arc<Self>, address: u64, len: usize) -> Words {
        let base = self.pointer(address, len);
        assert!(base.addr().is_multiple_of(4), "rings are aligned");
        Words { base, len, address, memory: Arc::clone(self) }
    }
}

/// An area of a ring. Any word may be read and written, as a hostile guest would.
#[derive(Debug)]
pub struct Words {
    base: *mut u8,
    len: usize,
    address: u64,
    memory: Arc<GuestMemory>,
}

// SAFETY: reached by atomics only, in memory that it keeps.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// The guest's address.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The front end's address.
    pub fn user(&self) -> u64 {
        self.memory.user(self.address)
    }

    fn at<T>(&self, index: usize) -> *mut T {
        let offset = index * size_of::<T>();
        assert!(offset + size_of::<T>() <= self.len, "within the area");
        let at: *mut T = self.base.wrapping_add(offset).cast();
        assert!(at.is_aligned());
        at
    }

    /// The `index`th word of 16 bits.
    #[inline]
    pub fn word16(&self, index: usize) -> &AtomicU16 {
        // SAFETY: within the area, aligned, and mapped as long as `memory` is held.
        unsafe { AtomicU16::from_ptr(self.at(index)) }
    }

    /// The `index`th word of 32 bits.
    #[inline]
    pub fn word32(&self, index: usize) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(self.at(index)) }
    }

    /// The `index`th word of 64 bits.
    #[inline]
    pub fn word64(&self, index: usize) -> &AtomicU64 {
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(self.at(index)) }
    }
}
