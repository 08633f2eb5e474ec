//! Framewire's data plane: moves Ethernet frames, knows no names and opens nothing.
//!
//! A library besides a program so that `perf/` can run its pieces alone.

pub mod adopt;
pub mod announce;
pub mod crew;
pub mod doorbell;
pub mod driver;
pub mod errand;
pub mod foreman;
pub mod frame;
pub mod isolate;
pub mod kernel;
pub mod registry;
pub mod rest;
pub mod turn;
pub mod uring;
pub mod vhost_user;
pub mod virtqueue;
pub mod wire;
pub mod worker;
pub mod xsk;
