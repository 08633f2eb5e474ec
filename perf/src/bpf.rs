//! A tiny XDP program: each frame of one interface leaves by another. It is a peer (the kernel forwards without any
//! process), and it is how the generator sends: run on a frame that a program hands in, as many times as wanted, it
//! puts real frames on an interface without a packet for each, which is five times as fast as any socket.
//!
//! Four instructions need no compiler, and two calls no library.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

const PROG_LOAD: libc::c_int = 5;
const PROG_RUN: libc::c_int = 10;
const LINK_CREATE: libc::c_int = 28;
/// `BPF_PROG_TYPE_XDP` and `BPF_XDP`.
const TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
/// In the driver.
const DRIVER_MODE: u32 = 1 << 2;
/// Frames are sent, not only looked at (`BPF_F_TEST_XDP_LIVE_FRAMES`).
const LIVE_FRAMES: u32 = 1 << 1;

/// The beginning of `union bpf_attr` for each call; the kernel takes what is missing for zeros.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
}

#[repr(C)]
#[derive(Default)]
struct Run {
    program: u32,
    result: u32,
    data_bytes: u32,
    data_out_bytes: u32,
    data: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_bytes: u32,
    context_out_bytes: u32,
    context: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    padding: u32,
}

#[repr(C)]
struct Attach {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
}

/// `struct xdp_md`, with the frame's length.
#[repr(C)]
#[derive(Default)]
struct Context {
    data: u32,
    data_end: u32,
    rest: [u32; 4],
}

/// A program that sends every frame out of `interface`.
///
/// # Errors
/// As the kernel says: `EPERM` without the capabilities to load programs.
pub(crate) fn redirect_to(interface: u32) -> io::Result<OwnedFd> {
    // r1 = interface; r2 = 0; bpf_redirect(r1, r2); return its verdict.
    let code: [u64; 4] = [0x1b7 | u64::from(interface) << 32, 0x2b7, 0x85 | 23 << 32, 0x95];
    let load = Load {
        kind: TYPE_XDP,
        instructions: 4,
        code: address(&code),
        license: address(c"GPL".to_bytes_with_nul()),
    };
    let program = call(PROG_LOAD, &load)?;
    // SAFETY: a descriptor that the kernel has just made, and nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(program) })
}

/// Puts a program on an interface, as long as what is returned is held.
///
/// # Errors
/// As the kernel says.
pub(crate) fn attach(program: BorrowedFd<'_>, interface: u32) -> io::Result<OwnedFd> {
    let program = program.as_raw_fd().cast_unsigned();
    let link = call(LINK_CREATE, &Attach { program, interface, kind: ATTACH_XDP, flags: DRIVER_MODE })?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Runs a program `repeat` times on copies of `frame`, and does with them what it says.
///
/// # Errors
/// As the kernel says.
pub(crate) fn send(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<()> {
    let bytes = u32::try_from(frame.len()).map_err(|_long| io::Error::from(io::ErrorKind::InvalidInput))?;
    let context = Context { data_end: bytes, ..Context::default() };
    let run = Run {
        program: program.as_raw_fd().cast_unsigned(),
        data: address(frame),
        data_bytes: bytes,
        repeat,
        context: address(&context),
        context_bytes: u32::try_from(size_of::<Context>()).expect("small"),
        flags: LIVE_FRAMES,
        ..Run::default()
    };
    call(PROG_RUN, &run).map(drop)
}

fn address<T: ?Sized>(of: &T) -> u64 {
    (&raw const *of).cast::<u8>() as u64
}

fn call<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: of `attributes` the kernel reads as much as is said. What that points to is only read too, and lives
    // in the callers above until the call has returned. (`Run` has room for what the kernel writes back: the result
    // and the duration, which nobody looks at.)
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes).cast_mut(), size_of::<T>())
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(libc::c_int::try_from(answer).unwrap_or(0)) }
}
