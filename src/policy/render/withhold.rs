//! What is rendered and must not be written: our own admission rules would refuse it, or somebody else has done it.

use serde_json::Value;

use super::{PROFILE_LABEL, Rendered};
use crate::policy::chain::scrape::{self, Coverage};
use crate::policy::configuration::Configuration;
use crate::policy::facts::{Context, Stage};
use crate::policy::finding::Finding;
use crate::policy::judge::judge;
use crate::policy::objects::{IntOrString, Object, ObjectMeta};
use crate::policy::settings::ADOPT;
use crate::policy::view::{ClusterView, Entry};
use crate::policy::workload::Workload;

/// Why an object that is rendered must not be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Withheld {
    /// A foreign object has its name.
    NameTaken(String),
    /// A foreign object scrapes those pods and that port already.
    Scraped(String),
    /// The admission rules refuse it.
    Refused(Box<Finding>),
}

// === impl Withheld ===

impl Withheld {
    /// The reason, as a clause.
    pub fn sentence(&self) -> String {
        match self {
            Self::NameTaken(reason) | Self::Scraped(reason) => reason.clone(),
            Self::Refused(finding) => finding.sentence(),
        }
    }
}

/// Takes out of `rendered` what must not be written over that view, and notes why: an object that the admission rules refuse
/// (such as a second autoscaler), one whose name a foreign object has, and a second scrape of the same pods and port.
pub fn withhold(rendered: &mut Rendered, workload: &Workload, view: &ClusterView, configuration: &Configuration) {
    let context = Context { view, configuration, stage: Stage::Admission, update: false };
    let mut notes = Vec::new();
    rendered.objects.retain(|value| match withheld(value, workload, &context) {
        Some(why) => {
            let kind = value["kind"].as_str().unwrap_or("object");
            notes.push(format!("no {kind} is written: {}", why.sentence()));
            false
        }
        None => true,
    });
    rendered.notes.extend(notes);
}

/// Why an object that is rendered for a workload must not be written over that view; `None` when it may be.
pub fn withheld(value: &Value, workload: &Workload, context: &Context<'_>) -> Option<Withheld> {
    let (of, mut object) = Object::from_value(value).ok()?;
    object.metadata_mut().namespace.clone_from(&workload.metadata.namespace);
    if let Some(entry) = context.view.get(&object.key(&of)) {
        let metadata = entry.object.metadata();
        if !is_ours(metadata, workload) && !consents(metadata) {
            return Some(Withheld::NameTaken(format!(
                "{} {} is there already, and is not ours",
                of.kind, metadata.name
            )));
        }
    }
    if matches!(object, Object::PodMonitoring(_) | Object::OperatorMonitor(_)) {
        let scraped = |other: &&Entry| scrapes(&other.object, &object, workload, context.view);
        let namespace = workload.metadata.namespace.as_deref();
        return scrape::objects(context.view, namespace).find(scraped).map(|other| {
            let name = &other.object.metadata().name;
            Withheld::Scraped(format!("{name} scrapes these pods and this port already"))
        });
    }
    let decision = judge(&of, &object, None, None, context);
    decision.denials().next().map(|finding| Withheld::Refused(Box::new(finding.clone())))
}

/// Whether an object was generated for that workload. A live one is told by its owner and by who wrote it; in files, which
/// have neither, by the label that nobody else writes.
pub(crate) fn is_ours(metadata: &ObjectMeta, workload: &Workload) -> bool {
    match (&workload.metadata.uid, &metadata.uid) {
        (Some(owner), Some(_)) => {
            metadata.written.is_none_or(|written| written.by_us)
                && metadata.controller().is_some_and(|controller| controller.uid == *owner)
        }
        _ => metadata.labels.contains_key(PROFILE_LABEL),
    }
}

/// Whether the owner of an HPA gives it away.
fn consents(metadata: &ObjectMeta) -> bool {
    metadata.annotations.get(ADOPT).is_some_and(|value| value == "true") && metadata.controller().is_none()
}

/// Whether a foreign scrape object of the same backend covers the pods and the port of ours.
fn scrapes(other: &Object, ours: &Object, workload: &Workload, view: &ClusterView) -> bool {
    if is_ours(other.metadata(), workload) {
        return false;
    }
    let (port, path) = match (other, ours) {
        (Object::PodMonitoring(_), Object::PodMonitoring(ours)) => {
            let Some(endpoint) = ours.spec.endpoints.first() else { return false };
            let Some(IntOrString::Int(port)) = endpoint.port else { return false };
            (port, &endpoint.path)
        }
        (Object::OperatorMonitor(_), Object::OperatorMonitor(ours)) => {
            let Some(endpoint) = ours.spec.pod_metrics_endpoints.first() else { return false };
            let Some(port) = scrape::number(endpoint) else { return false };
            (port, &endpoint.path)
        }
        // Two collectors, whose series one adapter never adds up.
        _ => return false,
    };
    let path = path.as_deref().unwrap_or("/metrics");
    // One that may or may not scrape is no reason to leave the pods unscraped.
    u16::try_from(port).is_ok_and(|port| {
        let of = |series: &str| scrape::coverage(other, workload, port, path, series, view);
        scrape::SCALED_ON.iter().any(|series| of(series) == Coverage::Certain)
    })
}

#[cfg(test)]
mod tests {
    use super::super::{render, withhold};
    use crate::policy::configuration::{Backend, BackendKind, Configuration};
    use crate::policy::rules::testing::view;
    use crate::policy::settings::{Wish, read};

    const SERVER: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: llm, namespace: ml, labels: {scalegate.dev/autoscale: server-metrics}}
spec:
  selector: {matchLabels: {app: llm}}
  template:
    metadata: {labels: {app: llm}}
    spec:
      containers:
      - name: vllm
        image: vllm/vllm-openai:v0.11.0
        args: [--port=8000]
        ports: [{name: http, containerPort: 8000}]
        resources: {limits: {nvidia.com/gpu: 1}}
";

    /// The kinds that are written beside another document, and the notes.
    fn written(beside: &str) -> (Vec<String>, Vec<String>) {
        written_by(BackendKind::Gmp, beside)
    }

    fn written_by(kind: BackendKind, beside: &str) -> (Vec<String>, Vec<String>) {
        let view = view(&format!("{SERVER}---{beside}"));
        let configuration =
            Configuration { backend: Backend { kind, ..Backend::default() }, ..Configuration::default() };
        let workload = view.workloads().next().unwrap();
        let Ok(Wish::Enabled(settings)) = read(&workload.metadata, &configuration).wish else { panic!("labelled") };
        let mut rendered = render(workload, &settings, &configuration, &|_| false).unwrap();
        rendered.notes.clear();
        withhold(&mut rendered, workload, &view, &configuration);
        let kinds = rendered.objects.iter().map(|object| object["kind"].as_str().unwrap().to_owned());
        (kinds.collect(), rendered.notes)
    }

    fn hpa(name: &str, labels: &str) -> String {
        format!(
            "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {name}, namespace: ml, labels: {{{labels}}}}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: llm}}
  maxReplicas: 4
"
        )
    }

    fn monitoring(port: &str, app: &str) -> String {
        format!(
            "
apiVersion: monitoring.googleapis.com/v1
kind: PodMonitoring
metadata: {{name: theirs, namespace: ml}}
spec:
  selector: {{matchLabels: {{app: {app}}}}}
  endpoints: [{{port: {port}, interval: 15s}}]
"
        )
    }

    #[test]
    fn alone_everything_is_written() {
        assert_eq!(written(&monitoring("8000", "other")).0, ["PodMonitoring", "HorizontalPodAutoscaler"]);
        assert_eq!(written(&monitoring("9000", "llm")).0, ["PodMonitoring", "HorizontalPodAutoscaler"]);
    }

    #[test]
    fn beside_a_foreign_autoscaler_no_second_one_is_written_whatever_its_name() {
        for name in ["theirs", "llm"] {
            let (kinds, notes) = written(&hpa(name, ""));
            assert_eq!(kinds, ["PodMonitoring"], "{name}");
            assert!(notes[0].contains("no HorizontalPodAutoscaler is written") && notes[0].contains(name), "{notes:?}");
        }
    }

    #[test]
    fn what_was_rendered_before_is_rendered_again() {
        assert_eq!(written(&hpa("llm", "scalegate.dev/profile: server-metrics")).0.len(), 2);
    }

    #[test]
    fn pods_that_are_scraped_already_are_not_scraped_twice() {
        for port in ["8000", "http"] {
            assert_eq!(written(&monitoring(port, "llm")).0, ["HorizontalPodAutoscaler"], "{port}");
        }
    }

    #[test]
    fn the_operator_backend_sees_the_monitors_of_others_and_not_those_of_another_collector() {
        let pod_monitor = "
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: theirs, namespace: ml}
spec:
  selector: {matchLabels: {app: llm}}
  podMetricsEndpoints: [{port: http}]
";
        let service_monitor = "
apiVersion: v1
kind: Service
metadata: {name: llm, namespace: ml, labels: {app: llm}}
spec: {selector: {app: llm}, ports: [{name: api, port: 80, targetPort: http}]}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: theirs, namespace: monitoring}
spec:
  namespaceSelector: {matchNames: [ml]}
  selector: {matchLabels: {app: llm}}
  endpoints: [{port: api}]
";
        for theirs in [pod_monitor, service_monitor] {
            let (kinds, notes) = written_by(BackendKind::PrometheusOperator, theirs);
            assert_eq!(kinds, ["HorizontalPodAutoscaler"], "{theirs}");
            assert!(notes[0].contains("theirs scrapes these pods"), "{notes:?}");
            assert_eq!(written_by(BackendKind::Gmp, theirs).0.len(), 2, "{theirs}");
        }
        let (kinds, _) = written_by(BackendKind::PrometheusOperator, &monitoring("8000", "llm"));
        assert_eq!(kinds, ["PodMonitor", "HorizontalPodAutoscaler"]);
    }
}
