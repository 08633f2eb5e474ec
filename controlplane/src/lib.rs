//! The control plane as a library: all of it, so that tests and fuzz targets reach the pieces that the
//! process in `main.rs` is made of.

pub mod adoption;
pub mod amendment;
pub mod chardev;
pub mod cli;
pub mod connection;
pub mod dataplane;
pub mod execute;
pub mod folders;
pub mod host;
pub mod inventory;
pub mod kind;
pub mod nameservers;
pub mod network;
pub mod nic;
pub mod planner;
pub mod plugs;
pub mod qmp;
pub mod reach;
pub mod serve;
pub mod supervisor;
pub mod transaction;
pub mod vault;
pub mod wells;
