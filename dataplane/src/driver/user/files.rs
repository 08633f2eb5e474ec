//! TFTP, and the files that the control plane has opened for it.
//!
//! Sessions are in [`super::tftp`], which knows no descriptors. Here a session's file has its place beside it, and what
//! is to be opened is asked for and waited for, without anybody waiting.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use framewire_shared::files::{self, Ticket};
use rustix::io::Errno;

use super::User;
use super::header::Path;
use super::packet::{Ip, Udp};
use super::services::TOS;
use super::tftp::{Answer, Files, Peer, REPLY_BYTES_MAX, Reference, SESSIONS, Sessions, refuse};

/// Where guests ask for files, and where answers come from.
pub(super) const PORT: u16 = 69;

/// System calls made here, for the data plane's filter.
pub(in crate::driver) const SYSTEM_CALLS: &[libc::c_long] =
    &[libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_pread64, libc::SYS_close];

/// What a port's TFTP server works with.
#[derive(Debug)]
pub(super) struct Server {
    sessions: Sessions,
    open: Open,
    /// The ways back to the guests of sessions.
    paths: [Option<Path>; SESSIONS],
    /// Requests that were not answered yet.
    waiting: usize,
    /// The kernel has told that there is something.
    is_told: bool,
    began: Instant,
}

/// The files that are open, each with the session that reads it.
#[derive(Debug, Default)]
struct Open([Option<(Reference, OwnedFd)>; SESSIONS]);

impl Files for Open {
    fn read(&mut self, slot: u8, offset: u64, into: &mut [u8]) -> Result<usize, Errno> {
        let (_reader, file) = self.0[usize::from(slot)].as_ref().ok_or(Errno::BADF)?;
        let mut read = 0;
        while read < into.len() {
            match rustix::io::pread(file, &mut into[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(read)
    }
}

impl Server {
    /// Without sessions; their numbers begin at `first`.
    pub(super) fn new(first: u32) -> Self {
        Server {
            sessions: Sessions::new(first),
            open: Open::default(),
            paths: [None; SESSIONS],
            waiting: 0,
            is_told: false,
            began: Instant::now(),
        }
    }

    /// Whether answers about files are to be looked for.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0 || self.is_told
    }

    /// There may be answers; some perhaps to whoever was here before.
    pub(super) fn look(&mut self) {
        self.is_told = true;
    }

    /// Closes the files of sessions that have ended.
    fn close(&mut self) {
        for place in &mut self.open.0 {
            if place.as_ref().is_some_and(|(reader, _file)| !self.sessions.is_alive(*reader)) {
                *place = None;
            }
        }
    }
}

impl User {
    /// Has the TFTP server hear a datagram.
    pub(super) fn serve_tftp(&mut self, ip: &Ip, udp: &Udp, datagram: &[u8]) {
        let mut path = self.translator.back(ip);
        path.tos = if ip.source.is_ipv4() { TOS } else { 0 };
        let ports = [PORT, udp.source.port()];
        let mut reply = [0; REPLY_BYTES_MAX];
        if !self.translator.options.serves_files() {
            if let Answer::Reply(bytes) = refuse(datagram, &mut reply) {
                self.replies.datagram(&path, ports, &reply[..bytes]);
            }
            return;
        }
        let server = &mut self.services.tftp;
        let now_ms = u64::try_from(server.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let peer = Peer { address: ip.source, port: udp.source.port() };
        match server.sessions.take(peer, datagram, now_ms, &mut server.open, &mut reply) {
            Answer::Silence => {}
            Answer::Reply(bytes) => self.replies.datagram(&path, ports, &reply[..bytes]),
            Answer::Open(reference, name) => {
                server.paths[usize::from(reference.slot)] = Some(path);
                let ticket = Ticket { slot: reference.slot.into(), generation: reference.generation };
                let asked = self.files_socket().map(|socket| files::ask(socket, ticket, name));
                if asked == Some(Ok(())) {
                    self.services.tftp.waiting += 1;
                } else {
                    self.file_opened(reference, None);
                }
            }
        }
        self.services.tftp.close();
    }

    /// Takes the control plane's answers.
    pub(super) fn take_files(&mut self) {
        self.services.tftp.is_told = false;
        while let Some((ticket, file)) = self.files_socket().and_then(files::next_answer) {
            self.services.tftp.waiting = self.services.tftp.waiting.saturating_sub(1);
            let Ok(slot) = u8::try_from(ticket.slot) else { continue };
            self.file_opened(Reference { slot, generation: ticket.generation }, file);
        }
        self.services.tftp.close();
    }

    fn file_opened(&mut self, reference: Reference, file: Option<(OwnedFd, u64)>) {
        let server = &mut self.services.tftp;
        if !server.sessions.is_alive(reference) {
            return;
        }
        let slot = usize::from(reference.slot);
        let size = file.as_ref().map(|(_file, size)| *size).ok_or(Errno::NOENT);
        server.open.0[slot] = file.map(|(file, _size)| (reference, file));
        let mut reply = [0; REPLY_BYTES_MAX];
        let opened = server.sessions.opened(reference, size, &mut server.open, &mut reply);
        if let (Some((peer, bytes)), Some(path)) = (opened, server.paths[slot]) {
            self.replies.datagram(&path, [PORT, peer.port], &reply[..bytes]);
        }
    }

    /// Where files are asked for.
    pub(super) fn files_socket(&self) -> Option<BorrowedFd<'_>> {
        self.translator
            .options
            .files_at()
            .and_then(|at| self.descriptors.get(at))
            .map(std::os::fd::AsFd::as_fd)
    }
}
