//! Pieces of packets in any order, and time.
//!
//! Beside the table a plain model keeps every byte that came for each packet: what is put together must be these.

#![no_main]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use framewire_dataplane::driver::user::fragment::{Fragment, Outcome, PIECES_MAX, Table};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut table = Table::default();
    let mut model: BTreeMap<u16, BTreeMap<usize, Vec<u8>>> = BTreeMap::new();
    let mut whole = vec![0; 65_535];
    let mut now_ms = 0;
    let mut rest = input;
    while let [choice, offset, units, content, time, behind @ ..] = rest {
        rest = behind;
        now_ms += u64::from(*time) * 16;
        let identification = u16::from(choice >> 3);
        let has_more = choice & 1 == 1;
        let far = if choice & 6 == 6 { 65_000 / 8 } else { 0 };
        let offset = (far + usize::from(*offset)) * 8;
        let length = usize::from(*units) * 8 + if has_more { 0 } else { usize::from(content & 7) };
        let payload = vec![*content; length];
        let fragment = Fragment {
            source: Ipv4Addr::new(10, 0, 2, 15),
            destination: Ipv4Addr::new(10, 0, 2, 2),
            protocol: 17,
            identification,
            offset,
            has_more,
            payload: &payload,
        };
        let bytes = model.entry(identification).or_default();
        for at in offset..offset + length {
            bytes.entry(at).or_default().push(*content);
        }
        if let Outcome::Whole(length) = table.add(&fragment, now_ms, &mut whole) {
            for at in 0..length {
                let came = model[&identification].get(&at).is_some_and(|bytes| bytes.contains(&whole[at]));
                assert!(came, "byte {at} of {length} was never sent");
            }
        }
        assert!(table.pieces_waiting() <= PIECES_MAX);
    }
});
