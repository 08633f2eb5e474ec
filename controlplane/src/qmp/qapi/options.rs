//! Option texts: `tap,id=n0,ifname=x,queues=4`.
//!
//! QEMU has two syntaxes that look alike. The older one (`QemuOpts`) knows one level of keys, repeated keys and
//! flags (`ipv4`, `noipv4`); the newer one (`keyval`) knows nested keys (`addr.type=unix`) and lists
//! (`a.0=x,a.1=y`), but no flags. Which one is read depends on the option, for `-netdev` on the type. One syntax
//! that takes the union of both would be simpler and would read some texts differently from QEMU (a repeated key
//! is a list here and a correction there), so both are here. Either makes a tree of strings, which the visitors
//! read in the dialect of that syntax; nothing here knows any option by name.

use serde_json::{Map, Value};

use super::super::answer::QmpError;

/// The longest key fragment that QEMU accepts.
const FRAGMENT_BYTES_MAX: usize = 127;

/// The deepest key; QEMU has no limit, and no schema comes near this one.
const FRAGMENTS_MAX: usize = 32;

/// An option text in the older syntax, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opts {
    pairs: Vec<(String, String)>,
}

impl Opts {
    /// Reads the older syntax, which any text is in. `implied` is the key of a first value without key.
    #[must_use]
    pub fn parse(text: &str, implied: &str) -> Self {
        let mut pairs = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (pair, after) = opts_pair(rest, pairs.is_empty().then_some(implied));
            pairs.push(pair);
            rest = after;
        }
        Self { pairs }
    }

    /// The value of a key; of a repeated key the last.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Takes a key out, with all its values, and gives the last one.
    pub fn take(&mut self, key: &str) -> Option<String> {
        let value = self.get(key).map(str::to_owned);
        self.pairs.retain(|(name, _)| name != key);
        value
    }

    /// Adds a value as if it had been written last.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.pairs.push((key.to_owned(), value.into()));
    }

    /// The tree for [`super::Dialect::Opts`]: repeated keys are lists.
    #[must_use]
    pub fn into_value(self) -> Value {
        let mut object = Map::new();
        for (key, value) in self.pairs {
            let value = Value::from(value);
            match object.get_mut(&key) {
                Some(Value::Array(values)) => values.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
                None => drop(object.insert(key, value)),
            }
        }
        Value::Object(object)
    }
}

/// The first pair of a text, and what follows its comma.
fn opts_pair<'a>(text: &'a str, implied: Option<&str>) -> ((String, String), &'a str) {
    let key_end = text.find(['=', ',']).unwrap_or(text.len());
    let key = &text[..key_end];
    if text[key_end..].starts_with('=') {
        let (value, rest) = value(&text[key_end + 1..]);
        return ((key.to_owned(), value), rest);
    }
    if let Some(implied) = implied {
        let (value, rest) = value(text);
        return ((implied.to_owned(), value), rest);
    }
    let (key, value) = key.strip_prefix("no").map_or((key, "on"), |key| (key, "off"));
    ((key.to_owned(), value.to_owned()), text[key_end..].strip_prefix(',').unwrap_or(""))
}

/// A value up to a single comma; a double one stands for a comma.
fn value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    while let Some(comma) = rest.find(',') {
        value.push_str(&rest[..comma]);
        rest = &rest[comma + 1..];
        match rest.strip_prefix(',') {
            Some(after) => {
                value.push(',');
                rest = after;
            }
            None => return (value, rest),
        }
    }
    value.push_str(rest);
    (value, "")
}

/// Reads the newer syntax into the tree for [`super::Dialect::Keyval`]. `implied` is the key of a first value
/// without key.
pub fn keyval(text: &str, implied: &str) -> Result<Value, QmpError> {
    let mut tree = Map::new();
    let mut rest = text;
    while !rest.is_empty() {
        let is_first = rest.len() == text.len();
        let key_end = rest.find(['=', ',']).unwrap_or(rest.len());
        if rest[key_end..].starts_with('=') {
            let (value, after) = value(&rest[key_end + 1..]);
            put(&mut tree, &rest[..key_end], value)?;
            rest = after;
        } else if is_first && key_end > 0 {
            put(&mut tree, implied, rest[..key_end].to_owned())?;
            rest = rest[key_end..].strip_prefix(',').unwrap_or("");
        } else {
            let key = &rest[..key_end];
            return Err(QmpError::generic(format!("Expected '=' after parameter '{key}'")));
        }
    }
    with_lists(tree, "")
}

/// Puts a value where its key leads.
fn put(tree: &mut Map<String, Value>, key: &str, value: String) -> Result<(), QmpError> {
    let fragments: Vec<&str> = key.split('.').collect();
    if fragments.len() > FRAGMENTS_MAX || !fragments.iter().all(|fragment| is_fragment(fragment)) {
        return Err(QmpError::generic(format!("Invalid parameter '{key}'")));
    }
    let mut object = tree;
    let mut prefix_bytes = 0;
    let (last, branches) = fragments.split_last().expect("split gives at least one piece");
    for branch in branches {
        prefix_bytes += branch.len() + 1;
        let below = object.entry(*branch).or_insert_with(|| Value::Object(Map::new()));
        object = below.as_object_mut().ok_or_else(|| inconsistent(&key[..prefix_bytes]))?;
    }
    match object.insert((*last).to_owned(), Value::from(value)) {
        Some(Value::Object(_)) => Err(inconsistent(&format!("{key}."))),
        Some(_) | None => Ok(()),
    }
}

/// A name of QAPI, or an index.
fn is_fragment(fragment: &str) -> bool {
    let is_index = fragment.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = fragment.starts_with(|c: char| c.is_ascii_alphabetic())
        && fragment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    (1..=FRAGMENT_BYTES_MAX).contains(&fragment.len()) && (is_index || is_name)
}

fn inconsistent(prefix: &str) -> QmpError {
    QmpError::generic(format!("Parameters '{prefix}*' used inconsistently"))
}

/// Turns objects whose keys are all indices into lists.
fn with_lists(tree: Map<String, Value>, prefix: &str) -> Result<Value, QmpError> {
    let indices = tree.keys().filter(|key| key.starts_with(|c: char| c.is_ascii_digit())).count();
    if indices > 0 && indices < tree.len() {
        return Err(inconsistent(prefix));
    }
    let mut object = Map::new();
    for (key, value) in tree {
        let value = if let Value::Object(below) = value {
            with_lists(below, &format!("{prefix}{key}."))?
        } else {
            value
        };
        object.insert(key, value);
    }
    if indices == 0 || prefix.is_empty() {
        return Ok(Value::Object(object));
    }
    list(&mut object, prefix)
}

/// The elements in the order of their indices, which must leave no gap.
fn list(object: &mut Map<String, Value>, prefix: &str) -> Result<Value, QmpError> {
    let count = object.len();
    let element = |index: usize| {
        let missing = || QmpError::generic(format!("Parameter '{prefix}{index}' missing"));
        object.remove(&index.to_string()).ok_or_else(missing)
    };
    (0..count).map(element).collect::<Result<Vec<Value>, QmpError>>().map(Value::Array)
}

#[cfg(test)]
mod test;
