//! What goes back to a client: a return value, or an error in QEMU's five classes.
//!
//! Clients look at two things only: the class (libvirt, Incus) and a piece of the text (Proxmox, Incus:
//! "not found"). One error type for each module that a command passes through would have to be turned into
//! class and text somewhere, far away from where the wording is known. So everything that can refuse a command
//! refuses with a [`QmpError`], worded at the place of refusal; modules with errors of their own (system calls,
//! parsing of options) give them a `Display` worded as QEMU words it and convert at their border.

use serde_json::{Map, Value};

/// QEMU's error classes (`qapi/error.json`). Everything but `GenericError` exists for clients of long ago, yet
/// is what they test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// All that has no class of its own.
    GenericError,
    /// Unknown command, or one that is not available in this state of the session.
    CommandNotFound,
    /// A device exists but is not in the needed state.
    DeviceNotActive,
    /// `netdev_del`, `set_link`, `yank` … of something unknown.
    DeviceNotFound,
    /// Kept for completeness of the schema; nothing here raises it.
    KVMMissingCap,
}

impl ErrorClass {
    /// All classes, in the order of the schema.
    pub const ALL: [Self; 5] = [
        Self::GenericError,
        Self::CommandNotFound,
        Self::DeviceNotActive,
        Self::DeviceNotFound,
        Self::KVMMissingCap,
    ];

    /// The spelling on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GenericError => "GenericError",
            Self::CommandNotFound => "CommandNotFound",
            Self::DeviceNotActive => "DeviceNotActive",
            Self::DeviceNotFound => "DeviceNotFound",
            Self::KVMMissingCap => "KVMMissingCap",
        }
    }
}

/// Why a command was refused, as the client will read it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{desc}")]
pub struct QmpError {
    /// What programs look at.
    pub class: ErrorClass,
    /// What people look at, and programs that know no better.
    pub desc: String,
}

impl QmpError {
    /// An error of any class.
    pub fn new(class: ErrorClass, desc: impl Into<String>) -> Self {
        Self { class, desc: desc.into() }
    }

    /// The usual class.
    pub fn generic(desc: impl Into<String>) -> Self {
        Self::new(ErrorClass::GenericError, desc)
    }

    /// No command of that name.
    #[must_use]
    pub fn command_not_found(name: &str) -> Self {
        Self::new(ErrorClass::CommandNotFound, format!("The command {name} has not been found"))
    }

    /// The command exists, but may not be executed out of band.
    #[must_use]
    pub fn no_oob(name: &str) -> Self {
        Self::generic(format!("The command {name} does not support OOB"))
    }

    /// `netdev_del`, `set_link`, `device_del` of an unknown id.
    #[must_use]
    pub fn device_not_found(id: &str) -> Self {
        Self::new(ErrorClass::DeviceNotFound, format!("Device '{id}' not found"))
    }

    /// A value that must be unique within its name space is taken.
    #[must_use]
    pub fn duplicate_id(id: &str) -> Self {
        Self::generic(format!("Duplicate ID '{id}'"))
    }

    /// A mandatory parameter was left out.
    #[must_use]
    pub fn missing(parameter: &str) -> Self {
        Self::generic(format!("Parameter '{parameter}' is missing"))
    }

    /// A parameter that the command does not have.
    #[must_use]
    pub fn unexpected(parameter: &str) -> Self {
        Self::generic(format!("Parameter '{parameter}' is unexpected"))
    }

    /// A parameter of the wrong JSON type.
    #[must_use]
    pub fn invalid_type(parameter: &str, expected: &str) -> Self {
        Self::generic(format!("Invalid parameter type for '{parameter}', expected: {expected}"))
    }

    /// A parameter with the right type and a value outside of what is allowed ("expects uint16_t",
    /// "expects an identifier").
    #[must_use]
    pub fn expects(parameter: &str, expected: &str) -> Self {
        Self::generic(format!("Parameter '{parameter}' expects {expected}"))
    }

    /// A string that is no member of the enumeration.
    #[must_use]
    pub fn not_accepted(parameter: &str, value: &str) -> Self {
        Self::generic(format!("Parameter '{parameter}' does not accept value '{value}'"))
    }
}

/// What a command gives back: its value, or why not.
pub type Outcome = Result<Value, QmpError>;

/// What most commands give back: `{}`.
#[must_use]
pub fn nothing() -> Value {
    Value::Object(Map::new())
}

/// The message that answers a request; `id` is copied as it came, and left out where none came.
#[must_use]
pub fn message(outcome: Outcome, id: Option<Value>) -> Value {
    let mut members = Map::new();
    match outcome {
        Ok(value) => {
            members.insert("return".to_owned(), value);
            if let Some(id) = id {
                members.insert("id".to_owned(), id);
            }
        }
        Err(error) => {
            if let Some(id) = id {
                members.insert("id".to_owned(), id);
            }
            let mut body = Map::new();
            body.insert("class".to_owned(), Value::from(error.class.name()));
            body.insert("desc".to_owned(), Value::from(error.desc));
            members.insert("error".to_owned(), Value::Object(body));
        }
    }
    Value::Object(members)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn an_error_carries_class_text_and_id() {
        let text = message(Err(QmpError::device_not_found("n0")), Some(Value::from(11))).to_string();
        assert_eq!(text, r#"{"id":11,"error":{"class":"DeviceNotFound","desc":"Device 'n0' not found"}}"#);
    }

    #[test]
    fn a_return_without_id_has_no_id() {
        assert_eq!(message(Ok(nothing()), None).to_string(), r#"{"return":{}}"#);
    }

    #[test]
    fn an_id_of_null_is_an_id() {
        assert_eq!(message(Ok(nothing()), Some(Value::Null)).to_string(), r#"{"return":{},"id":null}"#);
    }
}
