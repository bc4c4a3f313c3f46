//! `duplicate-object`: the same object stands twice.

use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, DocumentFacts};
use crate::policy::finding::Finding;

pub(super) static RULE: Rule = Rule {
    id: "duplicate-object",
    default: Level::Warn,
    at_admission: false,
    summary: "The same object stands twice, and the later document wins",
    explain: "\
kubectl applies documents in the order in which it reads them. When two of them have the same kind, namespace and name, the
later one overwrites the earlier one, and whoever edits the earlier one wonders why nothing changes. Kustomize refuses the pair.

Remove one of them, or give one another name.

The rule speaks about the files of one review only, and judges every other rule by the later document. The same object in
another version of its API is the same object. Overlays that are meant for different clusters are reviewed one at a time.",
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
  maxReplicas: 5
  metrics:
    - type: Pods
      pods:
        metric:
          name: prometheus.googleapis.com|vllm:num_requests_running|gauge
        target:
          type: AverageValue
          averageValue: 4
---
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
  maxReplicas: 8
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
  maxReplicas: 8
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
    let Some(place) = &facts.repeated_at else { return Vec::new() };
    let object = format!("{}/{}", facts.object.kind, facts.object.name);
    let message = format!("{object} stands again at {place}, and the later one wins");
    vec![Finding::warn("metadata.name", object, message).hint("remove one of them, or give it another name")]
}

#[cfg(test)]
mod tests {
    use crate::policy::configuration::Configuration;
    use crate::policy::facts::{Context, DocumentFacts, Stage};
    use crate::policy::finding::{Finding, ObjectRef};
    use crate::policy::judge::judge_document;
    use crate::policy::rules::testing::brief;
    use crate::policy::view::ClusterView;

    fn said(repeated_at: Option<&str>) -> Vec<Finding> {
        let view = ClusterView::default();
        let configuration = Configuration::default();
        let context = Context { view: &view, configuration: &configuration, stage: Stage::Review, update: false };
        let facts = DocumentFacts {
            object: ObjectRef { kind: "Service".to_owned(), name: "vllm".to_owned(), ..ObjectRef::default() },
            repeated_at: repeated_at.map(str::to_owned),
            ..DocumentFacts::default()
        };
        judge_document(&facts, &context).findings
    }

    #[test]
    fn the_earlier_document_says_where_the_later_one_stands() {
        let findings = said(Some("service.yaml:12"));
        assert_eq!(brief(&findings), ["duplicate-object warn metadata.name"]);
        assert_eq!(findings[0].message, "Service/vllm stands again at service.yaml:12, and the later one wins");
    }

    #[test]
    fn an_object_that_stands_once_is_not_mentioned() {
        assert!(said(None).is_empty());
    }
}
