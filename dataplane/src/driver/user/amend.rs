//! A network that is changed while it is in use: other ports of the host lead to it, its name server is another, its
//! sockets come from elsewhere. What is open in it goes on.
//!
//! It is given all that it would be built from now, and takes out what is another than before. So nobody keeps a history
//! of changes, and one that is built anew after its process has died is the same.

use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use framewire_shared::driver::{DriverOptions, UserOptions};
use framewire_shared::flows::{Carries, FlowRecord, State};
use rustix::io::Errno;

use super::flow::{Flow, Key, Kind, Tcp};
use super::{FILES, User};
use crate::errand::Task;

impl User {
    /// Does what is asked between two turns.
    ///
    /// # Errors
    /// As the kernel's.
    pub(in crate::driver) fn perform(&mut self, task: &mut Task) -> Result<(), Errno> {
        match task {
            Task::Amend(options, descriptors) => {
                let DriverOptions::User(options) = options.as_mut() else { return Err(Errno::INVAL) };
                self.amend(options, descriptors)
            }
            Task::Describe(flows) => {
                self.describe(flows);
                Ok(())
            }
        }
    }

    fn amend(&mut self, options: &mut UserOptions, descriptors: &mut Arc<[OwnedFd]>) -> Result<(), Errno> {
        if descriptors.len() < options.descriptors() {
            return Err(Errno::INVAL);
        }
        self.leave_listeners();
        if let Some(files) = self.files_socket() {
            self.flows.watcher.leave(files);
        }
        mem::swap(&mut self.translator.options, options);
        mem::swap(&mut self.descriptors, descriptors);
        let has_stocks = self.translator.options.has_stocks();
        self.stocks.draw_from(Arc::clone(&self.descriptors), has_stocks);
        self.end_forwards();
        self.is_stirred = true;
        self.begin_forwards()?;
        match self.files_socket() {
            Some(files) => self.flows.watcher.watch(files, FILES),
            None => Ok(()),
        }
    }

    /// Tells of all flows that there is room for.
    fn describe(&self, records: &mut Vec<FlowRecord>) {
        for (serial, key, flow) in self.flows.table.iter() {
            if records.len() == records.capacity() {
                return;
            }
            if !self.forwards.has_flow(serial) {
                records.push(self.record(key, flow, serial));
            }
        }
    }

    fn record(&self, key: &Key, flow: &Flow, serial: u32) -> FlowRecord {
        let seconds = flow.due_ns.saturating_sub(self.now_ns) / 1_000_000_000;
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let record = match &flow.kind {
            Kind::Tcp(tcp) if tcp.is_from_host => {
                // As the kernel has it: where somebody has connected to.
                let at = rustix::net::getsockname(flow.socket.as_fd()).ok().and_then(|at| at.try_into().ok());
                FlowRecord::new(Carries::Tcp(state(tcp)), at.unwrap_or(key.remote), key.guest)
            }
            Kind::Tcp(tcp) => FlowRecord::new(Carries::Tcp(state(tcp)), key.guest, key.remote),
            Kind::Udp(udp) => FlowRecord::new(Carries::Udp(seconds), key.guest, udp.destination),
            Kind::Ping(ping) => FlowRecord::new(Carries::Ping(seconds), key.guest, ping.destination),
        };
        let to_guest = match &flow.kind {
            Kind::Tcp(tcp) => tcp.connection.on_the_way(),
            Kind::Udp(_) | Kind::Ping(_) => 0,
        };
        record.with(flow.socket.as_raw_fd(), to_guest, serial)
    }
}

/// Where a connection is in its life.
fn state(tcp: &Tcp) -> State {
    let events = tcp.connection.events;
    match (events.guest_has_ended, events.end_was_sent) {
        _ if !events.is_open => State::SynSent,
        _ if !events.is_established => State::SynReceived,
        (false, false) => State::Established,
        (true, false) => State::CloseWait,
        (true, true) => State::LastAck,
        (false, true) if events.end_was_heard => State::FinWait2,
        (false, true) => State::FinWait1,
    }
}
