//! What Framewire's two processes must agree on, and nothing else.
//!
//! The control plane (`framewire`) and the data plane (`framewire-dataplane`) meet in three places:
//!
//! * the **configuration region**, a sealed memfd that only the control plane can write: the published
//!   plan ([`plan`], [`publish`]) and how far it has read the data plane's happenings;
//! * the **status region**, a sealed memfd that only the data plane writes: acknowledgements, counters
//!   ([`counters`]) and happenings ([`happenings`]);
//! * the **handover socket** ([`handover`]), for what memory cannot carry: file descriptors, with the
//!   options that a driver is built from ([`driver`]).
//!
//! And what they give up before a guest can reach them is taken from them in one way ([`confinement`]).
//!
//! The rule for every shared word: one writer, named in its comment. The data plane parses what hostile
//! guests send, so the control plane believes nothing that it reads back: each accessor of the status
//! region clamps, and no value read there is used as an index unchecked. The data plane trusts the
//! configuration, but checks it all the same when it adopts a plan: a bug over there must not become a
//! wild access over here.

pub mod atomic;
pub mod ledger;
pub mod limits;
pub mod publish;

#[cfg(not(loom))]
pub mod confinement;
#[cfg(not(loom))]
pub mod counters;
#[cfg(not(loom))]
pub mod driver;
#[cfg(not(loom))]
pub mod files;
#[cfg(not(loom))]
pub mod flows;
#[cfg(not(loom))]
pub mod handover;
#[cfg(not(loom))]
pub mod happenings;
#[cfg(not(loom))]
pub mod plan;
#[cfg(not(loom))]
pub mod region;
#[cfg(not(loom))]
pub mod rx_filter;
#[cfg(not(loom))]
pub mod session;
#[cfg(not(loom))]
pub mod stream_memory;
#[cfg(not(loom))]
pub mod xsk_memory;
