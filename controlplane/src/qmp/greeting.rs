//! What a client reads first, and how it leaves the negotiation that follows.

use serde_json::{Map, Value, json};

use super::answer::{QmpError, nothing};

/// The version of QEMU whose behaviour is shown: major, minor, micro. Clients decide by it what they may send
/// (Kata wants 5 at least), so it is the version of the recorded conversations that the tests replay.
pub const QEMU_VERSION: [u64; 3] = [7, 2, 22];

/// The one capability there is. Incus and LXD pass no descriptors to a server that does not offer it.
const OOB: &str = "oob";

/// What `query-version` returns and the greeting contains.
#[must_use]
pub fn version() -> Value {
    let [major, minor, micro] = QEMU_VERSION;
    json!({
        "qemu": {"major": major, "minor": minor, "micro": micro},
        "package": concat!("framewire-", env!("CARGO_PKG_VERSION")),
    })
}

/// The message that opens a session.
#[must_use]
pub fn greeting() -> Value {
    json!({"QMP": {"version": version(), "capabilities": [OOB]}})
}

/// What a command other than `qmp_capabilities` gets before negotiation is complete.
#[must_use]
pub(super) fn not_negotiated() -> QmpError {
    QmpError::new(
        super::answer::ErrorClass::CommandNotFound,
        "Expecting capabilities negotiation with 'qmp_capabilities'",
    )
}

/// What `qmp_capabilities` gets afterwards.
#[must_use]
pub(super) fn already_negotiated() -> QmpError {
    QmpError::new(
        super::answer::ErrorClass::CommandNotFound,
        "Capabilities negotiation is already complete, command ignored",
    )
}

/// Reads the arguments of `qmp_capabilities`: whether OOB is to be enabled.
pub(super) fn wants_oob(arguments: Option<&Value>) -> Result<bool, QmpError> {
    let Value::Object(arguments) = arguments.unwrap_or(&nothing()).clone() else {
        return Err(QmpError::generic("QMP input member 'arguments' must be an object"));
    };
    let wanted = enabled(&arguments)?;
    match arguments.keys().find(|name| *name != "enable") {
        Some(name) => Err(QmpError::unexpected(name)),
        None => Ok(wanted),
    }
}

fn enabled(arguments: &Map<String, Value>) -> Result<bool, QmpError> {
    let Some(enable) = arguments.get("enable") else { return Ok(false) };
    let names = enable.as_array().ok_or_else(|| QmpError::invalid_type("enable", "array"))?;
    for (i, name) in names.iter().enumerate() {
        let name = name.as_str().ok_or_else(|| QmpError::invalid_type(&format!("enable[{i}]"), "string"))?;
        if name != OOB {
            // List elements have no name, and QEMU prints the lack of one.
            return Err(QmpError::not_accepted("null", name));
        }
    }
    Ok(!names.is_empty())
}
