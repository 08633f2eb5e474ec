//! Requests of guests to the DHCP server, one after another: any bytes, at a network of any size.

#![no_main]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use framewire_dataplane::driver::user::dhcp::{self, Leases, REPLY_BYTES, Server};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [prefix, first, restricted, input @ ..] = input else { return };
    let mask = Ipv4Addr::from_bits(u32::MAX << (32 - (8 + u32::from(prefix % 23))));
    let server = Server {
        host: Ipv4Addr::new(10, 0, 2, 2),
        dns: Ipv4Addr::new(10, 0, 2, 3),
        mask,
        first: Ipv4Addr::new(10, 0, 2, *first),
        is_restricted: restricted & 1 == 1,
        options: &[12, 3, b'b', b'o', b'x'],
        file: b"pxelinux.0",
    };
    let mut leases = Leases::default();
    let mut holders = BTreeMap::new();
    let mut rest = input;
    // Requests lie one behind the other, their lengths before them.
    while let [high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        let (request, behind) = behind.split_at(length);
        rest = behind;
        let mut reply = [0xa5; REPLY_BYTES];
        let Some(answer) = dhcp::answer(request, &server, &mut leases, &mut reply) else {
            assert_eq!(reply, [0xa5; REPLY_BYTES], "nothing is written without an answer");
            continue;
        };
        assert_eq!((reply[0], &reply[4..8], &reply[28..34]), (2, &request[4..8], &answer.client[..]));
        assert!(reply[34..108].iter().all(|byte| *byte == 0));
        if let Some(address) = answer.address {
            assert!(address != server.host && address != server.dns && address.octets() == reply[16..20]);
            assert_eq!(*holders.entry(address).or_insert(answer.client), answer.client);
            assert!(holders.len() <= dhcp::LEASES);
        }
    }
});
