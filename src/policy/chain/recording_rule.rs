//! Recording rules: `record` is a name that something makes.

use super::super::finding::ObjectRef;
use super::super::objects::RecordingRules;
use super::{Made, MakerKind, Makers, promql};

/// Most expressions of one object that are parsed. Published sets hold a few hundred; an object full of tiny ones would
/// hold up whoever reads it. Further records are made as well, from what is not told.
const MAX_PARSED: usize = 2000;

/// What recording rules make. Alerts make nothing.
pub(super) fn read(rules: &RecordingRules, object: &ObjectRef, makers: &mut Makers) {
    for (index, rule) in rules.spec.groups.iter().flat_map(|group| &group.rules).enumerate() {
        let Some(record) = &rule.record else { continue };
        let expression = rule.expr.as_ref().filter(|_| index < MAX_PARSED);
        let query = expression.and_then(|expression| promql::parse(&expression.to_string()).ok());
        makers.add(Made {
            name: record.clone(),
            by: MakerKind::RecordingRule,
            object: object.clone(),
            from: query.as_ref().map(promql::Query::names).unwrap_or_default(),
            kind: query.and_then(|query| query.kind),
        });
    }
}
