//! Tests of reading bytes as a whole; the parts are tested through it, because that is how they are used.

mod bad_input;
mod loading;
mod positions;
mod properties;
mod scalars;

use super::{File, ProblemSeverity, read};

/// The problems of a file as `line: severity message`.
fn problems(file: &File) -> Vec<String> {
    let line = |p: &super::Problem| p.line_column().map_or_else(|| "-".to_owned(), |(line, _)| line.to_string());
    file.problems.iter().map(|p| format!("{}: {:?} {}", line(p), p.severity, p.message)).collect()
}

/// Reads YAML that must have no problem but missing kinds.
fn good(text: &str) -> File {
    let file = read("test.yaml", text.as_bytes());
    assert!(file.problems.iter().all(|p| p.severity == ProblemSeverity::Note), "{:?}", problems(&file));
    file
}
