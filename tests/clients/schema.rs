//! What libvirt asks of `query-qmp-schema`, by its paths.
//!
//! A path begins with a command or event and goes from type to type: a member by its name, a variant of a union by
//! `+NAME`, a value of an enumeration by `^NAME`, a feature by `$NAME`; `arg-type` and `ret-type` enter a command.

use serde_json::Value;

/// Whether the schema has what the path names.
pub(crate) fn has(schema: &[Value], path: &str) -> bool {
    let mut words = path.split('/');
    let Some(mut here) = words.next().and_then(|name| entry(schema, name)) else { return false };
    for word in words {
        let Some(next) = step(schema, here, word) else { return false };
        here = next;
    }
    true
}

fn entry<'a>(schema: &'a [Value], name: &str) -> Option<&'a Value> {
    schema.iter().find(|entry| entry["name"] == *name)
}

/// A type by its name; the type of its elements if it is an array.
fn resolved<'a>(schema: &'a [Value], name: &Value) -> Option<&'a Value> {
    let entry = entry(schema, name.as_str()?)?;
    if entry["meta-type"] == "array" { resolved(schema, &entry["element-type"]) } else { Some(entry) }
}

fn step<'a>(schema: &'a [Value], here: &'a Value, word: &str) -> Option<&'a Value> {
    let named = |list: &'a Value, key: &str, name: &str| {
        list.as_array()?.iter().find(|item| item[key] == *name || **item == *name)
    };
    if let Some(feature) = word.strip_prefix('$') {
        return named(&here["features"], "", feature).map(|_found| here);
    }
    if let Some(value) = word.strip_prefix('^') {
        return named(&here["values"], "", value).map(|_found| here);
    }
    if let Some(case) = word.strip_prefix('+') {
        return resolved(schema, &named(&here["variants"], "case", case)?["type"]);
    }
    match word {
        "arg-type" | "ret-type" => resolved(schema, &here[word]),
        member => resolved(schema, &named(&here["members"], "name", member)?["type"]),
    }
}
