use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::super::recorded::{self, udp_payload};
use super::*;

/// Files that lie in memory, and which of them slots have open.
#[derive(Default)]
struct Folder {
    files: HashMap<Vec<u8>, Vec<u8>>,
    open: HashMap<u8, Vec<u8>>,
    is_broken: bool,
}

impl Files for Folder {
    fn read(&mut self, slot: u8, offset: u64, into: &mut [u8]) -> Result<usize, Errno> {
        if self.is_broken {
            return Err(Errno::IO);
        }
        let rest = self.open[&slot].get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// A guest at a server.
struct Scene {
    sessions: Sessions,
    folder: Folder,
    now_ms: u64,
}

impl Scene {
    fn new() -> Self {
        let counters = |bytes: u32| (0..bytes.div_ceil(4)).flat_map(u32::to_be_bytes).collect();
        let files = [
            (b"a.bin".to_vec(), counters(1200)),
            (b"dir/b".to_vec(), b"line one\nline two\n".to_vec()),
            (b"empty".to_vec(), Vec::new()),
            (b"x512".to_vec(), counters(512)),
        ];
        let folder = Folder { files: files.into(), ..Folder::default() };
        Scene { sessions: Sessions::default(), folder, now_ms: 0 }
    }

    /// Sends, opens what is to be opened, and returns the reply.
    fn send(&mut self, port: u16, datagram: &[u8]) -> Option<Vec<u8>> {
        let peer = Peer { address: Ipv4Addr::new(10, 0, 2, 15).into(), port };
        let mut reply = [0; REPLY_BYTES_MAX];
        let answer = self.sessions.take(peer, datagram, self.now_ms, &mut self.folder, &mut reply);
        let length = match answer {
            Answer::Silence => return None,
            Answer::Reply(length) => length,
            Answer::Open(reference, name) => {
                let size = self.open(reference.slot, name);
                let opened = self.sessions.opened(reference, size, &mut self.folder, &mut reply);
                let (whom, length) = opened.unwrap();
                assert_eq!(whom, peer);
                length
            }
        };
        Some(reply[..length].to_vec())
    }

    /// As the control plane opens, in small.
    fn open(&mut self, slot: u8, name: &[u8]) -> Result<u64, Errno> {
        let mut name = name;
        while let Some(rest) = name.strip_prefix(b"/").or_else(|| name.strip_prefix(b"./")) {
            name = rest;
        }
        let file = self.folder.files.get(name).cloned().ok_or(Errno::NOENT)?;
        let size = file.len() as u64;
        self.folder.open.insert(slot, file);
        Ok(size)
    }
}

#[test]
fn every_recorded_request_is_answered_as_it_was() {
    let mut answered = 0;
    for exchange in recorded::group("tftp") {
        // Acknowledgements that acknowledge nothing are ours to ignore; the DNS server's address has no files.
        if ["tftp-ack-number-is-ignored", "tftp-to-dns-address"].contains(&exchange.name.as_str()) {
            continue;
        }
        let mut scene = Scene::new();
        for step in &exchange.steps {
            let Some(request) = step.sent.first().and_then(|frame| udp_payload(frame)) else { continue };
            // We acknowledge a timeout, too.
            if request.windows(7).any(|window| window == b"timeout") {
                continue;
            }
            let frame = &step.sent[0];
            let port_at = if frame[12] == 8 { 34 } else { 54 };
            let port = u16::from_be_bytes([frame[port_at], frame[port_at + 1]]);
            let answer = if exchange.option("tftp").is_some() {
                scene.send(port, request)
            } else {
                let mut reply = [0; REPLY_BYTES_MAX];
                match refuse(request, &mut reply) {
                    Answer::Reply(length) => Some(reply[..length].to_vec()),
                    Answer::Silence | Answer::Open(..) => None,
                }
            };
            let expected = step.answers.first().and_then(|frame| udp_payload(frame));
            assert_eq!(answer.as_deref(), expected, "{}: {request:?}", exchange.name);
            answered += usize::from(answer.is_some());
        }
    }
    assert!(answered >= 30, "{answered}");
}

#[test]
fn a_block_acknowledged_again_is_sent_again() {
    let mut scene = Scene::new();
    let first = scene.send(1, b"\0\x01a.bin\0octet\0").unwrap();
    assert_eq!(scene.send(1, &[0, 4, 0, 0]).unwrap(), first);
    let second = scene.send(1, &[0, 4, 0, 1]).unwrap();
    assert_eq!(scene.send(1, &[0, 4, 0, 1]).unwrap(), second);
    assert_eq!(scene.send(1, &[0, 4, 0, 9]), None);
    scene.send(1, &[0, 4, 0, 2]).unwrap();
    assert_eq!(scene.send(1, &[0, 4, 0, 3]), None, "the last block ends it");
    assert_eq!(scene.send(1, &[0, 4, 0, 2]), None);
}

#[test]
fn four_options_are_granted_in_their_order() {
    let mut scene = Scene::new();
    let request = b"\0\x01a.bin\0octet\0timeout\x003\0tsize\x000\0blksize\x00600\0windowsize\x004\0";
    assert_eq!(scene.send(1, request).unwrap(), b"\0\x06timeout\x003\0tsize\x001200\0blksize\x00600\0");
    assert_eq!(scene.send(1, &[0, 4, 0, 0]).unwrap().len(), 604);
}

/// The number of a block wraps; a file does not.
#[test]
fn a_file_of_more_blocks_than_numbers_is_sent_whole() {
    let mut scene = Scene::new();
    let content: Vec<u8> = (0..70_000u32).flat_map(u32::to_be_bytes).collect();
    scene.folder.files.insert(b"long".to_vec(), content.clone());
    assert!(scene.send(1, b"\0\x01long\0octet\0blksize\x004\0").is_some());
    let mut received: Vec<u8> = Vec::new();
    let mut number = 0u16;
    while let Some(block) = scene.send(1, &[&[0, 4], &number.to_be_bytes()[..]].concat()) {
        number = number.wrapping_add(1);
        assert_eq!(block[2..4], number.to_be_bytes());
        received.extend(&block[4..]);
    }
    assert_eq!(received, content);
}

#[test]
fn twenty_sessions_and_then_one_that_was_silent_goes() {
    let mut scene = Scene::new();
    let request = b"\0\x01a.bin\0octet\0";
    for port in 0..20 {
        assert_eq!(scene.send(port, request).unwrap()[1], 3);
    }
    assert_eq!(scene.send(20, request).unwrap(), b"\0\x05\0\0Too many transfers\0");
    scene.now_ms = 3000;
    assert!(scene.send(0, &[0, 4, 0, 1]).is_some());
    scene.now_ms = 6000;
    assert_eq!(scene.send(20, request).unwrap()[1], 3);
    assert_eq!(scene.send(1, &[0, 4, 0, 1]), None, "the first silent one has lost its place");
    assert!(scene.send(0, &[0, 4, 0, 2]).is_some());
}

/// Use after free, once: a session that was replaced while its file was opened.
#[test]
fn a_file_that_is_opened_too_late_goes_to_nobody() {
    let mut scene = Scene::new();
    let peer = Peer { address: Ipv6Addr::LOCALHOST.into(), port: 1 };
    let mut reply = [0; REPLY_BYTES_MAX];
    let request = b"a.bin\0octet\0";
    let Scene { sessions, folder, .. } = &mut scene;
    let Answer::Open(early, _name) = sessions.begin(peer, request, 0, &mut reply) else { panic!() };
    let Answer::Open(late, _name) = sessions.begin(peer, request, 0, &mut reply) else { panic!() };
    folder.open.insert(late.slot, vec![1]);
    assert!(!sessions.is_alive(early) && sessions.is_alive(late));
    assert_eq!(sessions.opened(early, Ok(1), folder, &mut reply), None);
    assert_eq!(sessions.opened(late, Ok(1), folder, &mut reply), Some((peer, 5)));
    assert_eq!(sessions.opened(late, Ok(1), folder, &mut reply), None, "once is enough");
}

#[test]
fn a_file_that_cannot_be_read_ends_its_session() {
    let mut scene = Scene::new();
    scene.send(1, b"\0\x01a.bin\0octet\0").unwrap();
    scene.folder.is_broken = true;
    assert_eq!(scene.send(1, &[0, 4, 0, 1]).unwrap(), b"\0\x05\0\x01File not found\0");
    assert_eq!(scene.send(1, &[0, 4, 0, 1]), None);
}

/// CVE-2021-3595: fields read behind a short packet.
#[test]
fn a_request_cut_anywhere_is_refused() {
    let whole = b"\0\x01a.bin\0octet\0blksize\x00600\0";
    for length in 0..whole.len() {
        let mut scene = Scene::new();
        let answer = scene.send(1, &whole[..length]);
        match length {
            0..2 => assert_eq!(answer, None),
            14 => assert_eq!(answer.unwrap()[1], 3),
            _ => assert_eq!(answer.unwrap()[..4], [0, 5, 0, 2], "{length}"),
        }
    }
}

proptest! {
    #[test]
    fn any_datagrams_get_replies_of_their_kind(
        datagrams in prop::collection::vec((0u16..3, 0u8..7, prop::collection::vec(any::<u8>(), 0..40)), 1..40),
    ) {
        let mut scene = Scene::new();
        scene.folder.files.insert(Vec::new(), vec![1; 2000]);
        for (port, operation, rest) in datagrams {
            if let Some(reply) = scene.send(port, &[&[0, operation], &rest[..]].concat()) {
                prop_assert!(matches!(reply[..2], [0, 3 | 5 | 6]) && reply.len() <= REPLY_BYTES_MAX);
            }
        }
    }
}
