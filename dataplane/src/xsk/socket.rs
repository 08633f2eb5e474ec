//! A bound socket: where its rings are, and how the kernel is pushed on.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use framewire_shared::xsk_memory::{RECEIVE_CHUNKS, SEND_CHUNKS};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{RecvFlags, SendFlags};

use super::ring::{Memory, Parts};
use super::{Consumer, Producer};

/// The four rings.
#[derive(Debug)]
pub struct Rings {
    /// Chunks to be filled.
    pub fill: Producer<u64>,
    /// Chunks that are filled.
    pub receive: Consumer<libc::xdp_desc>,
    /// Chunks to be sent.
    pub send: Producer<libc::xdp_desc>,
    /// Chunks that are sent.
    pub completion: Consumer<u64>,
}

impl Rings {
    /// Maps those of a socket whose rings the control plane has sized.
    ///
    /// # Errors
    /// As the kernel says: `EINVAL` if the socket has no rings of these sizes.
    pub fn map(socket: &OwnedFd) -> Result<Self, Errno> {
        let offsets = offsets(socket)?;
        let (receive, send) = (libc::XDP_PGOFF_RX_RING, libc::XDP_PGOFF_TX_RING);
        let (receive, send) = (receive.unsigned_abs(), send.unsigned_abs());
        let (fill, completion) = (libc::XDP_UMEM_PGOFF_FILL_RING, libc::XDP_UMEM_PGOFF_COMPLETION_RING);
        let fill = ring(socket, fill, &offsets.fr, RECEIVE_CHUNKS)?;
        let receive = ring(socket, receive, &offsets.rx, RECEIVE_CHUNKS)?;
        let send = ring(socket, send, &offsets.tx, SEND_CHUNKS)?;
        let completion = ring(socket, completion, &offsets.cr, SEND_CHUNKS)?;
        let (fill, receive) = (Producer::new(fill), Consumer::new(receive));
        let (send, completion) = (Producer::new(send), Consumer::new(completion));
        Ok(Rings { fill, receive, send, completion })
    }
}

/// A piece of the kernel's memory.
#[derive(Debug)]
struct Mapped {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: only says what is to be unmapped in the end.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `ring`; whoever points into it holds this value, so nobody does any more.
        // Unmapping one's own mapping cannot fail.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

fn ring<T: Copy>(
    socket: &OwnedFd,
    page: u64,
    offset: &libc::xdp_ring_offset,
    size: u32,
) -> Result<Memory<T>, Errno> {
    let at = |offset: u64| usize::try_from(offset).map_err(|_too_far| Errno::BADMSG);
    let len = at(offset.desc)? + size as usize * size_of::<T>();
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
    let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, flags, socket, page)? };
    let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
    let mapped = Mapped { base, len };
    let part = |offset: u64| -> Result<NonNull<u8>, Errno> {
        let offset = at(offset)?;
        // SAFETY: checked to lie within the mapping.
        if offset < len { Ok(unsafe { mapped.base.add(offset) }) } else { Err(Errno::BADMSG) }
    };
    let parts = Parts {
        producer: part(offset.producer)?.cast(),
        consumer: part(offset.consumer)?.cast(),
        flags: part(offset.flags)?.cast(),
        entries: part(offset.desc)?.cast(),
        size,
    };
    // SAFETY: they lie where the kernel told, in what was just mapped; the queue that is being built is the only one
    // that has this socket, and makes one end of each of its rings.
    Ok(unsafe { Memory::new(parts, Arc::new(mapped)) })
}

fn offsets(socket: &OwnedFd) -> Result<libc::xdp_mmap_offsets, Errno> {
    let none = || libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
    let mut offsets = libc::xdp_mmap_offsets { rx: none(), tx: none(), fr: none(), cr: none() };
    let mut len = libc::socklen_t::try_from(size_of_val(&offsets)).map_err(|_large| Errno::INVAL)?;
    let (fd, option) = (socket.as_raw_fd(), libc::XDP_MMAP_OFFSETS);
    let to: *mut libc::xdp_mmap_offsets = &raw mut offsets;
    // SAFETY: the kernel writes at most `len` bytes of the structure, all of whose bytes may be any.
    let done = unsafe { libc::getsockopt(fd, libc::SOL_XDP, option, to.cast(), &raw mut len) };
    if done < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    // A kernel before 5.4 writes less, and cannot be asked to be woken.
    if len as usize == size_of::<libc::xdp_mmap_offsets>() { Ok(offsets) } else { Err(Errno::NOTSUP) }
}

/// The calls.
#[derive(Debug)]
pub struct Socket(Arc<[OwnedFd]>);

impl Socket {
    /// The first of these descriptors.
    #[must_use]
    pub fn new(descriptors: Arc<[OwnedFd]>) -> Self {
        Socket(descriptors)
    }

    /// The descriptor.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0[0].as_fd()
    }

    /// Has the kernel look at the fill ring, and at the interface if that is not driven by interrupts.
    ///
    /// # Errors
    /// `ENETDOWN` if the interface is down, `ENXIO` if it is gone.
    pub fn push_receive(&self) -> Result<(), Errno> {
        let nothing: &mut [u8] = &mut [];
        rustix::net::recv(self.descriptor(), nothing, RecvFlags::DONTWAIT).map(drop)
    }

    /// Has the kernel look at the send ring.
    ///
    /// # Errors
    /// `EAGAIN` if it has sent some and there are more (32, if it copies), or if frames must come back first;
    /// `ENOBUFS`, `EBUSY` if it cannot now; `ENETDOWN`, `ENXIO`.
    pub fn push_send(&self) -> Result<(), Errno> {
        rustix::net::send(self.descriptor(), &[], SendFlags::DONTWAIT).map(drop)
    }
}
