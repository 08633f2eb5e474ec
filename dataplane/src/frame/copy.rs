//! The only place where this process copies frames.
//!
//! Frames between guests are small or of a page, and most are small: those are copied by a few wide loads and
//! stores in line, where a call to the C library's `memmove` costs as much as the copy. From some length on
//! the library is as fast as anything (measured: AVX2 and AVX-512 alike; stores past the cache are five times
//! slower, since the receiver reads at once).

use super::{Cursor, Segment};

/// Up to here, in line.
const INLINE_BYTES_MAX: usize = 256;

/// Copies the first `len` bytes of `from` to the beginning of `to`. Guests may have laid the two over each
/// other; then they get what they deserve, within their own memory.
///
/// # Panics
/// If either is shorter.
#[inline]
pub fn copy(from: &Segment, to: &Segment, len: usize) {
    assert!(len <= from.len() && len <= to.len(), "copying past a segment");
    let (from, to) = (from.base().cast_const(), to.base());
    // SAFETY: both segments have `len` bytes, as just checked, for which their makers vouched.
    unsafe { copy_bytes(from, to, len) };
}

/// Copies all of `from` into `to`, behind its first `skip` bytes.
///
/// # Panics
/// If it does not fit.
#[inline]
pub fn copy_behind(from: &Segment, to: &Segment, skip: usize) {
    assert!(skip <= to.len() && from.len() <= to.len() - skip, "copying past a segment");
    let (len, from, to) = (from.len(), from.base().cast_const(), to.base().wrapping_add(skip));
    // SAFETY: both segments have `len` bytes from there on, as just checked, for which their makers vouched.
    unsafe { copy_bytes(from, to, len) };
}

/// Copies the bytes of `from`, one segment after another, over those at `to`; as many as both have. Returns how
/// many.
pub fn gather(from: &[Segment], mut to: Cursor<'_>) -> usize {
    let mut done = 0;
    for segment in from {
        let mut at = 0;
        while at < segment.len() {
            let Some(part) = to.part(segment.len() - at) else { return done };
            copy(&segment.part(at, part.len()), &part, part.len());
            at += part.len();
            done += part.len();
        }
    }
    done
}

/// # Safety
/// `len` bytes at both addresses are mapped, and nobody has references to them.
#[inline]
unsafe fn copy_bytes(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: `N` bytes at `at` are within `len`, wherever this is used below.
    let block16 = |at: usize| unsafe { block::<16>(from.wrapping_add(at), to.wrapping_add(at)) };
    // SAFETY: as above.
    let block64 = |at: usize| unsafe { block::<64>(from.wrapping_add(at), to.wrapping_add(at)) };
    match len {
        16..32 => [0, len - 16].into_iter().for_each(block16),
        32..64 => [0, 16, len - 32, len - 16].into_iter().for_each(block16),
        64..=INLINE_BYTES_MAX => {
            (0..len - 64).step_by(64).for_each(block64);
            block64(len - 64); // Part of it may have been copied already.
        }
        // SAFETY: the caller's promise; `copy` allows overlap.
        _other => unsafe { from.copy_to(to, len) },
    }
}

/// Copies `N` bytes at once: all are loaded before any is stored.
///
/// # Safety
/// As [`copy_bytes`].
#[inline]
unsafe fn block<const N: usize>(from: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise; bytes have no alignment, and `copy` allows overlap.
    unsafe { from.cast::<[u8; N]>().copy_to(to.cast(), 1) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_and_not_a_byte_more() {
        let mut source: Vec<u8> = (0..2000u32).map(|i| (i % 251) as u8 + 1).collect();
        let from = Segment::of_test(&mut source);
        for len in 0..2000 {
            let mut target = vec![0; 2000];
            copy(&from, &Segment::of_test(&mut target), len);
            assert_eq!(target[..len], source[..len], "{len} bytes");
            assert!(target[len..].iter().all(|byte| *byte == 0), "{len} bytes and more");
        }
    }

    #[test]
    fn pieces_are_gathered_whatever_their_cut() {
        for cut in 1..9 {
            let mut source: Vec<u8> = (1..=40).collect();
            let from: Vec<_> = source.chunks_mut(cut).map(Segment::of_test).collect();
            let mut target = [0; 30];
            let to: Vec<_> = target.chunks_mut(7).map(Segment::of_test).collect();
            assert_eq!(gather(&from, Cursor::new(&to)), 30);
            assert_eq!(target[..], source[..30], "in pieces of {cut}");
        }
    }
}
