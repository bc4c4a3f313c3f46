//! `label-misplaced`: our label on the pod template or the Service.

use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, Stage, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::objects::{ObjectMeta, Service};
use crate::policy::settings::{LABEL, PREFIX};
use crate::policy::view::may_be_same;

pub(super) static RULE: Rule = Rule {
    id: "label-misplaced",
    default: Level::Warn,
    at_admission: true,
    summary: "The label or an annotation of ours stands on the pod template or the Service",
    explain: "\
The label scalegate.dev/autoscale and the annotations under scalegate.dev/ are read from the metadata of the Deployment,
StatefulSet or LeaderWorkerSet. On the pod template they do nothing, and nobody says so: no autoscaler appears, and every later
change of them restarts the pods, which on GPU nodes takes minutes. On the Service they do nothing either; only a review looks
there.

Move them to metadata.labels and metadata.annotations of the workload.

The rule is silent about a Service whose workload carries the same key, as tools do that put common labels on everything.",
    failing: "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
  namespace: inference
spec:
  selector:
    matchLabels:
      app: vllm
  template:
    metadata:
      labels:
        app: vllm
        scalegate.dev/autoscale: throughput
    spec:
      containers:
        - name: server
          image: vllm/vllm-openai:v0.11.0
          args: [--model=google/gemma-3-1b-it, --port=8000, --max-num-seqs=64]
          resources:
            limits:
              cpu: 4
              memory: 16Gi
              nvidia.com/gpu: 1
",
    passing: "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
  namespace: inference
  labels:
    scalegate.dev/autoscale: throughput
spec:
  selector:
    matchLabels:
      app: vllm
  template:
    metadata:
      labels:
        app: vllm
    spec:
      containers:
        - name: server
          image: vllm/vllm-openai:v0.11.0
          args: [--model=google/gemma-3-1b-it, --port=8000, --max-num-seqs=64]
          resources:
            limits:
              cpu: 4
              memory: 16Gi
              nvidia.com/gpu: 1
",
    checks: Checks { workload: Some(check), ..Checks::NONE },
};

fn check(facts: &WorkloadFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.workload.misplaced_keys.iter().map(|key| on_template(key, facts)).collect();
    if context.stage == Stage::Review {
        findings.extend(
            context
                .view
                .services_in(facts.written.metadata.namespace.as_deref())
                .filter(|service| serves(service, facts))
                .filter_map(|service| {
                    let key = service.metadata.labels.keys().chain(service.metadata.annotations.keys());
                    let key = key
                        .into_iter()
                        .find(|key| key.starts_with(PREFIX) && !carries(&facts.written.metadata, key))?;
                    Some(on_service(key, service, facts))
                }),
        );
    }
    findings
}

fn on_template(key: &str, facts: &WorkloadFacts<'_>) -> Finding {
    let section = section(key, &facts.written.template.metadata);
    let workload = format!("{}/{}", facts.object.kind, facts.object.name);
    let message = format!("{key} on the pod template of {workload} does nothing, and changing it restarts the pods");
    let finding = Finding::warn(format!("{}.metadata.{section}[{key}]", facts.workload.template_path), key, message);
    if carries(&facts.written.metadata, key) {
        finding.hint(format!("remove it there; metadata.{section} of the {} has it", facts.object.kind))
    } else {
        finding.hint(format!("move it to metadata.{section} of the {}", facts.object.kind))
    }
}

fn on_service(key: &str, service: &Service, facts: &WorkloadFacts<'_>) -> Finding {
    let workload = format!("{}/{}", facts.object.kind, facts.object.name);
    let section = section(key, &service.metadata);
    let message = format!("{key} on Service/{} does nothing for {workload}", service.metadata.name);
    let hint = format!("move it to metadata.{section} of {workload}");
    Finding::warn("", format!("Service/{}", service.metadata.name), message).hint(hint)
}

/// Whether a Service sends to the workload's serving pods.
fn serves(service: &Service, facts: &WorkloadFacts<'_>) -> bool {
    let selector = &service.spec.selector;
    !selector.is_empty()
        && may_be_same(service.metadata.namespace.as_deref(), facts.written.metadata.namespace.as_deref())
        && selector.iter().all(|(key, value)| facts.workload.pod_labels.get(key) == Some(value))
}

fn carries(metadata: &ObjectMeta, key: &str) -> bool {
    metadata.labels.contains_key(key) || metadata.annotations.contains_key(key)
}

/// Where a key stands; where it stands in neither, where it belongs.
fn section(key: &str, metadata: &ObjectMeta) -> &'static str {
    if metadata.labels.contains_key(key) || (key == LABEL && !metadata.annotations.contains_key(key)) {
        "labels"
    } else {
        "annotations"
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::policy::configuration::Configuration;
    use crate::policy::rules::testing::{admit, brief, review, view};

    fn said(yaml: &str) -> Vec<String> {
        let findings = review(yaml, &Configuration::default());
        brief(&findings.into_iter().filter(|finding| finding.rule == RULE.id).collect::<Vec<_>>())
    }

    const WARNED: &str = "label-misplaced warn spec.template.metadata.labels[scalegate.dev/autoscale]";

    #[test]
    fn the_examples_hold() {
        assert_eq!(said(RULE.failing), [WARNED]);
        assert_eq!(said(RULE.passing), [""; 0]);
    }

    #[test]
    fn it_is_said_at_admission_too() {
        let findings = admit(&view(""), RULE.failing, None, &Configuration::default());
        assert!(brief(&findings).contains(&WARNED.to_owned()), "{findings:?}");
    }

    #[test]
    fn an_annotation_is_told_from_a_label() {
        let annotated = RULE.failing.replace(
            "        scalegate.dev/autoscale: throughput\n",
            "      annotations:\n        scalegate.dev/max-replicas: \"4\"\n",
        );
        let warned = "label-misplaced warn spec.template.metadata.annotations[scalegate.dev/max-replicas]";
        assert_eq!(said(&annotated), [warned]);
    }

    fn service(labels: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: vllm, namespace: inference, labels: {{{labels}}}}}\n\
             spec: {{selector: {{app: vllm}}, ports: [{{port: 8000}}]}}\n"
        )
    }

    const SCALED: &str = r"---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: vllm, namespace: inference}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: vllm}, maxReplicas: 5}
";

    #[test]
    fn a_review_looks_at_the_services_of_the_pods() {
        let unlabelled = RULE.passing.replace("scalegate.dev/autoscale: throughput", "team: inference") + SCALED;
        let labelled = service("scalegate.dev/autoscale: throughput");
        assert_eq!(said(&(unlabelled.clone() + &labelled)), ["label-misplaced warn "]);
        assert_eq!(said(&(unlabelled.clone() + &labelled.replace("app: vllm", "app: other"))), [""; 0], "other pods");
        assert_eq!(said(&(unlabelled + &service("team: inference"))), [""; 0]);
    }

    #[test]
    fn a_common_label_on_workload_and_service_is_no_mistake() {
        assert_eq!(said(&(RULE.passing.to_owned() + &service("scalegate.dev/autoscale: throughput"))), [""; 0]);
    }
}
