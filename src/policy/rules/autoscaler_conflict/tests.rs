//! The boundaries of the rule.

use super::RULE;
use crate::policy::configuration::Configuration;
use crate::policy::finding::Finding;
use crate::policy::rules::testing::{admit, brief, review, view};

fn ours(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| finding.rule == RULE.id).collect()
}

fn said(yaml: &str) -> Vec<String> {
    brief(&ours(review(yaml, &Configuration::default())))
}

const DEPLOYMENT: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: vllm, namespace: inference}
spec:
  selector: {matchLabels: {app: vllm}}
  template:
    metadata: {labels: {app: vllm}}
    spec:
      containers:
        - {name: server, image: 'vllm/vllm-openai:v0.11.0', args: [--port=8000], resources: {limits: {nvidia.com/gpu: 1}}}
---
";

/// An HPA in scope; `metadata` is the inside of a flow map.
fn hpa(metadata: &str) -> String {
    format!(
        r"
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{namespace: inference, {metadata}}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: vllm}}
  maxReplicas: 5
  metrics:
    - type: Pods
      pods:
        metric: {{name: 'prometheus.googleapis.com|vllm:num_requests_running|gauge'}}
        target: {{type: AverageValue, averageValue: 4}}
---
"
    )
}

fn scaled_object(metadata: &str, advanced: &str) -> String {
    format!(
        r"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{namespace: inference, {metadata}}}
spec:
  scaleTargetRef: {{name: vllm}}
  advanced: {{{advanced}}}
  triggers:
    - type: prometheus
      metadata: {{serverAddress: 'http://prometheus:9090', query: 'sum(vllm:num_requests_running)', threshold: '4'}}
---
"
    )
}

const DENIED: &str = "autoscaler-conflict deny spec.scaleTargetRef";
const WARNED: &str = "autoscaler-conflict warn spec.scaleTargetRef";

#[test]
fn the_examples_hold() {
    assert_eq!(said(RULE.failing), [DENIED]);
    assert_eq!(said(RULE.passing), [""; 0]);
}

#[test]
fn the_later_document_alone_bears_the_finding_and_names_both() {
    let yaml = hpa("name: a") + &hpa("name: b");
    let findings = ours(review(&yaml, &Configuration::default()));
    assert_eq!(brief(&findings), [DENIED]);
    assert_eq!(findings[0].object.name, "b");
    assert!(findings[0].message.contains("Deployment/vllm"), "{}", findings[0].message);
    assert!(findings[0].message.contains("HorizontalPodAutoscaler/a"), "{}", findings[0].message);
    assert!(findings[0].message.contains("AmbiguousSelector"), "{}", findings[0].message);
}

#[test]
fn at_admission_every_other_one_counts() {
    let view = view(&hpa("name: a"));
    let configuration = Configuration::default();
    assert_eq!(brief(&ours(admit(&view, &hpa("name: b"), None, &configuration))), [DENIED]);
}

#[test]
fn a_change_is_not_refused_for_a_conflict_that_was_there() {
    let view = view(&(hpa("name: a") + &hpa("name: b")));
    let changed = hpa("name: b").replace("maxReplicas: 5", "maxReplicas: 6");
    let said = admit(&view, &changed, Some(&hpa("name: b")), &Configuration::default());
    assert_eq!(brief(&ours(said)), [WARNED]);
}

#[test]
fn a_change_that_brings_the_conflict_is_refused() {
    let elsewhere = hpa("name: b").replace("name: vllm}", "name: other}");
    let view = view(&(hpa("name: a") + &elsewhere));
    let said = admit(&view, &hpa("name: b"), Some(&elsewhere), &Configuration::default());
    assert_eq!(brief(&ours(said)), [DENIED]);
}

#[test]
fn another_version_of_the_same_object_is_itself() {
    let view = view(&hpa("name: a").replace("autoscaling/v2", "autoscaling/v2beta2"));
    assert!(ours(admit(&view, &hpa("name: a"), None, &Configuration::default())).is_empty());
}

#[test]
fn other_namespaces_targets_and_groups_are_no_conflict() {
    for (this, that) in [
        ("namespace: inference", "namespace: staging"),
        ("name: vllm}", "name: sglang}"),
        ("kind: Deployment", "kind: StatefulSet"),
        ("apiVersion: apps/v1", "apiVersion: example.com/v1"),
    ] {
        assert_eq!(said(&(hpa("name: a") + &hpa("name: b").replace(this, that))), [""; 0], "{that}");
    }
}

#[test]
fn the_version_of_the_target_does_not_matter() {
    let old = hpa("name: b").replace("apiVersion: apps/v1,", "apiVersion: apps/v1beta2,");
    assert_eq!(said(&(hpa("name: a") + &old)), [DENIED]);
}

#[test]
fn a_custom_resource_can_have_two_autoscalers_as_well() {
    let of = |name: &str| hpa(name).replace("apps/v1, kind: Deployment", "serving.kserve.io/v1, kind: Predictor");
    assert_eq!(said(&(of("name: a") + &of("name: b"))), [DENIED]);
}

#[test]
fn a_namespace_left_open_may_be_the_others() {
    let open = hpa("name: b").replace("namespace: inference, ", "");
    assert_eq!(said(&(hpa("name: a") + &open)), [DENIED]);
}

#[test]
fn a_namespace_left_open_proves_nothing_where_the_target_is_in_several() {
    let open = hpa("name: b").replace("namespace: inference, ", "");
    let staging = DEPLOYMENT.replace("namespace: inference", "namespace: staging");
    assert_eq!(said(&(DEPLOYMENT.to_owned() + &staging + &hpa("name: a") + &open)), [WARNED]);
}

#[test]
fn an_autoscaler_that_is_being_deleted_does_not_count() {
    let going = hpa("name: a, deletionTimestamp: '2026-11-24T10:00:00Z'");
    assert_eq!(said(&(going + &hpa("name: b"))), [""; 0]);
}

#[test]
fn an_hpa_beside_a_scaled_object_is_refused_and_the_other_way_round() {
    assert_eq!(said(&(scaled_object("name: a", "") + &hpa("name: b"))), [DENIED]);
    assert_eq!(said(&(hpa("name: b") + &scaled_object("name: a", ""))), [DENIED]);
    assert_eq!(said(&(scaled_object("name: a", "") + &scaled_object("name: b", ""))), [DENIED]);
}

#[test]
fn kedas_own_hpa_is_no_conflict() {
    let owned = hpa(
        "name: custom, ownerReferences: [{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: a, uid: u, controller: true}]",
    );
    let labelled =
        hpa("name: keda-hpa-a, labels: {scaledobject.keda.sh/name: a, app.kubernetes.io/managed-by: keda-operator}");
    for keda in [owned, labelled] {
        assert_eq!(said(&(keda.clone() + &scaled_object("name: a", ""))), [""; 0], "{keda}");
        assert_eq!(said(&(scaled_object("name: a", "") + &keda)), [""; 0], "{keda}");
    }
}

#[test]
fn kedas_name_alone_does_not_make_an_hpa_kedas() {
    assert_eq!(said(&(scaled_object("name: a", "") + &hpa("name: keda-hpa-a"))), [DENIED]);
}

#[test]
fn a_scaled_object_and_its_hpa_count_once() {
    let keda = hpa("name: keda-hpa-a, labels: {scaledobject.keda.sh/name: a}");
    assert_eq!(said(&(scaled_object("name: a", "") + &keda + &hpa("name: b"))), [DENIED]);
}

#[test]
fn an_hpa_of_a_scaled_object_that_is_gone_is_going_too() {
    let keda =
        hpa("name: keda-hpa-a, labels: {scaledobject.keda.sh/name: a, app.kubernetes.io/managed-by: keda-operator}, \
         ownerReferences: [{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: a, uid: u1, controller: true}]");
    let configuration = Configuration::default();
    let after = |others: &str, closed: bool| {
        let mut view = view(&(keda.clone() + others));
        if closed {
            view.closed.insert("ScaledObject".to_owned());
        }
        let hpa = brief(&ours(admit(&view, &hpa("name: b"), None, &configuration)));
        assert_eq!(hpa, brief(&ours(admit(&view, &scaled_object("name: b", ""), None, &configuration))), "{others}");
        hpa
    };
    assert_eq!(after("", true), [WARNED], "gone");
    assert_eq!(after("", false), [DENIED], "it may be where nobody looked");
    let going = scaled_object("name: a, uid: u1, deletionTimestamp: '2026-01-01T00:00:00Z'", "");
    assert_eq!(after(&going, true), [WARNED], "being deleted");
    assert_eq!(after(&going, false), [WARNED], "being deleted");
    assert_eq!(after(&scaled_object("name: a, uid: u1", ""), true), [DENIED], "there");
}

#[test]
fn a_scaled_object_may_take_an_hpa_over() {
    let over = "horizontalPodAutoscalerConfig: {name: b}";
    let asked = "name: a, annotations: {scaledobject.keda.sh/transfer-hpa-ownership: 'true'}";
    assert_eq!(said(&(hpa("name: b") + &scaled_object(asked, over))), [""; 0]);
    assert_eq!(said(&(hpa("name: b") + &scaled_object("name: a", over))), [DENIED], "without the annotation");
    assert_eq!(said(&(hpa("name: c") + &scaled_object(asked, over))), [DENIED], "another HPA");
}

#[test]
fn a_paused_scaled_object_only_warns() {
    let paused = scaled_object("name: a, annotations: {autoscaling.keda.sh/paused: 'true'}", "");
    assert_eq!(said(&(paused + &hpa("name: b"))), [WARNED]);
}

#[test]
fn a_multidimensional_autoscaler_counts() {
    let multidim = r"
apiVersion: autoscaling.gke.io/v1beta1
kind: MultidimPodAutoscaler
metadata: {name: m, namespace: inference}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: vllm}}
---
";
    assert_eq!(said(&(multidim.to_owned() + &hpa("name: b"))), [DENIED]);
}

#[test]
fn one_installer_of_both_means_a_rename() {
    for installer in [
        "annotations: {meta.helm.sh/release-name: vllm, meta.helm.sh/release-namespace: inference}",
        "labels: {app.kubernetes.io/managed-by: Helm, app.kubernetes.io/instance: vllm}",
        "annotations: {argocd.argoproj.io/tracking-id: 'vllm:autoscaling/HorizontalPodAutoscaler:inference/x'}",
        "labels: {argocd.argoproj.io/instance: vllm}",
        "labels: {kustomize.toolkit.fluxcd.io/name: apps, kustomize.toolkit.fluxcd.io/namespace: flux-system}",
        "labels: {helm.toolkit.fluxcd.io/name: vllm, helm.toolkit.fluxcd.io/namespace: flux-system}",
        "labels: {applyset.kubernetes.io/part-of: applyset-wHf5Gity0G0nPN34KuNBIBBEOu2H9ED2KqsblMPFygM-v1}",
        "annotations: {configsync.gke.io/manager: ':root_root-sync'}",
        "annotations: {config.k8s.io/owning-inventory: 1c8b5d0e}",
        "labels: {kapp.k14s.io/app: '1588343775289262000'}",
    ] {
        let yaml = hpa(&format!("name: a, {installer}")) + &hpa(&format!("name: b, {installer}"));
        assert_eq!(said(&yaml), [WARNED], "{installer}");
        let yaml = hpa(&format!("name: a, {installer}")) + &hpa("name: b");
        assert_eq!(said(&yaml), [DENIED], "only the old one: {installer}");
    }
}

#[test]
fn two_installers_are_two() {
    let of = |name: &str, release: &str| {
        hpa(&format!("name: {name}, annotations: {{meta.helm.sh/release-name: {release}}}"))
    };
    assert_eq!(said(&(of("a", "one") + &of("b", "two"))), [DENIED]);
    let of =
        |name: &str, instance: &str| hpa(&format!("name: {name}, labels: {{app.kubernetes.io/instance: {instance}}}"));
    assert_eq!(said(&(of("a", "x") + &of("b", "z"))), [DENIED]);
    assert_eq!(said(&(of("a", "x") + &of("b", "x"))), [WARNED], "Argo CD tracks by this label, and prunes last");
}

#[test]
fn consent_of_the_old_one_is_needed_not_of_the_new_one() {
    let consenting = "annotations: {scalegate.dev/adopt: 'true'}";
    assert_eq!(said(&(hpa(&format!("name: a, {consenting}")) + &hpa("name: b"))), [WARNED]);
    assert_eq!(said(&(hpa("name: a") + &hpa(&format!("name: b, {consenting}")))), [DENIED]);
}

const OURS: &str = "name: vllm, labels: {app.kubernetes.io/managed-by: scalegate}, \
         ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: vllm, uid: u, controller: true}]";

#[test]
fn beside_ours_a_foreign_one_is_admitted_and_ours_withdraws() {
    assert_eq!(said(&(hpa(OURS) + &hpa("name: b"))), [WARNED]);
    assert_eq!(said(&(hpa(OURS) + &scaled_object("name: b", ""))), [WARNED]);
}

#[test]
fn ours_beside_a_foreign_one_is_refused_so_that_the_controller_writes_nothing() {
    assert_eq!(said(&(hpa("name: b") + &hpa(OURS))), [DENIED]);
}

#[test]
fn the_label_alone_does_not_make_an_hpa_ours() {
    let claimed = hpa("name: vllm, labels: {app.kubernetes.io/managed-by: scalegate}");
    assert_eq!(said(&(claimed + &hpa("name: b"))), [DENIED]);
}

#[test]
fn a_label_that_brings_nothing_is_said_on_the_workload() {
    let labelled = DEPLOYMENT.replace("{name: vllm, ", "{name: vllm, labels: {scalegate.dev/autoscale: throughput}, ");
    let warned = "autoscaler-conflict warn metadata.labels[scalegate.dev/autoscale]";
    let beside = "autoscaler-conflict warn spec.scaleTargetRef";
    assert_eq!(said(&(labelled.clone() + &hpa("name: b"))), [beside], "the later document bears it");
    assert_eq!(said(&(hpa("name: b") + &labelled)), [beside, warned], "the autoscaler was there already");
    assert_eq!(said(&(labelled.clone() + &hpa(OURS))), [""; 0], "ours");
    assert_eq!(said(&labelled), [""; 0], "alone");
    let from_git = labelled.replace("labels:", "annotations: {scalegate.dev/generate: 'false'}, labels:");
    assert_eq!(said(&(from_git + &hpa("name: b"))), [""; 0], "the objects come from Git");
}
