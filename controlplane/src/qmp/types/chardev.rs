//! Character devices: how a vhost-user netdev and a guest's NIC find their peer.
//!
//! QEMU has some twenty kinds; a process without terminals, disks and graphics has use for two. The others are
//! refused as values that the schema does not have, which is also what libvirt reads from the schema.

use super::socket_address::SocketAddressLegacy;
use crate::qmp::qapi::define::{object, union};

object! {
    /// Arguments of `chardev-add`.
    pub struct ChardevAdd {
        /// Its name; any text.
        id: String,
        /// What it is.
        backend: ChardevBackend,
    }
}

union! {
    /// The kinds of character devices.
    pub enum ChardevBackend by "type" {
        /// A stream socket.
        Socket(Box<ChardevSocketWrapper>) = "socket",
        /// Takes everything, gives nothing.
        Null(ChardevCommonWrapper) = "null",
    }
}

object! {
    /// Wrapping.
    pub struct ChardevSocketWrapper {
        /// What is wrapped.
        data: ChardevSocket,
    }
}

object! {
    /// Wrapping.
    pub struct ChardevCommonWrapper {
        /// What is wrapped.
        data: ChardevCommon,
    }
}

object! {
    /// What all character devices have.
    pub struct ChardevCommon {
        /// A file that gets a copy of the output.
        logfile: Option<String>,
        /// Whether the copy is added to the file.
        logappend: Option<bool>,
    }
}

object! {
    /// A stream socket.
    pub struct ChardevSocket {
        /// A file that gets a copy of the output.
        logfile: Option<String>,
        /// Whether the copy is added to the file.
        logappend: Option<bool>,
        /// Where it listens or connects to.
        addr: SocketAddressLegacy,
        /// Id of TLS credentials.
        tls_creds as "tls-creds": Option<String>,
        /// Id of a TLS authorisation object.
        tls_authz as "tls-authz": Option<String>,
        /// Whether it listens (the default) or connects.
        server: Option<bool>,
        /// Whether the command waits for the first client.
        wait: Option<bool>,
        /// Whether small pieces are sent at once.
        nodelay: Option<bool>,
        /// Telnet protocol.
        telnet: Option<bool>,
        /// TN3270 protocol.
        tn3270: Option<bool>,
        /// Web sockets.
        websocket: Option<bool>,
        /// Seconds until a lost connection is tried again; 0 never.
        reconnect: Option<i64>,
        /// The same in milliseconds.
        reconnect_ms as "reconnect-ms": Option<i64>,
    }
}

object! {
    /// What `chardev-add` returns.
    #[derive(Default)]
    pub struct ChardevReturn {
        /// Terminal device, for kinds that have one.
        pty: Option<String>,
    }
}

object! {
    /// Arguments of `chardev-remove`.
    pub struct ChardevRemove {
        /// Its name.
        id: String,
    }
}

object! {
    /// One character device in `query-chardev`.
    pub struct ChardevInfo {
        /// Its name.
        label: String,
        /// Where it is or leads, in words.
        filename: String,
        /// Whether somebody uses it.
        frontend_open as "frontend-open": bool,
    }
}
