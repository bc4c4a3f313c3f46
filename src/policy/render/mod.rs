//! Workload + settings -> the objects that make it scale: an HPA, and the scrape object of its backend. The controller
//! applies them, `render` prints them, and admission announces them; all three call [`render`].

use serde_json::{Map, Value, json};

use crate::policy::configuration::{BackendKind, Configuration, Signal};
use crate::policy::objects::Quantity;
use crate::policy::settings::Settings;
use crate::policy::settings::profiles::{self, Resolved};
use crate::policy::workload::Workload;

mod adapter_rule;
mod dcgm;
mod hpa;
mod metric;
mod names;
mod pod_monitor;
mod pod_monitoring;
mod quantity;
mod serving;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod withhold;
mod written;

pub use adapter_rule::{adapter_rule, adapter_rules, lacking_adapter_rules, missing_adapter_rule};
pub use dcgm::{shared_gpu_objects, shared_gpu_objects_labelled};
pub use metric::{metric_name, series_name};
pub use names::{object_name, taken_in};
pub(crate) use serving::engine_name;
pub use serving::{Serving, serving};
pub(crate) use withhold::is_ours;
pub use withhold::{Withheld, withheld, withhold};
pub use written::{fingerprint, is_written, normal, written};

/// The label that says who made an object. Information only: what is ours is told by owner and field manager.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub const MANAGER: &str = "scalegate";
/// The label that names the profile an object was rendered from.
pub const PROFILE_LABEL: &str = "scalegate.dev/profile";

/// What a label generates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// The scrape object first, then the HPA; `gpu-metrics` has the HPA alone.
    pub objects: Vec<Value>,
    /// What the owner should know, such as a target that was left out; sentences without a full stop.
    pub notes: Vec<String>,
}

/// Why nothing is generated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotRender {
    /// The reason, as a clause that ends in what to do.
    #[error("{0}")]
    Reason(String),
}

/// One metric of the HPA.
#[derive(Clone, Debug, PartialEq)]
struct Metric {
    name: String,
    average: Quantity,
}

/// What would be generated, before it has names.
struct Plan {
    serving: Serving,
    metrics: Vec<Metric>,
    /// Whether the pods must be scraped by us: some metric is the server's own.
    scrape: Option<u16>,
    notes: Vec<String>,
}

/// Renders what a workload's settings ask for.
///
/// `taken` says whether another workload has the better right to a name: a Deployment's objects keep the workload's name,
/// those of another kind give way to it. It is not asked for Deployments.
///
/// # Errors
/// When nothing can be generated, with the reason and what to do about it.
pub fn render(
    workload: &Workload,
    settings: &Settings,
    configuration: &Configuration,
    taken: &dyn Fn(&str) -> bool,
) -> Result<Rendered, CannotRender> {
    if workload.metadata.name.is_empty() {
        return Err(CannotRender::Reason("the workload has no name yet (generateName)".to_owned()));
    }
    let plan = plan(workload, settings, configuration)?;
    let name = object_name(workload.kind, &workload.metadata.name, taken);
    let mut objects = Vec::new();
    if let Some(port) = plan.scrape {
        objects.push(match configuration.backend.kind {
            BackendKind::PrometheusOperator => pod_monitor::object_of(
                &name,
                workload,
                settings,
                &plan.serving,
                port,
                &configuration.backend.monitor_labels,
            ),
            _ => pod_monitoring::object_of(&name, workload, settings, &plan.serving, port),
        });
    }
    objects.push(hpa::object_of(&name, workload, settings, &plan.metrics));
    Ok(Rendered { objects, notes: plan.notes })
}

/// What [`render`] would generate, by kind: for the annotations that admission writes. The names are `None` while the
/// workload has none.
pub(crate) struct Announcement {
    pub(crate) serving: Serving,
    /// The port and path that are scraped.
    pub(crate) scraped_port: Option<u16>,
    /// Name of all its objects.
    pub(crate) name: Option<String>,
}

pub(crate) fn announce(
    workload: &Workload,
    settings: &Settings,
    configuration: &Configuration,
    taken: &dyn Fn(&str) -> bool,
) -> Result<Announcement, CannotRender> {
    let plan = plan(workload, settings, configuration)?;
    let name = &workload.metadata.name;
    Ok(Announcement {
        serving: plan.serving,
        scraped_port: plan.scrape,
        name: (!name.is_empty()).then(|| object_name(workload.kind, name, taken)),
    })
}

fn plan(workload: &Workload, settings: &Settings, configuration: &Configuration) -> Result<Plan, CannotRender> {
    let backend = configuration.backend.kind;
    if matches!(backend, BackendKind::Keda | BackendKind::GkeManaged) {
        return Err(CannotRender::Reason(format!(
            "nothing is generated for backend {}: set backend.type to gmp or prometheus-operator, or write the autoscaler \
             yourself",
            if backend == BackendKind::Keda { "keda" } else { "gke-managed" }
        )));
    }
    let serving = serving(workload, settings).map_err(CannotRender::Reason)?;
    let mut notes = Vec::new();
    let mut metrics = Vec::new();
    let mut own_metrics = false;
    for (signal, target) in &settings.metrics {
        let explicit = settings.explicit_targets.contains(signal);
        match profiles::resolve(*signal, target, explicit, serving.ceiling, &settings.behavior) {
            Resolved::Target(quantity) => {
                own_metrics |= *signal != Signal::GpuUtilization;
                let average = quantity::canonical(&quantity);
                metrics.push(Metric { name: metric::name_for(*signal, backend, &serving), average });
            }
            Resolved::LeftOut(reason) => notes.push(reason),
        }
    }
    if metrics.is_empty() {
        let reasons = notes.join("; ");
        return Err(CannotRender::Reason(format!(
            "profile {} has no metric to scale on: {}",
            settings.profile,
            if reasons.is_empty() { "it names none" } else { &reasons }
        )));
    }
    let mut scrape = None;
    if own_metrics {
        let empty = workload.selector.match_labels.is_empty() && workload.selector.match_expressions.is_empty();
        if empty {
            return Err(CannotRender::Reason("the workload has no selector, so its pods cannot be told".to_owned()));
        }
        scrape = Some(serving.port.clone().map_err(|reason| {
            CannotRender::Reason(format!(
                "the port of the server is unknown: {reason} (set scalegate.dev/metrics-port)"
            ))
        })?);
        if serving.log_stats_disabled {
            notes.push("the server runs with --disable-log-stats, and may export none of these metrics".to_owned());
        }
    }
    if let (Some(port), BackendKind::PrometheusOperator) = (scrape, backend)
        && !pod_monitor::reaches(workload, &serving, port)
    {
        notes.push(format!(
            "declare containerPort {port} on the container: the Prometheus Operator keeps only targets whose pods \
             declare the port"
        ));
    }
    Ok(Plan { serving, metrics, scrape, notes })
}

/// `apiVersion`, `kind` and `metadata` in the order that kubectl prints them; `spec` follows.
fn object(api_version: &str, kind: &str, metadata: Value, spec: Value) -> Value {
    let members = [("apiVersion", json!(api_version)), ("kind", json!(kind)), ("metadata", metadata), ("spec", spec)];
    Value::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Metadata of an object that belongs to a workload: its namespace, and no label but ours.
fn metadata(name: &str, workload: &Workload, settings: &Settings) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(name));
    if let Some(namespace) = &workload.metadata.namespace {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    metadata.insert("labels".to_owned(), json!({ (MANAGED_BY): MANAGER, (PROFILE_LABEL): settings.profile }));
    Value::Object(metadata)
}

/// The workload's whole selector, as it is written.
fn selector(workload: &Workload) -> Value {
    let mut selector = Map::new();
    if !workload.selector.match_labels.is_empty() {
        selector.insert("matchLabels".to_owned(), json!(workload.selector.match_labels));
    }
    if !workload.selector.match_expressions.is_empty() {
        selector.insert("matchExpressions".to_owned(), json!(workload.selector.match_expressions));
    }
    Value::Object(selector)
}
