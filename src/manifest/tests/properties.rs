//! Properties over generated input.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::read;
use crate::manifest::{File, join_field};

/// Every span must lie inside the text, and every field of the value must be found.
fn check_bounds(file: &File) -> Result<(), TestCaseError> {
    for problem in &file.problems {
        if let Some(span) = problem.span {
            prop_assert!(span.start <= span.end && span.end <= problem.source.text.len());
            prop_assert!(problem.source.text.get(span.start..span.end).is_some(), "inside a character");
            let _ = problem.line_column();
        }
    }
    for document in &file.documents {
        let mut pending = vec![(String::new(), &document.value)];
        while let Some((field, value)) = pending.pop() {
            let span = document.at(&field).unwrap();
            prop_assert!(span.start <= span.end && span.end <= document.source.text.len(), "{field}");
            prop_assert!(document.source.text.get(span.start..span.end).is_some(), "inside a character");
            match value {
                Value::Object(map) => {
                    pending.extend(map.iter().map(|(key, value)| (join_field(&field, key), value)));
                }
                Value::Array(items) => {
                    pending.extend(items.iter().enumerate().map(|(i, value)| (format!("{field}[{i}]"), value)));
                }
                Value::String(text) => {
                    for inner in 0..=text.len() {
                        let at = document.block_offset(&field, inner);
                        prop_assert!(at.is_none_or(|at| at <= document.source.text.len()));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) + 0.3)),
        (1_u8..200).prop_map(|n| Value::from(10_f64.powi(i32::from(n) - 210))),
        "[ -~éß🎵\t]{0,12}".prop_map(Value::from),
        "(yes|no|0x1F|010|1e3|~|null|<<|2020-01-01|1_0|\\.inf|- a|a: b|# c|\\{\\{ x)".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[ -~é]{1,8}|yes|1", inner), 0..5)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Block-style YAML with strings in double quotes, written by rules simple enough to be seen to be right.
fn emit(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, child) in map {
                let _ = write!(out, "\n{pad}{}:", Value::from(key.as_str()));
                emit(child, indent + 2, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for child in items {
                let _ = write!(out, "\n{pad}-");
                emit(child, indent + 2, out);
            }
        }
        other => {
            let _ = write!(out, " {other}");
        }
    }
}

fn whole(value: &Value) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "A", "x": value})
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for name in ["a.yaml", "a.json"] {
            check_bounds(&read(name, &bytes))?;
        }
    }

    #[test]
    fn text_that_is_nearly_yaml_never_panics(text in "([a-c]|: |- |\n|  |\\{|\\}|\\[|\\]|,|\"|'|&a |\\*a|<<: |!!|\\||>|#|---\n|\\.\\.\\.\n|%|\r\n|\t|é|\\\\|0x|1|\\? |@|\\{\\{-|apiVersion: v1\nkind: List\nitems:\n){0,40}") {
        for name in ["a.yaml", "a.json"] {
            check_bounds(&read(name, text.as_bytes()))?;
        }
    }

    #[test]
    fn yaml_written_from_json_reads_back_equal(value in json()) {
        let value = whole(&value);
        let mut text = String::new();
        emit(&value, 0, &mut text);
        let file = read("a.yaml", text.as_bytes());
        prop_assert!(file.problems.is_empty(), "{:?}\n{text}", file.problems);
        prop_assert_eq!(&file.documents[0].value, &value);
        check_bounds(&file)?;
    }

    #[test]
    fn json_written_from_json_reads_back_equal(value in json()) {
        let value = whole(&value);
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let file = read("a.json", text.as_bytes());
            prop_assert!(file.problems.is_empty(), "{:?}", file.problems);
            prop_assert_eq!(&file.documents[0].value, &value);
            check_bounds(&file)?;
        }
    }
}
