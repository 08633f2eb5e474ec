//! What a client reads first, and how it leaves the negotiation that follows.

use serde_json::{Value, json};

use super::answer::{ErrorClass, QmpError, nothing};
use super::qapi::{Dialect, Place, QapiType as _};
use super::types::session::{QmpCapabilities, QmpCapability, VersionInfo, VersionTriple};

/// The version of QEMU whose behaviour is shown: major, minor, micro. Clients decide by it what they may send
/// (Kata wants 5 at least), so it is the version of the recorded conversations that the tests replay.
pub const QEMU_VERSION: [i64; 3] = [7, 2, 22];

/// What `query-version` returns and the greeting contains.
#[must_use]
pub fn version() -> VersionInfo {
    let [major, minor, micro] = QEMU_VERSION;
    VersionInfo {
        qemu: VersionTriple { major, minor, micro },
        package: concat!("framewire-", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

/// The message that opens a session.
#[must_use]
pub fn greeting() -> Value {
    // Incus and LXD pass no descriptors to a server that does not offer OOB, though they never use it.
    json!({"QMP": {"version": version().print(), "capabilities": [QmpCapability::Oob.print()]}})
}

/// What a command other than `qmp_capabilities` gets before negotiation is complete.
#[must_use]
pub(super) fn not_negotiated() -> QmpError {
    QmpError::new(ErrorClass::CommandNotFound, "Expecting capabilities negotiation with 'qmp_capabilities'")
}

/// What `qmp_capabilities` gets afterwards.
#[must_use]
pub(super) fn already_negotiated() -> QmpError {
    QmpError::new(
        ErrorClass::CommandNotFound,
        "Capabilities negotiation is already complete, command ignored",
    )
}

/// Reads the arguments of `qmp_capabilities`: whether OOB is to be enabled.
pub(super) fn wants_oob(arguments: Option<&Value>) -> Result<bool, QmpError> {
    let place_of = |arguments| Place::root(arguments, Dialect::Json);
    let wanted = QmpCapabilities::visit(&place_of(arguments.unwrap_or(&nothing())))?;
    Ok(wanted.enable.is_some_and(|enable| enable.contains(&QmpCapability::Oob)))
}
