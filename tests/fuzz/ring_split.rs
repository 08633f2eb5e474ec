//! A split ring whose guest writes anything anywhere, also while it is looked at. See `rings/mod.rs`.

#![no_main]

mod rings;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| rings::run(input, false));
