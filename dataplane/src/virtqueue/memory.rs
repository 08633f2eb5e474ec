//! A guest's memory, mapped into this process.
//!
//! It consists of regions: pieces of files that a front end hands over. A region has three addresses: the
//! guest's own (descriptors speak of it), the front end's (the addresses of rings do), and ours. A table never
//! changes; a front end that changes its memory gets a new one, and its queues are exchanged for others that
//! use it. So a worker needs no lock to translate, and nothing is unmapped while a queue that knows it is in
//! some worker's hands.
//!
//! The memory is hostile: it changes while we look. Nothing here ever forms a reference into it; see
//! [`super::area`] and [`crate::frame::Segment`].

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::cut::{self, Guarded};
use crate::frame::Segment;

/// System calls made here, for the data plane's filter.
pub const SYSTEM_CALLS: &[libc::c_long] = &[libc::SYS_fstat, libc::SYS_mmap, libc::SYS_munmap];

/// What vhost-user allows with configurable slots.
pub const REGIONS_MAX: usize = 509;

/// Where one region is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionLayout {
    /// Its first byte, as the guest addresses it.
    pub guest: u64,
    /// The same, as the front end addresses it.
    pub user: u64,
    /// Its length.
    pub len: u64,
    /// Where it begins in its file.
    pub offset: u64,
}

/// Why a table of regions is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryFault {
    /// A region of no bytes, or one that wraps around.
    Extent,
    /// Two regions share addresses.
    Overlap,
    /// More regions than [`REGIONS_MAX`], or more of all guests than can be guarded.
    TooMany,
    /// Not a file that memory can be made of.
    NotAFile,
    /// The file ends before its region does.
    FileTooShort,
    /// The kernel refused to map it.
    Kernel(Errno),
}

/// Regions, in the order of the guest's addresses.
#[derive(Debug)]
pub struct Memory {
    regions: Vec<Arc<Region>>,
}

/// One of them, mapped. Tables that have it in common share it.
#[derive(Debug)]
pub struct Region {
    layout: RegionLayout,
    /// Where `layout.guest` is for us.
    host: *mut u8,
    mapping: Mapping,
}

// SAFETY: a region is an address that nobody forms references to; its mapping lives as long as the value.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Memory {
    /// Maps all regions, or none.
    ///
    /// # Errors
    /// [`MemoryFault`]; nothing stays mapped.
    pub fn map<'a>(
        regions: impl IntoIterator<Item = (RegionLayout, &'a OwnedFd)>,
    ) -> Result<Arc<Self>, MemoryFault> {
        let regions = regions.into_iter().take(REGIONS_MAX + 1);
        Self::new(regions.map(|(layout, file)| Region::map(layout, file)).collect::<Result<_, _>>()?)
    }

    /// A table of these regions.
    ///
    /// # Errors
    /// [`MemoryFault::Overlap`], [`MemoryFault::TooMany`].
    pub fn new(mut regions: Vec<Arc<Region>>) -> Result<Arc<Self>, MemoryFault> {
        if regions.len() > REGIONS_MAX {
            return Err(MemoryFault::TooMany);
        }
        regions.sort_by_key(|region| region.layout.guest);
        let overlaps = |from: fn(&RegionLayout) -> u64| {
            let mut layouts: Vec<_> = regions.iter().map(|region| region.layout).collect();
            layouts.sort_by_key(from);
            layouts.windows(2).any(|two| from(&two[0]) + two[0].len > from(&two[1]))
        };
        if overlaps(|layout| layout.guest) || overlaps(|layout| layout.user) {
            return Err(MemoryFault::Overlap);
        }
        Ok(Arc::new(Memory { regions }))
    }

    /// Our address of `len` bytes that begin at the front end's address `user`, if one region holds them all.
    #[must_use]
    pub fn of_user(&self, user: u64, len: usize) -> Option<*mut u8> {
        self.regions.iter().find_map(|region| region.at(user.wrapping_sub(region.layout.user), len as u64))
    }

    /// Whether a region's file was cut short: the memory is not the guest's any more.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.regions.iter().any(|region| region.mapping.guarded.is_cut())
    }

    /// The guest's address of a segment that was made of it.
    #[must_use]
    pub fn guest_of(&self, segment: &Segment) -> Option<u64> {
        self.regions.iter().find_map(|region| {
            let at = (segment.base().addr() as u64).wrapping_sub(region.host.addr() as u64);
            (at < region.layout.len).then(|| region.layout.guest + at)
        })
    }

    fn region_of_guest(&self, address: u64) -> Option<&Region> {
        let above = self.regions.partition_point(|region| region.layout.guest <= address);
        self.regions.get(above.checked_sub(1)?).map(Arc::as_ref)
    }
}

impl Region {
    /// Maps one.
    ///
    /// # Errors
    /// [`MemoryFault`]; nothing stays mapped.
    pub fn map(layout: RegionLayout, file: &OwnedFd) -> Result<Arc<Self>, MemoryFault> {
        let RegionLayout { guest, user, len, offset } = layout;
        let extents = [guest, user, offset].map(|from| from.checked_add(len));
        let [Some(_), Some(_), Some(end)] = extents else { return Err(MemoryFault::Extent) };
        if len == 0 {
            return Err(MemoryFault::Extent);
        }
        let (mapping, host) = Mapping::of_part(file, offset, end)?;
        Ok(Arc::new(Region { layout, host, mapping }))
    }

    /// Where it is.
    #[must_use]
    pub fn layout(&self) -> RegionLayout {
        self.layout
    }

    /// Our address of `len` bytes that begin `at` in the region.
    #[inline]
    fn at(&self, at: u64, len: u64) -> Option<*mut u8> {
        if at > self.layout.len || self.layout.len - at < len {
            return None;
        }
        Some(self.host.wrapping_add(usize::try_from(at).expect("it is mapped")))
    }
}

/// Part of a file in this process's address space. In the order of their end: it leaves the handler's table
/// before the address is free for another.
#[derive(Debug)]
struct Mapping {
    guarded: Guarded,
    pages: Pages,
}

#[derive(Debug)]
struct Pages {
    base: *mut u8,
    len: usize,
}

impl Mapping {
    /// Maps a file's bytes from `from` to `end`, and says where the first of them is.
    fn of_part(file: &OwnedFd, from: u64, end: u64) -> Result<(Self, *mut u8), MemoryFault> {
        let status = rustix::fs::fstat(file).map_err(MemoryFault::Kernel)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(MemoryFault::NotAFile);
        }
        if u64::try_from(status.st_size).map_or(true, |size| end > size) {
            return Err(MemoryFault::FileTooShort);
        }
        // Huge pages are mapped and unmapped whole; their file tells how large they are.
        let page = u64::try_from(status.st_blksize).unwrap_or(4096).max(4096);
        let page_from = from - from % page;
        let bytes = (end - page_from).checked_next_multiple_of(page).ok_or(MemoryFault::Extent)?;
        let bytes = usize::try_from(bytes).map_err(|_too_large| MemoryFault::Extent)?;
        let mapping = Mapping::new(file, page_from, bytes)?;
        let skipped = usize::try_from(from - page_from).expect("less than a page");
        let first = mapping.pages.base.wrapping_add(skipped);
        Ok((mapping, first))
    }

    fn new(file: &OwnedFd, offset: u64, len: usize) -> Result<Self, MemoryFault> {
        let (protection, flags) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::NORESERVE);
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, flags, file, offset) };
        let pages = Pages { base: base.map_err(MemoryFault::Kernel)?.cast(), len };
        pages.base.expose_provenance();
        let guarded = Guarded::enter(pages.base, len).ok_or(MemoryFault::TooMany)?;
        Ok(Mapping { guarded, pages })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped in `new`; queues hold their memory, so none is left that uses it.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.len) };
    }
}

/// Words of 64 bits that a front end shares, for the map of written pages.
#[derive(Debug)]
pub struct LogMemory {
    base: *mut u8,
    words: u64,
    _mapping: Mapping,
}

// SAFETY: reached by atomics only, as long as it is mapped.
unsafe impl Send for LogMemory {}
// SAFETY: as above.
unsafe impl Sync for LogMemory {}

impl LogMemory {
    /// Maps `len` bytes of a file from `offset` on.
    ///
    /// # Errors
    /// [`MemoryFault`]; nothing stays mapped.
    pub fn map(file: &OwnedFd, offset: u64, len: u64) -> Result<Self, MemoryFault> {
        let end = offset.checked_add(len).filter(|_| len > 0 && offset.is_multiple_of(8));
        let (mapping, base) = Mapping::of_part(file, offset, end.ok_or(MemoryFault::Extent)?)?;
        Ok(LogMemory { base, words: len / 8, _mapping: mapping })
    }

    /// The `index`th word, if there is one.
    #[must_use]
    pub fn word(&self, index: u64) -> Option<&AtomicU64> {
        if index >= self.words {
            return None;
        }
        let at = self.base.cast::<u64>().wrapping_add(usize::try_from(index).ok()?);
        // SAFETY: within the mapping, which lives as long as `self`, and aligned: pages are, and the offset is.
        Some(unsafe { AtomicU64::from_ptr(at) })
    }
}

/// Translates a guest's addresses, and remembers which region was right last: nearly always it is again.
#[derive(Debug)]
pub struct Translator {
    memory: Arc<Memory>,
    guest: u64,
    len: u64,
    host: *mut u8,
    cuts: u32,
}

// SAFETY: `host` is an address within `memory`, which is `Send`, and nobody forms references to it.
unsafe impl Send for Translator {}

impl Translator {
    /// For one queue.
    #[must_use]
    pub fn new(memory: Arc<Memory>) -> Self {
        let cuts = cut::count().wrapping_sub(1); // So that the first look is at the regions.
        Translator { memory, guest: 0, len: 0, host: std::ptr::null_mut(), cuts }
    }

    /// The memory that it translates into.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// `len` bytes of the guest, at its own address; `None` unless one region holds them all.
    #[inline]
    #[must_use]
    pub fn segment(&mut self, address: u64, len: u32) -> Option<Segment> {
        self.near_segment(address, len).or_else(|| self.other_segment(address, len))
    }

    /// The same, if it is in the region that was right last.
    #[inline]
    #[must_use]
    pub fn near_segment(&self, address: u64, len: u32) -> Option<Segment> {
        let at = address.wrapping_sub(self.guest);
        if at < self.len && self.len - at >= u64::from(len) {
            let base = self.host.wrapping_add(usize::try_from(at).ok()?);
            // SAFETY: within the region, as just checked. It stays mapped: `self` holds the memory, the
            // worker gives queues back between passes only, and nobody forms references into guest memory.
            return Some(unsafe { Segment::new(base, len as usize) });
        }
        None
    }

    #[cold]
    fn other_segment(&mut self, address: u64, len: u32) -> Option<Segment> {
        let region = self.memory.region_of_guest(address)?;
        let base = region.at(address.wrapping_sub(region.layout.guest), u64::from(len))?;
        (self.guest, self.len, self.host) = (region.layout.guest, region.layout.len, region.host);
        // SAFETY: as in `segment`; `at` has checked the bounds.
        Some(unsafe { Segment::new(base, len as usize) })
    }

    /// Whether the memory is still the guest's. One load, unless some guest's memory was just cut.
    #[inline]
    #[must_use]
    pub fn is_whole(&mut self) -> bool {
        let cuts = cut::count();
        if cuts == self.cuts {
            return true;
        }
        if self.memory.is_cut() {
            return false; // And so it stays.
        }
        self.cuts = cuts;
        true
    }
}

#[cfg(test)]
mod test;
