//! Findings on paper: where each one stands, and the forms that they are printed in.

use std::io::{self, Write};
use std::sync::Arc;

use clap::ValueEnum;

use super::{EXIT_DENIED, EXIT_OK};
use crate::manifest::{Document, Source, Span};
use crate::policy::finding::{Finding, Severity};

mod excerpt;
pub mod json;
mod mask;
pub mod text;

/// A finding and the place in a file that it is about.
#[derive(Debug, Clone)]
pub struct Located {
    /// With file, line and column filled in.
    pub finding: Finding,
    /// The place; `None` without a file.
    pub place: Option<Place>,
}

/// A place in a file.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// The bytes; `None` for the file as a whole.
    pub span: Option<Span>,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// As a compiler prints them, with the line at fault.
    Text,
    /// One JSON object.
    Json,
}

/// The severity that makes the exit status 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum FailOn {
    Deny,
    Warn,
}

/// What was looked at, for the closing line.
#[derive(Debug, Clone, Copy)]
pub struct Tally {
    /// Objects that were judged.
    pub judged: usize,
    /// Autoscalers without a tie to inference, about which rules say nothing.
    pub unjudged: usize,
}

// === impl Output ===

impl Output {
    /// Prints findings in that form.
    ///
    /// # Errors
    /// When writing fails.
    pub fn print(self, out: &mut dyn Write, findings: &[Located], tally: &Tally, colour: bool) -> io::Result<()> {
        match self {
            Self::Text => text::print(out, findings, tally.judged, tally.unjudged, colour),
            Self::Json => json::print(out, findings),
        }
    }
}

// === impl FailOn ===

impl FailOn {
    /// The exit status of a command that found that.
    pub fn exit(self, findings: &[Located]) -> u8 {
        let worst = match self {
            Self::Deny => Severity::Deny,
            Self::Warn => Severity::Warn,
        };
        if findings.iter().any(|found| found.finding.severity >= worst) { EXIT_DENIED } else { EXIT_OK }
    }
}

// === impl Located ===

impl Located {
    /// Finds the place of the finding's field in a document. A field that is not there stands at the nearest one above it;
    /// an unknown field, and one whose value takes several lines, stands at its key.
    pub fn new(finding: Finding, document: Option<&Document>) -> Self {
        let Some(document) = document else { return Self { finding, place: None } };
        let span = document.at(&finding.field).unwrap_or(document.span);
        let at_key = if finding.rule == "unknown-field" { document.key_at(&finding.field) } else { None };
        let inside = finding.inside.and_then(|(line, column)| document.block_place(&finding.field, line, column));
        let span = inside.or(at_key).or_else(|| key_of_block(document, &finding.field, span)).unwrap_or(span);
        let (line, column) = document.line_column(span.start);
        let finding =
            Finding { file: Some(document.source.name.clone()), line: Some(line), column: Some(column), ..finding };
        Self { finding, place: Some(Place { source: Arc::clone(&document.source), span: Some(span) }) }
    }

    /// Puts a finding at a place that is known already.
    pub fn at(finding: Finding, place: Place) -> Self {
        let (line, column) = match place.span.map(|span| place.source.line_column(span.start)) {
            Some((line, column)) => (Some(line), Some(column)),
            None => (None, None),
        };
        let finding = Finding { file: Some(place.source.name.clone()), line, column, ..finding };
        Self { finding, place: Some(place) }
    }
}

/// The key of the block at `span`, which the path or the nearest ancestor that exists names. `None` for a value on one line,
/// for an item of a list, and for the document as a whole.
fn key_of_block(document: &Document, field: &str, span: Span) -> Option<Span> {
    if !document.source.text.get(span.start..span.end)?.contains('\n') {
        return None;
    }
    let mut path = field;
    loop {
        if let Some(key) = document.key_at(path) {
            return Some(key);
        }
        path = parent(path)?;
        if document.at(path) != Some(span) {
            return None;
        }
    }
}

/// `spec.metrics` of `spec.metrics[0]`, `metadata.labels` of `metadata.labels[a.b/c]`.
fn parent(path: &str) -> Option<&str> {
    let end = if path.ends_with(']') { path.rfind('[')? } else { path.rfind('.')? };
    path.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "apiVersion: v1\nkind: X\nspec:\n  a:\n    b: 1\n    c: 2\n  list:\n  - d: 1\n    e: 2\n";

    fn line_column(field: &str) -> (Option<usize>, Option<usize>) {
        let file = crate::manifest::read("a.yaml", TEXT.as_bytes());
        let located = Located::new(Finding::deny(field, "", "wrong"), file.documents.first());
        (located.finding.line, located.finding.column)
    }

    #[test]
    fn a_block_is_shown_at_its_key() {
        assert_eq!(line_column("spec.a"), (Some(4), Some(3)));
        assert_eq!(line_column("spec.list"), (Some(7), Some(3)));
    }

    #[test]
    fn a_field_that_is_missing_is_shown_at_the_key_above_it() {
        assert_eq!(line_column("spec.a.missing.too"), (Some(4), Some(3)));
        assert_eq!(line_column("spec.a[x.y/z]"), (Some(4), Some(3)));
    }

    #[test]
    fn a_line_of_a_text_is_shown_in_the_file_that_holds_it() {
        let text = "kind: ConfigMap\ndata:\n  config.yaml: |\n    rules:\n    - a: é\n      b: wrong\n";
        let file = crate::manifest::read("a.yaml", text.as_bytes());
        let place = |line, column| {
            let finding = Finding::deny("data[config.yaml]", "", "wrong").inside(Some((line, column)));
            let located = Located::new(finding, file.documents.first());
            let span = located.place.and_then(|place| place.span).unwrap();
            (located.finding.line, located.finding.column, &text[span.start..span.end])
        };
        assert_eq!(place(3, 6), (Some(6), Some(10), "wrong"));
        assert_eq!(place(2, 1), (Some(5), Some(5), "- a: é"));
        assert_eq!(place(99, 99).0, Some(7), "behind the text is its end");
    }

    #[test]
    fn a_value_on_one_line_and_an_item_stand_where_they_are() {
        assert_eq!(line_column("spec.a.c"), (Some(6), Some(8)));
        assert_eq!(line_column("spec.list[0]"), (Some(8), Some(5)));
        assert_eq!(line_column("spec.list[0].missing"), (Some(8), Some(5)));
    }
}
