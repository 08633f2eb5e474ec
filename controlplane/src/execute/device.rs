//! Devices and objects: commands that clients send around netdevs, as far as there is nothing
//! of the kind here yet. They refuse as QEMU refuses what it does not have.

use serde_json::{Map, Value};

use crate::qmp::answer::{ErrorClass, Outcome, QmpError};
use crate::qmp::types::yank::Yank;

/// No model of a device is built in.
pub(super) fn add(device: &Map<String, Value>) -> Outcome {
    match device.get("driver") {
        None => Err(QmpError::missing("driver")),
        Some(Value::String(driver)) => {
            Err(QmpError::generic(format!("'{driver}' is not a valid device model name")))
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(QmpError::invalid_type("driver", "string"))
        }
    }
}

pub(super) fn object_del(id: &str) -> Outcome {
    Err(QmpError::generic(format!("object '{id}' not found")))
}

/// There is nothing that could hang.
pub(super) fn yank(yank: &Yank) -> Outcome {
    if yank.instances.is_empty() {
        return Ok(crate::qmp::answer::nothing());
    }
    Err(QmpError::new(ErrorClass::DeviceNotFound, "Instance not found"))
}
