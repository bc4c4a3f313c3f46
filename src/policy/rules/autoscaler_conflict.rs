//! `autoscaler-conflict`: a second autoscaler on the same workload.

use super::autoscalers::{Autoscaler, Kind};
use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, HpaFacts, ScaledObjectFacts, Target, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::objects::TypeMeta;
use crate::policy::settings::{self, LABEL, Wish};
use crate::policy::workload::Workload;

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
one that is being deleted. It only warns when one Helm release, Argo CD application, Flux object, ApplySet, Config Sync object
or kapp application installs both (a rename creates the new one before it deletes the old one), beside KEDA's HPA of a
ScaledObject that is gone, when the old HPA is annotated scalegate.dev/adopt: \"true\", when the ScaledObject is paused, and
beside an HPA that scalegate made, which it then withdraws. It also warns on a labelled workload that another autoscaler
scales already, because the label then brings no HPA. In files the later document bears the finding.",
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
    let subject = Autoscaler::hpa(facts.hpa);
    let findings = check(&subject, facts.order, context);
    if findings.is_empty() { beside_the_label(&subject, &facts.target, context) } else { findings }
}

fn check_scaled_object(facts: &ScaledObjectFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let subject = Autoscaler::scaled_object(facts.scaled_object);
    let findings = check(&subject, facts.order, context);
    if findings.is_empty() { beside_the_label(&subject, &facts.target, context) } else { findings }
}

/// An autoscaler on a workload whose label asks for one: the label then brings none.
fn beside_the_label(subject: &Autoscaler<'_>, target: &Target<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Some(workload) = target.workload() else { return Vec::new() };
    if subject.made_by_keda() || subject.ours() || subject.consents() || !label_brings_one(workload, context) {
        return Vec::new();
    }
    let name = format!("{}/{}", workload.kind, workload.metadata.name);
    let message = format!("the label {LABEL} of {name} brings no HorizontalPodAutoscaler beside {}", subject.title());
    let consent = or_consent(subject.kind);
    let finding = Finding::warn("spec.scaleTargetRef", name.clone(), message);
    vec![finding.hint(format!(
        "leave {} out{consent}; where the objects come from Git, annotate {name} scalegate.dev/generate: \"false\"",
        subject.title()
    ))]
}

/// Whether a workload's label asks for an HPA that scalegate would write.
fn label_brings_one(workload: &Workload, context: &Context<'_>) -> bool {
    match settings::read(&workload.metadata, context.configuration).wish {
        Ok(Wish::Enabled(settings)) => !settings.paused && settings.generate && workload.server().is_some(),
        _ => false,
    }
}

/// `order` is the subject's place, when only earlier ones count.
fn check(subject: &Autoscaler<'_>, order: Option<u64>, context: &Context<'_>) -> Vec<Finding> {
    // What KEDA makes stands for its ScaledObject, and that one is judged.
    if subject.made_by_keda() || subject.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    rivals(subject, context)
        .iter()
        .filter(|other| came_before(other, order))
        .map(|other| {
            if other.outlives_its_scaled_object(context.view) {
                return beside_a_leftover(subject, other);
            }
            against(subject, other, one_namespace(subject, other, context))
        })
        .collect()
}

/// The other autoscalers in view that scale what `subject` scales.
fn rivals<'a>(subject: &Autoscaler<'_>, context: &Context<'a>) -> Vec<Autoscaler<'a>> {
    let all: Vec<Autoscaler<'a>> = Autoscaler::on(context.view, &subject.target.name)
        .into_iter()
        .filter(|other| {
            other.scales_with(subject) && !other.is(subject) && !other.belongs_to(subject) && !subject.belongs_to(other)
        })
        .collect();
    each_once(&all)
}

/// KEDA's HPA and its ScaledObject are one autoscaler: the ScaledObject stands for both.
fn each_once<'a>(all: &[Autoscaler<'a>]) -> Vec<Autoscaler<'a>> {
    let stands_for_another = |one: &Autoscaler<'_>| all.iter().any(|other| one.belongs_to(other));
    all.iter().filter(|one| !stands_for_another(one)).cloned().collect()
}

/// Whether an autoscaler was there before a subject of that place; every one was where the place is not known.
fn came_before(other: &Autoscaler<'_>, order: Option<u64>) -> bool {
    match (order, other.order) {
        (Some(subject), Some(other)) => other < subject,
        _ => true,
    }
}

/// The end of a hint about an autoscaler that could be handed over.
fn or_consent(kind: Kind) -> &'static str {
    match kind {
        Kind::Hpa => ", or annotate it scalegate.dev/adopt: \"true\" to let scalegate take it over",
        _ => "",
    }
}

/// Whether both are in one namespace for certain. A namespace that a file leaves open may be any single one, so where the
/// view has the target in several, it may be another one than the other's.
fn one_namespace(subject: &Autoscaler<'_>, other: &Autoscaler<'_>, context: &Context<'_>) -> bool {
    if subject.metadata.namespace == other.metadata.namespace {
        return true;
    }
    let target = &subject.target;
    let of = TypeMeta { api_version: target.api_version.clone(), kind: target.kind.clone() };
    context.view.workloads_named(of.group(), &target.kind, &target.name).count() < 2
}

/// Beside an HPA that KEDA made for a ScaledObject that was just deleted: what replaces the ScaledObject comes first.
fn beside_a_leftover(subject: &Autoscaler<'_>, other: &Autoscaler<'_>) -> Finding {
    let scaled = format!("{}/{}", subject.target.kind, subject.target.name);
    let message = format!(
        "{scaled} is still scaled by {}, whose ScaledObject is gone; until Kubernetes deletes it, {}",
        other.title(),
        outcome(subject, other)
    );
    let hint = format!("if it does not go within a minute, delete {}", other.title());
    Finding::warn("spec.scaleTargetRef", scaled, message).hint(hint)
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
    if !label_brings_one(&facts.workload, context) {
        return Vec::new();
    }
    // In files a later autoscaler bears the finding itself.
    let foreign: Vec<Autoscaler<'_>> =
        foreign(facts, context).into_iter().filter(|other| came_before(other, facts.order)).collect();
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
    let consent = or_consent(first.kind);
    let finding = Finding::warn(format!("metadata.labels[{LABEL}]"), first.title(), message);
    vec![finding.hint(format!("delete {}{consent}", first.title()))]
}

/// The autoscalers in view on a workload that scalegate neither made nor may take over.
pub(super) fn foreign<'a>(facts: &WorkloadFacts<'_>, context: &Context<'a>) -> Vec<Autoscaler<'a>> {
    let all: Vec<Autoscaler<'a>> = Autoscaler::on(context.view, &facts.workload.metadata.name)
        .into_iter()
        .filter(|other| other.scales(&facts.workload) && !other.ours() && !other.consents())
        .collect();
    each_once(&all)
}

#[cfg(test)]
mod tests;
