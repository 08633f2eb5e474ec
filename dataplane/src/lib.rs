//! Framewire's data plane: moves Ethernet frames, knows no names and opens nothing.
//!
//! A library besides a program so that `perf/` can run its pieces alone.

pub mod doorbell;
pub mod driver;
pub mod frame;
pub mod turn;
