//! Fields are found again in the text.

use super::{good, problems, read};
use crate::manifest::Document;

fn text<'d>(document: &'d Document, field: &str) -> &'d str {
    let span = document.at(field).unwrap();
    &document.source.text[span.start..span.end]
}

fn place(document: &Document, field: &str) -> (usize, usize) {
    document.line_column(document.at(field).unwrap().start)
}

const HPA: &str = "# comment
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: a
  labels:
    app.kubernetes.io/name: b
    app: c
  annotations: {\"scalegate.dev/max-replicas\": '3', \"x[y]\": z}
spec:
  metrics:
  - type: Pods   # one
    pods:
      metric: {name: m}
  - type: Resource
  empty:
status:
";

#[test]
fn fields_are_found_as_kubectl_writes_them() {
    let file = good(HPA);
    let document = &file.documents[0];
    let table = [
        ("kind", "HorizontalPodAutoscaler", (3, 7)),
        ("metadata.name", "a", (5, 9)),
        ("metadata.labels.app", "c", (8, 10)),
        ("metadata.labels[app]", "c", (8, 10)),
        ("metadata.labels[app.kubernetes.io/name]", "b", (7, 29)),
        ("metadata.labels.app.kubernetes.io/name", "b", (7, 29)),
        ("metadata.annotations[scalegate.dev/max-replicas]", "'3'", (9, 47)),
        ("metadata.annotations[\"scalegate.dev/max-replicas\"]", "'3'", (9, 47)),
        ("metadata.annotations[x[y]]", "z", (9, 60)),
        ("spec.metrics[0].type", "Pods", (12, 11)),
        ("spec.metrics[0].pods.metric", "{name: m}", (14, 15)),
        ("spec.metrics[0].pods.metric.name", "m", (14, 22)),
        ("spec.metrics[1]", "type: Resource", (15, 5)),
        // A key without a value is shown itself.
        ("spec.empty", "empty", (16, 3)),
        ("status", "status", (17, 1)),
        // A missing field is shown at what exists of its path.
        ("spec.metrics[1].pods.metric", "type: Resource", (15, 5)),
        ("metadata.annotations[nothing]", "{\"scalegate.dev/max-replicas\": '3', \"x[y]\": z}", (9, 16)),
        ("spec.metrics[7]", "- type", (12, 3)),
    ];
    for (field, expected, at) in table {
        assert!(text(document, field).starts_with(expected), "{field}: {}", text(document, field));
        if !field.ends_with("[7]") {
            assert_eq!(text(document, field), expected, "{field}");
        }
        assert_eq!(place(document, field), at, "{field}");
    }
    assert_eq!(document.at("").unwrap(), document.span);
    assert_eq!(place(document, "nothing"), (2, 1));
}

#[test]
fn keys_are_found() {
    let file = good(HPA);
    let document = &file.documents[0];
    let key = |field: &str| document.key_at(field).map(|span| &document.source.text[span.start..span.end]);
    assert_eq!(key("spec.metrics[0].type"), Some("type"));
    assert_eq!(key("metadata.annotations[scalegate.dev/max-replicas]"), Some("\"scalegate.dev/max-replicas\""));
    assert_eq!(key("spec.metrics[0]"), None);
    assert_eq!(key("spec.nothing"), None);
}

#[test]
fn columns_count_characters_and_a_carriage_return_is_none_of_them() {
    let file = good("apiVersion: v1\r\nkind: Ä\r\né: 'ö'  # ü\r\nb: {ß: x}\r\n");
    let document = &file.documents[0];
    assert_eq!(document.value["é"], "ö");
    assert_eq!(place(document, "é"), (3, 4));
    assert_eq!(place(document, "b.ß"), (4, 8));
    assert_eq!(document.source.line_column(document.at("b.ß").unwrap().start), (4, 8));
    let end = document.source.text.len();
    assert_eq!(document.line_column(end + 5), document.source.line_column(end + 5));
}

#[test]
fn items_of_a_list_are_documents_with_fields_of_their_own() {
    let file = good(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n\
         - apiVersion: v1\n  kind: List\n  items:\n  - {apiVersion: v1, kind: Pod, metadata: {name: b}}\n\
         - apiVersion: v1\n  kind: Pod\n  metadata: {name: c}\n---\napiVersion: apps/v1\nkind: DeploymentList\nitems:\n\
         - metadata: {name: d}\n---\napiVersion: v1\nkind: List\nitems: []\n",
    );
    let names: Vec<_> = file.documents.iter().map(|d| text(d, "metadata.name")).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert_eq!(place(&file.documents[1], "metadata.name"), (10, 50));
    assert_eq!(place(&file.documents[2], "spec.nothing"), (11, 3));
    let deployment = &file.documents[3];
    assert_eq!((deployment.api_version(), deployment.kind()), ("apps/v1", "Deployment"));
    assert_eq!(place(deployment, "kind"), (18, 3));
}

#[test]
fn an_item_that_is_no_object_is_a_problem_of_its_own() {
    let file = read("a.yaml", b"apiVersion: v1\nkind: List\nitems:\n- 3\n- {apiVersion: v1, kind: Pod}\n");
    assert_eq!(problems(&file), ["4: Deny a Kubernetes object is a mapping with apiVersion and kind"]);
    assert_eq!(file.documents.len(), 1);
}

#[test]
fn json_has_positions_with_tabs_and_several_values() {
    let text_of_file = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"A\",\n\t\"a\": [1,\t{\"b\": null}]\n}\n---\n{\"apiVersion\":\"v1\",\"kind\":\"B\"}{\"apiVersion\":\"v1\",\"kind\":\"C\"}";
    for name in ["a.json", "a.yaml", "<stdin>"] {
        let file = read(name, text_of_file.as_bytes());
        assert_eq!(problems(&file), [""; 0]);
        let kinds: Vec<_> = file.documents.iter().map(Document::kind).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert_eq!(place(&file.documents[0], "a[1].b"), (4, 17));
        assert_eq!(text(&file.documents[0], "a[1].b"), "null");
        assert_eq!(place(&file.documents[2], "kind"), (7, 57));
    }
}

#[test]
fn a_flow_mapping_that_is_not_json_is_yaml() {
    let file = good(
        "{apiVersion: v1, kind: A, a: 'b'}\n---\n{\"apiVersion\": \"v1\", \"kind\": \"B\"}\n---\napiVersion: v1\nkind: C\n",
    );
    assert_eq!(file.documents.iter().map(Document::kind).collect::<Vec<_>>(), ["A", "B", "C"]);
    let json_first = good("{\"apiVersion\": \"v1\", \"kind\": \"B\"}\n---\napiVersion: v1\nkind: C\n");
    assert_eq!(json_first.documents.len(), 2);
}

#[test]
fn an_alias_is_shown_where_it_stands_and_its_fields_where_the_anchor_does() {
    let file = good("apiVersion: v1\nkind: A\na: &x {b: 1}\nc: *x\n");
    let document = &file.documents[0];
    assert_eq!((place(document, "c"), text(document, "c")), ((4, 4), "*x"));
    assert_eq!((place(document, "c.b"), text(document, "c.b")), ((3, 11), "1"));
}

/// For every character of the decoded text, the character at the place in the source must be the same, except for line
/// breaks that fold to spaces and for escapes.
fn check_blocks(source: &str) {
    let file = good(source);
    let document = &file.documents[0];
    let decoded = document.value["data"]["f"].as_str().unwrap();
    for (offset, wanted) in decoded.char_indices() {
        let at =
            document.block_offset("data.f", offset).unwrap_or_else(|| panic!("{source:?} has no place for {offset}"));
        let there = document.source.text[at..].chars().next().unwrap();
        let same =
            there == wanted || there == '\\' || there == '\'' && wanted == '\'' || wanted == ' ' && there == '\n';
        assert!(same || wanted == '\n' && there == '\r', "{source:?} at {offset}: {wanted:?} is {there:?}");
    }
    let end = document.block_offset("data.f", decoded.len() + 10).unwrap();
    assert!(end <= document.source.text.len());
}

#[test]
fn text_in_a_scalar_maps_to_the_lines_of_the_file() {
    for field in [
        "|\n    a: 1\n    b:\n      c: x\n\n    d: 2\n",
        "|2\n      a: 1\n    b: 2\n",
        "|-\n\n\n    a: 1\n    é: 2",
        "|2\n\n      a: 1\n    b: 2\n",
        "|\n\n\n",
        "|+\n    a\n\n\n",
        ">\n    a b\n    c d\n\n    e\n      f\n    g\n",
        ">-\n    a\n\n\n    b\n",
        "plain words\n    on two lines\n",
        "'it''s\n    two lines'\n",
        "\"x\\ty \\\"z\\\" \\u00e9\\U0001F3B5 \\\n     joined\n    folded\"\n",
        "\"\\ud83c\\udfb5 x\"\n",
        "&anchor |\n    a: 1\n",
        "\"\"\n",
    ] {
        check_blocks(&format!("apiVersion: v1\nkind: A\ndata:\n  f: {field}"));
        check_blocks(&format!("apiVersion: v1\nkind: A\ndata:\n  f: {field}").replace('\n', "\r\n"));
    }
    check_blocks(
        "{\"apiVersion\": \"v1\", \"kind\": \"A\", \"data\": {\"f\": \"a: 1\\nb: \\u00e9\\ud83c\\udfb5\\\"\\\\\"}}",
    );
}

#[test]
fn a_line_of_embedded_text_is_found_at_its_line_and_column() {
    let file = good("apiVersion: v1\nkind: A\ndata:\n  config.yaml: |\n    rules:\n    - seriesQuery: x\n");
    let document = &file.documents[0];
    let inner = document.value["data"]["config.yaml"].as_str().unwrap().find("seriesQuery").unwrap();
    let at = document.block_offset("data[config.yaml]", inner).unwrap();
    assert_eq!(document.line_column(at), (6, 7));
    assert_eq!(document.block_offset("data", 0), None);
    assert_eq!(document.block_offset("data.nothing", 0), None);
}
