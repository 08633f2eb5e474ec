//! Streams, each frame behind its length in four bytes, most significant first: what QEMU calls `stream` and
//! `socket`. Many frames a call on both sides.

use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use rustix::net::SendFlags;

use super::{Endpoint, enlarge_buffers, retried, taken};
use crate::frame::{SIZE_MAX, Template};
use crate::records::Records;
use crate::tally::Sink;

const LENGTH_LEN: usize = 4;
const RECORDS: usize = 256;
const ROOM_BYTES: usize = 256 << 10;

/// Streams that can be read without waiting and sent to with flags.
pub(super) trait Connection: io::Read + std::os::fd::AsFd + Send {}
impl Connection for UnixStream {}
impl Connection for TcpStream {}

#[derive(Debug)]
pub(super) struct Stream<C> {
    connection: C,
    records: Records,
    /// Which of the stamped bytes are still to go, after the kernel took a part of a record.
    unsent: std::ops::Range<usize>,
    room: Vec<u8>,
    /// Bytes at the start of `room` that are no whole frame yet.
    kept: usize,
}

pub(super) fn open_unix(path: &str, template: Template) -> io::Result<Stream<UnixStream>> {
    let connection = retried(|| UnixStream::connect(path))?;
    connection.set_nonblocking(true)?;
    Stream::new(connection, template)
}

pub(super) fn open_tcp(remote: &str, template: Template) -> io::Result<Stream<TcpStream>> {
    let connection = retried(|| TcpStream::connect(remote))?;
    connection.set_nodelay(true)?;
    connection.set_nonblocking(true)?;
    Stream::new(connection, template)
}

impl<C: Connection> Stream<C> {
    pub(super) fn new(connection: C, template: Template) -> io::Result<Self> {
        enlarge_buffers(connection.as_fd())?;
        let len = u32::try_from(template.bytes().len()).expect("frames are bounded");
        let records = Records::new(template, &len.to_be_bytes(), RECORDS);
        Ok(Stream { connection, records, unsent: 0..0, room: vec![0; ROOM_BYTES], kept: 0 })
    }

    /// Sends the end of a record that was cut; true when nothing is left of it.
    fn finish_record(&mut self) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let rest = &self.records.stamped()[self.unsent.clone()];
            self.unsent.start += send(&self.connection, rest)?;
        }
        Ok(self.unsent.is_empty())
    }
}

fn send(connection: &impl Connection, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    taken(rustix::net::send(connection, bytes, flags).map_err(io::Error::from))
}

impl<C: Connection> Endpoint for Stream<C> {
    fn send(&mut self, first_sequence: u64, count: usize) -> io::Result<usize> {
        if !self.finish_record()? {
            return Ok(0);
        }
        let record_len = self.records.record_len();
        let records = self.records.stamp(first_sequence, count.min(RECORDS));
        let sent = send(&self.connection, records)?;
        let begun = sent.div_ceil(record_len);
        // A record that was begun counts as sent; its end goes first next time.
        self.unsent = sent..begun * record_len;
        Ok(begun)
    }

    fn receive(&mut self, sink: &mut dyn Sink) -> io::Result<usize> {
        let got = match self.connection.read(&mut self.room[self.kept..]) {
            Ok(0) => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the device closed the stream"));
            }
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        let filled = self.kept + got;
        let (frames, used) = take_frames(&self.room[..filled], sink)?;
        self.room.copy_within(used..filled, 0);
        self.kept = filled - used;
        Ok(frames)
    }
}

/// Hands over the whole frames in `bytes`; returns how many they were and how many bytes they took.
fn take_frames(bytes: &[u8], sink: &mut dyn Sink) -> io::Result<(usize, usize)> {
    let (mut frames, mut used) = (0, 0);
    while let Some(length) = bytes.get(used..used + LENGTH_LEN) {
        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > SIZE_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        let start = used + LENGTH_LEN;
        let Some(frame) = bytes.get(start..start + length) else { break };
        sink.frame(frame);
        frames += 1;
        used = start + length;
    }
    Ok((frames, used))
}
