//! Requests of guests to the DHCPv6 server: any bytes, and a reply buffer of any length.

#![no_main]

use framewire_dataplane::driver::user::dhcpv6::{self, REPLY_BYTES_MAX, Server};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [room, input @ ..] = input else { return };
    let server = Server {
        host: "fec0::2".parse().unwrap(),
        mac: [0x52, 0x56, 0, 0, 0, 2],
        dns: "fec0::3".parse().unwrap(),
        file: b"efi/boot.efi",
    };
    let mut whole = [0xa5; REPLY_BYTES_MAX + 1];
    let answer = dhcpv6::answer(input, &server, &mut whole);
    if let Some(length) = answer {
        assert!(length <= REPLY_BYTES_MAX && input[0] == 11 && whole[0] == 7 && whole[1..4] == input[1..4]);
        assert!(whole[length..].iter().all(|byte| *byte == 0xa5), "nothing behind the reply");
    }
    // With less room there is the same reply or none.
    let mut short = vec![0; usize::from(*room)];
    match dhcpv6::answer(input, &server, &mut short) {
        Some(length) => assert_eq!(short[..length], whole[..length]),
        None => assert!(answer.is_none_or(|length| length > short.len())),
    }
});
