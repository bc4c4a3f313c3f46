//! `invalid-document`: a document that does not parse, or cannot be of its kind.

use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, DocumentFacts};
use crate::policy::finding::Finding;

pub(super) static RULE: Rule = Rule {
    id: "invalid-document",
    default: Level::Deny,
    at_admission: false,
    summary: "A document that does not parse, or that its kind cannot be read from",
    explain: "\
What kubectl cannot parse, or the API server cannot decode, is never applied. In a folder of many documents the others may be
applied all the same, and the chain from server to autoscaler then lacks one link.

The finding says where the text stops being YAML, or which field has another type than its kind gives it: a word where a number
belongs, a list where a map does. Mend that place. A number that must be text (the value of an annotation or of an environment
variable) is put in quotes.

The rule speaks about files only: the webhook never sees such a document. A document without apiVersion and kind is not a
manifest, and templates (Helm's {{ }}) must be rendered first; each is only noted.",
    failing: "\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: vllm
  namespace: inference
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: vllm
  maxReplicas: five
  metrics:
    - type: Pods
      pods:
        metric:
          name: prometheus.googleapis.com|vllm:num_requests_running|gauge
        target:
          type: AverageValue
          averageValue: 4
",
    passing: "\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: vllm
  namespace: inference
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: vllm
  maxReplicas: 5
  metrics:
    - type: Pods
      pods:
        metric:
          name: prometheus.googleapis.com|vllm:num_requests_running|gauge
        target:
          type: AverageValue
          averageValue: 4
",
    checks: Checks { document: Some(check), ..Checks::NONE },
};

fn check(facts: &DocumentFacts, _context: &Context<'_>) -> Vec<Finding> {
    let Some((field, message)) = &facts.invalid else { return Vec::new() };
    let object = &facts.object;
    let message = if object.kind.is_empty() {
        format!("the document cannot be read: {message}")
    } else {
        format!("this cannot be a {}: {message}", object.kind)
    };
    vec![Finding::deny(field, format!("{}/{} {field}", object.kind, object.name), message)]
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::policy::configuration::Configuration;
    use crate::policy::facts::{Context, DocumentFacts, Stage};
    use crate::policy::finding::{Finding, ObjectRef};
    use crate::policy::judge::judge_document;
    use crate::policy::objects::Object;
    use crate::policy::rules::testing::brief;
    use crate::policy::view::ClusterView;

    fn said(facts: &DocumentFacts) -> Vec<Finding> {
        let view = ClusterView::default();
        let configuration = Configuration::default();
        let context = Context { view: &view, configuration: &configuration, stage: Stage::Review, update: false };
        judge_document(facts, &context).findings
    }

    fn invalid(kind: &str, field: &str, message: &str) -> DocumentFacts {
        DocumentFacts {
            object: ObjectRef { kind: kind.to_owned(), ..ObjectRef::default() },
            invalid: Some((field.to_owned(), message.to_owned())),
            ..DocumentFacts::default()
        }
    }

    #[test]
    fn the_failing_example_cannot_be_read_and_the_passing_one_can() {
        let read = |yaml: &str| {
            let value: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
            Object::from_value(&value).map(|_| ()).map_err(|error| error.field)
        };
        assert_eq!(read(RULE.failing), Err("spec.maxReplicas".to_owned()));
        assert_eq!(read(RULE.passing), Ok(()));
    }

    #[test]
    fn a_field_of_another_type_is_refused_at_the_field() {
        let findings = said(&invalid("HorizontalPodAutoscaler", "spec.maxReplicas", "expected a number"));
        assert_eq!(brief(&findings), ["invalid-document deny spec.maxReplicas"]);
        assert_eq!(findings[0].message, "this cannot be a HorizontalPodAutoscaler: expected a number");
    }

    #[test]
    fn text_that_is_not_yaml_is_refused_as_a_whole() {
        let findings = said(&invalid("", "", "a tab where spaces belong"));
        assert_eq!(brief(&findings), ["invalid-document deny "]);
        assert_eq!(findings[0].message, "the document cannot be read: a tab where spaces belong");
    }

    #[test]
    fn a_document_that_can_be_read_is_not_mentioned() {
        assert!(said(&DocumentFacts::default()).is_empty());
    }
}
