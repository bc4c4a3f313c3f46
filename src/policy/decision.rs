//! Findings -> verdict. This file alone turns certainty and enforcement into deny, warn or note.

use super::configuration::{Configuration, Exemption, Level};
use super::facts::Stage;
use super::finding::{Certainty, Finding, Severity};
use super::objects::{Key, LabelSelector, ObjectMeta};
use super::rules::Rule;
use super::settings;
use super::view::ClusterView;

/// What becomes of a subject.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// What is said: denials, warnings and, in a review, notes.
    pub findings: Vec<Finding>,
    /// What only logs, metrics and reports show (`audit`).
    pub audit: Vec<Finding>,
}

// === impl Decision ===

impl Decision {
    /// Whether nothing denies.
    pub fn allowed(&self) -> bool {
        !self.findings.iter().any(|finding| finding.severity == Severity::Deny)
    }

    /// The findings of one severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.severity == severity)
    }

    /// The findings that deny.
    pub fn denials(&self) -> impl Iterator<Item = &Finding> {
        self.of(Severity::Deny)
    }

    /// Turns every denial into a warning: for a change of an object whose state before is not known, since a fault that it had
    /// already does not deny.
    pub fn soften(&mut self) {
        self.soften_unless(|_| false);
    }

    /// Turns the denials into warnings that `stands` does not hold for.
    pub(super) fn soften_unless(&mut self, stands: impl Fn(&Finding) -> bool) {
        for finding in self.findings.iter_mut().filter(|finding| finding.severity == Severity::Deny) {
            if !stands(finding) {
                finding.severity = Severity::Warn;
            }
        }
    }

    /// All denials in one message, since the user sees only one.
    pub fn message(&self) -> String {
        let lines: Vec<String> = self.denials().map(Finding::sentence).collect();
        lines.join("\n")
    }

    /// The warnings, each a line.
    pub fn warnings(&self) -> Vec<String> {
        self.of(Severity::Warn).map(Finding::sentence).collect()
    }
}

impl Finding {
    /// The finding as one line: rule, field, what is wrong and what to write instead.
    pub fn sentence(&self) -> String {
        let place = if self.field.is_empty() { String::new() } else { format!("{}: ", self.field) };
        let hint = self.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("[{}] {place}{}{hint}", self.rule, self.message)
    }
}

/// Applies enforcement, exemptions, skips and the ratchet to what the rules said.
///
/// `before` are the findings that the object had before the change, judged against the same view: what was wrong already
/// does not deny the change.
pub(super) fn decide(
    findings: Vec<(&'static Rule, Finding)>,
    before: &[(&'static Rule, Finding)],
    metadata: &ObjectMeta,
    stage: Stage,
    view: &ClusterView,
    configuration: &Configuration,
) -> Decision {
    let mut decision = Decision::default();
    for (rule, mut finding) in findings {
        if exempt(rule, metadata, configuration) || skipped(rule, metadata, configuration) {
            continue;
        }
        let level = level(rule, metadata, view, configuration);
        if level == Level::Off {
            continue;
        }
        let had_it = had(before, rule, &finding);
        if finding.severity == Severity::Warn
            && finding.certainty == Certainty::Proven
            && level == Level::Deny
            && rule.default == Level::Warn
        {
            finding.severity = Severity::Deny;
        }
        if finding.severity == Severity::Deny
            && (finding.certainty != Certainty::Proven || level < Level::Deny || had_it)
        {
            finding.severity = Severity::Warn;
        }
        // What cannot be told is no news at admission, to the user and to the log alike.
        if finding.severity == Severity::Note && stage == Stage::Admission {
            continue;
        }
        if level == Level::Audit {
            decision.audit.push(finding);
        } else {
            decision.findings.push(finding);
        }
    }
    decision
}

/// Whether the object had that fault before. What was only suspected of the old object, or only worth a warning, does not
/// excuse a new one that is proven.
fn had(before: &[(&'static Rule, Finding)], rule: &Rule, finding: &Finding) -> bool {
    before.iter().any(|(other, old)| {
        other.id == rule.id
            && old.value == finding.value
            && old.certainty == Certainty::Proven
            && old.severity >= finding.severity
    })
}

/// The level of a rule for an object: the namespace's word before the cluster's, a rule's before the mode's, else the rule's
/// own default. A mode caps; it never makes a warning rule deny.
fn level(rule: &Rule, metadata: &ObjectMeta, view: &ClusterView, configuration: &Configuration) -> Level {
    let enforcement = &configuration.enforcement;
    let capped = |mode: Level| mode.min(rule.default);
    if let Some(namespace) = &metadata.namespace {
        let labels = view.namespace_labels(namespace);
        if labels_unknown(namespace, view) && enforcement.namespaces.iter().any(|own| by_other_labels(&own.selector)) {
            let global = enforcement.rules.get(rule.id).copied().or_else(|| enforcement.mode.map(capped));
            return global.unwrap_or(rule.default).min(Level::Warn);
        }
        if let Some(own) = enforcement.namespaces.iter().find(|own| own.selector.matches(&labels))
            && let Some(level) = own.rules.get(rule.id).copied().or_else(|| own.mode.map(capped))
        {
            return level;
        }
    }
    let global = enforcement.rules.get(rule.id).copied().or_else(|| enforcement.mode.map(capped));
    global.unwrap_or(rule.default)
}

/// Whether a cluster is known, but not this namespace of it: the watch has yet to tell of it, so that it may have any label.
fn labels_unknown(namespace: &str, view: &ClusterView) -> bool {
    let key = Key { kind: "Namespace".to_owned(), name: namespace.to_owned(), ..Key::default() };
    (view.is_closed("Namespace") || view.is_partial("Namespace")) && !view.has(&key)
}

/// Whether a selector reads more than the name, which is always known.
fn by_other_labels(selector: &LabelSelector) -> bool {
    let name = "kubernetes.io/metadata.name";
    selector
        .match_labels
        .keys()
        .chain(selector.match_expressions.iter().map(|wanted| &wanted.key))
        .any(|key| key != name)
}

fn exempt(rule: &Rule, metadata: &ObjectMeta, configuration: &Configuration) -> bool {
    let matches = |patterns: &[String], text: &str| {
        patterns.is_empty()
            || patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => text.starts_with(start),
                None => pattern == text,
            })
    };
    // Of an object that is still to be named, the prefix of its name is what can be told.
    let prefix = metadata.generate_name.as_deref().unwrap_or_default();
    let name = if metadata.name.is_empty() { prefix } else { metadata.name.as_str() };
    configuration.exempt.iter().any(|Exemption { namespaces, names, rules }| {
        matches(namespaces, metadata.namespace.as_deref().unwrap_or_default())
            && matches(names, name)
            && (rules.is_empty() || rules.iter().any(|id| id == rule.id))
    })
}

fn skipped(rule: &Rule, metadata: &ObjectMeta, configuration: &Configuration) -> bool {
    let asked = metadata.annotations.get(settings::SKIP);
    configuration.allow_skip.iter().any(|id| id == rule.id)
        && asked.is_some_and(|rules| rules.split(',').any(|id| id.trim() == rule.id))
}

#[cfg(test)]
mod tests;
