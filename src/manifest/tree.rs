//! Builds a document from a stream of events: the JSON value, the positions, and what is wrong with it.
//!
//! Both readers, YAML and JSON, feed the same builder, so keys, duplicates and aliases are treated in one place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::map::Entry as MapEntry;
use serde_json::{Map, Value};

use super::Span;
use super::position::{Entry, NodeId, Positions, Style};
use super::scalar::Scalar;

/// Collections inside one another, aliases counted with what they stand for. Kubernetes objects stay below thirty;
/// values of this depth can be dropped and compared on any thread's stack.
pub(super) const MAX_DEPTH: usize = 500;

/// What aliases may add to one file, in [`Built::cost`] units: about one million nodes. go-yaml refuses documents of
/// which more than 400,000 nodes come from aliases.
pub(super) const ALIAS_BUDGET: usize = 1_000_000;

/// Duplicate keys of a document that are reported; more of them are no manifest.
const MAX_DUPLICATES: usize = 100;

/// Something wrong with the document under construction.
#[derive(Debug)]
pub(super) struct Fault {
    pub span: Span,
    pub message: String,
    /// Where the key stood first, for a key that is set twice.
    pub first: Option<Span>,
}

impl Fault {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), first: None }
    }
}

/// A finished document.
#[derive(Debug)]
pub(super) struct Tree {
    pub value: Value,
    pub root: NodeId,
    pub positions: Positions,
    /// Faults that leave the document readable.
    pub faults: Vec<Fault>,
}

/// A finished node.
struct Built {
    value: Value,
    node: NodeId,
    span: Span,
    /// Nodes below and including this one, plus one for each 32 bytes of text: what a copy of it costs.
    cost: usize,
    /// Collections inside one another, this one included.
    height: usize,
    /// Set when the node can only be a key: what the scalar is called there.
    key: Option<Result<String, String>>,
}

enum Content {
    Sequence(Vec<Value>),
    Mapping { map: Map<String, Value>, key: Option<Key> },
}

enum Key {
    Field(String, Span),
    Merge(Span),
}

struct Frame {
    content: Content,
    entries: Vec<Entry>,
    /// Keys that a `<<` brought and that the mapping's own keys may still replace.
    merged: BTreeSet<String>,
    anchor: usize,
    span: Span,
    flow: bool,
    cost: usize,
    height: usize,
}

enum Anchor {
    /// The node is still open, so an alias to it would contain itself.
    Open,
    Closed {
        value: Value,
        node: NodeId,
        cost: usize,
        height: usize,
    },
    /// Copying the node would exceed the budget.
    TooLarge,
}

/// See the module's documentation. Use one for each document.
pub(super) struct Builder<'b> {
    stack: Vec<Frame>,
    root: Option<Built>,
    positions: Positions,
    anchors: BTreeMap<usize, Anchor>,
    faults: Vec<Fault>,
    duplicates: usize,
    budget: &'b mut usize,
}

const TOO_LARGE: &str = "aliases (`*name`) in this file stand for more than a million nodes";

impl<'b> Builder<'b> {
    /// `budget` is what aliases may still add to the file; see [`ALIAS_BUDGET`].
    pub(super) fn new(budget: &'b mut usize) -> Self {
        Self {
            stack: Vec::new(),
            root: None,
            positions: Positions::default(),
            anchors: BTreeMap::new(),
            faults: Vec::new(),
            duplicates: 0,
            budget,
        }
    }

    /// True where the next scalar is the key of a mapping.
    pub(super) fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { content: Content::Mapping { key: None, .. }, .. }))
    }

    /// True where the innermost collection is a mapping.
    pub(super) fn in_mapping(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { content: Content::Mapping { .. }, .. }))
    }

    /// A scalar. `merge` says that it is a plain `<<`, `anchor` is 0 for none.
    pub(super) fn scalar(
        &mut self,
        scalar: Result<Scalar, String>,
        span: Span,
        style: Style,
        anchor: usize,
        merge: bool,
    ) -> Result<(), Fault> {
        let scalar = scalar.unwrap_or_else(|message| {
            self.faults.push(Fault::new(span, message));
            Scalar::Null
        });
        if merge && let Some(Frame { content: Content::Mapping { key: key @ None, .. }, .. }) = self.stack.last_mut() {
            *key = Some(Key::Merge(span));
            return Ok(());
        }
        let length = if let Scalar::Text(text) = &scalar { text.len() } else { 0 };
        let (key, value) = if !self.expects_key() {
            (None, scalar.into_value())
        } else if anchor == 0 {
            (Some(scalar.into_key()), Ok(Value::Null))
        } else {
            // An alias may use the same scalar as a value; what has no JSON form is then null.
            (Some(scalar.clone().into_key()), Ok(scalar.into_value().unwrap_or(Value::Null)))
        };
        let value = value.unwrap_or_else(|message| {
            self.faults.push(Fault::new(span, message));
            Value::Null
        });
        // An empty value is shown where its key stands.
        let span = match self.stack.last() {
            Some(Frame { content: Content::Mapping { key: Some(Key::Field(_, at)), .. }, .. })
                if span.start >= span.end =>
            {
                *at
            }
            _ => span,
        };
        let node = self.positions.add(span.start, span.end, style, &[]);
        self.finish(Built { value, node, span, cost: 1 + length / 32, height: 0, key }, anchor)
    }

    /// The start of a mapping or sequence.
    pub(super) fn open(&mut self, mapping: bool, flow: bool, span: Span, anchor: usize) -> Result<(), Fault> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(Fault::new(span, format!("more than {MAX_DEPTH} collections inside one another")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Anchor::Open);
        }
        let content =
            if mapping { Content::Mapping { map: Map::new(), key: None } } else { Content::Sequence(Vec::new()) };
        self.stack.push(Frame {
            content,
            entries: Vec::new(),
            merged: BTreeSet::new(),
            anchor,
            span,
            flow,
            cost: 1,
            height: 1,
        });
        Ok(())
    }

    /// The end of the innermost collection, written at `span`.
    pub(super) fn close(&mut self, span: Span) -> Result<(), Fault> {
        let Some(frame) = self.stack.pop() else { return Err(Fault::new(span, "a collection ends that never began")) };
        let end = if frame.flow {
            span.end
        } else {
            // A block collection ends where its last child does, not at the next token.
            let last = frame.entries.last().and_then(|entry| self.positions.span(entry.node)).map(|span| span.end);
            let key = frame.entries.last().map(|entry| entry.key_end as usize);
            last.max(key).unwrap_or(frame.span.end).max(frame.span.end)
        };
        let span = Span { start: frame.span.start, end };
        let node = self.positions.add(span.start, span.end, Style::Collection, &frame.entries);
        let value = match frame.content {
            Content::Sequence(mut items) => {
                // Most lists of a manifest hold one or two items; a vector begins with room for four.
                items.shrink_to_fit();
                Value::Array(items)
            }
            Content::Mapping { map, .. } => Value::Object(map),
        };
        let built = Built { value, node, span, cost: frame.cost, height: frame.height, key: None };
        self.finish(built, frame.anchor)
    }

    /// A reference to an anchored node.
    pub(super) fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Fault> {
        let (value, target, cost, height) = match self.anchors.get(&anchor) {
            None => return Err(Fault::new(span, "this alias has no anchor in the document")),
            Some(Anchor::Open) => return Err(Fault::new(span, "this alias stands inside what it refers to")),
            Some(Anchor::TooLarge) => return Err(Fault::new(span, TOO_LARGE)),
            Some(Anchor::Closed { value, node, cost, height }) => {
                if *cost > *self.budget {
                    return Err(Fault::new(span, TOO_LARGE));
                }
                *self.budget -= *cost;
                if self.stack.len() + *height > MAX_DEPTH {
                    let message = format!("more than {MAX_DEPTH} collections inside one another, aliases counted");
                    return Err(Fault::new(span, message));
                }
                (value.clone(), *node, *cost, *height)
            }
        };
        let key = self.expects_key().then(|| match &value {
            Value::String(text) => Ok(text.clone()),
            Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
            _ => Err("a key is null or a collection; kubectl refuses it".to_owned()),
        });
        let node = self.positions.add_alias(span.start, span.end, target);
        self.finish(Built { value, node, span, cost, height, key }, 0)
    }

    fn finish(&mut self, built: Built, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            let kept = if built.cost <= *self.budget {
                *self.budget -= built.cost;
                Anchor::Closed { value: built.value.clone(), node: built.node, cost: built.cost, height: built.height }
            } else {
                Anchor::TooLarge
            };
            self.anchors.insert(anchor, kept);
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(built);
            return Ok(());
        };
        frame.cost = frame.cost.saturating_add(built.cost);
        frame.height = frame.height.max(built.height + 1);
        match &mut frame.content {
            Content::Sequence(items) => {
                items.push(built.value);
                frame.entries.push(Entry { key_start: 0, key_end: 0, node: built.node });
                Ok(())
            }
            Content::Mapping { map, key } => match key.take() {
                None => {
                    let name = match built.key {
                        Some(Ok(name)) => name,
                        Some(Err(message)) => {
                            self.faults.push(Fault::new(built.span, message));
                            built.value.to_string()
                        }
                        None => return Err(Fault::new(built.span, "a mapping or sequence is used as a key")),
                    };
                    *key = Some(Key::Field(name, built.span));
                    Ok(())
                }
                Some(Key::Field(name, at)) => {
                    let entry = Entry { key_start: offset(at.start), key_end: offset(at.end), node: built.node };
                    let mut slot = match map.entry(name) {
                        MapEntry::Vacant(slot) => {
                            slot.insert(built.value);
                            frame.entries.push(entry);
                            return Ok(());
                        }
                        MapEntry::Occupied(slot) => slot,
                    };
                    slot.insert(built.value);
                    let name = slot.key().clone();
                    let index = map.keys().position(|key| *key == name).unwrap_or_default();
                    let Some(old) = frame.entries.get_mut(index) else { return Ok(()) };
                    let first = Span { start: old.key_start as usize, end: old.key_end as usize };
                    *old = entry;
                    if frame.merged.remove(&name) {
                        // Finding the position again costs a pass over the mapping.
                        *self.budget = self.budget.checked_sub(index).ok_or_else(|| Fault::new(at, TOO_LARGE))?;
                        return Ok(());
                    }
                    self.duplicates += 1;
                    if self.duplicates > MAX_DUPLICATES {
                        return Err(Fault::new(at, format!("more than {MAX_DUPLICATES} keys are set twice")));
                    }
                    self.faults.push(Fault { span: at, message: name, first: Some(first) });
                    Ok(())
                }
                Some(Key::Merge(at)) => self.merge(built, at),
            },
        }
    }

    /// `<<: *base`. As in go-yaml v2 the merged keys replace those that stand before the `<<`, and keys that stand
    /// after it replace the merged ones.
    fn merge(&mut self, built: Built, at: Span) -> Result<(), Fault> {
        let wrong = || Fault::new(at, "`<<` takes a mapping or a list of mappings");
        let sources: Vec<(NodeId, Map<String, Value>)> = match built.value {
            Value::Object(map) => vec![(built.node, map)],
            Value::Array(items) => {
                let nodes: Vec<NodeId> = self.positions.children(built.node).iter().map(|entry| entry.node).collect();
                // The earlier mapping wins, so it comes last.
                let mut sources = Vec::new();
                for (item, node) in items.into_iter().zip(nodes).rev() {
                    let Value::Object(map) = item else { return Err(wrong()) };
                    sources.push((node, map));
                }
                sources
            }
            _ => return Err(wrong()),
        };
        let Some(Frame { content: Content::Mapping { map, .. }, entries, merged, .. }) = self.stack.last_mut() else {
            return Ok(());
        };
        // Looking keys up costs a pass over the mapping, so it is charged like the copy itself.
        *self.budget = self.budget.checked_sub(map.len()).ok_or_else(|| Fault::new(at, TOO_LARGE))?;
        let mut index: BTreeMap<String, usize> = map.keys().enumerate().map(|(i, key)| (key.clone(), i)).collect();
        for (node, source) in sources {
            for ((key, value), entry) in source.into_iter().zip(self.positions.children(node)) {
                if let Some(slot) = index.get(&key).and_then(|at| entries.get_mut(*at)) {
                    *slot = *entry;
                } else {
                    index.insert(key.clone(), entries.len());
                    entries.push(*entry);
                }
                merged.insert(key.clone());
                map.insert(key, value);
            }
        }
        Ok(())
    }

    /// The document, once its events are complete; `None` when there was no content.
    pub(super) fn tree(mut self) -> Option<Tree> {
        let root = self.root.take()?;
        self.positions.shrink();
        Some(Tree { value: root.value, root: root.node, positions: self.positions, faults: self.faults })
    }
}

fn offset(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
