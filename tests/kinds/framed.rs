//! A peer that speaks the framing of streams: each frame behind four bytes of length, big-endian.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use framewire_tests::frames::hex;
use framewire_tests::wait::PATIENCE;

/// How long silence must last to count as silence.
pub(crate) const SILENCE: Duration = Duration::from_millis(200);

/// A stream socket whose reads can be bounded in time.
pub(crate) trait Timed: Read + Write {
    fn set_patience(&self, patience: Duration);
}

impl Timed for UnixStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).expect("a timeout can be set");
    }
}

impl Timed for TcpStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).expect("a timeout can be set");
    }
}

/// The other end of a stream.
pub(crate) struct Framed {
    socket: Box<dyn Timed + Send>,
    received: Vec<u8>,
}

impl Framed {
    pub(crate) fn new(socket: impl Timed + Send + 'static) -> Self {
        Framed { socket: Box::new(socket), received: Vec::new() }
    }

    /// Sends one frame.
    #[track_caller]
    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.send_raw(&[&prefix(frame.len()), frame].concat());
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the port takes frames");
    }

    /// The next frame, if one comes in time.
    pub(crate) fn receive(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + patience;
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            if self.read(left) == 0 {
                return None;
            }
        }
    }

    /// The next frame must be this one.
    #[track_caller]
    pub(crate) fn expect(&mut self, frame: &[u8]) {
        let got = self.receive(PATIENCE).unwrap_or_else(|| panic!("no frame came, wanted {}", hex(frame)));
        assert!(got == frame, "wrong frame\n   got {}\nwanted {}", hex(&got), hex(frame));
    }

    /// No frame may come.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self) {
        if let Some(frame) = self.receive(SILENCE) {
            panic!("an unexpected frame came: {}", hex(&frame));
        }
    }

    /// The port must end the connection.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let end = Instant::now() + PATIENCE;
        self.socket.set_patience(PATIENCE);
        loop {
            match self.socket.read(&mut [0; 4096]) {
                Ok(0) => return,
                Ok(_late) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the connection did not end: {error}"),
            }
            assert!(Instant::now() < end, "the connection did not end");
        }
    }

    /// One whole frame of what was received.
    fn take(&mut self) -> Option<Vec<u8>> {
        let (prefix, rest) = self.received.split_first_chunk()?;
        let len = u32::from_be_bytes(*prefix) as usize;
        let frame = rest.get(..len)?.to_vec();
        self.received.drain(..4 + len);
        Some(frame)
    }

    fn read(&mut self, patience: Duration) -> usize {
        self.socket.set_patience(patience);
        let mut bytes = vec![0; 256 << 10];
        let read = self.socket.read(&mut bytes).unwrap_or(0);
        self.received.extend_from_slice(&bytes[..read]);
        read
    }
}

/// The length before a frame.
pub(crate) fn prefix(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("a frame is short").to_be_bytes()
}
