//! Each kind of input that is not a manifest, and what is still given of its file.

use std::fmt::Write as _;

use super::{File, ProblemSeverity, problems, read};

fn names(file: &File) -> Vec<&str> {
    file.documents.iter().filter_map(|d| d.value["metadata"]["name"].as_str()).collect()
}

fn object(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

#[test]
fn documents_around_one_that_does_not_parse_are_given() {
    for broken in
        ["a: [1,2", "a: b: c", "a: @x", "a: 1\n\tb: 2", "a: \"x", "a: *x", "a: {b: 1", "%YAML 3.0", "- a\nb: 1"]
    {
        let text = format!("{}---\n{broken}\n---\n{}", object("one"), object("three"));
        let file = read("test.yaml", text.as_bytes());
        assert_eq!(names(&file), ["one", "three"], "{broken}: {:?}", problems(&file));
        let denied: Vec<_> = file.problems.iter().filter(|p| p.severity == ProblemSeverity::Deny).collect();
        assert_eq!(denied.len(), 1, "{broken}: {:?}", problems(&file));
        let line = denied[0].line_column().unwrap().0;
        assert!((4..=8).contains(&line), "{broken}: {:?}", problems(&file));
    }
}

#[test]
fn a_key_set_twice_is_denied_with_both_lines_and_the_last_value_is_given() {
    let file = read("test.yaml", format!("{}a: 1\nb: 2\na: 3\n", object("x")).as_bytes());
    assert_eq!(problems(&file), ["6: Deny the key `a` is set twice, on lines 4 and 6"]);
    let document = &file.documents[0];
    assert_eq!(document.value["a"], 3);
    assert_eq!(document.line_column(document.at("a").unwrap().start), (6, 4));
    let json = read("test.json", br#"{"apiVersion": "v1", "kind": "A", "a": 1, "a": 2}"#);
    assert_eq!(problems(&json), ["1: Deny the key `a` is set twice, on lines 1 and 1"]);
}

#[test]
fn files_that_are_not_text_are_refused_by_the_byte() {
    let cases: [(&[u8], &str); 4] = [
        (b"a: 1\nb: \x00", "-: Deny the file is not text: a NUL byte at offset 8, line 2"),
        (b"a: 1\nb: \xffx", "2: Deny the file is not UTF-8: byte 0xff at offset 8, line 2"),
        (b"\xff\xfea\x00", "-: Deny the file is UTF-16 text"),
        (b"\xfe\xff\x00a", "-: Deny the file is UTF-16 text"),
    ];
    for (bytes, expected) in cases {
        let file = read("test.yaml", bytes);
        assert_eq!(problems(&file), [expected]);
        assert!(file.documents.is_empty());
    }
}

#[test]
fn a_file_above_64_mib_is_refused() {
    let file = read("test.yaml", &vec![b' '; super::super::MAX_FILE_BYTES + 1]);
    assert_eq!(problems(&file), ["-: Deny the file is larger than 64 MiB and is not read"]);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_text() {
    let file = read("test.yaml", b"\xEF\xBB\xBFapiVersion: v1\nkind: A\n");
    assert_eq!(problems(&file), [""; 0]);
    assert_eq!(file.documents[0].value["apiVersion"], "v1");
    assert_eq!(file.documents[0].at("apiVersion").unwrap().start, 12);
}

#[test]
fn deep_nesting_is_a_problem_and_no_stack_overflow() {
    let flow = "[".repeat(10_000);
    let closed = format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let json = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let mut block = String::new();
    for depth in 0..3_000 {
        let _ = writeln!(block, "{}a:", " ".repeat(depth));
    }
    let dashes = "- ".repeat(10_000);
    for text in [flow, closed, json, block, dashes] {
        let text = format!("{text}\n---\n{}", object("after"));
        let file = read("test.yaml", text.as_bytes());
        assert!(problems(&file).iter().any(|p| p.contains("Deny")), "{:?}", problems(&file));
        assert_eq!(names(&file), ["after"]);
    }
}

#[test]
fn nesting_through_aliases_counts_as_nesting() {
    let mut text = "a0: &a0 {x: 1}\n".to_owned();
    for n in 1..2_000 {
        let _ = writeln!(text, "a{n}: &a{n} {{x: *a{}}}", n - 1);
    }
    let file = read("test.yaml", text.as_bytes());
    assert_eq!(file.problems.len(), 1);
    assert!(problems(&file)[0].contains("aliases counted"), "{:?}", problems(&file));
}

#[test]
fn an_alias_bomb_is_refused_at_a_line() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let alias = format!("*a{}", n - 1);
        let _ = writeln!(text, "a{n}: &a{n} [{}]", [alias.as_str(); 9].join(", "));
    }
    let file = read("test.yaml", format!("{text}---\n{}", object("after")).as_bytes());
    assert_eq!(file.problems.len(), 1);
    assert!(problems(&file)[0].contains("more than a million nodes"), "{:?}", problems(&file));
    assert!(file.problems[0].line_column().unwrap().0 > 1);
    assert_eq!(names(&file), ["after"]);

    // Few nodes, but much text.
    let text = format!("a: &a {}\nb:\n{}", "x".repeat(100_000), "- *a\n".repeat(10_000));
    assert!(problems(&read("test.yaml", text.as_bytes()))[0].contains("more than a million nodes"));
}

#[test]
fn an_alias_inside_its_own_anchor_is_refused() {
    let file = read("test.yaml", b"b: 1\na: &a [*a]\n");
    assert_eq!(problems(&file), ["2: Deny this alias stands inside what it refers to"]);
}

#[test]
fn what_is_no_mapping_is_denied() {
    for text in ["just text\n", "- a\n- b\n", "3\n"] {
        let file = read("test.yaml", text.as_bytes());
        assert_eq!(problems(&file), ["1: Deny a Kubernetes object is a mapping with apiVersion and kind"], "{text}");
    }
}

#[test]
fn empty_documents_are_skipped() {
    for text in ["", "\n", "# nothing\n", "---\n", "---\n---\n# c\n---\n...\n", "null\n", "---\n~\n", "\u{feff}"] {
        let file = read("test.yaml", text.as_bytes());
        assert!(file.documents.is_empty() && file.problems.is_empty(), "{text:?}: {:?}", problems(&file));
    }
}

#[test]
fn a_document_without_a_kind_is_a_note_unless_it_is_evidently_a_manifest() {
    let cases = [
        ("replicaCount: 1\n", "1: Note this document has no apiVersion and kind, so it is not a Kubernetes object"),
        ("apiVersion: v2\nname: chart\n", "1: Note this document has no kind, so it is not a Kubernetes object"),
        ("kind: Pod\nmetadata: {}\n", "1: Deny this document has no apiVersion, so it is not a Kubernetes object"),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(&read("test.yaml", text.as_bytes())), [expected]);
    }
    assert_eq!(problems(&read("a/kustomization.yaml", b"resources: [a.yaml]\n")), [""; 0]);
}

#[test]
fn an_unrendered_helm_template_is_a_note() {
    for text in [
        "a: {{ .Values.a }}\n",
        "{{- if .Values.on }}\napiVersion: v1\nkind: A\n{{- end }}\n",
        "apiVersion: v1\nkind: A\nmetadata:\n  labels:\n    {{- include \"x\" . | nindent 4 }}\n",
    ] {
        let file = read("test.yaml", text.as_bytes());
        assert!(file.documents.is_empty());
        let found = problems(&file);
        assert!(found.len() == 1 && found[0].contains("Note this is an unrendered Helm template"), "{text}: {found:?}");
        assert!(file.problems[0].hint.as_ref().unwrap().contains("helm template"));
    }
    // Prometheus templates stand in manifests, and do not excuse what does not parse.
    let alert = "apiVersion: v1\nkind: A\na: \"{{ $labels.pod }}\"\n";
    assert_eq!(problems(&read("test.yaml", alert.as_bytes())), [""; 0]);
    assert!(problems(&read("test.yaml", format!("{alert}b: [").as_bytes()))[0].contains("Deny"));
}

#[test]
fn broken_json_is_denied_at_its_place_and_what_came_before_is_given() {
    let file = read("test.json", b"{\"apiVersion\": \"v1\", \"kind\": \"A\"}\n{\"a\": [1 2]}\n");
    assert_eq!(problems(&file), ["2: Deny this is not JSON: `,` or `]` is expected here"]);
    assert_eq!(file.documents.len(), 1);
    for text in [
        "{\"a\": 01}",
        "{\"a\": 1.}",
        "{\"a\": \"\\x\"}",
        "{\"a\": \"\n\"}",
        "{\"a\" 1}",
        "{a: 1}",
        "{\"a\": tru}",
        "{\"a\": \"x",
        "[1]",
        "{",
    ] {
        assert!(problems(&read("test.json", text.as_bytes())).iter().any(|p| p.contains("Deny")), "{text}");
    }
}

#[test]
fn problems_are_counted_and_reading_stops() {
    let file = read("test.yaml", "---\na: [\n".repeat(5_000).as_bytes());
    assert_eq!(file.problems.len(), 1_001);
    assert!(file.problems[1_000].message.contains("more than 1000 problems"));
    let twice = read("test.yaml", "a: 1\n".repeat(100_000).as_bytes());
    assert!(problems(&twice).iter().any(|p| p.contains("more than 100 keys are set twice")));
}
