//! `double-scrape`: two scrape objects collect the same pods on the same port.

use super::{Checks, Rule};
use crate::policy::chain::scrape::{self, Coverage, SCALED_ON};
use crate::policy::configuration::{BackendKind, Level};
use crate::policy::facts::{Context, ScrapeFacts, Stage, WorkloadFacts, keda_reference, scales};
use crate::policy::finding::Finding;
use crate::policy::objects::{Object, OperatorMonitor};
use crate::policy::render;
use crate::policy::settings::{self, Settings, Wish};
use crate::policy::view::Entry;
use crate::policy::workload::Workload;

mod beside_annotations;
#[cfg(test)]
mod tests;

/// Scrape objects over one workload's pods that are compared with each other.
const MOST: usize = 16;

pub(super) static RULE: Rule = Rule {
    id: "double-scrape",
    default: Level::Warn,
    at_admission: true,
    summary: "Two scrape objects collect the same pods on the same port",
    explain: "\
Each scrape object makes a target of its own, so that two of them over the same pods and port store every series twice, under
two `job` labels. The Stackdriver adapter adds up all series of a pod, and so do the usual rules of prometheus-adapter: the
autoscaler sees twice the load, and runs twice the GPUs.

Delete one of the two, or give it another selector. A label that asks for autoscaling brings no scrape object where somebody
else's covers the pods already, so that one which is there need not go.

A port counts by its number, however it is written: as a name that the container declares, or behind the Service that a
ServiceMonitor selects. A ServiceMonitor that reaches the pods through two Services scrapes them twice by itself. On the
Prometheus Operator, the annotation prometheus.io/scrape beside a monitor is warned about as well: a Prometheus that goes by
such annotations scrapes twice.

Silent about objects that are being deleted, about other paths and ports than those of the metrics, about endpoints that leave
the autoscaling metrics out, and about objects of two collectors (a PodMonitoring beside a PodMonitor). Only noted where
relabelling may keep one of them from the pods, or where two monitors have different labels, so that each may belong to a
Prometheus of its own.",
    failing: FAILING,
    passing: PASSING,
    checks: Checks { workload: Some(check_workload), scrape_object: Some(check_scrape_object), ..Checks::NONE },
};

const FAILING: &str = "\
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
          ports:
            - name: http
              containerPort: 8000
          resources:
            limits:
              cpu: 4
              memory: 16Gi
              nvidia.com/gpu: 1
---
apiVersion: monitoring.googleapis.com/v1
kind: PodMonitoring
metadata:
  name: vllm
  namespace: inference
spec:
  selector:
    matchLabels:
      app: vllm
  endpoints:
    - port: 8000
      interval: 15s
---
apiVersion: monitoring.googleapis.com/v1
kind: ClusterPodMonitoring
metadata:
  name: all-servers
spec:
  selector:
    matchLabels:
      app: vllm
  endpoints:
    - port: http
      interval: 30s
";

const PASSING: &str = "\
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
          ports:
            - name: http
              containerPort: 8000
          resources:
            limits:
              cpu: 4
              memory: 16Gi
              nvidia.com/gpu: 1
---
apiVersion: monitoring.googleapis.com/v1
kind: ClusterPodMonitoring
metadata:
  name: all-servers
spec:
  selector:
    matchLabels:
      app: vllm
  endpoints:
    - port: http
      interval: 30s
";

/// A workload whose metrics are scraped, and where they are.
struct Scraped<'a> {
    workload: &'a Workload,
    port: u16,
    path: String,
    /// The controller writes the scrape object that is ours, and takes it away beside somebody else's.
    managed: bool,
}

/// Two scrape objects, or one that scrapes twice.
struct Doubled<'a> {
    one: &'a Entry,
    /// The later one; of a ServiceMonitor by itself the two Services.
    other: Result<&'a Entry, [String; 2]>,
    /// Both certainly collect a series that autoscalers use, for one Prometheus.
    certain: bool,
}

fn check_workload(facts: &WorkloadFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let wish = facts.settings.wish.as_ref().ok();
    let Some(scraped) = Scraped::of(&facts.workload, wish) else { return Vec::new() };
    let mut findings: Vec<Finding> = scraped.doubled(context).iter().map(|found| scraped.finding(found)).collect();
    findings.truncate(1);
    if findings.is_empty() {
        findings.extend(beside_annotations::check(facts, &scraped, context));
    }
    findings
}

/// In a review of files over a cluster, the scrape object that is new bears the finding where the workload is not in the files,
/// and so is not judged itself.
fn check_scrape_object(facts: &ScrapeFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Some(before) = context.view.before.as_deref().filter(|_| context.stage == Stage::Review) else {
        return Vec::new();
    };
    let is_this = |entry: &Entry| Some(entry.order) == facts.order;
    let stood = |entry: &Entry| before.get(&entry.object.key(&entry.of)).is_some_and(|old| old.object == entry.object);
    let live = |workload: &&Workload| {
        let metadata = &workload.metadata;
        before.workload(workload.kind, metadata.namespace.as_deref(), &metadata.name) == Some(*workload)
    };
    let mut findings = Vec::new();
    for workload in context.view.workloads().filter(live).filter(|workload| autoscaled(workload, context)) {
        let wish = settings::read(&workload.metadata, context.configuration).wish.ok();
        let Some(scraped) = Scraped::of(workload, wish.as_ref()) else { continue };
        for found in scraped.doubled(context) {
            let (this, other) = match &found.other {
                Ok(later) if is_this(later) => (*later, title(found.one)),
                Ok(later) if is_this(found.one) && stood(later) => (found.one, title(later)),
                Err(services) if is_this(found.one) => {
                    (found.one, format!("the Service {}", services.join(" and the Service ")))
                }
                _ => continue,
            };
            if stood(this) {
                continue;
            }
            let message = match &found.other {
                Ok(_) => format!("{other} scrapes {} on port {} already: {TWICE}", scraped.title(), scraped.port),
                Err(_) => format!("it scrapes {} on port {} through {other}: {TWICE}", scraped.title(), scraped.port),
            };
            let value = format!("{other} {}", scraped.title());
            findings.push(found.graded("spec.selector".to_owned(), value, message));
        }
    }
    findings
}

const TWICE: &str = "each series is there twice, and an autoscaler that adds up a pod's series sees twice the load";

// === impl Scraped ===

impl<'a> Scraped<'a> {
    /// `None` where it cannot be told what is scraped.
    fn of(workload: &'a Workload, wish: Option<&Wish>) -> Option<Self> {
        let settings = match wish {
            Some(Wish::Enabled(settings)) => Some(settings),
            _ => None,
        };
        let server = workload.server();
        let port =
            settings.and_then(|settings| settings.metrics_port).or(server.and_then(|server| server.port.number()))?;
        let path = settings.and_then(|settings| settings.metrics_path.clone());
        let path = path.or_else(|| server.map(|server| server.metrics_path.clone())).unwrap_or("/metrics".to_owned());
        // Without the label, what was generated goes; `paused` and `generate` leave it to its owner.
        let managed = settings.is_none_or(|settings| settings.generate && !settings.paused);
        Some(Self { workload, port, path, managed })
    }

    fn title(&self) -> String {
        format!("{} {}", self.workload.kind, self.workload.metadata.name)
    }

    fn coverage(&self, entry: &Entry, series: &str, context: &Context<'_>) -> Coverage {
        scrape::coverage(&entry.object, self.workload, self.port, &self.path, series, context.view)
    }

    /// What scrapes the pods, the earlier objects first. Of ours only what nobody would take away.
    fn by<'b>(&'b self, context: &Context<'b>) -> Vec<(&'b Entry, [Coverage; SCALED_ON.len()])> {
        let all = scrape::objects(context.view, self.workload.metadata.namespace.as_deref());
        let counted = all.filter(|entry| !(self.managed && render::is_ours(entry.object.metadata(), self.workload)));
        let mut found: Vec<_> = counted
            .map(|entry| (entry, SCALED_ON.map(|series| self.coverage(entry, series, context))))
            .filter(|(_, series)| series.iter().any(|one| *one > Coverage::No))
            .collect();
        found.sort_by_key(|(entry, _)| entry.order);
        // Pairs are looked at, and a tenant may write any number of objects.
        found.truncate(MOST);
        found
    }

    /// Pairs of neighbours, the certain ones first.
    fn doubled<'b>(&'b self, context: &Context<'b>) -> Vec<Doubled<'b>> {
        let by = self.by(context);
        let mut doubled = Vec::new();
        for (index, (one, of_one)) in by.iter().enumerate() {
            if let Some(services) = self.two_services(one, context) {
                doubled.push(Doubled { one, other: Err(services), certain: true });
            }
            for (other, of_other) in by.iter().skip(index.saturating_add(1)) {
                let both = of_one.iter().zip(of_other).map(|(one, other)| *one.min(other)).max();
                let Some(both) = both.filter(|both| *both > Coverage::No && one_collector(one, other)) else {
                    continue;
                };
                let certain = both == Coverage::Certain && for_one_prometheus(one, other);
                doubled.push(Doubled { one, other: Ok(other), certain });
            }
        }
        doubled.sort_by_key(|found| !found.certain);
        doubled
    }

    fn two_services(&self, entry: &Entry, context: &Context<'_>) -> Option<[String; 2]> {
        let Object::OperatorMonitor(monitor) = &entry.object else { return None };
        if monitor.metadata.deletion_timestamp.is_some() {
            return None;
        }
        SCALED_ON.iter().find_map(|series| {
            let mut between =
                scrape::services_between(monitor, self.workload, self.port, &self.path, series, context.view);
            Some([between.next()?, between.next()?].map(|service| service.metadata.name.clone()))
        })
    }

    fn finding(&self, found: &Doubled<'_>) -> Finding {
        let message = match &found.other {
            Ok(other) => format!(
                "{} and {} scrape {} on port {}: {TWICE}",
                title(found.one),
                title(other),
                self.title(),
                self.port
            ),
            Err(services) => format!(
                "{} scrapes {} on port {} through the Services {}: {TWICE}",
                title(found.one),
                self.title(),
                self.port,
                services.join(" and ")
            ),
        };
        let field = format!("{}.metadata.labels", self.workload.template_path);
        let other = match &found.other {
            Ok(other) => title(other),
            Err(services) => services.join(" "),
        };
        found.graded(field, format!("{} {other}", title(found.one)), message)
    }
}

// === impl Doubled ===

impl Doubled<'_> {
    fn graded(&self, field: String, value: String, message: String) -> Finding {
        if !self.certain {
            return Finding::note(
                field,
                value,
                message.replacen(
                    ": each series is",
                    ": unless each has its own Prometheus or \
                                                               pods, each series is",
                    1,
                ),
            );
        }
        Finding::warn(field, value, message).hint(match self.other {
            Ok(_) => "delete one of the two, or give it another selector",
            Err(_) => "let the monitor select one of the two Services, by a label that the other has not",
        })
    }
}

/// An object as people name it.
fn title(entry: &Entry) -> String {
    let metadata = entry.object.metadata();
    match (&metadata.namespace, &entry.object) {
        (Some(namespace), Object::OperatorMonitor(_)) => format!("{} {namespace}/{}", entry.of.kind, metadata.name),
        _ => format!("{} {}", entry.of.kind, metadata.name),
    }
}

/// Whether one adapter adds up what both collect.
fn one_collector(one: &Entry, other: &Entry) -> bool {
    matches!(
        (&one.object, &other.object),
        (Object::PodMonitoring(_), Object::PodMonitoring(_)) | (Object::OperatorMonitor(_), Object::OperatorMonitor(_))
    )
}

/// Whether a Prometheus that selects one monitor selects the other: they are alike in the labels by which that is usually
/// done. Google's collectors take all.
fn for_one_prometheus(one: &Entry, other: &Entry) -> bool {
    let (Object::OperatorMonitor(one), Object::OperatorMonitor(other)) = (&one.object, &other.object) else {
        return true;
    };
    selecting(one) == selecting(other)
}

/// The labels of a monitor but those that name what it belongs to.
fn selecting(monitor: &OperatorMonitor) -> Vec<(&str, &str)> {
    let names = |key: &str| {
        ["app.kubernetes.io/", "helm.sh/", "scalegate.dev/", "argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/"]
            .iter()
            .any(|prefix| key.starts_with(prefix))
            || ["app", "name", "chart", "heritage", "component", "k8s-app"].contains(&key)
    };
    let labels = monitor.metadata.labels.iter().filter(|(key, _)| !names(key));
    labels.map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// Whether an autoscaler in view scales a workload, or its label asks for one.
fn autoscaled(workload: &Workload, context: &Context<'_>) -> bool {
    let labelled = workload.metadata.labels.get(settings::LABEL).is_some_and(|value| value != "disabled");
    labelled
        || context.view.scaling(&workload.metadata.name).any(|entry| match &entry.object {
            Object::Hpa(hpa) => scales(&hpa.spec.scale_target_ref, hpa.metadata.namespace.as_deref(), workload),
            Object::ScaledObject(object) => {
                scales(&keda_reference(object), object.metadata.namespace.as_deref(), workload)
            }
            _ => false,
        })
}

/// Whether the label brings a PodMonitor that scrapes the pods.
fn brings_a_pod_monitor(workload: &Workload, settings: &Settings, context: &Context<'_>) -> bool {
    context.configuration.backend.kind == BackendKind::PrometheusOperator
        && settings.generate
        && !settings.paused
        && render::announce(workload, settings, context.configuration, &|_| false)
            .is_ok_and(|announced| announced.scraped_port.is_some())
}
