//! The machine: namespaces of one's own, pinned processes, and who had the processor.

pub mod bare;
pub mod launch;
pub mod processes;
pub mod sandbox;
pub mod schedule;
pub mod veth;
pub mod wake;
