//! Rings of guests, both sides in one process: what one guest transmits the other receives, and what a guest may do
//! wrong harms nobody else.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

#[path = "rings/hostile.rs"]
mod hostile;
#[path = "rings/rig.rs"]
mod rig;
#[path = "rings/scene.rs"]
mod scene;
#[path = "rings/sleepers.rs"]
mod sleepers;
#[path = "rings/transport.rs"]
mod transport;
