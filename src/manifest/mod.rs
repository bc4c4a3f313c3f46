//! Bytes to documents with positions to JSON values, scalars read as kubectl reads them.
//!
//! [`read`] takes one file, [`load::load`] takes what stands on a command line, [`schema::check_shape`] says which
//! fields of an object no supported API server knows. Nothing here decides about autoscaling, and nothing prints.
//!
//! - `yaml` and `json` turn text into events, `tree` builds values and positions from them;
//! - `scalar` knows what a scalar means, `position` finds a field again in the text;
//! - `load` walks folders, `kustomize` and `helm` know which files are not manifests by themselves.

mod document;
mod helm;
mod json;
mod kustomize;
pub mod load;
mod position;
mod scalar;
pub mod schema;
mod tree;
mod yaml;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;

pub use document::{Document, Source, Span};
pub use position::join_field;

use document::Lines;
use tree::{Fault, Tree};

/// The largest file that is read: 64 MiB. The API server takes objects of at most 3 MiB, so a larger file is a mistake.
pub const MAX_FILE_BYTES: usize = 64 << 20;

/// Problems of one file that are listed; reading stops there.
pub(crate) const MAX_PROBLEMS: usize = 1_000;

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemSeverity {
    /// Worth saying; nothing is refused for it.
    Note,
    /// kubectl could not apply this, or would not apply what the file appears to say.
    Deny,
}

/// Something wrong with a file as a file, whatever its objects mean.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The file.
    pub source: Arc<Source>,
    /// Where; `None` when it concerns the whole file.
    pub span: Option<Span>,
    /// What is wrong. Holds keys but never values.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether it is refused.
    pub severity: ProblemSeverity,
}

impl Problem {
    fn new(source: &Arc<Source>, span: Option<Span>, severity: ProblemSeverity, message: impl Into<String>) -> Self {
        Self { source: Arc::clone(source), span, message: message.into(), hint: None, severity }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Line and column of the problem, from 1; `None` when it concerns the whole file.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        self.span.map(|span| self.source.line_column(span.start))
    }
}

/// What one file holds.
#[derive(Debug, Clone)]
pub struct File {
    /// The documents in file order, lists expanded, empty ones left out.
    pub documents: Vec<Document>,
    /// In file order.
    pub problems: Vec<Problem>,
}

/// Reads one file. `name` is what messages call it. Never fails: what cannot be read becomes a problem.
pub fn read(name: &str, bytes: &[u8]) -> File {
    let (source, refusal) = text_of(name, bytes);
    let source = Arc::new(source);
    if let Some((span, message, hint)) = refusal {
        let mut problem = Problem::new(&source, span, ProblemSeverity::Deny, message);
        problem.hint = hint.map(str::to_owned);
        return File { documents: Vec::new(), problems: vec![problem] };
    }
    let mut file = Reading { lines: Arc::default(), source, documents: Vec::new(), problems: Vec::new() };
    for result in trees(name, &file.source.text) {
        match result {
            Ok(tree) => file.tree(tree),
            Err(fault) => file.fault(fault),
        }
        if file.problems.len() >= MAX_PROBLEMS {
            file.problems.truncate(MAX_PROBLEMS);
            let message = format!("more than {MAX_PROBLEMS} problems; the rest of the file is not read");
            file.problems.push(Problem::new(&file.source, None, ProblemSeverity::Deny, message));
            break;
        }
    }
    let mut file = File { documents: file.documents, problems: file.problems };
    helm::replace_template_problems(&mut file);
    file
}

type Refusal = (Option<Span>, String, Option<&'static str>);

/// The text of a file, or why it is not text. A source comes in both cases, so that the refusal can name it.
fn text_of(name: &str, bytes: &[u8]) -> (Source, Option<Refusal>) {
    let refuse = |span, message: String, hint| {
        (Source { name: name.to_owned(), text: String::new() }, Some((span, message, hint)))
    };
    if bytes.len() > MAX_FILE_BYTES {
        return refuse(None, "the file is larger than 64 MiB and is not read".to_owned(), Some("split the file"));
    }
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return refuse(None, "the file is UTF-16 text".to_owned(), Some("save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let line = |at: usize| bytes.iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        let message = format!("the file is not text: a NUL byte at offset {at}, line {}", line(at));
        return refuse(None, message, None);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => (Source { name: name.to_owned(), text: text.to_owned() }, None),
        Err(error) => {
            let at = error.valid_up_to();
            let byte = bytes.get(at).copied().unwrap_or_default();
            let message = format!("the file is not UTF-8: byte 0x{byte:02x} at offset {at}, line {}", line(at));
            // The text before the byte is kept, and the byte itself shown as a replacement character.
            let text = String::from_utf8_lossy(bytes).into_owned();
            let end = (at + char::REPLACEMENT_CHARACTER.len_utf8()).min(text.len());
            let span = Span { start: at, end };
            (Source { name: name.to_owned(), text }, Some((Some(span), message, Some("save it as UTF-8"))))
        }
    }
}

/// Reads `text` as JSON where it looks like JSON, as kubectl does, else as YAML.
///
/// Of a file that is not called `.json`, a brace may also begin a YAML flow mapping; some releases of kubectl take it.
fn trees(name: &str, text: &str) -> Vec<Result<Tree, Fault>> {
    let json_name = name.to_ascii_lowercase().ends_with(".json");
    let start = text.trim_start();
    if start.starts_with('{') || json_name && start.starts_with('[') {
        match json::read(text) {
            Ok(trees) => return trees.into_iter().map(Ok).collect(),
            Err((trees, fault)) if json_name => return trees.into_iter().map(Ok).chain([Err(fault)]).collect(),
            Err(_) => {}
        }
    }
    yaml::read(text)
}

/// A file while its documents come in.
struct Reading {
    source: Arc<Source>,
    lines: Arc<Lines>,
    documents: Vec<Document>,
    problems: Vec<Problem>,
}

impl Reading {
    fn fault(&mut self, fault: Fault) {
        let Fault { span, message, first } = fault;
        let problem = |message: String| Problem::new(&self.source, Some(span), ProblemSeverity::Deny, message);
        let problem = match first {
            None => problem(message),
            Some(first) => {
                let line = |at: usize| self.lines.line_column(&self.source.text, at).0;
                problem(format!(
                    "the key `{message}` is set twice, on lines {} and {}",
                    line(first.start),
                    line(span.start)
                ))
                .hint("only the last one would count; remove one of them")
            }
        };
        self.problems.push(problem);
    }

    fn tree(&mut self, tree: Tree) {
        let Tree { value, root, mut positions, faults } = tree;
        for fault in faults {
            self.fault(fault);
        }
        if value.is_null() {
            return;
        }
        positions.shrink();
        let positions = Arc::new(positions);
        // Lists may hold lists: a stack, last item first, keeps the order.
        let mut pending = vec![(value, root)];
        while let Some((mut value, node)) = pending.pop() {
            let span = positions.span(node).unwrap_or(Span { start: 0, end: 0 }).trimmed(&self.source.text);
            let Some(object) = value.as_object_mut() else {
                let message = "a Kubernetes object is a mapping with apiVersion and kind";
                self.problems.push(Problem::new(&self.source, Some(span), ProblemSeverity::Deny, message));
                continue;
            };
            if let Some((index, items)) = list_items(object) {
                let list = positions.children(node).get(index).map(|entry| entry.node);
                let nodes = list.map(|list| positions.children(list)).unwrap_or_default();
                let nodes = nodes.iter().map(|entry| entry.node).chain(std::iter::repeat(node));
                let mut children: Vec<_> = items.into_iter().zip(nodes).collect();
                children.reverse();
                pending.append(&mut children);
                continue;
            }
            self.type_problem(object, span);
            self.documents.push(Document::new(
                Arc::clone(&self.source),
                Arc::clone(&self.lines),
                value,
                span,
                Arc::clone(&positions),
                node,
            ));
        }
    }

    /// Says what is missing when a document does not name its kind.
    fn type_problem(&mut self, object: &serde_json::Map<String, Value>, span: Span) {
        let has = |key: &str| object.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        let (version, kind) = (has("apiVersion"), has("kind"));
        if version && kind || kustomize::is_kustomization_name(&self.source.name) {
            return;
        }
        let missing = match (version, kind) {
            (false, false) => "apiVersion and kind",
            (false, true) => "apiVersion",
            _ => "kind",
        };
        // Other tools' files have one of the two as well (a Chart.yaml its apiVersion); metadata tells a manifest.
        let manifest = (version || kind) && object.get("metadata").is_some_and(Value::is_object);
        let severity = if manifest { ProblemSeverity::Deny } else { ProblemSeverity::Note };
        let message = format!("this document has no {missing}, so it is not a Kubernetes object");
        self.problems.push(Problem::new(&self.source, Some(span), severity, message));
    }
}

/// The index of `items` and the items, when the object is a list; they take over a kind that only the list names.
fn list_items(object: &mut serde_json::Map<String, Value>) -> Option<(usize, Vec<Value>)> {
    let kind = object.get("kind")?.as_str()?.strip_suffix("List")?.to_owned();
    let version = object.get("apiVersion").cloned();
    let index = object.keys().position(|key| key == "items")?;
    let mut items = match object.get_mut("items")? {
        Value::Array(items) => std::mem::take(items),
        Value::Null => Vec::new(),
        _ => return None,
    };
    if !kind.is_empty() {
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            if !item.contains_key("kind") {
                item.insert("kind".to_owned(), Value::String(kind.clone()));
                if let Some(version) = &version {
                    item.entry("apiVersion").or_insert_with(|| version.clone());
                }
            }
        }
    }
    Some((index, items))
}
