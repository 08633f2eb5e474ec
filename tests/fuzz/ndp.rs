//! Messages about neighbours and routers: any bytes from anywhere, at a network of any prefix.

#![no_main]

use std::net::Ipv6Addr;

use framewire_dataplane::driver::user::ndp::{self, MESSAGE_BYTES_MAX, Message, Network};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((head, bytes)) = input.split_first_chunk::<35>() else { return };
    let [length, hop_limit, choices, addresses @ ..] = head;
    let address = |at: usize| Ipv6Addr::from(*addresses[at..].first_chunk::<16>().unwrap());
    let prefix: Ipv6Addr = "2001:db8::".parse().unwrap();
    let of = |host: u128| Ipv6Addr::from_bits(prefix.to_bits() | host);
    let network = Network {
        prefix,
        prefix_length: length % 129,
        host: of(2),
        dns: of(3),
        has_resolver: choices & 1 == 1,
        search: &[31, 1, 0, 0, 0, 0, 7, 8],
    };
    let message = Message {
        source: address(0),
        destination: address(16),
        hop_limit: if choices & 2 == 2 { 255 } else { *hop_limit },
        bytes,
    };
    let mut reply = [0xa5; MESSAGE_BYTES_MAX];
    let Some(answer) = ndp::answer(&message, &network, &mut reply) else { return };
    assert!(message.hop_limit == 255 && bytes.len() >= 8);
    assert!(reply[answer.bytes..].iter().all(|byte| *byte == 0xa5), "nothing behind the message");
    match reply[0] {
        134 => assert!(bytes[0] == 133 && answer.source == network.router()),
        136 => assert!(bytes[0] == 135 && answer.source.octets() == bytes[8..24]),
        other => panic!("{other} is no answer"),
    }
});
