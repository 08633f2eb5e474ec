use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// All messages of a text that comes in pieces of the given sizes (the last size is used for all the rest).
fn messages_in_pieces(bytes: &[u8], sizes: &[usize]) -> Vec<Message> {
    let mut reader = Reader::default();
    let mut found = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().copied().chain(std::iter::repeat(sizes.last().copied().unwrap_or(1)));
    while !rest.is_empty() {
        let (mut piece, later) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
        while let Some(message) = reader.next(&mut piece) {
            found.push(message);
        }
        assert!(piece.is_empty(), "a reader stops only at a message or at the end");
        rest = later;
    }
    found
}

fn messages(bytes: &[u8]) -> Vec<Message> {
    messages_in_pieces(bytes, &[usize::MAX])
}

fn errors(bytes: &[u8]) -> Vec<String> {
    messages(bytes)
        .into_iter()
        .map(|message| match message {
            Ok(value) => format!("value {value}"),
            Err(error) => error.strip_prefix("JSON parse error, ").unwrap_or(&error).to_owned(),
        })
        .collect()
}

#[test]
fn a_message_needs_no_line_end() {
    assert_eq!(messages(b"{'a':1}[2]"), [Ok(json!({"a": 1})), Ok(json!([2]))]);
}

#[test]
fn a_number_ends_at_what_cannot_belong_to_it() {
    assert_eq!(messages(b"42"), []);
    assert_eq!(messages(b"42 "), [Ok(json!(42))]);
    assert_eq!(errors(b"1.5.6\n"), ["value 1.5", "stray '.'"]);
}

#[test]
fn members_stay_in_the_order_sent() {
    let Some(Ok(value)) = messages(br#"{"z":1,"a":2,"m":3}"#).pop() else { panic!("no value") };
    assert_eq!(value.to_string(), r#"{"z":1,"a":2,"m":3}"#);
}

/// Every line was sent to QEMU 7.2.22; these are the texts of its errors ("value" where it found one).
#[test]
fn errors_are_worded_as_qemus() {
    let seen: [(&[u8], &[&str]); 44] = [
        (b"[-0e0]\n", &["expected separator in list"]),
        (b"\"\xc3\x01\n", &["stray '\"\u{FFFD}\u{1}'"]),
        (b"\"ab\x00c\"\n", &["stray '\"ab'"]),
        (b"\"\\\x01\n", &["stray '\"\\\u{1}'"]),
        (b"tru\x01e\n", &["invalid keyword 'tru'", "stray '\u{1}'"]),
        (b"\x01\x02\n", &["stray '\u{1}'", "stray '\u{2}'"]),
        (b"@ @[]\n", &["stray '@'", "value []"]),
        (b"@\t[]\n", &["stray '@'", "value []"]),
        (b"@\xfe\xff\n", &["stray '@'", "stray '\u{FFFD}'", "stray '\u{FFFD}'"]),
        (b"\x80\x81\n", &["stray '\u{FFFD}'"]),
        (b"\xef\xbb\xbf[]\n", &["stray '\u{FFFD}'", "value []"]),
        (b"1.e\n", &["stray '1.e'"]),
        (b"1e+\n", &["stray '1e+\n'"]),
        (b"-a\n", &["stray '-a'"]),
        (b"-01\n", &["stray '-01'"]),
        (b"1ee\n", &["stray '1ee'"]),
        (b"\"abc\n\"def\"\n", &["stray '\"abc\n'"]),
        (b"[1 2]\n", &["expected separator in list"]),
        (b"{\"a\":1 \"b\":2}\n", &["expected separator in dict"]),
        (b"{,}\n", &["expecting value"]),
        (b"{\"a\"}\n", &["missing : in object pair"]),
        (b"{\"a\":1,}\n", &["expecting value"]),
        (b"[1,]\n", &["expecting value"]),
        (b"{1:2}\n", &["key is not a string in object"]),
        (b"{{}:1}\n", &["key is not a string in object"]),
        (b"{1e400:1}\n", &["key is not a string in object"]),
        (b"{[1,]:1}\n", &["expecting value"]),
        (b"{foo:1}\n", &["invalid keyword 'foo'"]),
        (b"[}]\n", &["expecting value", "expecting value"]),
        (b"{\"id\":[1}]\n", &["expected separator in list"]),
        (b"[1:2]\n", &["expected separator in list"]),
        (b"{\"a\":1:2}\n", &["expected separator in dict"]),
        (b"{\"a\":\"\\x\",\"b\":}\n", &["invalid escape sequence in string"]),
        (b"{\"a\":\"\\x\" @}\n", &["stray '@'", "expecting value"]),
        (b"null1\n", &["value null", "value 1"]),
        (b"{\"a\\u0000\":1,\"a\\u0000\":2}\n", &["duplicate key"]),
        (b"{\"a\":1,\"\\u0061\":2}\n", &["duplicate key"]),
        (b"[]]\n", &["value []", "expecting value"]),
        (b"[\"\\ud800\\u0041\"]", &["\\ud800 is not a valid Unicode character"]),
        (b"[\"\\udc00\"]", &["\\udc00 is not a valid Unicode character"]),
        (b"[\"\\uD83F\\uDFFE\"]", &["\\uD83F\\uDFFE is not a valid Unicode character"]),
        (b"[\"\\u1g345\"]", &["\\u1g34 is not a valid Unicode character"]),
        (b"[\"\\u\"]", &["\\u\" is not a valid Unicode character"]),
        (b"[\"\xc3(\"]", &["invalid UTF-8 sequence in string"]),
    ];
    for (bytes, texts) in seen {
        assert_eq!(errors(bytes), texts, "{}", bytes.escape_ascii());
    }
}

#[test]
fn strings_may_hold_what_other_readers_refuse() {
    let text = "'a\"\\'/'".as_bytes();
    assert_eq!(messages(text), [Ok(json!("a\"'/"))]);
    assert_eq!(messages(b"\"\xc0\x80\\u0000\x7f\""), [Ok(json!("\0\0\x7f"))]);
    assert_eq!(messages(br#""\ud83d\ude00""#), [Ok(json!("\u{1F600}"))]);
}

#[test]
fn infinite_numbers_come_back_as_qemus_tokens() {
    let value = messages(b"[1e400,-1e400]").remove(0).unwrap();
    assert_eq!(print(&value), "[inf, -inf]");
}

#[test]
fn nesting_of_1024_is_read_and_1025_is_not() {
    let deep = |n| [vec![b'['; n], vec![b']'; n]].concat();
    assert!(messages(&deep(1024)).remove(0).is_ok());
    let refused = errors(&deep(1025));
    assert_eq!(refused[0], "JSON nesting depth limit exceeded");
    assert_eq!(refused.len(), 1026);
    assert!(refused[1..].iter().all(|error| error == "expecting value"));
}

#[test]
fn tokens_are_counted_to_2_mi() {
    // Brackets, items and commas: an odd number.
    let list = |items: usize| [b"[".as_slice(), &b"1,".repeat(items - 1), b"1]"].concat();
    assert!(messages(&list((TOKENS_MAX - 2) / 2)).remove(0).is_ok());
    assert_eq!(errors(&list(TOKENS_MAX / 2))[0], "JSON token count limit exceeded");
}

#[test]
fn text_is_counted_to_64_mib() {
    let string = |len: usize| [b"\"".as_slice(), &vec![b'x'; len - 2], b"\""].concat();
    assert!(messages(&string(TOKEN_TEXT_MAX_BYTES - 1)).remove(0).is_ok());
    assert_eq!(errors(&string(TOKEN_TEXT_MAX_BYTES)), ["JSON token size limit exceeded"]);
    // One more and it is given up before its end: what is left is a quote that nothing ends.
    assert_eq!(errors(&string(TOKEN_TEXT_MAX_BYTES + 2)), ["JSON token size limit exceeded"]);
    let many = [b"[".to_vec(), format!("\"{}\",", "x".repeat(97)).repeat(1 << 20).into_bytes()].concat();
    assert_eq!(errors(&many)[0], "JSON token size limit exceeded");
}

#[test]
fn a_text_is_one_value() {
    assert_eq!(from_text("{'a': 1}"), Ok(json!({"a": 1})));
    assert_eq!(from_text("17"), Ok(json!(17)));
    assert_eq!(from_text("[1"), Err("JSON parse error, premature EOI".to_owned()));
    assert_eq!(from_text("'ab"), Err("JSON parse error, stray ''ab'".to_owned()));
    assert!(from_text(" ").is_err());
    assert!(from_text("1 2").is_err());
}

fn any_scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ]
}

fn any_double() -> impl Strategy<Value = Value> {
    any::<f64>().prop_filter("JSON has no infinity", |f| f.is_finite()).prop_map(Value::from)
}

fn any_json(scalar: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    scalar.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..8).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| text.chars().filter(|&c| !codepoint::is_noncharacter(c)).collect())
}

/// Bytes that look enough like JSON to get somewhere.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 24] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b" ",
        b"\n",
        b"\"",
        b"'",
        b"\\",
        b"\"a\"",
        b"'b\\''",
        b"1",
        b"-",
        b"0",
        b".5",
        b"e3",
        b"true",
        b"x",
        b"\\ud83d",
        b"\x01",
        b"\xff",
        b"\xc3\xa9",
    ];
    let piece = prop_oneof![8 => prop::sample::select(pieces.to_vec()).prop_map(<[u8]>::to_vec),
        1 => any::<u8>().prop_map(|b| vec![b])];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_serde_json_writes_is_read_back(value in any_json(prop_oneof![any_scalar(), any_double()])) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            // Numbers end at the byte after them.
            let read = messages(format!("{text}\n").as_bytes());
            prop_assert_eq!(read, vec![Ok(value.clone())]);
        }
    }

    // Without doubles: serde_json reads their last digit wrongly unless asked not to.
    #[test]
    fn what_is_printed_is_read_by_serde_json_and_by_us(value in any_json(any_scalar())) {
        let line = print_line(&value);
        prop_assert!(line.is_ascii() && !line.trim_end().contains('\n'));
        prop_assert_eq!(messages(line.as_bytes()), vec![Ok(value.clone())]);
        prop_assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }

    #[test]
    fn a_printed_double_is_the_same_double(value in any_double()) {
        let back = messages(print_line(&value).as_bytes()).remove(0).unwrap();
        // By value: minus zero is printed as `-0`, an integer without sign.
        prop_assert_eq!(back.as_f64(), value.as_f64());
    }

    #[test]
    fn pieces_make_no_difference(bytes in nearly_json(), sizes in prop::collection::vec(1usize..9, 1..8)) {
        prop_assert_eq!(messages(&bytes), messages_in_pieces(&bytes, &sizes));
    }

    #[test]
    fn a_line_end_after_garbage_gives_a_known_state(bytes in nearly_json()) {
        let mut all = bytes;
        // Closes whatever is open: a string, a stray, brackets.
        all.extend_from_slice(b"\x01\n\xff\n[\"sync\"]\n");
        prop_assert_eq!(messages(&all).pop(), Some(Ok(json!(["sync"]))));
    }
}
