//! Guests' sessions: the data plane as a process, this test in the control plane's place and in that of two VMMs
//! with their guests.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

#[path = "sessions/config.rs"]
mod config;
#[path = "sessions/control.rs"]
mod control;
#[path = "sessions/hostile.rs"]
mod hostile;
#[path = "sessions/life.rs"]
mod life;
#[path = "sessions/misuse.rs"]
mod misuse;
#[path = "sessions/pairs.rs"]
mod pairs;
#[path = "plane/mod.rs"]
mod plane;
#[path = "sessions/qemu.rs"]
mod qemu;
#[path = "sessions/stage.rs"]
mod stage;
