//! A tunnel's header: any datagram, at a tunnel of any options.
//!
//! The oracle reads the header plainly, field by field. What the other end would make is opened, too.

#![no_main]

use framewire_dataplane::driver::{Envelope, Tunnel};
use framewire_dataplane::frame::Strip;
use framewire_shared::counters::DropReason;
use framewire_shared::driver::{Batching, Carrier, Cookies, Counter, DgramOptions, L2tpv3Options};
use libfuzzer_sys::fuzz_target;

const SESSION: u32 = 0x0102_0304;
const COOKIE: u64 = 0x1112_1314_1516_1718;

/// What the options are.
struct Choice {
    carrier: Carrier,
    cookie_bytes: usize,
    counter: Counter,
    offset_bytes: usize,
}

impl Choice {
    fn new(choices: [u8; 3]) -> Self {
        Choice {
            carrier: [Carrier::Udp, Carrier::Ipv4, Carrier::Ipv6][usize::from(choices[0] % 3)],
            cookie_bytes: [0, 4, 8][usize::from(choices[0] / 3 % 3)],
            counter: [Counter::Absent, Counter::Counting, Counter::Pinned][usize::from(choices[1] % 3)],
            offset_bytes: usize::from(choices[2]) % 40,
        }
    }

    fn tunnel(&self) -> Tunnel {
        let dgram = DgramOptions::new(Batching::Single, &[]).unwrap();
        let options = L2tpv3Options::new(dgram, self.carrier, SESSION, SESSION)
            .with_counter(self.counter)
            .with_offset(self.offset_bytes as u32);
        let cookies = Cookies { send: COOKIE, receive: COOKIE, is_64_bit: self.cookie_bytes == 8 };
        Tunnel::new(&if self.cookie_bytes > 0 { options.with_cookies(cookies) } else { options })
    }

    /// The plain reading.
    fn read(&self, datagram: &[u8]) -> Result<usize, DropReason> {
        let mut at = match self.carrier {
            Carrier::Udp => 4,
            Carrier::Ipv6 => 0,
            Carrier::Ipv4 => usize::from(datagram.first().unwrap_or(&0) & 15) * 4,
        };
        if self.carrier == Carrier::Ipv4 && at < 20 {
            return Err(DropReason::Runt);
        }
        let counter_bytes = if self.counter == Counter::Absent { 0 } else { 4 };
        let frame_at = at + 4 + self.cookie_bytes + counter_bytes + self.offset_bytes;
        if datagram.len() <= frame_at {
            return Err(DropReason::Runt);
        }
        let is_session = datagram[at..at + 4] == SESSION.to_be_bytes();
        at += 4;
        if datagram[at..at + self.cookie_bytes] != COOKIE.to_be_bytes()[8 - self.cookie_bytes..] {
            return Err(DropReason::WrongCookie);
        }
        if is_session { Ok(frame_at) } else { Err(DropReason::Foreign) }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choices, datagram)) = input.split_first_chunk::<3>() else { return };
    let (choice, mut strip) = (Choice::new(*choices), Strip::new(1 << 17).unwrap());
    let mut tunnel = choice.tunnel();
    let mut open = |tunnel: &Tunnel, bytes: &[u8]| {
        strip.clear();
        let place = strip.landing().expect("it is empty").segment().part(0, bytes.len());
        place.write(0, bytes);
        tunnel.frame_at(place)
    };
    assert_eq!(open(&tunnel, datagram), choice.read(datagram));
    let ip: &[u8] = if choice.carrier == Carrier::Ipv4 { &[0x45; 20] } else { &[] };
    let made = [ip, tunnel.header(u64::from(choices[1])), datagram, &[0]].concat();
    let at = open(&tunnel, &made).expect("the other end made it");
    assert!(made[at..] == [datagram, &[0]].concat()[..]);
});
