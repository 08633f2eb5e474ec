use proptest::prelude::*;
use serde_json::json;

use super::*;

fn refusal(text: &str) -> String {
    keyval(text, "type").unwrap_err().desc
}

#[test]
fn a_first_value_without_key_has_the_implied_one() {
    assert_eq!(Opts::parse("tap,id=a", "type").into_value(), json!({"type": "tap", "id": "a"}));
    assert_eq!(keyval("dgram,id=a", "type").unwrap(), json!({"type": "dgram", "id": "a"}));
    assert_eq!(Opts::parse("id=a", "type").into_value(), json!({"id": "a"}));
}

#[test]
fn a_double_comma_is_a_comma() {
    assert_eq!(Opts::parse("a=1,,2,b=,,", "t").into_value(), json!({"a": "1,2", "b": ","}));
    assert_eq!(keyval("a=1,,2,b=,,", "t").unwrap(), json!({"a": "1,2", "b": ","}));
}

#[test]
fn flags_are_on_and_off_in_the_older_syntax_only() {
    assert_eq!(Opts::parse("user,ipv4,noipv6", "type").get("ipv6"), Some("off"));
    assert_eq!(Opts::parse("user,ipv4,noipv6", "type").get("ipv4"), Some("on"));
    assert_eq!(refusal("stream,server"), "Expected '=' after parameter 'server'");
}

#[test]
fn a_repeated_key_is_a_list_in_the_older_syntax_and_a_correction_in_the_newer() {
    assert_eq!(Opts::parse("a=1,a=2,a=3", "t").into_value(), json!({"a": ["1", "2", "3"]}));
    assert_eq!(Opts::parse("a=1,a=2", "t").get("a"), Some("2"));
    assert_eq!(keyval("a=1,a=2", "t").unwrap(), json!({"a": "2"}));
}

#[test]
fn dots_nest_and_indices_make_lists() {
    let tree = keyval("a.b.c=1,a.b.d=2,l.1=y,l.0.k=x", "t").unwrap();
    assert_eq!(tree, json!({"a": {"b": {"c": "1", "d": "2"}}, "l": [{"k": "x"}, "y"]}));
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    assert_eq!(refusal("a=1,a.b=2"), "Parameters 'a.*' used inconsistently");
    assert_eq!(refusal("a.b=2,a=1"), "Parameters 'a.*' used inconsistently");
    assert_eq!(refusal("a.b=2,a.0=1"), "Parameters 'a.*' used inconsistently");
    assert_eq!(refusal("a.0=2,a.2=1"), "Parameter 'a.1' missing");
    assert_eq!(refusal("=1"), "Invalid parameter ''");
    assert_eq!(refusal("a..b=1"), "Invalid parameter 'a..b'");
    assert_eq!(
        refusal(&format!("{}=1", "a".repeat(128))),
        format!("Invalid parameter '{}'", "a".repeat(128))
    );
}

/// Writes options the way a user would.
fn write(pairs: &[(String, String)]) -> String {
    let pair = |(key, value): &(String, String)| format!("{key}={}", value.replace(',', ",,"));
    pairs.iter().map(pair).collect::<Vec<_>>().join(",")
}

proptest! {
    #[test]
    fn what_was_written_is_read_in_the_older_syntax(
        pairs in prop::collection::vec(("[a-z][a-z0-9-]{0,8}", ".{0,20}"), 0..8),
    ) {
        let opts = Opts::parse(&write(&pairs), "type");
        prop_assert_eq!(opts, Opts { pairs });
    }

    #[test]
    fn what_was_written_is_read_in_the_newer_syntax(
        values in prop::collection::btree_map("[a-z][a-z0-9-]{0,8}", ".{0,20}", 0..8),
    ) {
        let pairs: Vec<(String, String)> =
            values.iter().map(|(key, value)| (format!("top.{key}"), value.clone())).collect();
        let expected = if values.is_empty() { json!({}) } else { json!({ "top": values }) };
        prop_assert_eq!(keyval(&write(&pairs), "type").unwrap(), expected);
    }

    #[test]
    fn no_text_makes_either_reader_panic(text in "([a-c0-2.]{0,4}[=,]{0,3}){0,8}|.{0,60}") {
        let _ = Opts::parse(&text, "type").into_value();
        let _ = keyval(&text, "type");
    }
}
