//! Harness of the system tests: real processes, real kernel, nothing faked.
//!
//! A test makes its own network namespaces and runs its own `framewire` with a runtime directory of its own, so tests
//! may run side by side and leave nothing behind, even when they panic. The rejected way was one long-lived server for
//! all tests: quicker, but then a test's outcome depends on those before it, and "nothing is left over" cannot be asked.
//!
//! Panics with context are this crate's way to fail: it is test code, and a test that cannot go on must say why.

pub mod bench;
pub mod denied;
pub mod flow;
pub mod frames;
pub mod framewire;
pub mod guest;
pub mod leaks;
pub mod machine;
pub mod namespace;
pub mod need;
pub mod packet;
pub mod port;
pub mod precedence;
pub mod process;
pub mod programs;
pub mod qmp;
pub mod scratch;
pub mod traffic;
pub mod tun;
pub mod udp;
pub mod vde;
pub mod wait;
