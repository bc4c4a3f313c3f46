//! What is exported: the links of each chain, and what stands in the cluster that rules find fault with.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::policy::finding::Severity;
use crate::policy::health::{Health, Link, Name};

/// One row: label values in the order of the family's labels, and a number.
type Row = (Vec<String>, f64);

/// What the last looks found; empty while this process does not lead.
#[derive(Debug, Default)]
pub struct HealthRows {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    links: BTreeMap<(String, String), Links>,
    findings: BTreeMap<(String, &'static str), u64>,
}

/// The links of a workload, by their place in [`Name::ALL`]; `None` where nothing can be told.
pub(super) type Links = [Option<bool>; Name::ALL.len()];

// === impl HealthRows ===

impl HealthRows {
    /// The labels of [`HealthRows::workloads`].
    pub const WORKLOAD_LABELS: &'static [&'static str] = &["namespace", "name", "link"];
    /// The labels of [`HealthRows::findings`].
    pub const FINDING_LABELS: &'static [&'static str] = &["rule", "severity"];

    /// A row for each link of which something can be told: 1 when it holds, 0 when it is broken. Workloads of several kinds
    /// that share a name share rows, in which the worse of them counts.
    pub fn workloads(&self) -> Vec<Row> {
        let inner = self.lock();
        let mut rows = Vec::new();
        for ((namespace, name), links) in &inner.links {
            for (link, state) in Name::ALL.iter().zip(links) {
                if let Some(holds) = state {
                    let labels = vec![namespace.clone(), name.clone(), link.as_str().to_owned()];
                    rows.push((labels, f64::from(u8::from(*holds))));
                }
            }
        }
        rows
    }

    /// How many findings of each rule stand in the cluster at present.
    pub fn findings(&self) -> Vec<Row> {
        let inner = self.lock();
        let rows = inner.findings.iter();
        rows.map(|((rule, severity), count)| {
            let count = u32::try_from(*count).unwrap_or(u32::MAX);
            (vec![rule.clone(), (*severity).to_owned()], f64::from(count))
        })
        .collect()
    }

    pub(super) fn set_links(&self, links: BTreeMap<(String, String), Links>) {
        self.lock().links = links;
    }

    pub(super) fn set_findings(&self, findings: BTreeMap<(String, &'static str), u64>) {
        self.lock().findings = findings;
    }

    pub(super) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the links of one workload to those of others of its name.
pub(super) fn add(to: &mut Links, links: &[Link]) {
    for (place, name) in to.iter_mut().zip(Name::ALL) {
        let state = links.iter().find(|link| link.name == name).map(|link| &link.state);
        let holds = match state {
            Some(Health::Healthy) => Some(true),
            Some(Health::Broken { .. }) => Some(false),
            Some(Health::Unknown { .. }) | None => None,
        };
        *place = match (*place, holds) {
            (Some(one), Some(other)) => Some(one && other),
            (one, other) => one.or(other),
        };
    }
}

/// The severity's word in metrics.
pub(super) const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warn => "warn",
        Severity::Deny => "deny",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(server: Health, scrape: Health) -> Vec<Link> {
        vec![Link { name: Name::Server, state: server }, Link { name: Name::Scrape, state: scrape }]
    }

    fn broken() -> Health {
        Health::Broken { reason: "a".into(), fix: "b".into() }
    }

    #[test]
    fn only_what_can_be_told_has_a_row_and_of_two_workloads_of_one_name_the_worse_counts() {
        let rows = HealthRows::default();
        let mut both = Links::default();
        add(&mut both, &links(Health::Healthy, Health::Unknown { reason: "c".into() }));
        add(&mut both, &links(broken(), Health::Unknown { reason: "c".into() }));
        rows.set_links(BTreeMap::from([(("ml".into(), "llm".into()), both)]));
        assert_eq!(rows.workloads(), [(vec!["ml".into(), "llm".into(), "server".into()], 0.0)]);
        rows.clear();
        assert!(rows.workloads().is_empty());
    }

    #[test]
    fn findings_are_counted_by_rule_and_severity() {
        let rows = HealthRows::default();
        rows.set_findings(BTreeMap::from([(("metric-exists".to_owned(), word(Severity::Deny)), 3)]));
        assert_eq!(rows.findings(), [(vec!["metric-exists".into(), "deny".into()], 3.0)]);
    }
}
