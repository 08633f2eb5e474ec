//! The clients that drive QEMU's monitor today, driving this one.
//!
//! Two are here as they are: the library `qemu.qmp` and `qmp-shell`. The others are whole orchestrators, too much to be
//! started in a test; so what they write, to the byte, is replayed by [`wire`], and what they need to read is what the
//! tests ask for. Each has traits of its own: no line ends, no ids, names with slashes, a new connection for every
//! batch, replies that must fit a buffer.

mod human;
mod incus;
mod kata;
mod libvirt;
mod nova;
mod proxmox;
mod qemu_qmp;
mod qmp_shell;
mod rigs;
mod schema;
mod wire;
