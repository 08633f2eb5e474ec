//! The visitor's rules on types made for the purpose. The types of the protocol are compared with recorded
//! vectors in `kind::test`.

#![expect(unreachable_pub, reason = "the macros declare public types")]

use serde_json::json;

use super::define::{enumeration, object, union};
use super::*;

enumeration! {
    /// An enumeration.
    pub enum Colour {
        /// One value.
        Red = "red",
        /// Another value.
        DarkBlue = "dark-blue",
    }
}

object! {
    /// One member of each type.
    pub struct Everything {
        /// Text.
        text: Option<String>,
        /// Truth.
        truth: Option<bool>,
        /// Signed.
        signed: Option<i64>,
        /// Signed and narrow.
        narrow as "narrow-int": Option<i32>,
        /// Unsigned.
        unsigned: Option<u64>,
        /// Unsigned and narrow.
        port: Option<u16>,
        /// Size.
        size: Option<Size>,
        /// Enumeration.
        colour: Option<Colour>,
        /// List of plain values.
        colours: Option<Vec<Colour>>,
        /// List of objects.
        inner: Option<Vec<Inner>>,
        /// Anything.
        any: Option<Anything>,
    }
}

object! {
    /// An object with something mandatory in it.
    pub struct Inner {
        /// Mandatory.
        str: String,
    }
}

union! {
    /// A union.
    pub enum Figure by "type" {
        /// A case with members.
        Box(Inner) = "box",
        /// A case without.
        Point(Nothing) = "point",
    }
}

object! {
    /// A union with a common member.
    pub struct Named {
        /// Common.
        id: String,
        ..shape: Figure,
    }
}

fn read<T: QapiType>(value: &serde_json::Value) -> Result<T, String> {
    T::visit(&Place::root(value, Dialect::Json)).map_err(|error| error.desc)
}

fn refusal(value: &serde_json::Value) -> String {
    read::<Everything>(value).unwrap_err()
}

#[test]
fn each_wrong_type_has_its_text() {
    let wrong =
        |name: &str, expected: &str| format!("Invalid parameter type for '{name}', expected: {expected}");
    assert_eq!(refusal(&json!({"text": 5})), wrong("text", "string"));
    assert_eq!(refusal(&json!({"text": null})), wrong("text", "string"));
    assert_eq!(refusal(&json!({"truth": 1})), wrong("truth", "boolean"));
    assert_eq!(refusal(&json!({"signed": "5"})), wrong("signed", "integer"));
    assert_eq!(refusal(&json!({"signed": 1.0})), wrong("signed", "integer"));
    assert_eq!(refusal(&json!({"signed": 9_223_372_036_854_775_808_u64})), wrong("signed", "integer"));
    assert_eq!(refusal(&json!({"unsigned": 1.5})), "Parameter 'unsigned' expects uint64");
    assert_eq!(refusal(&json!({"unsigned": true})), "Parameter 'unsigned' expects uint64");
    assert_eq!(refusal(&json!({"size": "1M"})), "Parameter 'size' expects uint64");
    assert_eq!(refusal(&json!({"colour": 1})), wrong("colour", "string"));
    assert_eq!(refusal(&json!({"colours": "red"})), wrong("colours", "array"));
    assert_eq!(refusal(&json!({"inner": ["a"]})), wrong("inner[0]", "object"));
}

#[test]
fn numbers_that_do_not_fit_name_the_narrow_type_and_the_last_component() {
    assert_eq!(refusal(&json!({"narrow-int": 2_147_483_648_i64})), "Parameter 'narrow-int' expects int32_t");
    assert_eq!(refusal(&json!({"port": 65_536})), "Parameter 'port' expects uint16_t");
    assert_eq!(refusal(&json!({"port": -1})), "Parameter 'port' expects uint16_t");
    assert_eq!(refusal(&json!({"port": "x"})), "Parameter 'port' expects uint64");
}

#[test]
fn a_negative_number_wraps_in_uint64() {
    let read = read::<Everything>(&json!({"unsigned": -1})).unwrap();
    assert_eq!(read.unsigned, Some(u64::MAX));
}

#[test]
fn values_of_an_enumeration_lose_the_path_and_in_lists_the_name() {
    assert_eq!(refusal(&json!({"colour": "Red"})), "Parameter 'colour' does not accept value 'Red'");
    assert_eq!(refusal(&json!({"colours": ["red", "x"]})), "Parameter 'null' does not accept value 'x'");
}

#[test]
fn the_path_is_whole_where_something_is_missing_or_too_much() {
    assert_eq!(refusal(&json!({"inner": [{"str": "a"}, {}]})), "Parameter 'inner[1].str' is missing");
    assert_eq!(refusal(&json!({"inner": [{"str": "a", "b": 1}]})), "Parameter 'inner[0].b' is unexpected");
    assert_eq!(refusal(&json!({"narrow_int": 1})), "Parameter 'narrow_int' is unexpected");
}

#[test]
fn the_first_fault_in_the_order_of_the_declaration_wins() {
    let faults = json!({"aaa": 1, "port": "x", "inner": [{}], "signed": "y"});
    assert_eq!(refusal(&faults), "Invalid parameter type for 'signed', expected: integer");
}

#[test]
fn a_union_reads_common_members_then_its_tag_then_its_variant() {
    let refusal = |value: &serde_json::Value| read::<Named>(value).unwrap_err();
    assert_eq!(refusal(&json!({})), "Parameter 'id' is missing");
    assert_eq!(refusal(&json!({"id": "a"})), "Parameter 'type' is missing");
    assert_eq!(refusal(&json!({"id": "a", "type": "x"})), "Parameter 'type' does not accept value 'x'");
    assert_eq!(refusal(&json!({"id": "a", "type": "box"})), "Parameter 'str' is missing");
    assert_eq!(refusal(&json!({"id": "a", "type": "point", "str": "b"})), "Parameter 'str' is unexpected");
    let named = read::<Named>(&json!({"str": "b", "type": "box", "id": "a"})).unwrap();
    assert_eq!(named.shape, Figure::Box(Inner { str: "b".to_owned() }));
}

#[test]
fn what_was_printed_is_read_again() {
    let value = json!({
        "text": "t", "truth": false, "signed": -5, "narrow-int": -1, "unsigned": u64::MAX, "port": 65_535,
        "size": 7, "colour": "dark-blue", "colours": ["red"], "inner": [{"str": ""}], "any": [null, {"a": 1.5}],
    });
    let everything = read::<Everything>(&value).unwrap();
    assert_eq!(everything.print(), value);
    let named = json!({"id": "a", "type": "point"});
    assert_eq!(read::<Named>(&named).unwrap().print(), named);
}

#[test]
fn absent_members_are_not_printed() {
    assert_eq!(read::<Everything>(&json!({})).unwrap().print(), json!({}));
}

#[test]
fn a_type_that_is_named_twice_has_one_entry() {
    let mut schema = Schema::new();
    let first = Named::describe(&mut schema);
    assert_eq!(Named::describe(&mut schema), first);
    let list = Vec::<Named>::describe(&mut schema);
    assert_eq!(list, format!("[{first}]"));
    let entries = schema.finish();
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len(), "{names:?}");
}
