//! Framewire's figures: a load generator, a sink that proves what arrived, and the comparison with QEMU's own hub.
//!
//! [`frame`] and [`tally`] say what a test frame is and what became of it; [`endpoint`] are the ways into a device;
//! [`load`] drives it; [`device`] starts one; [`compare`] puts two side by side. README.md tells how a number is made.

mod bpf;
mod calls;
pub mod compare;
pub mod device;
pub mod endpoint;
pub mod error;
pub mod frame;
pub mod guest;
pub mod host;
pub mod load;
mod mmsg;
mod records;
pub mod report;
pub mod tally;
