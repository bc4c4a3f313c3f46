//! Paths into the document, and which keys are known at one of them.

use serde_json::Value;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// A member of a mapping.
    Key(String),
    /// An entry of a list.
    Index(usize),
}

/// The path of a key that nothing reads.
pub(super) fn segments(path: &serde_ignored::Path<'_>) -> Vec<Segment> {
    use serde_ignored::Path;
    let mut segments = Vec::new();
    let mut at = path;
    loop {
        at = match at {
            Path::Root => break,
            Path::Seq { parent, index } => {
                segments.push(Segment::Index(*index));
                parent
            }
            Path::Map { parent, key } => {
                segments.push(Segment::Key(key.clone()));
                parent
            }
            Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => parent,
        };
    }
    segments.reverse();
    segments
}

/// The path of a value that does not fit.
pub(super) fn tracked(path: &serde_path_to_error::Path) -> Vec<Segment> {
    use serde_path_to_error::Segment as Step;
    path.iter()
        .filter_map(|step| match step {
            Step::Seq { index } => Some(Segment::Index(*index)),
            Step::Map { key } => Some(Segment::Key(key.clone())),
            Step::Enum { .. } | Step::Unknown => None,
        })
        .collect()
}

/// A path as kubectl writes it: `pools.items[0].labels[example.com/team]`.
pub(super) fn rendered(path: &[Segment]) -> String {
    path.iter().fold(String::new(), |text, segment| match segment {
        Segment::Key(key) => child(&text, key),
        Segment::Index(index) => format!("{text}[{index}]"),
    })
}

/// A member's path.
pub(super) fn child(parent: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    match (plain, parent.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{parent}.{key}"),
        (false, _) => format!("{parent}[{key}]"),
    }
}

/// The keys that the schema knows beside the last step of a path.
pub(super) fn known(schema: &Value, path: &[Segment]) -> Vec<String> {
    let mut at = resolved(schema, schema);
    for segment in path.get(..path.len().saturating_sub(1)).unwrap_or_default() {
        let next = match segment {
            Segment::Key(key) => at.and_then(|at| {
                at.get("properties").and_then(|all| all.get(key)).or_else(|| at.get("additionalProperties"))
            }),
            Segment::Index(_) => at.and_then(|at| at.get("items")),
        };
        at = next.and_then(|next| resolved(schema, next));
    }
    at.and_then(|at| at.get("properties"))
        .and_then(Value::as_object)
        .map(|all| all.keys().cloned().collect())
        .unwrap_or_default()
}

/// Follows `$ref`, and takes of `anyOf [X, null]` the X.
fn resolved<'a>(root: &'a Value, mut at: &'a Value) -> Option<&'a Value> {
    // Definitions are not nested more deeply than this, and a cycle must end.
    for _ in 0..8 {
        if let Some(reference) = at.get("$ref").and_then(Value::as_str) {
            at = root.pointer(reference.strip_prefix('#')?)?;
        } else if let Some(of) = at.get("anyOf").and_then(Value::as_array) {
            at = of.iter().find(|one| one.get("type").and_then(Value::as_str) != Some("null"))?;
        } else {
            return Some(at);
        }
    }
    None
}
