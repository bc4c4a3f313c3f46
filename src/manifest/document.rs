//! A document: a value and where each of its fields stands.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::position::{self, NodeId, Positions};

/// A file's text under the name that the user gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path as the user typed it, or `<stdin>`.
    pub name: String,
    /// The text, without byte-order mark.
    pub text: String,
}

impl Source {
    /// Line and column of a byte, from 1, columns in characters. Reads the text up to that byte; for many offsets use
    /// [`Document::line_column`].
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = self.text.as_bytes().get(..offset.min(self.text.len())).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        (line, column(&self.text, start, offset))
    }
}

/// A range of bytes in [`Source::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

impl Span {
    /// Without the white space at its end, which a block scalar and what ends with one hold.
    pub(super) fn trimmed(self, text: &str) -> Self {
        let length =
            text.get(self.start..self.end).map_or(self.end.saturating_sub(self.start), |text| text.trim_end().len());
        Self { start: self.start, end: self.start + length }
    }
}

/// Where the lines of a source begin; computed when first asked for, shared by the documents of a file.
#[derive(Debug, Default)]
pub(super) struct Lines(OnceLock<Vec<u32>>);

impl Lines {
    pub(super) fn line_column(&self, text: &str, offset: usize) -> (usize, usize) {
        let starts = self.0.get_or_init(|| {
            let breaks = text.bytes().zip(1_u32..).filter(|(byte, _)| *byte == b'\n');
            std::iter::once(0).chain(breaks.map(|(_, after)| after)).collect()
        });
        let offset = offset.min(text.len());
        let line = starts.partition_point(|start| *start as usize <= offset);
        let start = line.checked_sub(1).and_then(|index| starts.get(index)).map_or(0, |start| *start as usize);
        (line.max(1), column(text, start, offset))
    }
}

/// The column of `offset` in the line that begins at `start`, from 1, in characters.
fn column(text: &str, start: usize, offset: usize) -> usize {
    let line = text.as_bytes().get(start..offset.min(text.len())).unwrap_or_default();
    // Every byte but the continuation bytes of UTF-8 begins a character.
    line.iter().filter(|byte| **byte & 0xC0 != 0x80).count() + 1
}

/// One Kubernetes object as it stands in a file.
///
/// Field paths are written as kubectl writes them: `spec.metrics[0].pods.metric.name`, `metadata.labels.app`,
/// `metadata.annotations[scalegate.dev/max-replicas]`. They are relative to the object, also inside a `List`.
#[derive(Debug, Clone)]
pub struct Document {
    /// The file.
    pub source: Arc<Source>,
    /// The object. Keys keep their order; positions depend on it, so keys may be added but not removed.
    pub value: Value,
    /// Where the object stands.
    pub span: Span,
    lines: Arc<Lines>,
    positions: Arc<Positions>,
    root: NodeId,
}

impl Document {
    pub(super) fn new(
        source: Arc<Source>,
        lines: Arc<Lines>,
        value: Value,
        span: Span,
        positions: Arc<Positions>,
        root: NodeId,
    ) -> Self {
        Self { source, value, span, lines, positions, root }
    }

    /// `apiVersion`, empty when it is missing.
    pub fn api_version(&self) -> &str {
        self.value.get("apiVersion").and_then(Value::as_str).unwrap_or_default()
    }

    /// `kind`, empty when it is missing.
    pub fn kind(&self) -> &str {
        self.value.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    /// Where the value of `field` stands. A missing field is shown at its nearest ancestor that exists, in the end the
    /// document; a key without a value is shown at the key.
    pub fn at(&self, field: &str) -> Option<Span> {
        let found = self.positions.find(self.root, &self.value, field);
        Some(self.positions.span(found.node)?.trimmed(&self.source.text))
    }

    /// Where the key of `field` stands; `None` for items of sequences and for fields that do not exist.
    pub fn key_at(&self, field: &str) -> Option<Span> {
        let found = self.positions.find(self.root, &self.value, field);
        found.key.filter(|_| found.exact)
    }

    /// Line and column of a byte of the source, from 1, columns in characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        self.lines.line_column(&self.source.text, offset)
    }

    /// Where a line and column of the decoded text of `field`, both from 1, stand in the source, up to the end of that line.
    /// `None` when the field holds no text.
    pub fn block_place(&self, field: &str, line: usize, column: usize) -> Option<Span> {
        let found = self.positions.find(self.root, &self.value, field);
        let text = found.value.as_str().filter(|_| found.exact)?;
        let above: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let content = text.get(above..)?.lines().next().unwrap_or_default();
        let within = content.char_indices().nth(column.saturating_sub(1)).map_or(content.len(), |(at, _)| at);
        let start = self.block_offset(field, above.saturating_add(within))?;
        let end = self.block_offset(field, above.saturating_add(content.trim_end().len()))?;
        Some(Span { start, end: end.max(start) })
    }

    /// The byte of the source from which byte `inner_byte` of the decoded text of `field` was read. For text embedded
    /// in a ConfigMap; works for block scalars, quoted and plain text, and JSON strings. `None` when the field holds
    /// no text. An offset behind the text gives the end of the field.
    pub fn block_offset(&self, field: &str, inner_byte: usize) -> Option<usize> {
        let found = self.positions.find(self.root, &self.value, field);
        let text = found.value.as_str().filter(|_| found.exact)?;
        let node = self.positions.target(found.node)?;
        position::decoded_to_source(&self.source.text, node, text, inner_byte)
    }
}
