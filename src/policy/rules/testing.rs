//! For the rules' own tests: documents in, findings out.

use crate::policy::configuration::Configuration;
use crate::policy::facts::{Context, Stage};
use crate::policy::finding::{Finding, Severity};
use crate::policy::judge::judge;
use crate::policy::objects::{Object, TypeMeta};
use crate::policy::view::ClusterView;

/// Reads multi-document YAML.
pub(crate) fn objects(yaml: &str) -> Vec<(TypeMeta, Object)> {
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(yaml).expect("the test's YAML parses");
    documents
        .iter()
        .filter(|document| document["kind"] != "Configuration" && !document.is_null())
        .map(|document| Object::from_value(document).expect("the test's object reads"))
        .collect()
}

/// A view of those documents.
pub(crate) fn view(yaml: &str) -> ClusterView {
    let mut view = ClusterView::default();
    for (of, object) in objects(yaml) {
        view.apply(&of, object);
    }
    view
}

/// Every document judged as `review` judges a folder of them.
pub(crate) fn review(yaml: &str, configuration: &Configuration) -> Vec<Finding> {
    let view = view(yaml);
    let context = Context { view: &view, configuration, stage: Stage::Review, update: false };
    let mut findings = Vec::new();
    for (of, object) in objects(yaml) {
        let order = view.get(&object.key(&of)).map(|entry| entry.order);
        findings.extend(judge(&of, &object, None, order, &context).findings);
    }
    findings
}

/// One object judged as the webhook judges a CREATE, or an UPDATE when `old` is given, over `view`.
pub(crate) fn admit(
    view: &ClusterView,
    object: &str,
    old: Option<&str>,
    configuration: &Configuration,
) -> Vec<Finding> {
    let context = Context { view, configuration, stage: Stage::Admission, update: old.is_some() };
    let (of, object) = objects(object).remove(0);
    let old = old.map(|old| objects(old).remove(0).1);
    judge(&of, &object, old.as_ref(), None, &context).findings
}

/// `rule severity field` of each finding, for short assertions.
pub(crate) fn brief(findings: &[Finding]) -> Vec<String> {
    let severity = |finding: &Finding| match finding.severity {
        Severity::Deny => "deny",
        Severity::Warn => "warn",
        Severity::Note => "note",
    };
    findings.iter().map(|finding| format!("{} {} {}", finding.rule, severity(finding), finding.field)).collect()
}
