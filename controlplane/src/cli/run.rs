//! `framewire run`: from arguments to a server, and its end.

mod arguments;
mod config;
mod nic;
mod start;

use std::ffi::OsString;
use std::os::fd::AsFd as _;

use self::arguments::{Arguments, Asked};
use super::{Failure, log, print};
use crate::host::signals::Signals;
use crate::host::{descriptors, notify};
use crate::serve::Loop;

/// The text of `framewire run --help`.
pub const HELP: &str = "\
framewire run: start Framewire, and serve QMP until told to quit

Starts the control plane and its data plane, in the foreground. If a data plane runs already in the runtime
directory, because the control plane before was killed, it is adopted with all its ports.

Options:
  --qmp unix:PATH      a monitor for QEMU's clients, or tcp:HOST:PORT; may be given several times, and takes
                       QEMU's options (server=on|off, wait=on|off, reconnect=SECONDS)
  --netdev TYPE,id=…   a netdev, in QEMU's syntax or as JSON; may be given several times
  --device DRIVER,…    a NIC: virtio-net-pci with QEMU's properties, or as JSON; may be given several times
                       without `socket=PATH` or `chardev=ID` its front end connects to DIR/nic-ID.sock
  --nic TYPE,…         a netdev and a NIC that faces it: the netdev's options, mac= and model=
  --chardev TYPE,id=…  a character device (socket or null), in QEMU's syntax or as JSON
  --config FILE        QMP commands to execute at the start, one a line; stops at the first that fails
  --runtime-dir DIR    where state is kept (default: /run/framewire, or under $XDG_RUNTIME_DIR)
  --workers N          threads that move frames (default: one for each processor)
  --cpus LIST          processors for them, as in 0-3,5 (default: those that this process may use)
  --poll-us N          how long a queue without work is polled before it sleeps; 0 never polls, 4294967295
                       never sleeps (default: 50). A tap's own poll-us overrides it
  --name NAME          what query-name says
  --log LEVEL          error, warn, info, debug or off (default: info)

Besides those of --qmp there is always a monitor at RUNTIME_DIR/qmp.sock, for `framewire qmp` and
`framewire status`. SIGTERM, SIGINT and the command `quit` end Framewire with all its ports. kill -9 of this
process does not: frames go on, and the next `framewire run` on the same runtime directory goes on serving.

Example: two interfaces joined by a cable
  framewire run --qmp unix:/run/x.sock \\
      --netdev tap,id=a,ifname=a,script=no,downscript=no --netdev hubport,id=ha,hubid=0,netdev=a \\
      --netdev tap,id=b,ifname=b,script=no,downscript=no --netdev hubport,id=hb,hubid=0,netdev=b
";

/// Runs the subcommand with the words that follow it.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn run(words: Vec<OsString>) -> Result<(), Failure> {
    let arguments = match arguments::read(words)? {
        Asked::Help => return print(HELP),
        Asked::Run(arguments) => arguments,
    };
    log::begin(arguments.log);
    descriptors::keep_from_children();
    descriptors::raise_limits();
    let signals = Signals::collect().map_err(Failure::new)?;
    serve(&arguments, signals)
}

fn serve(arguments: &Arguments, signals: Signals) -> Result<(), Failure> {
    let (server, directory) = start::start(arguments, signals.as_fd())?;
    server.monitors.wait_for_clients(signals.as_fd());
    let serving = Loop::new(server, signals).map_err(Failure::new)?;
    notify::ready();
    let server = serving.run().map_err(Failure::new)?;
    notify::stopping();
    start::end(server, &directory);
    Ok(())
}
