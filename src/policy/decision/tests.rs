use super::*;
use crate::policy::configuration::{self, Configuration};
use crate::policy::objects::Object;
use crate::policy::rules::find;
use serde_json::{Value, json};

const DENYING: &str = "metric-exists";
const WARNING: &str = "port-mismatch";

fn rule(id: &str) -> &'static Rule {
    find(id).unwrap()
}

fn configuration(mut document: Value) -> Configuration {
    document["apiVersion"] = "scalegate.dev/v1alpha1".into();
    document["kind"] = "Configuration".into();
    configuration::read_with(&document, &crate::policy::rules::ids()).unwrap()
}

fn metadata() -> ObjectMeta {
    ObjectMeta { name: "vllm".to_owned(), namespace: Some("ml".to_owned()), ..ObjectMeta::default() }
}

fn said(id: &str, finding: Finding) -> (&'static Rule, Finding) {
    (rule(id), Finding { rule: rule(id).id.to_owned(), ..finding })
}

fn denial() -> Finding {
    Finding::deny("f", "v", "wrong")
}

fn decided(stage: Stage, findings: Vec<(&'static Rule, Finding)>, configuration: &Configuration) -> Decision {
    decide(findings, &[], &metadata(), stage, &ClusterView::default(), configuration)
}

fn severities(decision: &Decision) -> Vec<Severity> {
    decision.findings.iter().map(|finding| finding.severity).collect()
}

/// What becomes of one denial of the denying rule.
fn outcome(document: Value) -> Vec<Severity> {
    severities(&decided(Stage::Admission, vec![said(DENYING, denial())], &configuration(document)))
}

#[test]
fn unknown_never_denies_whatever_the_level() {
    let strict = configuration(
        json!({ "enforcement": { "mode": "deny", "rules": { DENYING: "deny", "port-mismatch": "deny" } } }),
    );
    for id in [DENYING, WARNING] {
        for finding in [
            Finding::suspect("f", "v", "maybe"),
            Finding { certainty: Certainty::Unknown, ..denial() },
            Finding::note("f", "v", "who knows"),
        ] {
            for stage in [Stage::Admission, Stage::Review] {
                assert!(decided(stage, vec![said(id, finding.clone())], &strict).allowed(), "{finding:?}");
            }
        }
    }
}

#[test]
fn a_mode_caps_and_never_raises() {
    assert_eq!(outcome(json!({})), [Severity::Deny]);
    assert_eq!(outcome(json!({ "enforcement": { "mode": "warn" } })), [Severity::Warn]);
    assert_eq!(outcome(json!({ "enforcement": { "mode": "off" } })), []);
    let raised = configuration(json!({ "enforcement": { "mode": "deny" } }));
    let warning = said(WARNING, Finding::warn("f", "v", "careful"));
    assert_eq!(severities(&decided(Stage::Admission, vec![warning], &raised)), [Severity::Warn]);
}

#[test]
fn audit_shows_nothing_to_the_user_and_notes_reach_no_log() {
    let audit = configuration(json!({ "enforcement": { "mode": "audit" } }));
    let findings = vec![said(DENYING, denial()), said(DENYING, Finding::note("f", "v", "who knows"))];
    let decision = decided(Stage::Admission, findings, &audit);
    assert!(decision.allowed() && decision.findings.is_empty() && decision.warnings().is_empty());
    assert_eq!(decision.audit.len(), 1, "{:?}", decision.audit);
}

#[test]
fn the_level_deny_makes_proven_warnings_of_a_warning_rule_deny() {
    let raised = configuration(json!({ "enforcement": { "rules": { "port-mismatch": "deny" } } }));
    let warning = said(WARNING, Finding::warn("f", "v", "careful"));
    assert_eq!(severities(&decided(Stage::Admission, vec![warning.clone()], &raised)), [Severity::Deny]);
    // A denying rule's own warnings stay warnings.
    let strict = configuration(json!({ "enforcement": { "rules": { DENYING: "deny" } } }));
    let own = said(DENYING, Finding::warn("f", "v", "careful"));
    assert_eq!(severities(&decided(Stage::Admission, vec![own], &strict)), [Severity::Warn]);
}

#[test]
fn notes_are_shown_in_a_review_only() {
    let note = || vec![said(DENYING, Finding::note("f", "v", "who knows"))];
    assert_eq!(severities(&decided(Stage::Review, note(), &Configuration::default())), [Severity::Note]);
    assert_eq!(severities(&decided(Stage::Admission, note(), &Configuration::default())), []);
}

#[test]
fn the_namespace_comes_before_the_cluster_and_a_rule_before_the_mode() {
    let here = json!({ "matchLabels": { "kubernetes.io/metadata.name": "ml" } });
    let there = json!({ "matchLabels": { "kubernetes.io/metadata.name": "web" } });
    let with = |selector: &Value, own: Value, global: Value| {
        let mut own = own;
        own["selector"] = selector.clone();
        let mut enforcement = global;
        enforcement["namespaces"] = json!([own]);
        outcome(json!({ "enforcement": enforcement }))
    };
    let (deny, warn) = (json!({ "rules": { DENYING: "deny" } }), json!({ "rules": { DENYING: "warn" } }));
    assert_eq!(with(&here, warn.clone(), deny.clone()), [Severity::Warn]);
    assert_eq!(with(&here, deny.clone(), warn.clone()), [Severity::Deny]);
    assert_eq!(with(&there, warn.clone(), deny.clone()), [Severity::Deny]);
    assert_eq!(with(&here, json!({ "mode": "off" }), deny.clone()), []);
    assert_eq!(with(&here, json!({ "mode": "warn", "rules": { DENYING: "deny" } }), json!({})), [Severity::Deny]);
    assert_eq!(with(&here, json!({}), json!({ "mode": "warn" })), [Severity::Warn]);
    assert_eq!(outcome(json!({ "enforcement": { "mode": "warn", "rules": { DENYING: "deny" } } })), [Severity::Deny]);
}

#[test]
fn a_namespace_is_selected_by_its_labels_in_view() {
    let (of, namespace) = Object::from_value(&json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "ml", "labels": { "team": "a" } },
    }))
    .unwrap();
    let mut view = ClusterView::default();
    view.apply(&of, namespace);
    let own = json!([{ "selector": { "matchLabels": { "team": "a" } }, "mode": "warn" }]);
    let configuration = configuration(json!({ "enforcement": { "namespaces": own } }));
    let decision = decide(vec![said(DENYING, denial())], &[], &metadata(), Stage::Admission, &view, &configuration);
    assert_eq!(severities(&decision), [Severity::Warn]);
}

#[test]
fn a_namespace_that_the_watch_has_yet_to_tell_of_may_have_any_label() {
    let by_label = json!([{ "selector": { "matchLabels": { "team": "a" } }, "mode": "warn" }]);
    let by_name = json!([{ "selector": { "matchLabels": { "kubernetes.io/metadata.name": "web" } }, "mode": "warn" }]);
    let said = |view: &ClusterView, own: &Value| {
        let configuration = configuration(json!({ "enforcement": { "namespaces": own } }));
        let findings = vec![said(DENYING, denial())];
        severities(&decide(findings, &[], &metadata(), Stage::Admission, view, &configuration))
    };
    let mut live = ClusterView::default();
    assert_eq!(said(&live, &by_label), [Severity::Deny], "from files the name is all there is");
    live.closed.insert("Namespace".to_owned());
    assert_eq!(said(&live, &by_label), [Severity::Warn]);
    assert_eq!(said(&live, &by_name), [Severity::Deny]);
    live.closed.clear();
    live.partial.insert("Namespace".to_owned());
    assert_eq!(said(&live, &by_label), [Severity::Warn]);
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "ml" } });
    let (of, namespace) = Object::from_value(&namespace).unwrap();
    live.apply(&of, namespace);
    assert_eq!(said(&live, &by_label), [Severity::Deny]);
}

#[test]
fn an_exemption_matches_namespace_name_and_rule_together() {
    for (exemption, exempt) in [
        (json!({ "namespaces": ["ml"] }), true),
        (json!({ "namespaces": ["m*"] }), true),
        (json!({ "namespaces": ["m"] }), false),
        (json!({ "namespaces": ["web", "ml"], "names": ["vl*"] }), true),
        (json!({ "namespaces": ["ml"], "names": ["other"] }), false),
        (json!({ "names": ["*"], "rules": [DENYING] }), true),
        (json!({ "names": ["vllm"], "rules": ["metric-kind"] }), false),
        (json!({ "rules": [DENYING] }), true),
        // Only a star at the end means anything.
        (json!({ "names": ["*llm"] }), false),
    ] {
        assert_eq!(outcome(json!({ "exempt": [exemption] })).is_empty(), exempt, "{exemption}");
    }
}

#[test]
fn an_object_that_is_still_to_be_named_is_exempt_by_its_prefix() {
    let metadata = ObjectMeta { name: String::new(), generate_name: Some("load-test-".to_owned()), ..metadata() };
    let configuration = configuration(json!({ "exempt": [{ "names": ["load-test-*"] }] }));
    let view = ClusterView::default();
    let decision = decide(vec![said(DENYING, denial())], &[], &metadata, Stage::Admission, &view, &configuration);
    assert!(decision.findings.is_empty());
}

#[test]
fn a_skip_counts_only_for_rules_that_may_be_skipped() {
    let mut metadata = metadata();
    metadata.annotations.insert(settings::SKIP.to_owned(), format!("metric-kind , {DENYING}"));
    let after = |configuration: &Configuration| {
        let said = vec![said(DENYING, denial())];
        decide(said, &[], &metadata, Stage::Admission, &ClusterView::default(), configuration).findings.len()
    };
    assert_eq!(after(&Configuration::default()), 1);
    assert_eq!(after(&configuration(json!({ "allowSkip": ["metric-kind"] }))), 1);
    assert_eq!(after(&configuration(json!({ "allowSkip": [DENYING] }))), 0);
}

#[test]
fn what_was_wrong_before_does_not_deny_the_change() {
    let after = |before: Finding, now: Finding| {
        let view = ClusterView::default();
        let before = [said(DENYING, before)];
        let now = vec![said(DENYING, now)];
        severities(&decide(now, &before, &metadata(), Stage::Admission, &view, &Configuration::default()))
    };
    assert_eq!(after(denial(), Finding { field: "elsewhere".to_owned(), ..denial() }), [Severity::Warn]);
    assert_eq!(after(Finding::deny("f", "another", "wrong"), denial()), [Severity::Deny]);
    // A doubt about the old object, or a warning, is not the fault that is proven now.
    assert_eq!(after(Finding::note("f", "v", "who knows"), denial()), [Severity::Deny]);
    assert_eq!(after(Finding::suspect("f", "v", "maybe"), denial()), [Severity::Deny]);
    assert_eq!(after(Finding::warn("f", "v", "careful"), denial()), [Severity::Deny]);
}

#[test]
fn a_raised_warning_is_held_back_by_the_same_warning_before() {
    let raised = configuration(json!({ "enforcement": { "rules": { "port-mismatch": "deny" } } }));
    let warning = || said(WARNING, Finding::warn("f", "v", "careful"));
    let view = ClusterView::default();
    let decision = decide(vec![warning()], &[warning()], &metadata(), Stage::Admission, &view, &raised);
    assert_eq!(severities(&decision), [Severity::Warn]);
}
