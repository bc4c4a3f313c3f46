//! What a rule is given: the object under judgement, with everything about it that several rules would otherwise work out
//! again.

use super::chain::{self, Adapter, Form, Found, Spelling, promql};
use super::configuration::{Configuration, Scope};
use super::engine::{self, Resolved};
use super::finding::ObjectRef;
use super::objects::{
    ConfigMap, CrossReference, Hpa, LabelSelector, MetricSpec, MetricTarget, Object, ScaledObject, TypeMeta,
    WorkloadKind, WorkloadObject,
};
use super::settings;
use super::view::{ClusterView, Entry, may_be_same};
use super::workload::{Reading, Workload};

/// Metrics of one HPA, or triggers of one ScaledObject, that are judged; those behind them are admitted unseen. People write
/// a handful. A document of thousands would cost the webhook seconds, and the API server's callers wait for it.
pub const MOST_METRICS: usize = 64;
/// Bytes of PromQL in one ScaledObject that are judged, for the same reason.
const MOST_QUERY_BYTES: usize = 16 * 1024;

/// Where a verdict is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// By the webhook (and by the controller, of what it would write).
    Admission,
    /// By `review` and `audit`.
    Review,
}

/// Everything a rule may look at beside its subject.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The cluster.
    pub view: &'a ClusterView,
    /// The administrator's document.
    pub configuration: &'a Configuration,
    /// Where the verdict is asked for.
    pub stage: Stage,
    /// Whether the object exists already and is being changed.
    pub update: bool,
}

/// What an autoscaler scales.
#[derive(Clone, Debug)]
pub enum Target<'a> {
    /// A workload in view.
    Workload(&'a Workload),
    /// A workload of a known kind that is not in view; it may come later.
    Missing(WorkloadKind),
    /// A kind that scalegate does not know.
    Foreign,
}

/// Where a metric of an HPA comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An average over the target's pods.
    Pods,
    /// A metric of one object.
    Object,
    /// From outside the cluster.
    External,
    /// CPU or memory, of pods or of one container.
    Resource,
}

/// One metric of an HPA and what its name can mean.
#[derive(Clone, Debug)]
pub struct MetricUse<'a> {
    /// Where it comes from.
    pub source: Source,
    /// The source's path (`spec.metrics[0].pods`).
    pub path: String,
    /// The name, as written.
    pub name: &'a str,
    /// Labels that narrow it.
    pub selector: Option<&'a LabelSelector>,
    /// The target.
    pub target: &'a MetricTarget,
    /// The object that a metric of type Object describes.
    pub described: Option<&'a CrossReference>,
    /// The name by the spelling rules of the backends.
    pub spelling: Spelling<'a>,
    /// The undecorated name against the catalogue.
    pub resolved: Resolved,
    /// What in view makes the name, or may make it.
    pub makers: Found<'a>,
}

/// An HPA under judgement.
pub struct HpaFacts<'a> {
    /// The reference for findings.
    pub object: ObjectRef,
    /// The HPA.
    pub hpa: &'a Hpa,
    /// Its place among the view's objects; `None` when every other object counts as earlier (at admission).
    pub order: Option<u64>,
    /// What it scales.
    pub target: Target<'a>,
    /// Its metrics.
    pub metrics: Vec<MetricUse<'a>>,
    /// Who serves `custom.metrics.k8s.io`.
    pub custom_adapter: Adapter,
    /// Who serves `external.metrics.k8s.io`.
    pub external_adapter: Adapter,
}

/// A ScaledObject under judgement.
pub struct ScaledObjectFacts<'a> {
    /// The reference for findings.
    pub object: ObjectRef,
    /// The ScaledObject.
    pub scaled_object: &'a ScaledObject,
    /// As [`HpaFacts::order`].
    pub order: Option<u64>,
    /// What it scales.
    pub target: Target<'a>,
    /// The PromQL of its Prometheus triggers that can be read, with the path of each. Of the first [`MOST_METRICS`] triggers,
    /// and of no more text than is judged; parsed once, because that compiles the expressions in them.
    pub queries: Vec<(String, promql::Query)>,
}

/// A workload under judgement.
pub struct WorkloadFacts<'a> {
    /// The reference for findings.
    pub object: ObjectRef,
    /// As it was written.
    pub written: &'a WorkloadObject,
    /// What is known about it.
    pub workload: Workload,
    /// Label and annotations.
    pub settings: settings::Read,
    /// The workload as it was before, when it is being changed and is known.
    pub old: Option<&'a WorkloadObject>,
    /// As [`HpaFacts::order`].
    pub order: Option<u64>,
}

/// A scrape object under judgement: PodMonitoring, ClusterPodMonitoring, PodMonitor or ServiceMonitor.
pub struct ScrapeFacts<'a> {
    /// The reference for findings.
    pub object: ObjectRef,
    /// As it was written.
    pub written: &'a Object,
    /// As [`HpaFacts::order`].
    pub order: Option<u64>,
}

/// A ConfigMap with prometheus-adapter's configuration under judgement.
pub struct AdapterFacts<'a> {
    /// The reference for findings.
    pub object: ObjectRef,
    /// The ConfigMap.
    pub config_map: &'a ConfigMap,
}

/// A document of a file under judgement, before it is an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentFacts {
    /// The reference for findings, as far as it can be read.
    pub object: ObjectRef,
    /// Why it is not an object of its kind: field (empty for the document) and message.
    pub invalid: Option<(String, String)>,
    /// Fields that no supported API server knows: path, and the nearest known name.
    pub unknown_fields: Vec<(String, Option<String>)>,
    /// Where the same object stands again later (the later one wins), as `file:line`.
    pub repeated_at: Option<String>,
}

// === impl Target ===

impl<'a> Target<'a> {
    /// Finds the target that a reference from `namespace` means. By group and kind, as the HPA controller does.
    pub fn find(reference: &CrossReference, namespace: Option<&str>, view: &'a ClusterView) -> Self {
        let of = TypeMeta { api_version: reference.api_version.clone(), kind: reference.kind.clone() };
        let Some(kind) = WorkloadKind::find(of.group(), &of.kind) else { return Self::Foreign };
        view.workload(kind, namespace, &reference.name).map_or(Self::Missing(kind), Self::Workload)
    }

    /// The workload, when it is in view.
    pub fn workload(&self) -> Option<&'a Workload> {
        match self {
            Self::Workload(workload) => Some(workload),
            _ => None,
        }
    }
}

// === impl Source ===

impl Source {
    /// The type as the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pods => "Pods",
            Self::Object => "Object",
            Self::External => "External",
            Self::Resource => "Resource",
        }
    }
}

// === impl MetricUse ===

impl<'a> MetricUse<'a> {
    fn all(hpa: &'a Hpa, view: &'a ClusterView) -> Vec<Self> {
        let namespace = hpa.metadata.namespace.as_deref();
        let uses = hpa.spec.metrics.iter().take(MOST_METRICS).enumerate();
        uses.filter_map(|(index, metric)| Self::one(index, metric, namespace, view)).collect()
    }

    fn one(index: usize, metric: &'a MetricSpec, namespace: Option<&str>, view: &'a ClusterView) -> Option<Self> {
        let (source, section, name, selector, target, described) = match metric.kind.as_str() {
            "Pods" => {
                let pods = metric.pods.as_ref()?;
                (Source::Pods, "pods", &pods.metric.name, pods.metric.selector.as_ref(), &pods.target, None)
            }
            "Object" => {
                let object = metric.object.as_ref()?;
                let described = Some(&object.described_object);
                (
                    Source::Object,
                    "object",
                    &object.metric.name,
                    object.metric.selector.as_ref(),
                    &object.target,
                    described,
                )
            }
            "External" => {
                let external = metric.external.as_ref()?;
                let selector = external.metric.selector.as_ref();
                (Source::External, "external", &external.metric.name, selector, &external.target, None)
            }
            "Resource" => {
                let resource = metric.resource.as_ref()?;
                (Source::Resource, "resource", &resource.name, None, &resource.target, None)
            }
            "ContainerResource" => {
                let resource = metric.container_resource.as_ref()?;
                (Source::Resource, "containerResource", &resource.name, None, &resource.target, None)
            }
            _ => return None,
        };
        let spelling = chain::spelling::read(name);
        let resolved = if source == Source::Resource { Resolved::Foreign } else { engine::resolve(spelling.name) };
        let makers = match (source, &spelling.form) {
            (Source::Resource, _) => Found::default(),
            (_, Form::GkeManaged { .. }) => chain::makers_for(view, name, namespace),
            _ => chain::makers_for(view, spelling.name, namespace),
        };
        let path = format!("spec.metrics[{index}].{section}");
        Some(Self { source, path, name, selector, target, described, spelling, resolved, makers })
    }

    /// The path of the metric's name.
    pub fn name_field(&self) -> String {
        match self.source {
            Source::Resource => format!("{}.name", self.path),
            _ => format!("{}.metric.name", self.path),
        }
    }

    /// The path of the target's value.
    pub fn target_field(&self) -> String {
        let value = if self.target.average_value.is_some() {
            "averageValue"
        } else if self.target.average_utilization.is_some() {
            "averageUtilization"
        } else {
            "value"
        };
        format!("{}.target.{value}", self.path)
    }

    /// The catalogued metric that the name means, directly or as an alias.
    pub fn metric(&self) -> Option<&'static engine::Metric> {
        match &self.resolved {
            Resolved::Catalogued(metric) | Resolved::Alias { metric, .. } => Some(metric),
            _ => None,
        }
    }

    /// Whether the name has a tie to inference: catalogued, near such a name, or a word under an engine's prefix.
    pub fn in_scope(&self) -> bool {
        !matches!(self.resolved, Resolved::Foreign)
    }
}

// === impl HpaFacts ===

impl<'a> HpaFacts<'a> {
    /// The facts about an HPA that need not be in the view.
    pub fn new(of: &TypeMeta, hpa: &'a Hpa, order: Option<u64>, context: &Context<'a>) -> Self {
        let view = context.view;
        Self {
            object: ObjectRef::new(of, &hpa.metadata),
            hpa,
            order,
            target: Target::find(&hpa.spec.scale_target_ref, hpa.metadata.namespace.as_deref(), view),
            metrics: MetricUse::all(hpa, view),
            custom_adapter: chain::adapter::custom(view, context.configuration),
            external_adapter: chain::adapter::external(view, context.configuration),
        }
    }

    /// Whether rules may speak about it: its target is an inference workload or carries our label, or a metric has a tie to
    /// inference, or the administrator asked for all.
    pub fn in_scope(&self, configuration: &Configuration) -> bool {
        configuration.scope == Scope::All
            || self.metrics.iter().any(MetricUse::in_scope)
            || self.target.workload().is_some_and(workload_in_scope)
    }

    /// Fewest replicas, the API's default filled in.
    pub fn min_replicas(&self) -> i64 {
        self.hpa.spec.min_replicas.unwrap_or(1)
    }
}

// === impl ScaledObjectFacts ===

impl<'a> ScaledObjectFacts<'a> {
    /// The facts about a ScaledObject that need not be in the view.
    pub fn new(of: &TypeMeta, scaled_object: &'a ScaledObject, order: Option<u64>, context: &Context<'a>) -> Self {
        let reference = keda_reference(scaled_object);
        let namespace = scaled_object.metadata.namespace.as_deref();
        Self {
            object: ObjectRef::new(of, &scaled_object.metadata),
            scaled_object,
            order,
            target: Target::find(&reference, namespace, context.view),
            queries: queries(scaled_object),
        }
    }

    /// Whether rules may speak about it.
    pub fn in_scope(&self, configuration: &Configuration) -> bool {
        configuration.scope == Scope::All
            || self.target.workload().is_some_and(workload_in_scope)
            || self.queries.iter().any(|(_, query)| query_in_scope(query))
    }
}

/// The scale target of a ScaledObject, KEDA's defaults filled in.
pub fn keda_reference(scaled_object: &ScaledObject) -> CrossReference {
    let written = &scaled_object.spec.scale_target_ref;
    let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
    CrossReference {
        api_version: or(&written.api_version, "apps/v1"),
        kind: or(&written.kind, "Deployment"),
        name: written.name.clone(),
    }
}

fn queries(scaled_object: &ScaledObject) -> Vec<(String, promql::Query)> {
    let mut left = MOST_QUERY_BYTES;
    let triggers = scaled_object.spec.triggers.iter().take(MOST_METRICS).enumerate();
    triggers
        .filter(|(_, trigger)| trigger.kind == "prometheus")
        .filter_map(|(index, trigger)| {
            let query = trigger.metadata.get("query")?.as_str()?;
            left = left.checked_sub(query.len())?;
            Some((format!("spec.triggers[{index}].metadata.query"), promql::parse(query).ok()?))
        })
        .collect()
}

fn query_in_scope(query: &promql::Query) -> bool {
    let mut names = query.series.iter().filter_map(|selector| selector.name.as_deref());
    names.any(|name| !matches!(engine::resolve(name), Resolved::Foreign))
}

/// Whether a workload ties an autoscaler to inference.
pub fn workload_in_scope(workload: &Workload) -> bool {
    !matches!(workload.server, Reading::None { .. }) || workload.metadata.labels.contains_key(settings::LABEL)
}

// === impl WorkloadFacts ===

impl<'a> WorkloadFacts<'a> {
    /// The facts about a workload that need not be in the view.
    pub fn new(
        of: &TypeMeta,
        written: &'a WorkloadObject,
        old: Option<&'a WorkloadObject>,
        context: &Context<'a>,
    ) -> Self {
        let namespace = written.metadata.namespace.as_deref();
        Self {
            object: ObjectRef::new(of, &written.metadata),
            written,
            workload: super::workload::read(written, &|name| context.view.config_map(namespace, name)),
            settings: settings::read(&written.metadata, context.configuration),
            old,
            order: None,
        }
    }

    /// The facts about a workload in view, from what was derived of it; `written` is that workload without its template.
    pub fn derived(workload: &Workload, written: &'a WorkloadObject, context: &Context<'a>) -> Self {
        let of =
            TypeMeta { api_version: workload.kind.api_version().to_owned(), kind: workload.kind.name().to_owned() };
        Self {
            object: ObjectRef::new(&of, &workload.metadata),
            written,
            workload: workload.clone(),
            settings: settings::read(&workload.metadata, context.configuration),
            old: None,
            order: None,
        }
    }

    /// Whether the label asks for an autoscaler, valid or not.
    pub fn labelled(&self) -> bool {
        !matches!(self.settings.wish, Ok(settings::Wish::Unlabelled | settings::Wish::Disabled))
    }

    /// The HPAs in view that scale it.
    pub fn hpas<'b>(&'b self, context: &Context<'b>) -> impl Iterator<Item = (&'b Entry, &'b Hpa)> + 'b {
        context.view.scaling(&self.workload.metadata.name).filter_map(move |entry| match &entry.object {
            Object::Hpa(hpa) => scales(&hpa.spec.scale_target_ref, hpa.metadata.namespace.as_deref(), &self.workload)
                .then_some((entry, hpa)),
            _ => None,
        })
    }

    /// The ScaledObjects in view that scale it.
    pub fn scaled_objects<'b>(
        &'b self,
        context: &Context<'b>,
    ) -> impl Iterator<Item = (&'b Entry, &'b ScaledObject)> + 'b {
        context.view.scaling(&self.workload.metadata.name).filter_map(move |entry| match &entry.object {
            Object::ScaledObject(object) => {
                scales(&keda_reference(object), object.metadata.namespace.as_deref(), &self.workload)
                    .then_some((entry, object))
            }
            _ => None,
        })
    }

    /// Whether rules may warn about it: at admission only when it has a tie to us (section 9 of the registration), in a review
    /// also when an autoscaler in scope scales it.
    pub fn in_scope(&self, context: &Context<'_>) -> bool {
        let metadata = &self.written.metadata;
        let ours = |key: &String| key.starts_with(settings::PREFIX) || key.starts_with(settings::STATUS_PREFIX);
        if metadata.labels.keys().chain(metadata.annotations.keys()).any(ours)
            || !self.workload.misplaced_keys.is_empty()
        {
            return true;
        }
        if context.stage == Stage::Admission {
            return false;
        }
        let in_scope = workload_in_scope(&self.workload);
        self.hpas(context).any(|(entry, hpa)| {
            in_scope || HpaFacts::new(&entry.of, hpa, None, context).in_scope(context.configuration)
        }) || self.scaled_objects(context).any(|(entry, object)| {
            in_scope || ScaledObjectFacts::new(&entry.of, object, None, context).in_scope(context.configuration)
        })
    }
}

/// Whether a reference from `namespace` means that workload.
pub fn scales(reference: &CrossReference, namespace: Option<&str>, workload: &Workload) -> bool {
    let of = TypeMeta { api_version: reference.api_version.clone(), kind: reference.kind.clone() };
    WorkloadKind::find(of.group(), &of.kind) == Some(workload.kind)
        && reference.name == workload.metadata.name
        && may_be_same(namespace, workload.metadata.namespace.as_deref())
}
