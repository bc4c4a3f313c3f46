//! Recording rules: `record` is a name that something makes.

use super::super::finding::ObjectRef;
use super::super::objects::RecordingRules;
use super::{Made, MakerKind, Makers, promql};

/// What recording rules make. Alerts make nothing.
pub(super) fn read(rules: &RecordingRules, object: &ObjectRef, makers: &mut Makers) {
    for rule in rules.spec.groups.iter().flat_map(|group| &group.rules) {
        let Some(record) = &rule.record else { continue };
        let query = rule.expr.as_ref().and_then(|expression| promql::parse(&expression.to_string()).ok());
        makers.add(Made {
            name: record.clone(),
            by: MakerKind::RecordingRule,
            object: object.clone(),
            from: query.as_ref().map(promql::Query::names).unwrap_or_default(),
            kind: query.and_then(|query| query.kind),
        });
    }
}
