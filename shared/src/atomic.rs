//! Atomics for the code that loom models: the standard ones, or loom's under `--cfg loom`.
//!
//! loom's atomics carry bookkeeping and so cannot lie in shared memory; only [`crate::publish`], which
//! works on references and never on a layout, is compiled against them.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
