//! The arguments, answers and event data of the protocol, by what they are about.
//!
//! Options of netdevs are not here: each kind's are in its own file below `kind`, so that a kind is one file.

pub mod chardev;
pub mod descriptor;
pub mod device;
pub mod event;
pub mod machine;
pub mod net;
pub mod pci;
pub mod session;
pub mod socket_address;
pub mod status;
pub mod usernet;
pub mod yank;
