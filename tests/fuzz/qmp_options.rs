//! The options of the command line: the same visitor, led by keys and values instead of JSON.
//!
//! Beside "it does not panic": what is refused is refused with a text, and what was read means the same when it is
//! written as the monitor's JSON and read again.

#![no_main]

use controlplane::kind::NetdevAdd;
use controlplane::qmp::endpoint::Endpoint;
use controlplane::qmp::qapi::{Dialect, Place, QapiType};
use controlplane::qmp::types::chardev::ChardevAdd;
use libfuzzer_sys::fuzz_target;

fn comes_back<T: QapiType + PartialEq + std::fmt::Debug>(read: &T) {
    let printed = read.print();
    let again = T::visit(&Place::root(&printed, Dialect::Json));
    assert_eq!(again.as_ref(), Ok(read), "printed: {printed}");
}

fuzz_target!(|input: &[u8]| {
    let Some((which, text)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match which % 3 {
        0 => match NetdevAdd::from_option(text) {
            Ok(netdev) => comes_back(&netdev),
            Err(error) => assert!(!error.desc.is_empty()),
        },
        1 => match ChardevAdd::from_option(text) {
            Ok(chardev) => comes_back(&chardev),
            Err(error) => assert!(!error.desc.is_empty()),
        },
        _ => drop(Endpoint::parse(text)),
    }
});
