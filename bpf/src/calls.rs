//! System calls on descriptors of programs and maps: libbpf-rs makes them only on objects that it has opened itself,
//! and ours may have come back from a data plane.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys;
use rustix::io::Errno;

/// Attaches a program to an interface.
pub(crate) fn attach(program: BorrowedFd<'_>, interface: u32, flags: u32) -> Result<OwnedFd, Errno> {
    let interface = i32::try_from(interface).map_err(|_no_index| Errno::NODEV)?;
    let size = libbpf_sys::size_t::try_from(size_of::<libbpf_sys::bpf_link_create_opts>()).expect("small");
    let options = libbpf_sys::bpf_link_create_opts { sz: size, flags, ..Default::default() };
    // SAFETY: `options` says its own size and is only read, before the call returns.
    let link = unsafe {
        libbpf_sys::bpf_link_create(program.as_raw_fd(), interface, libbpf_sys::BPF_XDP, &raw const options)
    };
    // SAFETY: a descriptor that the kernel has just made, and nobody else knows.
    check(link).map(|link| unsafe { OwnedFd::from_raw_fd(link) })
}

/// Stores a value; both must be as large as the map's.
pub(crate) fn put<K, V>(map: BorrowedFd<'_>, key: &K, value: &V) -> Result<(), Errno> {
    let (key, value): (*const K, *const V) = (key, value);
    // SAFETY: the callers in this crate pass keys and values of the sizes that `check_layout` has asserted, or that
    // every map of sockets has.
    let done = unsafe { libbpf_sys::bpf_map_update_elem(map.as_raw_fd(), key.cast(), value.cast(), 0) };
    check(done).map(drop)
}

/// Reads the values of all processors.
pub(crate) fn get<K>(map: BorrowedFd<'_>, key: &K, values: &mut [u64]) -> Result<(), Errno> {
    let key: *const K = key;
    // SAFETY: the one caller passes as many words as the kernel has processors.
    let done =
        unsafe { libbpf_sys::bpf_map_lookup_elem(map.as_raw_fd(), key.cast(), values.as_mut_ptr().cast()) };
    check(done).map(drop)
}

/// Gives a map a name in a file system for such.
pub(crate) fn pin(map: BorrowedFd<'_>, path: &std::ffi::CStr) -> Result<(), Errno> {
    // SAFETY: the text ends in a zero and is only read, before the call returns.
    let done = unsafe { libbpf_sys::bpf_obj_pin(map.as_raw_fd(), path.as_ptr()) };
    check(done).map(drop)
}

/// Runs a program on a frame, as if an interface had received it. Returns the verdict.
#[cfg(test)]
pub(crate) fn run(program: BorrowedFd<'_>, frame: &[u8]) -> Result<u32, Errno> {
    let size = libbpf_sys::size_t::try_from(size_of::<libbpf_sys::bpf_test_run_opts>()).expect("small");
    let mut options = libbpf_sys::bpf_test_run_opts { sz: size, repeat: 1, ..Default::default() };
    options.data_in = frame.as_ptr().cast();
    options.data_size_in = u32::try_from(frame.len()).expect("a frame");
    // SAFETY: `options` says its own size, and names `frame`, which is only read.
    let done = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    check(done).map(|_done| options.retval)
}

/// What libbpf returned: a number, or a negative errno.
fn check(result: i32) -> Result<i32, Errno> {
    if result < 0 { Err(Errno::from_raw_os_error(-result)) } else { Ok(result) }
}
