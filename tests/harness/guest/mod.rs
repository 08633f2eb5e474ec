//! A guest in user space: the driver's side of virtio-net, without a virtual machine.
//!
//! It lays out memory as a guest's is, in files that a device maps, and drives split and packed rings in it with every
//! feature that a driver may negotiate. It is written from the specification alone and shares no line with the data
//! plane's side, so that a misreading does not cancel out. What no driver may do it can do as well: its rings let a
//! test write any word ([`memory::Words`]).

#![expect(clippy::cast_possible_truncation, reason = "rings count in words of 16 and 32 bits")]

pub mod control;
pub mod cycle;
pub mod front;
pub mod memory;
pub mod nic;
pub mod packed;
pub mod ring;
pub mod split;

pub use control::Controller;
pub use cycle::Cycle;
pub use front::Front;
pub use memory::GuestMemory;
pub use nic::{Layout, Manners, Received, Receiver, Transmitter};
pub use ring::{Piece, Ring, Shape};
