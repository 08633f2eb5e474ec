//! The Internet checksum (RFC 1071), over bytes that lie in pieces.
//!
//! One's complement addition does not care for byte order as long as it is the same everywhere, nor for how
//! wide the words are that are added before the result is folded: so bytes are added as 32-bit words of
//! this machine, many at once, into 64-bit lanes that cannot overflow, and folded once at the end. Only a
//! piece that begins at an odd offset counts with its bytes swapped, which is why a [`Sum`] knows whether
//! what it has seen so far is odd.
//!
//! Measured on an EPYC of family 26, ns for 1448 B and for 65000 B: 48 and 1940 as here (the compiler makes
//! SSE2 of it), 57 and 2750 with 64-bit adds and carries by hand, 33 and 1620 with AVX2 chosen at run time.
//! The last is not worth an `unsafe` call and a second copy: the kernel's own work on such a frame takes
//! microseconds.

/// Bytes that are added at once.
pub(super) const BLOCK_BYTES: usize = 32;

const LANES: usize = BLOCK_BYTES / 4;

/// The sum of some bytes, not folded yet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    words: u64,
    is_odd: bool,
}

impl Sum {
    /// Of a few bytes.
    #[inline]
    #[must_use]
    pub fn of(bytes: &[u8]) -> Sum {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        Sum::of_blocks(blocks.iter().copied(), rest)
    }

    /// Of whole blocks and of the less than a block that follows them.
    #[inline]
    pub(super) fn of_blocks(blocks: impl Iterator<Item = [u8; BLOCK_BYTES]>, rest: &[u8]) -> Sum {
        let mut lanes = [0u64; LANES];
        for block in blocks {
            add(&mut lanes, &block);
        }
        // Zeros add nothing.
        let mut last = [0; BLOCK_BYTES];
        last[..rest.len()].copy_from_slice(rest);
        add(&mut lanes, &last);
        Sum { words: lanes.iter().sum(), is_odd: rest.len() % 2 == 1 }
    }

    /// Of one 16-bit field of a header.
    #[inline]
    #[must_use]
    pub fn of_word(word: u16) -> Sum {
        Sum { words: u64::from(u16::from_ne_bytes(word.to_be_bytes())), is_odd: false }
    }

    /// Of these bytes and, behind them, those of `next`.
    #[inline]
    #[must_use]
    pub fn then(self, next: Sum) -> Sum {
        let words = if self.is_odd { u64::from(next.folded().swap_bytes()) } else { next.words };
        // At most 2^48 are ever added up here: 2^16 words of 32 bits, a few times.
        Sum { words: self.words + words, is_odd: self.is_odd != next.is_odd }
    }

    /// The checksum as it goes into a header. Never 0, which means "no checksum" in UDP and is the same
    /// number as 0xffff everywhere else.
    #[inline]
    #[must_use]
    pub fn checksum(self) -> [u8; 2] {
        match !self.folded() {
            0 => [0xff, 0xff],
            checksum => checksum.to_ne_bytes(),
        }
    }

    #[inline]
    fn folded(self) -> u16 {
        let mut words = self.words;
        while let Some(carry) = words.checked_shr(16).filter(|carry| *carry > 0) {
            words = (words & 0xffff) + carry;
        }
        u16::try_from(words).expect("folded until nothing is above 16 bits")
    }
}

#[inline]
fn add(lanes: &mut [u64; LANES], block: &[u8; BLOCK_BYTES]) {
    let (words, _none) = block.as_chunks::<4>();
    for (lane, word) in lanes.iter_mut().zip(words) {
        *lane += u64::from(u32::from_ne_bytes(*word));
    }
}

#[cfg(test)]
pub(super) mod oracle {
    /// The checksum as RFC 1071 describes it: 16 bits at a time, network byte order, carry by carry.
    pub(in crate::frame) fn folded_sum(bytes: &[u8]) -> u16 {
        let mut sum = 0u16;
        for pair in bytes.chunks(2) {
            let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            let (added, carried) = sum.overflowing_add(word);
            sum = added + u16::from(carried);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::oracle::folded_sum;
    use super::*;
    use proptest::prelude::*;

    fn expected(bytes: &[u8]) -> [u8; 2] {
        match !folded_sum(bytes) {
            0 => [0xff, 0xff],
            checksum => checksum.to_be_bytes(),
        }
    }

    proptest! {
        #[test]
        fn sum_of_pieces_is_the_sum_of_all(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
        ) {
            let sum = pieces.iter().fold(Sum::default(), |sum, piece| sum.then(Sum::of(piece)));
            prop_assert_eq!(sum.checksum(), expected(&pieces.concat()));
        }
    }

    #[test]
    fn largest_frame_does_not_overflow() {
        let bytes = vec![0xff; 69_632];
        let sum = Sum::of(&bytes).then(Sum::of(&bytes)).then(Sum::of(&bytes));
        assert_eq!(sum.checksum(), [0xff, 0xff]);
    }

    #[test]
    fn word_counts_as_its_two_bytes() {
        assert_eq!(Sum::of_word(0x1234).checksum(), Sum::of(&[0x12, 0x34]).checksum());
    }
}
