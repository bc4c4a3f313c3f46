//! The autoscalers in view, whatever their kind, and how two of them on one workload relate. Several rules ask.

use std::collections::BTreeMap;

use crate::policy::facts::{self, keda_reference};
use crate::policy::objects::{
    CrossReference, Hpa, MultidimPodAutoscaler, Object, ObjectMeta, OwnerReference, ScaledObject, TypeMeta,
};
use crate::policy::view::{ClusterView, Entry, may_be_same};
use crate::policy::workload::Workload;

/// The label by which Helm, KEDA and scalegate say who manages an object.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The annotation by which the owner of an HPA consents to its take-over.
const ADOPT: &str = "scalegate.dev/adopt";
/// KEDA: this ScaledObject takes an existing HPA over.
const TRANSFER: &str = "scaledobject.keda.sh/transfer-hpa-ownership";
/// KEDA: while it is `true`, KEDA takes its HPA away and leaves the replicas alone.
const PAUSED: &str = "autoscaling.keda.sh/paused";
/// KEDA: the same, after it set this number of replicas.
const PAUSED_AT: &str = "autoscaling.keda.sh/paused-replicas";

/// A kind of autoscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::policy) enum Kind {
    /// `HorizontalPodAutoscaler`.
    Hpa,
    /// KEDA's `ScaledObject`.
    ScaledObject,
    /// GKE's `MultidimPodAutoscaler`.
    Multidim,
}

/// An autoscaler, in view or under judgement.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Autoscaler<'a> {
    /// Kind.
    pub kind: Kind,
    /// Metadata.
    pub metadata: &'a ObjectMeta,
    /// What it scales, defaults filled in.
    pub target: CrossReference,
    /// Its place in the view; `None` for one under judgement.
    pub order: Option<u64>,
    /// Of a ScaledObject: the name of the HPA that KEDA makes for it.
    generated: Option<String>,
}

// === impl Kind ===

impl Kind {
    /// The kind as the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hpa => "HorizontalPodAutoscaler",
            Self::ScaledObject => "ScaledObject",
            Self::Multidim => "MultidimPodAutoscaler",
        }
    }
}

// === impl Autoscaler ===

impl<'a> Autoscaler<'a> {
    /// An HPA.
    pub fn hpa(hpa: &'a Hpa) -> Self {
        let target = hpa.spec.scale_target_ref.clone();
        Self { kind: Kind::Hpa, metadata: &hpa.metadata, target, order: None, generated: None }
    }

    /// A ScaledObject.
    pub fn scaled_object(object: &'a ScaledObject) -> Self {
        let named = object.spec.advanced.pointer("/horizontalPodAutoscalerConfig/name").and_then(|name| name.as_str());
        // KEDA's default name for the HPA that it makes.
        let generated = named.map_or_else(|| format!("keda-hpa-{}", object.metadata.name), str::to_owned);
        let target = keda_reference(object);
        Self { kind: Kind::ScaledObject, metadata: &object.metadata, target, order: None, generated: Some(generated) }
    }

    /// A MultidimPodAutoscaler.
    fn multidim(object: &'a MultidimPodAutoscaler) -> Self {
        let target = object.spec.scale_target_ref.clone();
        Self { kind: Kind::Multidim, metadata: &object.metadata, target, order: None, generated: None }
    }

    /// Those in view whose target has that name, whatever its kind and namespace, and that are not being deleted: HPAs
    /// first, MultidimPodAutoscalers last.
    pub fn on(view: &'a ClusterView, target: &str) -> Vec<Self> {
        let read = |entry: &'a Entry| {
            let read = match &entry.object {
                Object::Hpa(object) => Self::hpa(object),
                Object::ScaledObject(object) => Self::scaled_object(object),
                Object::MultidimPodAutoscaler(object) => Self::multidim(object),
                _ => return None,
            };
            Some(Self { order: Some(entry.order), ..read })
        };
        let all = view.scaling(target).filter_map(read);
        let mut all: Vec<Self> = all.filter(|one| one.metadata.deletion_timestamp.is_none()).collect();
        all.sort_by_key(|one| one.kind);
        all
    }

    /// `Kind/name`, for messages.
    pub fn title(&self) -> String {
        format!("{}/{}", self.kind.name(), self.metadata.name)
    }

    /// Whether both are, or may be, one object: by kind, name and namespace, whatever the version.
    pub fn is(&self, other: &Autoscaler<'_>) -> bool {
        self.kind == other.kind && self.metadata.name == other.metadata.name && self.shares_namespace(other)
    }

    /// Whether both scale the same thing. Group and kind count, not the version.
    pub fn scales_with(&self, other: &Autoscaler<'_>) -> bool {
        same_reference(&self.target, &other.target) && self.shares_namespace(other)
    }

    /// Whether it scales that workload.
    pub fn scales(&self, workload: &Workload) -> bool {
        facts::scales(&self.target, self.metadata.namespace.as_deref(), workload)
    }

    fn shares_namespace(&self, other: &Autoscaler<'_>) -> bool {
        may_be_same(self.metadata.namespace.as_deref(), other.metadata.namespace.as_deref())
    }

    /// Whether scalegate made it: the workload is its controller. The label is information only, so it does not suffice.
    pub fn ours(&self) -> bool {
        let owns = |owner: &OwnerReference| {
            let of = TypeMeta { api_version: owner.api_version.clone(), kind: owner.kind.clone() };
            let target = TypeMeta { api_version: self.target.api_version.clone(), kind: self.target.kind.clone() };
            owner.controller == Some(true)
                && owner.name == self.target.name
                && of.kind == target.kind
                && of.group() == target.group()
        };
        self.kind == Kind::Hpa
            && self.metadata.labels.get(MANAGED_BY).is_some_and(|manager| manager == "scalegate")
            && self.metadata.owner_references.iter().any(owns)
    }

    /// Whether KEDA made this HPA, for whatever ScaledObject.
    pub fn made_by_keda(&self) -> bool {
        let labels = &self.metadata.labels;
        let labelled = labels.contains_key("scaledobject.keda.sh/name")
            || labels.get(MANAGED_BY).is_some_and(|manager| manager == "keda-operator");
        self.kind == Kind::Hpa
            && (self.metadata.owner_references.iter().any(of_keda)
                || labelled && self.metadata.name.starts_with("keda-hpa-"))
    }

    /// Whether KEDA made this HPA for that ScaledObject, or is asked to take it over for it.
    pub fn belongs_to(&self, scaled_object: &Autoscaler<'_>) -> bool {
        if self.kind != Kind::Hpa || scaled_object.kind != Kind::ScaledObject || !self.shares_namespace(scaled_object) {
            return false;
        }
        let named = scaled_object.generated.as_deref() == Some(self.metadata.name.as_str());
        let owned = self
            .metadata
            .owner_references
            .iter()
            .any(|owner| of_keda(owner) && owner.name == scaled_object.metadata.name);
        owned || named && (self.made_by_keda() || is_true(&scaled_object.metadata.annotations, TRANSFER))
    }

    /// Of an HPA that KEDA made: whether its ScaledObject is gone or going. The garbage collector deletes the HPA next,
    /// some moments later.
    pub fn outlives_its_scaled_object(&self, view: &ClusterView) -> bool {
        if self.kind != Kind::Hpa {
            return false;
        }
        let Some(owner) = self.metadata.owner_references.iter().find(|owner| of_keda(owner)) else { return false };
        let same = |object: &ObjectMeta| {
            object.name == owner.name
                && may_be_same(object.namespace.as_deref(), self.metadata.namespace.as_deref())
                && object.uid.as_ref().is_none_or(|uid| *uid == owner.uid || owner.uid.is_empty())
        };
        let mut found =
            view.scaled_objects().map(|(_, object)| &object.metadata).filter(|object| same(object)).peekable();
        match found.peek() {
            Some(_) => found.all(|object| object.deletion_timestamp.is_some()),
            None => view.is_closed("ScaledObject"),
        }
    }

    /// Whether its owner consents to its take-over.
    pub fn consents(&self) -> bool {
        is_true(&self.metadata.annotations, ADOPT)
    }

    /// Whether KEDA is told to pause it.
    pub fn paused(&self) -> bool {
        let annotations = &self.metadata.annotations;
        self.kind == Kind::ScaledObject && (is_true(annotations, PAUSED) || annotations.contains_key(PAUSED_AT))
    }

    /// Who installs both, as in `Helm release inference/vllm`, when one installer does: then one replaces the other.
    pub fn installer_shared_with(&self, other: &Autoscaler<'_>) -> Option<String> {
        let theirs = installers(other.metadata);
        installers(self.metadata).into_iter().find(|installer| theirs.contains(installer))
    }
}

/// Whether both references mean the same kind and name.
fn same_reference(one: &CrossReference, other: &CrossReference) -> bool {
    let group = |reference: &CrossReference| {
        let of = TypeMeta { api_version: reference.api_version.clone(), kind: String::new() };
        of.group().to_owned()
    };
    one.kind == other.kind && one.name == other.name && group(one) == group(other)
}

fn of_keda(owner: &OwnerReference) -> bool {
    owner.kind == "ScaledObject" && owner.api_version.starts_with("keda.sh/")
}

fn is_true(annotations: &BTreeMap<String, String>, key: &str) -> bool {
    annotations.get(key).is_some_and(|value| value == "true")
}

/// Whether an annotation under somebody else's prefix is read: by what the rules ask of two autoscalers.
pub fn reads_annotation(key: &str) -> bool {
    [TRANSFER, PAUSED, PAUSED_AT].contains(&key) || INSTALLER_KEYS.contains(&key)
}

/// The keys by which installers say what they install.
const INSTALLER_KEYS: [&str; 14] = [
    "app.kubernetes.io/instance",
    MANAGED_BY,
    "meta.helm.sh/release-name",
    "meta.helm.sh/release-namespace",
    "argocd.argoproj.io/tracking-id",
    "argocd.argoproj.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "kustomize.toolkit.fluxcd.io/namespace",
    "helm.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/namespace",
    "applyset.kubernetes.io/part-of",
    "configsync.gke.io/manager",
    "config.k8s.io/owning-inventory",
    "kapp.k14s.io/app",
];

/// Who installs an object, as its labels and annotations tell: by [`INSTALLER_KEYS`] alone.
fn installers(metadata: &ObjectMeta) -> Vec<String> {
    let value = |key: &str| {
        debug_assert!(INSTALLER_KEYS.contains(&key), "{key}: a snapshot would lose it");
        let found = metadata.annotations.get(key).or_else(|| metadata.labels.get(key));
        found.map(String::as_str).filter(|value| !value.is_empty())
    };
    let pair = |what: &str, name: &str, namespace: &str| {
        let name = value(name)?;
        Some(match value(namespace) {
            Some(namespace) => format!("{what} {namespace}/{name}"),
            None => format!("{what} {name}"),
        })
    };
    let mut found = Vec::new();
    found.extend(pair("Helm release", "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"));
    // Helm charts set this label to the release's name, and Argo CD by default to the application's.
    let instance = value("app.kubernetes.io/instance");
    let helm = value(MANAGED_BY) == Some("Helm");
    found
        .extend(instance.map(|name| if helm { format!("Helm release {name}") } else { format!("application {name}") }));
    // `application:group/Kind:namespace/name`
    let tracked = value("argocd.argoproj.io/tracking-id").and_then(|id| id.split(':').next());
    found.extend(
        tracked.or_else(|| value("argocd.argoproj.io/instance")).map(|app| format!("Argo CD application {app}")),
    );
    found.extend(pair(
        "Flux Kustomization",
        "kustomize.toolkit.fluxcd.io/name",
        "kustomize.toolkit.fluxcd.io/namespace",
    ));
    found.extend(pair("Flux HelmRelease", "helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace"));
    // These, too, apply everything first and prune last.
    found.extend(
        [
            ("ApplySet", "applyset.kubernetes.io/part-of"),
            ("Config Sync", "configsync.gke.io/manager"),
            ("inventory", "config.k8s.io/owning-inventory"),
            ("kapp application", "kapp.k14s.io/app"),
        ]
        .into_iter()
        .filter_map(|(what, key)| Some(format!("{what} {}", value(key)?))),
    );
    found
}
