//! A frame described, never copied.
//!
//! A frame is a list of segments (addresses and lengths, as in `struct iovec`) with what is still to be
//! done to it ([`Offload`]). Frames travel in a [`Burst`], all of one source. Their bytes stay where they
//! arrived: in the worker's [`Strip`].

mod burst;
pub mod checksum;
mod copy;
mod cursor;
mod headers;
mod lowering;
pub mod offload;
mod segment;
mod segmenter;
mod strip;

pub use burst::{Burst, Frame, SEGMENTS_MAX};
pub use copy::{copy, copy_behind, gather};
pub use cursor::Cursor;
pub use lowering::{Batch, Progress, lower, lower_large};
pub use offload::Offload;
pub use segment::{Segment, SegmentList};
pub use strip::{HEADROOM_BYTES, Landing, Strip};
