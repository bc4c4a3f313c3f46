//! The line of a file that a finding points at, with secrets masked.

use std::ops::Range;

use super::{Place, mask};

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

/// A longer line is cut down to what stands around the mark: it is data, not something to read.
const MAX_LINE_BYTES: usize = 400;
/// What is kept before the mark of a longer line.
const BEFORE_MARK: usize = 80;

/// What starts and ends an excerpt that holds less than its line.
const CUT: &str = "...";

/// Cuts the excerpt of a place out of its file. `known` is the number of the place's line where it is known: counting
/// reads the file up to there.
pub(super) fn of(place: &Place, known: Option<usize>) -> Option<Excerpt> {
    let span = place.span?;
    let text = place.source.text.as_str();
    let start = span.start.min(text.len());
    let line_start = text.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
    let rest = text.get(line_start..)?;
    let line = rest.lines().next().unwrap_or_default();
    let number = known.unwrap_or_else(|| place.source.line_column(start).0);
    let from = (start - line_start).min(line.len());
    let to = span.end.saturating_sub(line_start).clamp(from, line.len());
    let to = from + line.get(from..to).map_or(0, |marked| marked.trim_end().len());
    let masked = mask::line(text, line_start, line, in_secret(text, start));
    let (shown, mark) = around(&masked, from..to);
    // An empty mark would underline nothing.
    let end = mark.end.max((mark.start + 1).min(shown.len()));
    Some(Excerpt { line: number, text: shown, mark: mark.start..end })
}

/// The part of a long line around the mark, and the mark in it.
fn around(line: &str, mark: Range<usize>) -> (String, Range<usize>) {
    if line.len() <= MAX_LINE_BYTES {
        return (line.to_owned(), mark);
    }
    let boundary = |mut at: usize| {
        while !line.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = if mark.end <= MAX_LINE_BYTES { 0 } else { boundary(mark.start.saturating_sub(BEFORE_MARK)) };
    let end = boundary(line.len().min(start + MAX_LINE_BYTES));
    let (before, after) = (if start > 0 { CUT } else { "" }, if end < line.len() { CUT } else { "" });
    let shown = format!("{before}{}{after}", line.get(start..end).unwrap_or_default());
    let moved = |at: usize| at.clamp(start, end) - start + before.len();
    (shown, moved(mark.start)..moved(mark.end))
}

/// Whether the document around a byte is a Secret, as far as its text tells.
fn in_secret(text: &str, at: usize) -> bool {
    let start = text.get(..at).and_then(|before| before.rfind("\n---")).unwrap_or(0);
    let end = text.get(at..).and_then(|after| after.find("\n---")).map_or(text.len(), |end| at + end);
    mask::holds_secret(text.get(start..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::manifest::{Source, Span};

    fn excerpt(text: &str, at: &str) -> Excerpt {
        let start = text.find(at).unwrap();
        let source = Arc::new(Source { name: "a.yaml".to_owned(), text: text.to_owned() });
        of(&Place { source, span: Some(Span { start, end: start + at.len() }) }, None).unwrap()
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
    fn of_a_long_line_what_stands_around_the_mark_is_shown() {
        let text = format!("{{\"a\":\"{}\",\"b\":\"bad\",\"c\":\"{}\"}}\n", "é".repeat(1000), "x".repeat(1000));
        let found = excerpt(&text, "bad");
        assert_eq!(&found.text[found.mark.clone()], "bad");
        assert!(found.text.starts_with(CUT) && found.text.ends_with(CUT) && found.text.len() < 420, "{}", found.text);
    }

    #[test]
    fn what_may_be_secret_is_masked() {
        assert!(!excerpt("args: [--api-key=hunter2]\n", "args").text.contains("hunter2"));
        assert!(!excerpt("kind: Secret\nstringData:\n  x: hunter2\n", "x: ").text.contains("hunter2"));
        assert_eq!(excerpt("  - type: Percent\n    value: 100\n", "100").text, "    value: 100");
    }
}
