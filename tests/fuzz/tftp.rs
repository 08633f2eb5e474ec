//! A TFTP server and its guests: any datagrams from some ports, files that open, fail and are cut short, and time.

#![no_main]

use std::net::Ipv4Addr;

use framewire_dataplane::driver::user::tftp::{
    Answer, Files, NAME_BYTES_MAX, Peer, REPLY_BYTES_MAX, Reference, Sessions,
};
use libfuzzer_sys::fuzz_target;
use rustix::io::Errno;

/// A file of any length whose bytes are known by their place. It is read only in slots that are open.
struct File {
    size: u64,
    open: [bool; 20],
}

impl Files for File {
    fn read(&mut self, slot: u8, offset: u64, into: &mut [u8]) -> Result<usize, Errno> {
        assert!(self.open[usize::from(slot)], "a file is read before it is opened");
        if self.size == 77 {
            return Err(Errno::IO);
        }
        let left = self.size.saturating_sub(offset);
        let length = into.len().min(usize::try_from(left).unwrap());
        into[..length].fill(offset as u8);
        Ok(length)
    }
}

fuzz_target!(|input: &[u8]| {
    let mut sessions = Sessions::default();
    let mut file = File { size: 0, open: [false; 20] };
    let mut waiting: Vec<Reference> = Vec::new();
    let mut now_ms = 0;
    let mut rest = input;
    while let [port, what, length, behind @ ..] = rest {
        let (datagram, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        now_ms += u64::from(what >> 2) * 100;
        let peer = Peer { address: Ipv4Addr::new(10, 0, 2, 15).into(), port: u16::from(port % 32) };
        let mut reply = [0xa5; REPLY_BYTES_MAX];
        if what & 3 == 0 && !waiting.is_empty() {
            let reference = waiting.swap_remove(usize::from(*port) % waiting.len());
            file.size = u64::from(*length) * 20;
            let is_there = file.size != 0;
            file.open[usize::from(reference.slot)] |= is_there && sessions.is_alive(reference);
            let size = if is_there { Ok(file.size) } else { Err(Errno::NOENT) };
            if let Some((_peer, length)) = sessions.opened(reference, size, &mut file, &mut reply) {
                check(&reply, length);
            }
            continue;
        }
        match sessions.take(peer, datagram, now_ms, &mut file, &mut reply) {
            Answer::Silence => {}
            Answer::Reply(length) => check(&reply, length),
            Answer::Open(reference, name) => {
                assert!((1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(&0));
                assert!(sessions.is_alive(reference));
                waiting.push(reference);
            }
        }
    }
});

fn check(reply: &[u8; REPLY_BYTES_MAX], length: usize) {
    assert!((4..=REPLY_BYTES_MAX).contains(&length) && matches!(reply[..2], [0, 3 | 5 | 6]));
    assert!(reply[length..].iter().all(|byte| *byte == 0xa5 || reply[1] == 5), "nothing behind the reply");
}
