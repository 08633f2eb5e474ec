//! Each kind against peers that are not ours: the kernel, QEMU's own netdevs, socat.
//!
//! One file a kind, and in each the same five questions: is it made by QMP, do frames cross both ways byte for byte,
//! does its link go down and up, are wrong options refused in QEMU's words, is it unmade with nothing left over?

mod af_xdp;
mod bridge;
mod dgram;
mod framed;
mod hubport;
mod kernels;
mod l2tpv3;
mod nic;
mod none;
mod socket;
mod stream;
mod tap;
mod user;
mod vde;
