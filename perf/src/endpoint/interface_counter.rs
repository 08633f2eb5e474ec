//! A sink that costs nothing: the kernel's counter of frames that an interface received.
//!
//! To receive each frame by AF_PACKET costs the *device's* core as well, because a tap's write delivers to the
//! packet socket before it returns. For a rate this sink is used, and another run proves that frames are whole.
//! It sees neither numbers nor bytes, so it tells loss only.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::Endpoint;
use crate::tally::Sink;

#[derive(Debug)]
pub(super) struct InterfaceCounter {
    file: File,
    last: u64,
}

pub(super) fn open(interface: &str) -> io::Result<InterfaceCounter> {
    let file = File::open(format!("/sys/class/net/{interface}/statistics/rx_packets"))?;
    let last = read(&file)?;
    Ok(InterfaceCounter { file, last })
}

fn read(file: &File) -> io::Result<u64> {
    let mut text = [0; 24];
    let len = file.read_at(&mut text, 0)?;
    let digits = text[..len].iter().take_while(|byte| byte.is_ascii_digit());
    Ok(digits.fold(0, |number: u64, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))))
}

impl Endpoint for InterfaceCounter {
    fn send(&mut self, _first_sequence: u64, _count: usize) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "an interface counter is a sink only"))
    }

    fn receive(&mut self, sink: &mut dyn Sink) -> io::Result<usize> {
        let now = read(&self.file)?;
        let frames = now.wrapping_sub(self.last);
        self.last = now;
        sink.unread(frames);
        Ok(usize::try_from(frames).unwrap_or(usize::MAX))
    }
}
