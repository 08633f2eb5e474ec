//! The JSON reader: any bytes, in pieces of any size.
//!
//! Beside "it does not panic": pieces make no difference, and what is printed is read as the same value.

#![no_main]

use controlplane::qmp::json::{Message, Reader, print};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fn messages(bytes: &[u8], piece: usize) -> Vec<Message> {
    let mut reader = Reader::default();
    let mut found = Vec::new();
    for mut bytes in bytes.chunks(piece) {
        while let Some(message) = reader.next(&mut bytes) {
            found.push(message);
        }
        assert!(bytes.is_empty());
    }
    found.extend(reader.finish());
    found
}

/// Equal but for the kind of a number: a double without a fraction comes back as an integer.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|((name, one), (also, other))| name == also && is_same(one, other))
        }
        _ => one == other,
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let whole = messages(bytes, usize::MAX);
    assert_eq!(whole, messages(bytes, usize::from(piece) + 1));
    for value in whole.into_iter().flatten() {
        let text = print(&value);
        assert!(text.is_ascii() && !text.contains('\n'));
        // QEMU's word for an infinite number is no JSON.
        if !text.contains("inf") {
            let again = messages(text.as_bytes(), usize::MAX).remove(0).expect("what is printed is right");
            assert!(is_same(&value, &again), "{text}");
        }
    }
});
