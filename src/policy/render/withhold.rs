//! What is rendered and must not be written: our own admission rules would refuse it, or somebody else has done it.

use serde_json::Value;

use super::{PROFILE_LABEL, Rendered};
use crate::policy::configuration::Configuration;
use crate::policy::facts::{Context, Stage};
use crate::policy::finding::Finding;
use crate::policy::judge::judge;
use crate::policy::objects::{IntOrString, Object, ObjectMeta, PodMonitoring};
use crate::policy::settings::ADOPT;
use crate::policy::view::{ClusterView, may_be_same};
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
    if let Object::PodMonitoring(ours) = &object {
        let scraped = |other: &&PodMonitoring| scrapes(other, ours, workload);
        return context.view.pod_monitorings().find(scraped).map(|other| {
            Withheld::Scraped(format!("{} scrapes these pods and this port already", other.metadata.name))
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

/// Whether a foreign PodMonitoring covers the pods and the port of ours.
fn scrapes(other: &PodMonitoring, ours: &PodMonitoring, workload: &Workload) -> bool {
    let port =
        |monitoring: &PodMonitoring| monitoring.spec.endpoints.iter().filter_map(|one| one.port.clone()).collect();
    let (theirs, wanted): (Vec<IntOrString>, Vec<IntOrString>) = (port(other), port(ours));
    // A port by name is one of the declared ones.
    let number = |port: &IntOrString| match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => workload.server().and_then(|server| {
            let declared = server.declared_ports.iter().find(|port| port.name.as_deref() == Some(name.as_str()));
            declared.map(|port| i64::from(port.number))
        }),
    };
    !is_ours(&other.metadata, workload)
        && (other.cluster || may_be_same(other.metadata.namespace.as_deref(), workload.metadata.namespace.as_deref()))
        && other.spec.selector.matches(&workload.pod_labels)
        && wanted.iter().any(|wanted| theirs.iter().any(|theirs| number(theirs) == number(wanted)))
}

#[cfg(test)]
mod tests {
    use super::super::{render, withhold};
    use crate::policy::configuration::Configuration;
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
        let (view, configuration) = (view(&format!("{SERVER}---{beside}")), Configuration::default());
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
}
