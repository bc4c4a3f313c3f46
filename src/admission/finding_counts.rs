//! How often each rule spoke.

use super::counters::Counter;
use crate::policy::decision::Decision;
use crate::policy::finding::Severity;
use crate::policy::rules;

/// Values of the label `severity`: what the user was told, or `audit` for what only the log and this count show.
pub const SEVERITIES: [&str; 3] = ["deny", "warn", "audit"];

/// Findings by rule and severity. The rules are those of this release, so there are no other values.
#[derive(Debug)]
pub struct FindingCounts(Vec<(&'static str, [Counter; SEVERITIES.len()])>);

impl Default for FindingCounts {
    fn default() -> Self {
        let mut rules: Vec<_> = rules::ids().into_iter().map(|id| (id, Default::default())).collect();
        rules.sort_unstable_by_key(|(id, _): &(&str, _)| *id);
        Self(rules)
    }
}

impl FindingCounts {
    /// Adds what was found of one object.
    pub fn add(&self, decision: &Decision) {
        let told = decision.findings.iter().map(|finding| match finding.severity {
            Severity::Deny => (finding, 0),
            Severity::Warn | Severity::Note => (finding, 1),
        });
        for (finding, severity) in told.chain(decision.audit.iter().map(|finding| (finding, 2))) {
            let Ok(place) = self.0.binary_search_by_key(&finding.rule.as_str(), |(id, _)| *id) else { continue };
            if let Some(counter) = self.0.get(place).and_then(|(_, counters)| counters.get(severity)) {
                counter.increment();
            }
        }
    }

    /// Rule, severity and count, from zero on.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.0.iter().flat_map(|(rule, counters)| {
            SEVERITIES.into_iter().zip(counters).map(|(severity, counter)| (*rule, severity, counter.get()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::finding::Finding;

    fn finding(rule: &str, finding: Finding) -> Finding {
        Finding { rule: rule.to_owned(), ..finding }
    }

    #[test]
    fn each_finding_counts_under_its_rule_and_what_became_of_it() {
        let counts = FindingCounts::default();
        let decision = Decision {
            findings: vec![
                finding("metric-exists", Finding::deny("a", "b", "c")),
                finding("engine-unsupported", Finding::warn("a", "b", "c")),
                finding("no-such-rule", Finding::warn("a", "b", "c")),
            ],
            audit: vec![finding("metric-exists", Finding::deny("a", "b", "c"))],
        };
        counts.add(&decision);
        counts.add(&decision);
        let seen: Vec<_> = counts.rows().filter(|row| row.2 > 0).collect();
        assert_eq!(
            seen,
            [("engine-unsupported", "warn", 2), ("metric-exists", "deny", 2), ("metric-exists", "audit", 2)]
        );
        assert_eq!(counts.rows().count(), rules::ids().len() * SEVERITIES.len());
    }
}
