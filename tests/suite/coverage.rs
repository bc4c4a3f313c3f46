//! A rule that lacks an explanation, an example or a case does not land.

use std::collections::{BTreeMap, BTreeSet};

use scalegate::policy::rules::{self, Rule};

use crate::support::{Case, findings, none, world_over};

/// The rules that there are, in the order of their table. A new one is added here too, so that none goes missing unseen.
const RULES: [&str; 29] = [
    "metric-exists",
    "metric-removed",
    "metric-kind",
    "metric-unit",
    "external-metric-case",
    "object-metric-unsupported",
    "gpu-node-pool",
    "gpu-metric-without-gpu",
    "autoscaler-conflict",
    "invalid-setting",
    "engine-unsupported",
    "metric-dropped",
    "label-misplaced",
    "port-mismatch",
    "api-version",
    "max-below-replicas",
    "target-unreachable",
    "replicas-pinned",
    "no-accelerator",
    "accelerator-count",
    "up-only-metric",
    "cpu-only",
    "external-unscoped",
    "double-scrape",
    "adapter-rules",
    "invalid-document",
    "unknown-field",
    "duplicate-object",
    "min-zero",
];

/// Rules about a change: their passing example is what the cluster has.
const OF_A_CHANGE: [&str; 1] = ["metric-dropped"];

#[test]
fn no_rule_is_missing_and_none_is_there_unannounced() {
    let expected: BTreeSet<&str> = RULES.into_iter().collect();
    let ids = rules::ids();
    let found: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(expected, found);
    assert_eq!(ids.len(), found.len(), "a rule is listed twice");
}

#[test]
fn every_rule_is_explained() {
    let mut problems = Vec::new();
    for rule in rules::ALL {
        let text = [("summary", rule.summary), ("explain", rule.explain)];
        problems.extend(text.iter().filter(|(_, text)| text.trim().is_empty()).map(|(what, _)| lacks(rule, what)));
        if rule.summary.contains('\n') {
            problems.push(format!("{}: the summary is more than one line", rule.id));
        }
        if rule.checks.subjects().is_empty() {
            problems.push(format!("{}: looks at nothing", rule.id));
        }
    }
    none(&problems, "faults in the documentation of rules");
}

#[test]
fn every_rule_speaks_about_its_failing_example_and_not_about_its_passing_one() {
    let mut problems = Vec::new();
    for rule in rules::ALL {
        for (example, text, expected) in [("failing", rule.failing, true), ("passing", rule.passing, false)] {
            if text.trim().is_empty() {
                problems.push(lacks(rule, example));
                continue;
            }
            let cluster = OF_A_CHANGE.contains(&rule.id).then_some(rule.passing);
            let found = findings(&world_over(text, cluster));
            if found.iter().any(|finding| finding.rule == rule.id) != expected {
                problems.push(format!("{}: the {example} example yields {found:#?}", rule.id));
            }
        }
    }
    none(&problems, "examples of rules are wrong");
}

#[test]
fn every_rule_has_a_case_that_it_speaks_about_and_one_of_its_own_that_it_is_silent_about() {
    let mut spoken: BTreeSet<String> = BTreeSet::new();
    let mut silent: BTreeMap<String, usize> = BTreeMap::new();
    for case in Case::all() {
        let findings = case.findings().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        if !findings.iter().any(|finding| finding.rule == case.topic) {
            *silent.entry(case.topic).or_default() += 1;
        }
        spoken.extend(findings.into_iter().map(|finding| finding.rule));
    }
    let mut problems = Vec::new();
    for rule in rules::ALL {
        if !spoken.contains(rule.id) {
            problems.push(lacks(rule, "case that it speaks about"));
        }
        if !silent.contains_key(rule.id) {
            problems.push(lacks(rule, "case that it is silent about"));
        }
    }
    none(&problems, "cases are missing");
}

fn lacks(rule: &Rule, what: &str) -> String {
    format!("{}: has no {what}", rule.id)
}
