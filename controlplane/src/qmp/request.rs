//! From a message to a request: the checks of form that come before any command is looked at.
//!
//! QEMU walks the members in the order of its hash table. The order of the members that have a meaning is known
//! from its answers and kept here; that of unknown ones is not, so the first that was sent is reported.

use serde_json::Value;

use super::answer::QmpError;

/// A well-formed request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Form {
    pub(super) name: String,
    /// An object, if there.
    pub(super) arguments: Option<Value>,
    pub(super) oob: bool,
}

/// To be executed at once, not in its turn. QEMU decides this before it checks anything else.
pub(super) fn is_out_of_band(message: &Value) -> bool {
    message.get("exec-oob").is_some() && message.get("execute").is_none()
}

/// The id, taken out: it goes into the reply whatever is wrong with the rest. Only objects have one.
pub(super) fn take_id(message: &mut Value) -> Option<Value> {
    message.as_object_mut()?.shift_remove("id")
}

/// Checks a message whose id was taken out.
pub(super) fn check(message: Value, oob_enabled: bool) -> Result<Form, QmpError> {
    let Value::Object(mut members) = message else {
        return Err(QmpError::generic("QMP input must be a JSON object"));
    };
    let urgent = members.shift_remove("exec-oob");
    if urgent.is_some() && !oob_enabled {
        return Err(unexpected("exec-oob"));
    }
    let urgent = urgent.map(|name| command_name("exec-oob", name)).transpose()?;
    let usual = members.shift_remove("execute").map(|name| command_name("execute", name)).transpose()?;
    if urgent.is_some() && usual.is_some() {
        return Err(QmpError::generic("QMP input member 'execute' clashes with 'exec-oob'"));
    }
    let arguments = members.shift_remove("arguments");
    if arguments.as_ref().is_some_and(|arguments| !arguments.is_object()) {
        return Err(QmpError::generic("QMP input member 'arguments' must be an object"));
    }
    if let Some(name) = members.keys().next() {
        return Err(unexpected(name));
    }
    let oob = urgent.is_some();
    match urgent.or(usual) {
        Some(name) => Ok(Form { name, arguments, oob }),
        None => Err(QmpError::generic("QMP input lacks member 'execute'")),
    }
}

fn command_name(member: &str, value: Value) -> Result<String, QmpError> {
    match value {
        Value::String(name) => Ok(name),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(QmpError::generic(format!("QMP input member '{member}' must be a string")))
        }
    }
}

fn unexpected(member: &str) -> QmpError {
    QmpError::generic(format!("QMP input member '{member}' is unexpected"))
}

#[cfg(test)]
mod test {
    use serde_json::json;

    use super::*;

    fn refusal(message: Value, oob_enabled: bool) -> String {
        check(message, oob_enabled).expect_err("is refused").desc
    }

    #[test]
    fn faults_are_found_in_qemus_order() {
        // Each of these was sent to QEMU 7.2.22, in both orders of the members.
        let seen = [
            (json!({"execute": 5, "foo": 1}), "QMP input member 'execute' must be a string"),
            (json!({"arguments": 5, "execute": 5}), "QMP input member 'execute' must be a string"),
            (json!({"foo": 1, "arguments": 2}), "QMP input member 'arguments' must be an object"),
            (json!({"execute": 5, "exec-oob": "y"}), "QMP input member 'exec-oob' is unexpected"),
            (json!({"arguments": null}), "QMP input member 'arguments' must be an object"),
            (json!({"arguments": {}}), "QMP input lacks member 'execute'"),
            (json!([]), "QMP input must be a JSON object"),
        ];
        for (message, desc) in seen {
            assert_eq!(refusal(message, false), desc);
        }
    }

    #[test]
    fn both_commands_clash_where_oob_is_enabled() {
        let both = json!({"execute": "x", "exec-oob": "y"});
        assert!(!is_out_of_band(&both));
        assert_eq!(refusal(both, true), "QMP input member 'execute' clashes with 'exec-oob'");
    }
}
