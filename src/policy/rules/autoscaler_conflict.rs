//! `autoscaler-conflict`: a second autoscaler on the same workload.

use super::autoscalers::{Autoscaler, Kind};
use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, HpaFacts, ScaledObjectFacts, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::settings::{LABEL, Wish};

pub(super) static RULE: Rule = Rule {
    id: "autoscaler-conflict",
    default: Level::Deny,
    at_admission: true,
    summary: "Another autoscaler scales the same workload",
    explain: "\
Two autoscalers on one workload do not share the work. When both are HorizontalPodAutoscalers, the HPA controller scales by
neither and only sets the condition ScalingActive=False (AmbiguousSelector); a ScaledObject brings an HPA of its own, and a
MultidimPodAutoscaler writes the replicas itself, so either fights with the other one. Kubernetes admits all of this.

Keep one. To scale on several metrics, list them in one HPA: the largest proposal wins.

The rule does not count KEDA's own HPA, one that a ScaledObject takes over (scaledobject.keda.sh/transfer-hpa-ownership), and
one that is being deleted. It only warns when one Helm release, Argo CD application or Flux object installs both (a rename
creates the new one before it deletes the old one), when the old HPA is annotated scalegate.dev/adopt: \"true\", when the
ScaledObject is paused, and beside an HPA that scalegate made, which it then withdraws. It also warns on a labelled workload
that another autoscaler scales already, because the label then brings no HPA. In files the later document bears the finding.",
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
    spec:
      containers:
        - name: server
          image: vllm/vllm-openai:v0.11.0
          args: [--model=google/gemma-3-1b-it, --port=8000, --max-num-seqs=64]
          resources:
            limits:
              nvidia.com/gpu: 1
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: vllm-running
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
  name: vllm-waiting
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
          name: prometheus.googleapis.com|vllm:num_requests_waiting|gauge
        target:
          type: AverageValue
          averageValue: 5
",
    passing: "\
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
    spec:
      containers:
        - name: server
          image: vllm/vllm-openai:v0.11.0
          args: [--model=google/gemma-3-1b-it, --port=8000, --max-num-seqs=64]
          resources:
            limits:
              nvidia.com/gpu: 1
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
  maxReplicas: 5
  metrics:
    - type: Pods
      pods:
        metric:
          name: prometheus.googleapis.com|vllm:num_requests_running|gauge
        target:
          type: AverageValue
          averageValue: 4
    - type: Pods
      pods:
        metric:
          name: prometheus.googleapis.com|vllm:num_requests_waiting|gauge
        target:
          type: AverageValue
          averageValue: 5
",
    checks: Checks {
        hpa: Some(check_hpa),
        scaled_object: Some(check_scaled_object),
        workload: Some(check_workload),
        ..Checks::NONE
    },
};

fn check_hpa(facts: &HpaFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    check(&Autoscaler::hpa(facts.hpa), facts.order, context)
}

fn check_scaled_object(facts: &ScaledObjectFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    check(&Autoscaler::scaled_object(facts.scaled_object), facts.order, context)
}

/// `order` is the subject's place, when only earlier ones count.
fn check(subject: &Autoscaler<'_>, order: Option<u64>, context: &Context<'_>) -> Vec<Finding> {
    // What KEDA makes stands for its ScaledObject, and that one is judged.
    if subject.made_by_keda() || subject.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let earlier = |other: &Autoscaler<'_>| match (order, other.order) {
        (Some(subject), Some(other)) => other < subject,
        _ => true,
    };
    rivals(subject, context)
        .iter()
        .filter(|other| earlier(other))
        .map(|other| against(subject, other, one_namespace(subject, other, context)))
        .collect()
}

/// The other autoscalers in view that scale what `subject` scales.
fn rivals<'a>(subject: &Autoscaler<'_>, context: &Context<'a>) -> Vec<Autoscaler<'a>> {
    let all: Vec<Autoscaler<'a>> = Autoscaler::all(context.view)
        .filter(|other| {
            other.scales_with(subject) && !other.is(subject) && !other.belongs_to(subject) && !subject.belongs_to(other)
        })
        .collect();
    // KEDA's HPA and its ScaledObject are one autoscaler.
    let stands_for_another = |one: &Autoscaler<'_>| all.iter().any(|other| one.belongs_to(other));
    all.iter().filter(|one| !stands_for_another(one)).cloned().collect()
}

/// Whether both are in one namespace for certain. A namespace that a file leaves open may be any single one, so where the
/// view has the target in several, it may be another one than the other's.
fn one_namespace(subject: &Autoscaler<'_>, other: &Autoscaler<'_>, context: &Context<'_>) -> bool {
    if subject.metadata.namespace == other.metadata.namespace {
        return true;
    }
    let target = &subject.target;
    let same = context
        .view
        .workloads()
        .filter(|workload| workload.kind.name() == target.kind && workload.metadata.name == target.name);
    same.count() < 2
}

fn against(subject: &Autoscaler<'_>, other: &Autoscaler<'_>, certain: bool) -> Finding {
    let scaled = format!("{}/{}", subject.target.kind, subject.target.name);
    let field = "spec.scaleTargetRef";
    let both = format!("{scaled} is scaled by {} already", other.title());
    if other.ours() {
        let message = format!("{both}, which scalegate made: it withdraws that one");
        return Finding::warn(field, scaled, message).hint(format!(
            "remove the label scalegate.dev/autoscale from {}/{}, or this {}",
            subject.target.kind,
            subject.target.name,
            subject.kind.name()
        ));
    }
    if let Some(installer) = subject.installer_shared_with(other) {
        let message = format!(
            "{both}, and both come from {installer}; until one of them is deleted, {}",
            outcome(subject, other)
        );
        return Finding::warn(field, scaled, message).hint("if this is not a rename, keep one of them");
    }
    if other.consents() {
        let message = format!(
            "{both}, whose owner consents to its take-over (scalegate.dev/adopt); until it is deleted, {}",
            outcome(subject, other)
        );
        return Finding::warn(field, scaled, message).hint(format!("delete {}", other.title()));
    }
    if subject.paused() || other.paused() {
        let message = format!(
            "{both}; while the ScaledObject is paused they do not meet; once it is resumed, {}",
            outcome(subject, other)
        );
        return Finding::suspect(field, scaled, message).hint("keep one of them");
    }
    let finding = if certain {
        Finding::deny(field, scaled, format!("{both}, and {}", outcome(subject, other)))
    } else {
        let message = format!("{both}, if both are in one namespace; then {}", outcome(subject, other));
        Finding::suspect(field, scaled, message)
    };
    finding.hint(advice(subject, other))
}

/// What comes of the two, as a clause.
fn outcome(subject: &Autoscaler<'_>, other: &Autoscaler<'_>) -> &'static str {
    match (subject.kind, other.kind) {
        (Kind::Multidim, _) | (_, Kind::Multidim) => "each sets back the replicas that the other one sets",
        (Kind::Hpa, Kind::Hpa) => "Kubernetes scales by neither (AmbiguousSelector)",
        _ => "with the HPA that KEDA makes there are two, and Kubernetes scales by neither (AmbiguousSelector)",
    }
}

fn advice(subject: &Autoscaler<'_>, other: &Autoscaler<'_>) -> String {
    match (subject.kind, other.kind) {
        (Kind::Hpa, Kind::Hpa) => {
            format!("delete one of them, or list the metrics of both in {}: the largest proposal wins", other.title())
        }
        (Kind::ScaledObject, Kind::ScaledObject) => {
            format!("delete one of them, or list the triggers of both in {}", other.title())
        }
        (Kind::ScaledObject, Kind::Hpa) => format!(
            "delete {}, or let KEDA take it over: annotation scaledobject.keda.sh/transfer-hpa-ownership: \"true\" and \
             spec.advanced.horizontalPodAutoscalerConfig.name: {}",
            other.title(),
            other.metadata.name
        ),
        _ => format!("delete {} first, or leave this one out", other.title()),
    }
}

/// A labelled workload that somebody else's autoscaler scales already: the label brings no HPA.
fn check_workload(facts: &WorkloadFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Ok(Wish::Enabled(settings)) = &facts.settings.wish else { return Vec::new() };
    if settings.paused || !settings.generate || facts.workload.server().is_none() {
        return Vec::new();
    }
    let foreign = foreign(facts, context);
    let Some(first) = foreign.first() else { return Vec::new() };
    let others = match foreign.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let message = format!(
        "{}/{} is scaled by {}{others} already, so the label {LABEL} brings no HorizontalPodAutoscaler",
        facts.object.kind,
        facts.object.name,
        first.title()
    );
    let consent = match first.kind {
        Kind::Hpa => ", or annotate it scalegate.dev/adopt: \"true\" to let scalegate take it over",
        _ => "",
    };
    let finding = Finding::warn(format!("metadata.labels[{LABEL}]"), first.title(), message);
    vec![finding.hint(format!("delete {}{consent}", first.title()))]
}

/// The autoscalers in view on a workload that scalegate neither made nor may take over.
pub(super) fn foreign<'a>(facts: &WorkloadFacts<'_>, context: &Context<'a>) -> Vec<Autoscaler<'a>> {
    let all: Vec<Autoscaler<'a>> = Autoscaler::all(context.view)
        .filter(|other| other.scales(&facts.workload) && !other.ours() && !other.consents())
        .collect();
    let stands_for_another = |one: &Autoscaler<'_>| all.iter().any(|other| one.belongs_to(other));
    all.iter().filter(|one| !stands_for_another(one)).cloned().collect()
}

#[cfg(test)]
mod tests {
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
        let labelled = hpa(
            "name: keda-hpa-a, labels: {scaledobject.keda.sh/name: a, app.kubernetes.io/managed-by: keda-operator}",
        );
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
        let of = |name: &str, instance: &str| {
            hpa(&format!("name: {name}, labels: {{app.kubernetes.io/instance: {instance}}}"))
        };
        assert_eq!(said(&(of("a", "x") + &of("b", "x"))), [DENIED], "the instance without Helm proves nothing");
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
        let labelled =
            DEPLOYMENT.replace("{name: vllm, ", "{name: vllm, labels: {scalegate.dev/autoscale: throughput}, ");
        let warned = "autoscaler-conflict warn metadata.labels[scalegate.dev/autoscale]";
        assert_eq!(said(&(labelled.clone() + &hpa("name: b"))), [warned]);
        assert_eq!(said(&(labelled.clone() + &hpa(OURS))), [""; 0], "ours");
        assert_eq!(said(&labelled), [""; 0], "alone");
        let from_git = labelled.replace("labels:", "annotations: {scalegate.dev/generate: 'false'}, labels:");
        assert_eq!(said(&(from_git + &hpa("name: b"))), [""; 0], "the objects come from Git");
    }
}
