//! The one list of what Framewire answers differently from QEMU, and the page that is made from it.

use std::fmt::Write;

use framewire_tests::programs;
use serde_json::Value;

/// `deviations.json`.
#[derive(Debug)]
pub(crate) struct Deviations {
    list: Value,
}

impl Deviations {
    /// Reads it; each entry must be complete.
    pub(crate) fn read() -> Self {
        let path = programs::checkout().join("tests/qmp/deviations.json");
        let text = std::fs::read_to_string(&path).expect("the list is part of the checkout");
        let list: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for entry in entries(&list, "deviations") {
            for member in ["title", "qemu", "framewire", "reason"] {
                assert!(entry[member].is_string(), "deviations.json: an entry lacks '{member}': {entry}");
            }
        }
        for entry in entries(&list, "not_built") {
            assert!(entry["what"].is_string(), "deviations.json: an entry lacks 'what': {entry}");
        }
        Self { list }
    }

    /// May this vector fail?
    pub(crate) fn excuse(&self, group: &str, vector: &str) -> bool {
        self.declares(vector) || self.waits(group, vector)
    }

    /// Is this vector listed as different for good?
    pub(crate) fn declares(&self, vector: &str) -> bool {
        entries(&self.list, "deviations").any(|entry| names(entry, "vectors", vector))
    }

    /// Is this vector listed by its name?
    pub(crate) fn lists(&self, vector: &str) -> bool {
        self.declares(vector) || entries(&self.list, "not_built").any(|entry| names(entry, "vectors", vector))
    }

    /// Does this vector wait for something that is not built?
    fn waits(&self, group: &str, vector: &str) -> bool {
        entries(&self.list, "not_built")
            .any(|entry| names(entry, "groups", group) || names(entry, "vectors", vector))
    }

    /// The page for people.
    pub(crate) fn page(&self) -> String {
        let mut page = String::from(HEAD);
        for entry in entries(&self.list, "deviations") {
            let text = |member: &str| entry[member].as_str().unwrap_or_default();
            let _ = write!(
                page,
                "\n### {}\n\n* QEMU: {}\n* Framewire: {}\n* Why: {}\n",
                text("title"),
                text("qemu"),
                text("framewire"),
                text("reason")
            );
            list_vectors(&mut page, entry);
        }
        page.push_str(NOT_BUILT);
        for entry in entries(&self.list, "not_built") {
            let _ = writeln!(page, "* {}", entry["what"].as_str().unwrap_or_default());
        }
        page
    }
}

const HEAD: &str = "\
# Where Framewire's monitor differs from QEMU's

Made from `tests/qmp/deviations.json` by `make deviations`; the tests fail if the two disagree, if Framewire differs
in a recorded answer that is not listed here, or if a listed answer does not differ. Reference: QEMU 7.2.22.

## On purpose
";

const NOT_BUILT: &str = "
## Not built yet

Recorded answers that need one of these are replayed, but may fail:

";

fn list_vectors(page: &mut String, entry: &Value) {
    let names: Vec<String> =
        array(entry, "vectors").filter_map(Value::as_str).map(|name| format!("`{name}`")).collect();
    if !names.is_empty() {
        let _ = writeln!(page, "* Recorded answers that differ: {}", names.join(", "));
    }
}

fn entries<'a>(list: &'a Value, part: &str) -> impl Iterator<Item = &'a Value> {
    array(list, part)
}

fn array<'a>(object: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    object[member].as_array().into_iter().flatten()
}

/// Does the array `member` of `entry` hold this name? A `*` at an item's end stands for any rest.
fn names(entry: &Value, member: &str, name: &str) -> bool {
    array(entry, member).filter_map(Value::as_str).any(|item| match item.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => item == name,
    })
}
