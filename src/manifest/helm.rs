//! Files of a Helm chart are not manifests: a note says to render them first.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{File, Problem, ProblemSeverity, Source, Span};

/// What a template action of Helm begins with, behind `{{` and blanks. Prometheus and Alertmanager templates, which do
/// stand in manifests, begin with `$labels`, `$value` or `.Labels`.
const ACTIONS: [&str; 20] = [
    "-",
    ".Values",
    ".Release",
    ".Chart",
    ".Capabilities",
    ".Template",
    ".Files",
    "$.Values",
    "$.Release",
    "include ",
    "template ",
    "if ",
    "with ",
    "range ",
    "end",
    "else",
    "define ",
    "toYaml ",
    "tpl ",
    "/*",
];

const HINT: &str = "render the chart with `helm template` and review its output";

/// The first Helm action of `text`.
pub(super) fn first_action(text: &str) -> Option<Span> {
    text.match_indices("{{").find_map(|(at, _)| {
        let inner = text.get(at + 2..)?;
        let trimmed = inner.trim_start_matches(' ');
        ACTIONS.iter().any(|action| trimmed.starts_with(action)).then_some(Span { start: at, end: at + 2 })
    })
}

/// Replaces the problems of an unrendered template by one note, and leaves out the documents with actions in them.
pub(super) fn replace_template_problems(file: &mut File) {
    let denied = file.problems.iter().find(|problem| problem.severity == ProblemSeverity::Deny);
    let Some(source) = denied.map(|problem| problem.source.clone()) else { return };
    let Some(action) = first_action(&source.text) else { return };
    file.problems.clear();
    file.documents.retain(|document| {
        source.text.get(document.span.start..document.span.end).is_none_or(|text| first_action(text).is_none())
    });
    let message = "this is an unrendered Helm template";
    file.problems.push(Problem::new(&source, Some(action), ProblemSeverity::Note, message).hint(HINT));
}

/// The chart that `path` belongs to without being a manifest: as its metadata, its values or one of its templates.
pub(super) fn chart_of(path: &Path, text: &str) -> Option<PathBuf> {
    let folder = path.parent()?;
    let name = path.file_name()?.to_str()?;
    if is_chart(folder) && (name == "Chart.yaml" || name.starts_with("values")) {
        return Some(folder.to_owned());
    }
    if !text.contains("{{") {
        return None;
    }
    let templates = folder.ancestors().filter(|folder| folder.file_name().is_some_and(|name| name == "templates"));
    templates.filter_map(Path::parent).find(|chart| is_chart(chart)).map(Path::to_owned)
}

fn is_chart(folder: &Path) -> bool {
    folder.join("Chart.yaml").is_file()
}

/// The note about a chart, shown at the first of its files that was met.
pub(super) fn note(source: &Arc<Source>) -> Problem {
    let message = "this file belongs to a Helm chart, whose values and templates are not manifests";
    Problem::new(source, None, ProblemSeverity::Note, message).hint(HINT)
}
