//! QMP as QEMU speaks it: from bytes of a client to requests, and from answers to bytes.

pub mod answer;
pub mod command;
pub mod json;
pub mod qapi;
pub mod types;
