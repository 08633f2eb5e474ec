//! QMP as QEMU speaks it: from bytes of a client to requests, and from answers to bytes.
//!
//! The path of a request, outside in: [`Monitors`] has a `Monitor` for each `--qmp`, which has at most one
//! `Session` with a client: its `Stream` reads blocks and descriptors, its [`Connection`](connection::Connection)
//! makes requests of them with a [`json`] reader and the checks of form in `request`. [`Request::command`] looks it up in
//! the table of [`command`]s, whose arguments are read by the rules of [`qapi`] into [`types`]. Executing is for
//! others, who answer with a value or a [`QmpError`].
//!
//! QEMU has a thread for input, in order to execute some commands out of band, and queues between the two.
//! One thread is enough: no command of ours takes long, and one that waits for something (for a back end to
//! connect) is a [`Request`] that is kept and answered later, while others are served.
//!
//! How a main loop uses it:
//!
//! ```no_run
//! use std::os::fd::AsFd;
//!
//! use controlplane::qmp::command::Command;
//! use controlplane::qmp::qapi::{Nothing, QapiType};
//! use controlplane::qmp::{Monitors, Outcome, QmpError, Request, endpoint::Endpoint};
//!
//! fn execute(monitors: &mut Monitors, request: &Request) -> Outcome {
//!     match request.command()? {
//!         Command::Getfd(arguments) => monitors.getfd(request, &arguments.fdname).map(|()| Nothing {}.print()),
//!         Command::QueryFdsets(_) => Ok(monitors.fdsets.query().print()),
//!         other => Err(QmpError::generic(format!("{} is for others to show", other.name()))),
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut poll = mio::Poll::new()?;
//!     let mut events = mio::Events::with_capacity(64);
//!     // Nobody interrupts this one.
//!     let (interruption, _interrupts) = std::io::pipe()?;
//!     let endpoint = Endpoint::parse("unix:/run/x.sock")?;
//!     let mut monitors = Monitors::open([endpoint], mio::Token(16), interruption.as_fd())?;
//!     monitors.register(poll.registry())?;
//!     loop {
//!         // A request a turn: whatever else the loop does is never kept waiting by clients.
//!         let wait = match monitors.deadline() {
//!             _ if monitors.is_busy() => Some(std::time::Duration::ZERO),
//!             deadline => deadline.map(|at| at.saturating_duration_since(std::time::Instant::now())),
//!         };
//!         poll.poll(&mut events, wait)?;
//!         for event in &events {
//!             monitors.ready(event);
//!         }
//!         if let Some(request) = monitors.next_request() {
//!             let outcome = execute(&mut monitors, &request);
//!             monitors.answer(request, outcome);
//!         }
//!     }
//! }
//! ```

mod ancillary;
pub mod answer;
pub mod command;
pub mod connection;
pub mod endpoint;
pub mod event;
pub mod fdset;
pub mod greeting;
pub mod json;
mod monitor;
mod monitors;
pub mod names;
mod output;
pub mod qapi;
mod request;
mod session;
mod socket;
pub mod types;

pub use answer::{ErrorClass, Outcome, QmpError};
pub use monitors::{MonitorId, Monitors, Request};
pub use output::{EVENTS_MAX_BYTES, Flooded, REPLIES_PAUSE_BYTES};
pub use socket::Error as SocketError;
