//! Where each field of a document stands in its source, in a few bytes a field.
//!
//! A document's positions are a tree of nodes in one vector and the children of all nodes in another. Keys are not
//! stored: the n-th child of a mapping node belongs to the n-th key of the JSON object, whose order is kept.

use serde_json::Value;

use super::Span;

/// Index of a node in [`Positions`].
pub(super) type NodeId = u32;

/// How a node was written; it decides how a byte of decoded text maps back to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A mapping or sequence.
    Collection,
    /// Text without escapes; line breaks may be folded.
    Plain,
    SingleQuoted,
    DoubleQuoted,
    /// A block scalar, `|` or `>`.
    Block,
    /// An alias; children and text are those of the anchored node.
    Alias,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub start: u32,
    pub end: u32,
    /// First child in `entries`; for an alias the anchored node.
    pub first: u32,
    pub count: u32,
    pub style: Style,
}

/// A child: where its key stands (empty in sequences) and its node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub key_start: u32,
    pub key_end: u32,
    pub node: NodeId,
}

/// The positions of one YAML or JSON document.
#[derive(Debug, Default)]
pub(super) struct Positions {
    nodes: Vec<Node>,
    entries: Vec<Entry>,
}

/// What [`Positions::find`] found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'v> {
    pub node: NodeId,
    /// The key of the last step that exists, unless that step was an index.
    pub key: Option<Span>,
    pub value: &'v Value,
    /// False when only an ancestor of the field exists.
    pub exact: bool,
}

impl Positions {
    /// Adds a node. Sources are at most 64 MiB, so every offset and count fits in 32 bits.
    pub(super) fn add(&mut self, start: usize, end: usize, style: Style, children: &[Entry]) -> NodeId {
        let first = narrow(self.entries.len());
        self.entries.extend_from_slice(children);
        self.push(Node { start: narrow(start), end: narrow(end), first, count: narrow(children.len()), style })
    }

    /// Adds an alias to `target`, written at `start..end`.
    pub(super) fn add_alias(&mut self, start: usize, end: usize, target: NodeId) -> NodeId {
        self.push(Node { start: narrow(start), end: narrow(end), first: target, count: 0, style: Style::Alias })
    }

    fn push(&mut self, node: Node) -> NodeId {
        let id = narrow(self.nodes.len());
        self.nodes.push(node);
        id
    }

    pub(super) fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// The node as it was written, an alias not followed.
    pub(super) fn node(&self, id: NodeId) -> Option<Node> {
        self.nodes.get(id as usize).copied()
    }

    /// The node, or what it is an alias of.
    pub(super) fn target(&self, id: NodeId) -> Option<Node> {
        let node = self.node(id)?;
        // An alias points at the node of its anchor, which is never an alias itself.
        if node.style == Style::Alias { self.node(node.first) } else { Some(node) }
    }

    pub(super) fn span(&self, id: NodeId) -> Option<Span> {
        self.node(id).map(|node| Span { start: node.start as usize, end: node.end as usize })
    }

    /// The children of a node, those of its anchor for an alias.
    pub(super) fn children(&self, id: NodeId) -> &[Entry] {
        let Some(node) = self.target(id) else { return &[] };
        let first = node.first as usize;
        self.entries.get(first..first.saturating_add(node.count as usize)).unwrap_or(&[])
    }

    /// Follows `field` as far as it exists, from the node `root` whose value is `value`.
    pub(super) fn find<'v>(&self, root: NodeId, value: &'v Value, field: &str) -> Found<'v> {
        let mut found = Found { node: root, key: None, value, exact: true };
        let mut rest = field;
        while !rest.is_empty() {
            let Some((index, child, after)) = step(found.value, rest) else {
                return Found { exact: false, ..found };
            };
            let Some(entry) = self.children(found.node).get(index) else { return Found { exact: false, ..found } };
            let key = Span { start: entry.key_start as usize, end: entry.key_end as usize };
            found = Found { node: entry.node, key: (key.start < key.end).then_some(key), value: child, exact: true };
            rest = after.strip_prefix('.').unwrap_or(after);
        }
        found
    }
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// One step of a field path: the child's index, its value, and what is left of the path.
///
/// Keys may themselves hold dots and brackets, so the longest key of the object that the path begins with is taken.
fn step<'v, 'f>(value: &'v Value, rest: &'f str) -> Option<(usize, &'v Value, &'f str)> {
    match value {
        Value::Array(items) => {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            let index: usize = index.parse().ok()?;
            Some((index, items.get(index)?, after))
        }
        Value::Object(map) => {
            let mut best: Option<(usize, &'v Value, &'f str)> = None;
            for (index, (key, child)) in map.iter().enumerate() {
                let Some(after) = after_key(rest, key) else { continue };
                if best.is_none_or(|(_, _, left)| after.len() < left.len()) {
                    best = Some((index, child, after));
                }
            }
            best
        }
        _ => None,
    }
}

/// What follows `key` at the head of `path`, written `key`, `[key]`, `["key"]` or `['key']`.
fn after_key<'f>(path: &'f str, key: &str) -> Option<&'f str> {
    if let Some(inner) = path.strip_prefix('[') {
        let bare = inner.strip_prefix(key).and_then(|rest| rest.strip_prefix(']'));
        let quoted = |quote: char| {
            let rest = inner.strip_prefix(quote)?.strip_prefix(key)?;
            rest.strip_prefix(quote)?.strip_prefix(']')
        };
        return bare.or_else(|| quoted('"')).or_else(|| quoted('\''));
    }
    let rest = path.strip_prefix(key)?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

/// `key` appended to the field path `parent`: with a dot, or in brackets where the key holds a dot, a slash or the
/// like, as in `metadata.annotations[scalegate.dev/max-replicas]`.
pub fn join_field(parent: &str, key: &str) -> String {
    let simple = !key.is_empty() && !key.contains(['.', '/', '[', ']', ' ']);
    match (simple, parent.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{parent}.{key}"),
        (false, _) => format!("{parent}[{key}]"),
    }
}

/// Maps a byte of a scalar's decoded text to the byte of the source that it was read from.
pub(super) fn decoded_to_source(source: &str, node: Node, text: &str, inner: usize) -> Option<usize> {
    let (mut start, end) = (node.start as usize, node.end as usize);
    let mut indent = None;
    match node.style {
        Style::Collection | Style::Alias => return None,
        Style::Block => {
            // The parser starts the node behind the indentation of the first line that is not blank.
            let line = |before: usize| Some(source.get(..before)?.rfind('\n').map_or(0, |at| at + 1));
            start = line(start)?;
            for _ in text.bytes().take_while(|byte| *byte == b'\n') {
                let above = line(start.saturating_sub(1))?;
                if source.get(above..start)?.trim().is_empty() {
                    start = above;
                }
            }
            indent = Some(indentation(source.get(start..end)?).saturating_sub(indentation(text)));
        }
        _ => {}
    }
    let raw = source.get(start..end)?;
    let mut reader = Raw { text: raw, at: 0, indent };
    reader.at = match node.style {
        Style::SingleQuoted | Style::DoubleQuoted => 1,
        Style::Block => reader.skip_indent(0),
        _ => 0,
    };
    let mut decoded = text.char_indices();
    loop {
        let Some((offset, wanted)) = decoded.next() else {
            // The end of the text maps to the end of the scalar.
            return Some(start + reader.at.min(raw.len()));
        };
        let (at, after) = reader.read(wanted, node.style)?;
        if offset + wanted.len_utf8() > inner {
            return Some(start + at);
        }
        reader.at = after;
    }
}

/// The spaces before the first line that is not blank.
fn indentation(text: &str) -> usize {
    let line = text.lines().find(|line| !line.trim_start_matches(' ').is_empty());
    line.map_or(0, |line| line.len() - line.trim_start_matches(' ').len())
}

/// A cursor over the raw text of a scalar.
struct Raw<'a> {
    text: &'a str,
    at: usize,
    /// Spaces that each line of a block scalar begins with; `None` outside block scalars, where lines are trimmed.
    indent: Option<usize>,
}

impl Raw<'_> {
    /// Where the decoded character `wanted` was written: its first byte and the byte after it.
    fn read(&self, wanted: char, style: Style) -> Option<(usize, usize)> {
        let mut at = self.at;
        loop {
            let rest = self.text.get(at..)?;
            let next = rest.chars().next()?;
            let after = at + next.len_utf8();
            match next {
                '\\' if style == Style::DoubleQuoted => {
                    let (length, joins_lines) = escape(rest)?;
                    if joins_lines {
                        at = self.skip_indent(at + length);
                        continue;
                    }
                    return Some((at, at + length));
                }
                '\'' if style == Style::SingleQuoted && rest.starts_with("''") => return Some((at, at + 2)),
                '\r' if rest.starts_with("\r\n") => at = after,
                '\n' | '\r' => {
                    let line = self.skip_indent(after);
                    if wanted == '\n' || wanted == ' ' && self.indent.is_none() {
                        return Some((at, line));
                    }
                    // A folded line break reads as a space; the first of several reads as nothing.
                    let blank = self.text.get(line..).is_some_and(|rest| rest.starts_with(['\n', '\r']));
                    if wanted == ' ' && !blank {
                        return Some((at, line));
                    }
                    at = line;
                }
                ' ' | '\t' if next != wanted => at = after,
                _ => return (next == wanted).then_some((at, after)),
            }
        }
    }

    fn skip_indent(&self, at: usize) -> usize {
        let Some(rest) = self.text.get(at..) else { return at };
        let blanks = rest.bytes().take_while(|b| matches!(b, b' ' | b'\t')).count();
        at + self.indent.map_or(blanks, |indent| rest.bytes().take_while(|b| *b == b' ').count().min(indent))
    }
}

/// The length of the escape at the head of `rest`, and whether it joins two lines and yields no character.
fn escape(rest: &str) -> Option<(usize, bool)> {
    let kind = rest.chars().nth(1)?;
    Some(match kind {
        'x' => (4, false),
        'U' => (10, false),
        'u' => {
            // A surrogate pair is two escapes and one character.
            let high = rest.get(2..6).and_then(|hex| u16::from_str_radix(hex, 16).ok());
            let pair = high.is_some_and(|unit| (0xD800..0xDC00).contains(&unit));
            (if pair && rest.get(6..8) == Some("\\u") { 12 } else { 6 }, false)
        }
        '\n' => (2, true),
        '\r' => (if rest.get(1..3) == Some("\r\n") { 3 } else { 2 }, true),
        other => (1 + other.len_utf8(), false),
    })
}
