//! What people and programs get to see.

pub mod lines;
pub mod table;
