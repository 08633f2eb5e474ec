//! What a session is about itself: capabilities, version, what can be asked, and the monitor for people.

use crate::qmp::qapi::define::{enumeration, object};

enumeration! {
    /// What a client may enable.
    pub enum QmpCapability {
        /// Commands out of band.
        Oob = "oob",
    }
}

object! {
    /// Arguments of `qmp_capabilities`.
    pub struct QmpCapabilities {
        /// What to enable.
        enable: Option<Vec<QmpCapability>>,
    }
}

object! {
    /// What `query-version` returns, and what the greeting says.
    pub struct VersionInfo {
        /// The QEMU whose behaviour this is.
        qemu: VersionTriple,
        /// Who we are.
        package: String,
    }
}

object! {
    /// A version.
    pub struct VersionTriple {
        /// First number.
        major: i64,
        /// Second number.
        minor: i64,
        /// Third number.
        micro: i64,
    }
}

object! {
    /// One entry of `query-commands`.
    pub struct CommandInfo {
        /// The command.
        name: String,
    }
}

object! {
    /// Arguments of `human-monitor-command`.
    pub struct HumanMonitorCommand {
        /// A line as a person would type it.
        command_line as "command-line": String,
        /// The processor it is about.
        cpu_index as "cpu-index": Option<i64>,
    }
}
