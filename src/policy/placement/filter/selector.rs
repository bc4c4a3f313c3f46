//! Node selector and required node affinity, as `component-helpers/scheduling/corev1/nodeaffinity` decides them.

use std::collections::BTreeMap;

use super::super::super::objects::{NodeRequirement, NodeSelectorTerm};
use super::super::super::workload::PodNeeds;

/// Whether something matches, where not everything about a node may be known. Ordered, so that `min` is AND and `max` OR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Match {
    No,
    Maybe,
    Yes,
}

/// Whether nodes with these labels pass the pod's node selector and its required node affinity. A requirement on the
/// node's name (`matchFields`) cannot be decided from labels and counts as met.
pub fn selects(needs: &PodNeeds, labels: &BTreeMap<String, String>) -> bool {
    matched(needs, labels) != Match::No
}

/// As [`selects`], but says when the node's name would have to be known.
pub(in super::super) fn matched(needs: &PodNeeds, labels: &BTreeMap<String, String>) -> Match {
    matched_by(needs, &|key, operator, values| requirement(operator, values, labels.get(key).map(String::as_str)))
}

/// Node selector AND (any term of the affinity), where `on_label` decides one requirement from key, operator and values.
pub(in super::super) fn matched_by(needs: &PodNeeds, on_label: &dyn Fn(&str, &str, &[String]) -> Match) -> Match {
    let selector =
        needs.node_selector.iter().map(|(key, value)| on_label(key, "In", std::slice::from_ref(value))).min();
    let affinity = needs
        .affinity
        .as_ref()
        .map(|terms| terms.iter().map(|term| term_matches(term, on_label)).max().unwrap_or(Match::No));
    selector.unwrap_or(Match::Yes).min(affinity.unwrap_or(Match::Yes))
}

/// All requirements of a term hold; a term without any matches nothing.
fn term_matches(term: &NodeSelectorTerm, on_label: &dyn Fn(&str, &str, &[String]) -> Match) -> Match {
    let labels = term.match_expressions.iter().map(|wanted| on_label(&wanted.key, &wanted.operator, &wanted.values));
    labels.chain(term.match_fields.iter().map(field)).min().unwrap_or(Match::No)
}

/// The only field is the node's name, which labels do not tell. A requirement that the scheduler cannot parse fails.
fn field(wanted: &NodeRequirement) -> Match {
    let parses =
        wanted.key == "metadata.name" && matches!(wanted.operator.as_str(), "In" | "NotIn") && wanted.values.len() == 1;
    if parses { Match::Maybe } else { Match::No }
}

/// One requirement against a label's value; `None` where the label is missing. What the scheduler cannot parse fails.
pub(in super::super) fn requirement(operator: &str, values: &[String], label: Option<&str>) -> Match {
    let holds = match (operator, values) {
        ("In", [_, ..]) => label.is_some_and(|label| values.iter().any(|value| value == label)),
        ("NotIn", [_, ..]) => label.is_none_or(|label| values.iter().all(|value| value != label)),
        ("Exists", []) => label.is_some(),
        ("DoesNotExist", []) => label.is_none(),
        ("Gt" | "Lt", [bound]) => match (label.and_then(|label| label.parse::<i64>().ok()), bound.parse::<i64>()) {
            (Some(label), Ok(bound)) => (operator == "Gt" && label > bound) || (operator == "Lt" && label < bound),
            _ => false,
        },
        _ => false,
    };
    if holds { Match::Yes } else { Match::No }
}

/// The labels that keep a node off, as a clause: the first requirement that `on_label` refuses.
pub(in super::super) fn mismatch(
    needs: &PodNeeds,
    labels: &BTreeMap<String, String>,
    on_label: &dyn Fn(&str, &str, &[String]) -> Match,
) -> String {
    let clause = |key: &str| match labels.get(key) {
        Some(value) => format!("has label {key}={value}"),
        None => format!("has no label {key}"),
    };
    let of_selector = needs
        .node_selector
        .iter()
        .find(|(key, value)| on_label(key, "In", std::slice::from_ref(value)) == Match::No)
        .map(|(key, _)| clause(key));
    let of_affinity = || match needs.affinity.as_deref() {
        Some([term]) => term
            .match_expressions
            .iter()
            .find(|wanted| on_label(&wanted.key, &wanted.operator, &wanted.values) == Match::No)
            .map(|wanted| clause(&wanted.key)),
        _ => None,
    };
    of_selector.or_else(of_affinity).unwrap_or_else(|| "matches no term of the required node affinity".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn wanted(key: &str, operator: &str, values: &[&str]) -> NodeRequirement {
        NodeRequirement {
            key: key.to_owned(),
            operator: operator.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }
    }

    fn term(expressions: &[(&str, &str, &[&str])]) -> NodeSelectorTerm {
        NodeSelectorTerm {
            match_expressions: expressions.iter().map(|(key, op, values)| wanted(key, op, values)).collect(),
            match_fields: Vec::new(),
        }
    }

    fn with_affinity(terms: Vec<NodeSelectorTerm>) -> PodNeeds {
        PodNeeds { affinity: Some(terms), ..PodNeeds::default() }
    }

    #[test]
    fn each_operator_as_the_scheduler_reads_it() {
        let node = labels(&[("pool", "gpu"), ("memory", "16"), ("odd", "16Gi")]);
        for (key, operator, values, expected) in [
            ("pool", "In", &["cpu", "gpu"] as &[&str], true),
            ("pool", "In", &["cpu"], false),
            ("missing", "In", &["cpu"], false),
            ("pool", "In", &[], false),
            ("pool", "NotIn", &["cpu"], true),
            ("pool", "NotIn", &["gpu"], false),
            ("missing", "NotIn", &["gpu"], true),
            ("missing", "NotIn", &[], false),
            ("pool", "Exists", &[], true),
            ("missing", "Exists", &[], false),
            ("pool", "Exists", &["gpu"], false),
            ("pool", "DoesNotExist", &[], false),
            ("missing", "DoesNotExist", &[], true),
            ("memory", "Gt", &["15"], true),
            ("memory", "Gt", &["16"], false),
            ("memory", "Lt", &["17"], true),
            ("memory", "Lt", &["16"], false),
            ("memory", "Gt", &["1", "2"], false),
            ("memory", "Gt", &[], false),
            ("memory", "Gt", &["9223372036854775808"], false),
            ("memory", "Gt", &["1.5"], false),
            ("odd", "Gt", &["1"], false),
            ("missing", "Lt", &["1"], false),
            ("pool", "Equals", &["gpu"], false),
            ("pool", "", &["gpu"], false),
        ] {
            let needs = with_affinity(vec![term(&[(key, operator, values)])]);
            assert_eq!(selects(&needs, &node), expected, "{key} {operator} {values:?}");
        }
    }

    #[test]
    fn terms_are_ored_and_requirements_inside_a_term_are_anded() {
        let node = labels(&[("a", "1"), ("b", "2")]);
        let a: (&str, &str, &[&str]) = ("a", "In", &["1"]);
        let wrong: (&str, &str, &[&str]) = ("b", "In", &["3"]);
        assert!(selects(&with_affinity(vec![term(&[wrong]), term(&[a])]), &node));
        assert!(!selects(&with_affinity(vec![term(&[a, wrong])]), &node));
    }

    #[test]
    fn an_empty_term_and_an_empty_list_of_terms_match_nothing() {
        let node = labels(&[("a", "1")]);
        assert!(!selects(&with_affinity(vec![term(&[])]), &node));
        assert!(!selects(&with_affinity(Vec::new()), &node));
        assert!(selects(&with_affinity(vec![term(&[]), term(&[("a", "Exists", &[])])]), &node));
        assert!(selects(&PodNeeds::default(), &node), "no affinity at all filters nothing");
    }

    #[test]
    fn the_node_selector_counts_beside_the_affinity() {
        let mut needs = with_affinity(vec![term(&[("a", "Exists", &[])])]);
        needs.node_selector = labels(&[("pool", "gpu")]);
        assert!(selects(&needs, &labels(&[("a", ""), ("pool", "gpu")])));
        assert!(!selects(&needs, &labels(&[("a", ""), ("pool", "cpu")])));
        assert!(!selects(&needs, &labels(&[("pool", "gpu")])));
    }

    #[test]
    fn a_node_name_is_undecided_and_a_malformed_one_fails() {
        let by_name = |operator: &str, key: &str, names: &[&str]| NodeSelectorTerm {
            match_expressions: Vec::new(),
            match_fields: vec![wanted(key, operator, names)],
        };
        let none = BTreeMap::new();
        assert_eq!(matched(&with_affinity(vec![by_name("In", "metadata.name", &["n"])]), &none), Match::Maybe);
        for (operator, key, names) in [
            ("In", "metadata.name", &["n", "m"] as &[&str]),
            ("Exists", "metadata.name", &[]),
            ("In", "spec.unschedulable", &["true"]),
        ] {
            assert_eq!(matched(&with_affinity(vec![by_name(operator, key, names)]), &none), Match::No, "{operator}");
        }
    }
}
