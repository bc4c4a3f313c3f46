//! Findings on paper: where each one stands, and the forms that they are printed in.

use std::sync::Arc;

use crate::manifest::{Document, Source, Span};
use crate::policy::finding::Finding;

mod excerpt;
pub mod json;
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

// === impl Located ===

impl Located {
    /// Finds the place of the finding's field in a document. A field that is not there stands at the nearest one above it;
    /// an unknown field stands at its key.
    pub fn new(finding: Finding, document: Option<&Document>) -> Self {
        let Some(document) = document else { return Self { finding, place: None } };
        let at_key = if finding.rule == "unknown-field" { document.key_at(&finding.field) } else { None };
        let span = at_key.or_else(|| document.at(&finding.field)).unwrap_or(document.span);
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
