//! The arguments of every command: the first byte chooses the command, the rest is its arguments as JSON.
//!
//! Beside "it does not panic": whatever is refused is refused with a text.

#![no_main]

use controlplane::qmp::command::TABLE;
use controlplane::qmp::json::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&which, bytes)) = input.split_first() else { return };
    let entry = &TABLE[usize::from(which) % TABLE.len()];
    let mut reader = Reader::default();
    let mut rest = bytes;
    let Some(Ok(arguments)) = reader.next(&mut rest).or_else(|| reader.finish()) else { return };
    if !arguments.is_object() {
        // The form of a request is checked before.
        return;
    }
    match entry.read(Some(&arguments)) {
        Ok(command) => assert_eq!(command.name(), entry.name),
        Err(error) => assert!(!error.desc.is_empty()),
    }
});
