//! Findings as a compiler prints them.

use std::io::{self, Write};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, renderer::DecorStyle};

use super::{Located, excerpt};
use crate::policy::finding::{Finding, ObjectRef, Severity};

/// Prints every finding and a closing line; `unjudged` autoscalers are named there, so that silence about them is no praise.
///
/// # Errors
/// When writing fails.
pub fn print(
    out: &mut dyn Write,
    findings: &[Located],
    judged: usize,
    unjudged: usize,
    colour: bool,
) -> io::Result<()> {
    for found in findings {
        writeln!(out, "{}\n", one(found, colour))?;
    }
    let count = |severity: Severity| findings.iter().filter(|found| found.finding.severity == severity).count();
    writeln!(
        out,
        "{}: {} denied, {}, {}",
        plural(judged, "object", "objects"),
        count(Severity::Deny),
        plural(count(Severity::Warn), "warning", "warnings"),
        plural(count(Severity::Note), "note", "notes"),
    )?;
    if unjudged > 0 {
        let them = plural(unjudged, "autoscaler has", "autoscalers have");
        writeln!(
            out,
            "{them} no tie to inference and {} not judged (scope: all judges every one)",
            if unjudged == 1 { "was" } else { "were" }
        )?;
    }
    Ok(())
}

/// Where a finding about an object of a cluster stands: `HorizontalPodAutoscaler ml/llm: spec.maxReplicas`.
fn place(finding: &Finding) -> String {
    let ObjectRef { kind, namespace, name, .. } = &finding.object;
    let namespace = namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    let field = if finding.field.is_empty() { String::new() } else { format!(": {}", finding.field) };
    format!("{kind} {namespace}{name}{field}")
}

/// `1 note`, `2 notes`.
pub fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// One finding with the line at fault.
pub fn one(found: &Located, colour: bool) -> String {
    let finding = &found.finding;
    let level = match finding.severity {
        Severity::Deny => Level::ERROR.with_name("denied"),
        Severity::Warn => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.clone().primary_title(finding.message.as_str()).id(finding.rule.as_str());
    let excerpt = found.place.as_ref().and_then(|place| excerpt::of(place, finding.line));
    let mut group = Group::with_title(title);
    let file = finding.file.as_deref().unwrap_or_default();
    let label = if finding.field.is_empty() { finding.object.kind.as_str() } else { finding.field.as_str() };
    if let Some(excerpt) = excerpt {
        let annotation = AnnotationKind::Primary.span(excerpt.mark.clone()).label(label);
        let snippet = Snippet::source(excerpt.text).line_start(excerpt.line).path(file).annotation(annotation);
        group = group.element(snippet);
    } else if !file.is_empty() {
        group = group.element(Origin::path(file));
    } else if !finding.object.name.is_empty() {
        group = group.element(Origin::path(place(finding)));
    }
    if let Some(hint) = &finding.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}
