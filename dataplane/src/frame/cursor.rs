//! A place in the bytes of a frame that lie in several segments.

use super::Segment;
use super::checksum::Sum;

/// Goes through a list of segments from the front; what it has passed it never looks at again.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    /// The first is the one it is in.
    segments: &'a [Segment],
    /// Bytes of the first that it has passed.
    passed: usize,
}

impl<'a> Cursor<'a> {
    /// At the first byte.
    #[must_use]
    pub fn new(segments: &'a [Segment]) -> Self {
        Cursor { segments, passed: 0 }
    }

    /// The next bytes as far as they lie together, `len` at most. None at the end, or if `len` is 0.
    #[inline]
    pub fn part(&mut self, len: usize) -> Option<Segment> {
        loop {
            let first = self.segments.first()?;
            let part = first.part(self.passed, len);
            self.passed += part.len();
            if self.passed >= first.len() {
                self.segments = &self.segments[1..];
                self.passed = 0;
            }
            if part.len() > 0 || len == 0 {
                return (len > 0).then_some(part);
            }
        }
    }

    /// The next `len` bytes, piece by piece. The cursor passes those that are taken.
    #[inline]
    pub fn parts<'b>(&'b mut self, len: usize) -> impl Iterator<Item = Segment> + use<'a, 'b> {
        let mut left = len;
        std::iter::from_fn(move || {
            let part = self.part(left)?;
            left -= part.len();
            Some(part)
        })
    }

    /// Passes `len` bytes.
    #[inline]
    pub fn pass(&mut self, len: usize) {
        self.parts(len).for_each(drop);
    }

    /// In how many pieces the next `len` bytes lie.
    #[inline]
    #[must_use]
    pub fn pieces(mut self, len: usize) -> usize {
        self.parts(len).count()
    }

    /// The next `len` bytes added up.
    #[inline]
    #[must_use]
    pub fn sum(mut self, len: usize) -> Sum {
        self.parts(len).fold(Sum::default(), |sum, part| sum.then(part.sum()))
    }

    /// Copies the next bytes out, as many as there are and fit, and passes them.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let mut at = 0;
        for part in self.parts(into.len()) {
            at += part.read(0, &mut into[at..]);
        }
        at
    }

    /// Copies the next bytes to the beginning of `into`, as many as there are and fit, and passes them.
    pub fn copy_to(&mut self, into: &Segment) {
        let mut at = 0;
        for part in self.parts(into.len()) {
            part.copy_to(into, at);
            at += part.len();
        }
    }
}
