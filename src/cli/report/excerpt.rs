//! The line of a file that a finding points at, with secrets masked.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::Place;

/// One line of a file and the part of it to underline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// From 1.
    pub line: usize,
    /// The text, masked; as many characters as the original.
    pub text: String,
    /// Bytes of `text` to underline.
    pub mark: Range<usize>,
}

/// A longer line is cut: it is data, not something to read.
const MAX_LINE_BYTES: usize = 400;

static SECRET: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i)(?:key|token|passw(?:or)?d|secret|credential)[\w.-]*["']?\s*[:=]\s*(.+)$"#).ok()
});
static KEY_VALUE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"^[\s-]*["']?value["']?\s*:\s*(.+)$"#).ok());
static SECRET_KIND: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?m)^\s*(?:-\s*)?["']?kind["']?\s*:\s*["']?Secret\b"#).ok());
static ANY_VALUE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[^:]*:?\s*(.+)$").ok());

/// Cuts the excerpt of a place out of its file.
pub(super) fn of(place: &Place) -> Option<Excerpt> {
    let span = place.span?;
    let text = place.source.text.as_str();
    let start = span.start.min(text.len());
    let line_start = text.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
    let rest = text.get(line_start..)?;
    let line = rest.lines().next().unwrap_or_default();
    let (number, _) = place.source.line_column(start);
    let line = cut(line);
    let from = (start - line_start).min(line.len());
    let to = span.end.saturating_sub(line_start).clamp(from, line.len());
    let to = from + line.get(from..to).map_or(0, |marked| marked.trim_end().len());
    let masked = mask(line, previous_line(text, line_start), in_secret(text, start));
    // An empty mark would underline nothing.
    let to = if to == from { (from + 1).min(masked.len()) } else { to };
    Some(Excerpt { line: number, text: masked, mark: from..to })
}

fn cut(line: &str) -> &str {
    let mut end = line.len().min(MAX_LINE_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.get(..end).unwrap_or_default()
}

fn previous_line(text: &str, line_start: usize) -> &str {
    let before = text.get(..line_start).unwrap_or_default().trim_end();
    before.rsplit('\n').next().unwrap_or_default()
}

/// Whether the document around a byte is a Secret, as far as its text tells.
fn in_secret(text: &str, at: usize) -> bool {
    let start = text.get(..at).and_then(|before| before.rfind("\n---")).unwrap_or(0);
    let end = text.get(at..).and_then(|after| after.find("\n---")).map_or(text.len(), |end| at + end);
    let document = text.get(start..end).unwrap_or_default();
    SECRET_KIND.as_ref().is_some_and(|kind| kind.is_match(document))
}

/// Replaces what may be secret by asterisks, as many as it has bytes, so that columns stay.
fn mask(line: &str, previous: &str, secret: bool) -> String {
    let mut hide: Vec<Range<usize>> = Vec::new();
    let mut add = |regex: &LazyLock<Option<Regex>>| {
        let found = regex.as_ref().and_then(|regex| regex.captures(line)).and_then(|found| found.get(1));
        hide.extend(found.map(|found| found.range()));
    };
    add(&SECRET);
    if secret {
        add(&ANY_VALUE);
    }
    // The value of an environment variable: `- name: X` stands right above it.
    if previous.trim_start().starts_with("- name:") {
        add(&KEY_VALUE);
    }
    let mut masked = line.as_bytes().to_vec();
    for range in hide {
        if let Some(bytes) = masked.get_mut(range) {
            bytes.fill(b'*');
        }
    }
    String::from_utf8(masked).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::manifest::{Source, Span};

    fn excerpt(text: &str, at: &str) -> Excerpt {
        let start = text.find(at).unwrap();
        let source = Arc::new(Source { name: "a.yaml".to_owned(), text: text.to_owned() });
        of(&Place { source, span: Some(Span { start, end: start + at.len() }) }).unwrap()
    }

    #[test]
    fn the_line_and_the_mark() {
        let found = excerpt("a: 1\n  name: bad # why\r\nb: 2\n", "bad");
        assert_eq!(found, Excerpt { line: 2, text: "  name: bad # why".to_owned(), mark: 8..11 });
    }

    #[test]
    fn a_mark_never_leaves_its_line() {
        let found = excerpt("spec:\n  a: 1\n  b: 2\n", "a: 1\n  b: 2");
        assert_eq!(found.mark, 2..6);
    }

    #[test]
    fn what_may_be_secret_is_masked() {
        assert!(!excerpt("args: [--api-key=hunter2]\n", "args").text.contains("hunter2"));
        assert!(!excerpt("env:\n- name: X\n  value: hunter2\n", "value").text.contains("hunter2"));
        assert!(!excerpt("kind: Secret\nstringData:\n  x: hunter2\n", "x: ").text.contains("hunter2"));
        assert!(!excerpt("HF_TOKEN: hunter2\n", "HF").text.contains("hunter2"));
        assert_eq!(excerpt("  - type: Percent\n    value: 100\n", "100").text, "    value: 100");
    }
}
