//! What kubectl 1.32 printed (`kubectl label --local -o json`) for the same text is what these tables expect.

use serde_json::{Value, json};

use super::{good, problems, read};

fn scalar(text: &str) -> Value {
    good(&format!("a: {text}\n")).documents.into_iter().next().unwrap().value["a"].take()
}

#[test]
fn scalars_mean_what_they_mean_to_kubectl() {
    let table = [
        ("y", json!(true)),
        ("N", json!(false)),
        ("yes", json!(true)),
        ("Off", json!(false)),
        ("tRue", json!("tRue")),
        ("010", json!(8)),
        ("0o10", json!(8)),
        ("-010", json!(-8)),
        ("08", json!(8)),
        ("0x1F", json!(31)),
        ("0b101", json!(5)),
        ("-0b1", json!(-1)),
        ("+12", json!(12)),
        ("1_000", json!(1000)),
        ("1_", json!(1)),
        ("_1", json!("_1")),
        ("685_230.15", json!(685_230.15)),
        ("1e3", json!(1000)),
        ("1.50", json!(1.5)),
        ("1.", json!(1)),
        (".5", json!(0.5)),
        (".00_41", json!(0.0041)),
        ("-9223372036854775808", json!(-9_223_372_036_854_775_808_i64)),
        ("-9223372036854775809", json!(-9_223_372_036_854_775_809_f64)),
        ("9223372036854775000.0", json!(9_223_372_036_854_775_000_i64)),
        ("+.5", json!(0.5)),
        ("-0.0", json!(0)),
        ("1e-7", json!(1e-7)),
        ("1e21", json!(1e21)),
        ("1e400", json!("1e400")),
        ("9223372036854775807", json!(9_223_372_036_854_775_807_i64)),
        ("9223372036854775808", json!(9_223_372_036_854_775_808_f64)),
        ("18446744073709551615", json!(18_446_744_073_709_551_615_f64)),
        ("0xFFFFFFFFFFFFFFFFFF", json!("0xFFFFFFFFFFFFFFFFFF")),
        ("0777777777777777777777777", json!(7.777_777_777_777_778e23)),
        ("0x1p4", json!("0x1p4")),
        ("0x", json!("0x")),
        ("+", json!("+")),
        (".", json!(".")),
        ("1.2.3", json!("1.2.3")),
        ("1e", json!("1e")),
        ("1:30", json!("1:30")),
        ("2020-01-01", json!("2020-01-01")),
        ("2001-12-14T21:59:43.10-05:00", json!("2001-12-14T21:59:43.10-05:00")),
        ("~", json!(null)),
        ("Null", json!(null)),
        ("", json!(null)),
        ("\"\"", json!("")),
        ("\"1\"", json!("1")),
        ("'yes'", json!("yes")),
        ("!!str 1", json!("1")),
        ("!!str", json!("")),
        ("!!int \"1\"", json!(1)),
        ("!!float 1", json!(1)),
        ("!!bool yes", json!(true)),
        ("!!null ''", json!(null)),
        ("!!binary aGVsbG8=", json!("hello")),
        ("!custom 3", json!("3")),
        ("! 4", json!("4")),
        ("=", json!("=")),
        ("\"<<\"", json!("<<")),
        ("8Gi", json!("8Gi")),
        ("1m", json!("1m")),
    ];
    for (text, expected) in table {
        assert_eq!(scalar(text), expected, "{text}");
    }
}

#[test]
fn keys_become_the_strings_that_kubectl_makes_of_them() {
    let table = [
        ("1", "1"),
        ("0x10", "16"),
        ("yes", "true"),
        ("'yes'", "yes"),
        ("1.5", "1.5"),
        ("0.1", "0.1"),
        ("1e10", "1e+10"),
        ("999999.0", "999999"),
        ("1234567.5", "1.2345675e+06"),
        ("100000.5", "100000.5"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("1e39", ".inf"),
        ("-0.0", "-0"),
        (".inf", ".inf"),
        ("2020-01-01", "2020-01-01"),
    ];
    for (text, expected) in table {
        let file = good(&format!("{text}: v\n"));
        let keys: Vec<_> = file.documents[0].value.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, [expected], "{text}");
    }
}

#[test]
fn what_has_no_json_form_is_denied_with_its_line() {
    for text in [
        "x: 1\na: .inf",
        "x: 1\na: -.Inf",
        "x: 1\na: .nan",
        "x: 1\nnull: 1",
        "x: 1\n18446744073709551615: 1",
        "x: 1\na: !!int 1.5",
        "x: 1\na: !!null x",
        "x: 1\na: !!bool 7",
        "x: 1\na: !!timestamp zz",
        "x: 1\na: !!binary '@@'",
        "x: 1\n[a]: 1",
        "x: 1\n? {a: 1}\n: 2",
        "x: 1\n<<: 3",
        "x: 1\n<<: [3]",
    ] {
        let file = read("test.yaml", text.as_bytes());
        let found = problems(&file);
        assert!(found.iter().any(|p| p.starts_with("2: Deny")), "{text}: {found:?}");
    }
}

#[test]
fn merge_keys_follow_go_yaml() {
    let file = good(
        "base: &b {p: 1, q: 2}\nafter: {<<: *b, p: 9}\nbefore: {p: 9, <<: *b}\nquoted: {\"<<\": {z: 1}}\n\
         list: {<<: [{p: 1}, {p: 2, r: 3}]}\n",
    );
    let document = &file.documents[0];
    assert_eq!(document.value["after"], json!({"p": 9, "q": 2}));
    assert_eq!(document.value["before"], json!({"p": 1, "q": 2}));
    assert_eq!(document.value["quoted"], json!({"<<": {"z": 1}}));
    assert_eq!(document.value["list"], json!({"p": 1, "r": 3}));
    let text = |field: &str| {
        let span = document.at(field).unwrap();
        (document.line_column(span.start).0, &document.source.text[span.start..span.end])
    };
    assert_eq!(text("after.p"), (2, "9"));
    assert_eq!(text("after.q"), (1, "2"));
    assert_eq!(text("before.p"), (1, "1"));
    assert_eq!(text("list.r"), (5, "3"));
}

#[test]
fn json_numbers_are_what_kubectl_makes_of_them() {
    let text = r#"{"a": 1e3, "b": 1.0, "c": 0.1, "d": 9223372036854775808, "e": -0, "f": "yes", "g": "\u00e9\ud83c\udfb5\ud800"}"#;
    let file = read("test.json", text.as_bytes());
    let expected = json!({"a": 1000, "b": 1, "c": 0.1, "d": 9_223_372_036_854_775_808_f64, "e": 0, "f": "yes",
                          "g": "é🎵\u{fffd}"});
    assert_eq!(file.documents[0].value, expected);
}
