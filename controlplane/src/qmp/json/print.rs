//! Printing as QEMU prints: one line, ASCII only, a space behind each colon and comma.

use serde_json::{Map, Value};

use super::number::{infinite, print_double};

/// The value as one line, ended by CR LF, as it goes to a client.
#[must_use]
pub fn print_line(value: &Value) -> String {
    let mut line = print(value);
    line.push_str("\r\n");
    line
}

/// The value as one line without its end.
#[must_use]
pub fn print(value: &Value) -> String {
    let mut out = String::new();
    print_value(value, &mut out);
    out
}

fn print_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(double) => print_double(double, out),
            None => out.push_str(&number.to_string()),
        },
        Value::String(text) => match infinite(text) {
            Some(token) => out.push_str(token),
            None => print_string(text, out),
        },
        Value::Array(items) => print_list(items, out),
        Value::Object(members) => print_dict(members, out),
    }
}

fn print_list(items: &[Value], out: &mut String) {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        print_value(item, out);
    }
    out.push(']');
}

fn print_dict(members: &Map<String, Value>, out: &mut String) {
    out.push('{');
    for (i, (name, value)) in members.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        print_string(name, out);
        out.push_str(": ");
        print_value(value, out);
    }
    out.push('}');
}

fn print_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    print_unit(*unit, out);
                }
            }
        }
    }
    out.push('"');
}

fn print_unit(unit: u16, out: &mut String) {
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        let digit = char::from_digit(u32::from(unit >> shift & 0xF), 16).expect("four bits are one digit");
        out.push(digit.to_ascii_uppercase());
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_reply_looks_like_qemus() {
        let value = json!({"return": {"a": [1, true, null], "b": {}}, "id": "x"});
        assert_eq!(
            print_line(&value),
            "{\"return\": {\"a\": [1, true, null], \"b\": {}}, \"id\": \"x\"}\r\n"
        );
    }

    #[test]
    fn all_but_printable_ascii_is_escaped() {
        assert_eq!(
            print(&json!("\u{8}\u{c}\n\r\t\0\u{1}\u{7f}é'\"\\/\u{1F600}")),
            r#""\b\f\n\r\t\u0000\u0001\u007F\u00E9'\"\\/\uD83D\uDE00""#
        );
    }
}
