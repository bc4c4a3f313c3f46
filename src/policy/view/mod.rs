//! What is known about the cluster: one plain struct that webhook, controller and reviewer fill alike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::chain::{Makers, makers_of};
use super::objects::{
    ApiService, ComputeClass, ConfigMap, Hpa, KarpenterNodePool, Key, MultidimPodAutoscaler, Object, OperatorMonitor,
    PodMonitoring, PodTemplate, ScaledObject, Service, TypeMeta, WorkloadKind, WorkloadObject,
};
use super::placement::NodeShape;
use super::workload::{self, Workload};

mod metric;
mod nodes;

pub use metric::{MetricApi, MetricKey, MetricObservation, MetricPresence};

/// The cluster, as far as it is known. Absence proves something only for kinds in [`ClusterView::closed`].
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// Seconds since the epoch, set by whoever owns the clock; 0 when nobody does.
    pub now: i64,
    /// Kinds of which every object is in view.
    pub closed: BTreeSet<String>,
    /// Kinds of a live cluster that are not all in view at present: not listed yet, not allowed to be read, or too long
    /// without a word from the API server. Empty for files and snapshots, which hold what they hold. Where a verdict
    /// rests on all objects of such a kind, it is unknown.
    pub partial: BTreeSet<String>,
    /// Kinds of a live cluster of which news may be missing at this moment: the watch is being begun, or broke. What they
    /// have in view may have changed since, so it denies nothing by itself. Empty for files and snapshots.
    pub behind: BTreeSet<String>,
    /// Kinds that the API server of a live cluster, or of a snapshot, does not serve. Empty for files.
    pub absent: BTreeSet<String>,
    /// Every document that makes metrics is in view (`review --complete`).
    pub complete: bool,
    /// The cluster as it is, when this view is that cluster with files put over it.
    pub before: Option<Arc<ClusterView>>,
    /// Answers of the metrics APIs.
    pub metrics: BTreeMap<MetricKey, MetricObservation>,
    objects: BTreeMap<Key, Entry>,
    workloads: BTreeMap<Key, Workload>,
    makers: BTreeMap<Key, Makers>,
    /// Objects and workloads by name alone, for references whose namespace is open.
    names: Index,
    /// Autoscalers by the name of what they scale.
    scaling: Index,
    /// Workloads by the name of each ConfigMap that they depend on.
    readers: Index,
    /// Live objects of the kinds that scalegate writes, by the UID of the owner that manages them.
    managed: Index,
    nodes: nodes::Nodes,
    shapes: Vec<NodeShape>,
    next: u64,
}

/// An object and when it came.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Grows with each object that is new in the view; an update keeps it.
    pub order: u64,
    /// Type.
    pub of: TypeMeta,
    /// The object. Of a workload whose reading depends on no ConfigMap the templates are empty: it is never read again,
    /// and what rules know of it is in [`ClusterView::workload`].
    pub object: Object,
}

// === impl ClusterView ===

impl ClusterView {
    /// Adds an object, or replaces the one of the same key.
    ///
    /// Of a node only its shape is kept, once for all nodes that share it.
    pub fn apply(&mut self, of: &TypeMeta, object: Object) {
        if let Object::Node(node) = &object {
            self.nodes.insert(&node.metadata.name, NodeShape::of(node));
            return;
        }
        let key = object.key(of);
        let order = self.objects.get(&key).map_or(self.next, |entry| entry.order);
        self.next += 1;
        self.insert(&key, Entry { order, of: of.clone(), object });
    }

    /// Adds a workload whose template is not known, only what was derived from it (a snapshot's).
    pub fn apply_derived(&mut self, workload: Workload) {
        let key = workload.key();
        put(&mut self.names, &key.name, &key);
        self.insert_workload(&key, workload);
    }

    fn insert_workload(&mut self, key: &Key, workload: Workload) {
        if let Some(old) = self.workloads.get(key) {
            for name in &old.config_maps {
                take(&mut self.readers, name, key);
            }
        }
        for name in &workload.config_maps {
            put(&mut self.readers, name, key);
        }
        self.workloads.insert(key.clone(), workload);
    }

    /// Adds nodes of one shape (a snapshot's).
    pub fn apply_shape(&mut self, shape: NodeShape) {
        self.shapes.push(shape);
    }

    /// Takes an object out.
    pub fn delete(&mut self, key: &Key) {
        if is_node(&key.group, &key.kind) {
            self.nodes.remove(&key.name);
            return;
        }
        let entry = self.objects.remove(key);
        if let Some(target) = entry.as_ref().and_then(scaled_by) {
            take(&mut self.scaling, target, key);
        }
        if let Some(owner) = entry.as_ref().and_then(managed_by) {
            take(&mut self.managed, owner, key);
        }
        for name in self.workloads.remove(key).iter().flat_map(|workload| &workload.config_maps) {
            take(&mut self.readers, name, key);
        }
        take(&mut self.names, &key.name, key);
        self.makers.remove(key);
        if key.kind == "ConfigMap" {
            self.reread(key);
        }
    }

    fn insert(&mut self, key: &Key, mut entry: Entry) {
        let makers = makers_of(&entry.of, &entry.object);
        if makers.is_empty() {
            self.makers.remove(key);
        } else {
            self.makers.insert(key.clone(), makers);
        }
        if let Object::Workload(object) = &mut entry.object {
            let mut read = workload::read(object, &|name| self.config_map(key.namespace.as_deref(), name));
            read.follow(self.workloads.get(key), self.now);
            if read.config_maps.is_empty() {
                forget_templates(object);
            }
            self.insert_workload(key, read);
        }
        put(&mut self.names, &key.name, key);
        if let Some(target) = self.objects.get(key).and_then(scaled_by) {
            take(&mut self.scaling, target, key);
        }
        if let Some(target) = scaled_by(&entry) {
            put(&mut self.scaling, target, key);
        }
        if let Some(owner) = self.objects.get(key).and_then(managed_by) {
            take(&mut self.managed, owner, key);
        }
        if let Some(owner) = managed_by(&entry) {
            put(&mut self.managed, owner, key);
        }
        self.objects.insert(key.clone(), entry);
        if key.kind == "ConfigMap" {
            self.reread(key);
        }
    }

    /// Reads the workloads again that depend on a ConfigMap.
    fn reread(&mut self, config_map: &Key) {
        let readers = self.readers.get(&config_map.name).into_iter().flatten();
        let dependent: Vec<Key> = readers
            .filter(|key| may_be_same(key.namespace.as_deref(), config_map.namespace.as_deref()))
            .cloned()
            .collect();
        for key in dependent {
            if let Some(Entry { object: Object::Workload(object), .. }) = self.objects.get(&key) {
                let mut read = workload::read(object, &|name| self.config_map(key.namespace.as_deref(), name));
                read.follow(self.workloads.get(&key), self.now);
                self.insert_workload(&key, read);
            }
        }
    }

    /// The keys of that name among objects and workloads, in order.
    fn keys_named<'a>(&'a self, group: &'a str, kind: &'a str, name: &str) -> impl Iterator<Item = &'a Key> + 'a {
        let keys = self.names.get(name).into_iter().flatten();
        keys.filter(move |key| key.group == group && key.kind == kind)
    }

    /// Whether every object of a kind is in view, so that absence is proven.
    pub fn is_closed(&self, kind: &str) -> bool {
        self.closed.contains(kind)
    }

    /// Whether objects of a kind may be missing that a live cluster has.
    pub fn is_partial(&self, kind: &str) -> bool {
        self.partial.contains(kind)
    }

    /// Whether applying an object would change nothing that a rule reads.
    pub fn holds(&self, of: &TypeMeta, object: &Object) -> bool {
        if let Object::Node(node) = object {
            return self.nodes.holds(&node.metadata.name, &NodeShape::of(node));
        }
        let key = object.key(of);
        let Some(entry) = self.objects.get(&key).filter(|entry| entry.of == *of) else { return false };
        match (object, self.workloads.get(&key)) {
            (Object::Workload(new), Some(known)) if known.config_maps.is_empty() => {
                let mut read = workload::read(new, &|name| self.config_map(key.namespace.as_deref(), name));
                read.follow(Some(known), self.now);
                *known == read
            }
            _ => entry.object == *object,
        }
    }

    /// Whether an object of that key is in view.
    pub fn has(&self, key: &Key) -> bool {
        if is_node(&key.group, &key.kind) {
            self.nodes.get(&key.name).is_some()
        } else {
            self.objects.contains_key(key)
        }
    }

    /// The keys of a kind, nodes included.
    pub fn keys_of<'a>(&'a self, group: &'a str, kind: &'a str) -> impl Iterator<Item = Key> + 'a {
        let nodes = self.nodes.names().filter(move |_| is_node(group, kind));
        let nodes = nodes.map(|name| Key { kind: "Node".to_owned(), name: name.to_owned(), ..Key::default() });
        nodes.chain(self.of_kind(group, kind).map(|(key, _)| key.clone()))
    }

    /// How many objects of a kind are in view, nodes included.
    pub fn count_of(&self, group: &str, kind: &str) -> usize {
        if is_node(group, kind) { self.nodes.names().count() } else { self.of_kind(group, kind).count() }
    }

    /// The object of that key. Of nodes there is only the shape: [`ClusterView::node`].
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.objects.get(key)
    }

    /// Every object in view but nodes, by its place.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.objects.iter()
    }

    /// The objects of a kind.
    pub fn of_kind<'a>(&'a self, group: &'a str, kind: &'a str) -> impl Iterator<Item = (&'a Key, &'a Entry)> + 'a {
        let from = Key { group: group.to_owned(), kind: kind.to_owned(), ..Key::default() };
        self.objects.range(from..).take_while(move |(key, _)| key.group == group && key.kind == kind)
    }

    /// The objects of a kind in one namespace; of all namespaces without one.
    pub fn of_namespace<'a>(
        &'a self,
        group: &'a str,
        kind: &'a str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Entry)> + 'a {
        let of = namespace.map(str::to_owned);
        let from = Key { group: group.to_owned(), kind: kind.to_owned(), namespace: of, ..Key::default() };
        self.objects.range(from..).take_while(move |(key, _)| {
            key.group == group && key.kind == kind && (namespace.is_none() || key.namespace.as_deref() == namespace)
        })
    }

    /// The object of a kind that a reference by name from `namespace` means. An unset namespace, of the reference or of the
    /// object, may be any single one: of several candidates none is meant.
    fn named<'a>(&'a self, group: &'a str, kind: &'a str, namespace: Option<&str>, name: &str) -> Option<&'a Entry> {
        let key = |namespace: Option<&str>| Key {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        if let Some(entry) = self.objects.get(&key(namespace)) {
            return Some(entry);
        }
        if namespace.is_some() {
            return self.objects.get(&key(None));
        }
        only(self.keys_named(group, kind, name).filter_map(|key| self.objects.get(key)))
    }

    /// A ConfigMap by name.
    pub fn config_map(&self, namespace: Option<&str>, name: &str) -> Option<&ConfigMap> {
        match &self.named("", "ConfigMap", namespace, name)?.object {
            Object::ConfigMap(config_map) => Some(config_map),
            _ => None,
        }
    }

    /// A workload by kind and name, as an autoscaler in `namespace` names it.
    pub fn workload(&self, kind: WorkloadKind, namespace: Option<&str>, name: &str) -> Option<&Workload> {
        let key = |namespace: Option<&str>| Key {
            group: kind.group().to_owned(),
            kind: kind.name().to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        if let Some(workload) = self.workloads.get(&key(namespace)) {
            return Some(workload);
        }
        if namespace.is_some() {
            return self.workloads.get(&key(None));
        }
        only(self.workloads_named(kind.group(), kind.name(), name))
    }

    /// The workloads of a kind and name, whatever their namespace.
    pub fn workloads_named<'a>(
        &'a self,
        group: &'a str,
        kind: &'a str,
        name: &str,
    ) -> impl Iterator<Item = &'a Workload> + 'a {
        self.keys_named(group, kind, name).filter_map(|key| self.workloads.get(key))
    }

    /// The HPAs, ScaledObjects and MultidimPodAutoscalers whose target has that name, whatever its kind and namespace.
    pub fn scaling(&self, target: &str) -> impl Iterator<Item = &Entry> {
        self.scaling.get(target).into_iter().flatten().filter_map(|key| self.objects.get(key))
    }

    /// The live objects of the kinds that scalegate writes which the owner of that UID manages, whoever wrote them.
    pub fn managed(&self, owner: &str) -> impl Iterator<Item = (&Key, &Entry)> {
        let keys = self.managed.get(owner).into_iter().flatten();
        keys.filter_map(|key| self.objects.get_key_value(key))
    }

    /// All workloads.
    pub fn workloads(&self) -> impl Iterator<Item = &Workload> {
        self.workloads.values()
    }

    /// All HPAs with their entries, whatever version wrote them.
    pub fn hpas(&self) -> impl Iterator<Item = (&Entry, &Hpa)> {
        self.of_kind("autoscaling", "HorizontalPodAutoscaler").filter_map(|(_, entry)| match &entry.object {
            Object::Hpa(hpa) => Some((entry, hpa)),
            _ => None,
        })
    }

    /// All ScaledObjects.
    pub fn scaled_objects(&self) -> impl Iterator<Item = (&Entry, &ScaledObject)> {
        self.of_kind("keda.sh", "ScaledObject").filter_map(|(_, entry)| match &entry.object {
            Object::ScaledObject(object) => Some((entry, object)),
            _ => None,
        })
    }

    /// All MultidimPodAutoscalers.
    pub fn multidim_autoscalers(&self) -> impl Iterator<Item = (&Entry, &MultidimPodAutoscaler)> {
        self.of_kind("autoscaling.gke.io", "MultidimPodAutoscaler").filter_map(|(_, entry)| match &entry.object {
            Object::MultidimPodAutoscaler(object) => Some((entry, object)),
            _ => None,
        })
    }

    /// All PodMonitorings and ClusterPodMonitorings.
    pub fn pod_monitorings(&self) -> impl Iterator<Item = &PodMonitoring> {
        self.of_kind("monitoring.googleapis.com", "PodMonitoring")
            .chain(self.of_kind("monitoring.googleapis.com", "ClusterPodMonitoring"))
            .filter_map(|(_, entry)| match &entry.object {
                Object::PodMonitoring(object) => Some(object),
                _ => None,
            })
    }

    /// All PodMonitors and ServiceMonitors.
    pub fn operator_monitors(&self) -> impl Iterator<Item = &OperatorMonitor> {
        self.of_kind("monitoring.coreos.com", "PodMonitor")
            .chain(self.of_kind("monitoring.coreos.com", "ServiceMonitor"))
            .filter_map(|(_, entry)| match &entry.object {
                Object::OperatorMonitor(object) => Some(object),
                _ => None,
            })
    }

    /// The Services that may be in a namespace.
    pub fn services_in<'a>(&'a self, namespace: Option<&'a str>) -> impl Iterator<Item = &'a Service> + 'a {
        // An open namespace comes first in the order of keys, so two ranges hold what may be there.
        let range = |of: Option<&str>, namespace: Option<&'a str>| {
            let from = Key { kind: "Service".to_owned(), namespace: of.map(str::to_owned), ..Key::default() };
            self.objects.range(from..).take_while(move |(key, _)| {
                key.group.is_empty()
                    && key.kind == "Service"
                    && (namespace.is_none() || key.namespace.as_deref() == namespace)
            })
        };
        let open = range(None, None).take_while(move |(key, _)| namespace.is_none() || key.namespace.is_none());
        let named = namespace.into_iter().flat_map(move |namespace| range(Some(namespace), Some(namespace)));
        open.chain(named).filter_map(|(_, entry)| match &entry.object {
            Object::Service(object) => Some(object),
            _ => None,
        })
    }

    /// All Services.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.of_kind("", "Service").filter_map(|(_, entry)| match &entry.object {
            Object::Service(object) => Some(object),
            _ => None,
        })
    }

    /// All APIServices.
    pub fn api_services(&self) -> impl Iterator<Item = &ApiService> {
        self.of_kind("apiregistration.k8s.io", "APIService").filter_map(|(_, entry)| match &entry.object {
            Object::ApiService(object) => Some(object),
            _ => None,
        })
    }

    /// All Karpenter NodePools.
    pub fn karpenter_pools(&self) -> impl Iterator<Item = &KarpenterNodePool> {
        self.of_kind("karpenter.sh", "NodePool").filter_map(|(_, entry)| match &entry.object {
            Object::KarpenterNodePool(object) => Some(object),
            _ => None,
        })
    }

    /// All ComputeClasses.
    pub fn compute_classes(&self) -> impl Iterator<Item = &ComputeClass> {
        self.of_kind("cloud.google.com", "ComputeClass").filter_map(|(_, entry)| match &entry.object {
            Object::ComputeClass(object) => Some(object),
            _ => None,
        })
    }

    /// The shapes of all nodes, those of one shape once for each source, with their count.
    pub fn node_shapes(&self) -> impl Iterator<Item = &NodeShape> {
        self.shapes.iter().chain(self.nodes.shapes())
    }

    /// A node's shape by name (for `nodeName`); its count is that of all nodes alike.
    pub fn node(&self, name: &str) -> Option<&NodeShape> {
        self.nodes.get(name)
    }

    /// Whether nodes are in view of which only the shape is known (a snapshot's), so that none is found by its name.
    pub fn has_nameless_nodes(&self) -> bool {
        !self.shapes.is_empty()
    }

    /// Whether any node is in view.
    pub fn has_nodes(&self) -> bool {
        self.node_shapes().next().is_some()
    }

    /// What makes metric names, by the object that makes them.
    pub fn makers(&self) -> impl Iterator<Item = (&Key, &Makers)> {
        self.makers.iter()
    }

    /// Labels of a namespace; `kubernetes.io/metadata.name` is always among them.
    pub fn namespace_labels(&self, name: &str) -> BTreeMap<String, String> {
        let key = Key { kind: "Namespace".to_owned(), name: name.to_owned(), ..Key::default() };
        let mut labels = self.objects.get(&key).map(|entry| entry.object.metadata().labels.clone()).unwrap_or_default();
        labels.entry("kubernetes.io/metadata.name".to_owned()).or_insert_with(|| name.to_owned());
        labels
    }
}

/// Whether two namespaces may be the same: an unset one may be any.
pub fn may_be_same(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// Lets go of a workload's templates. What was derived from them stays, and holds no environment value and no argument.
fn forget_templates(object: &mut WorkloadObject) {
    object.template = PodTemplate::default();
    if let Some(lws) = &mut object.lws {
        lws.worker = PodTemplate::default();
    }
}

fn is_node(group: &str, kind: &str) -> bool {
    group.is_empty() && kind == "Node"
}

/// Keys in order, by a text that they share. Mostly one or two, for which a set would have a node with room for eleven: a
/// kilobyte each.
type Index = BTreeMap<String, Vec<Key>>;

fn put(index: &mut Index, name: &str, key: &Key) {
    let Some(keys) = index.get_mut(name) else {
        index.insert(name.to_owned(), vec![key.clone()]);
        return;
    };
    if let Err(place) = keys.binary_search(key) {
        if keys.len() < 4 {
            keys.reserve_exact(1);
        }
        keys.insert(place, key.clone());
    }
}

fn take(index: &mut Index, name: &str, key: &Key) {
    if let Some(keys) = index.get_mut(name) {
        if let Ok(place) = keys.binary_search(key) {
            keys.remove(place);
        }
        if keys.is_empty() {
            index.remove(name);
        }
    }
}

/// The UID of the owner that manages an object of a kind that we write.
fn managed_by(entry: &Entry) -> Option<&str> {
    let metadata = entry.object.metadata();
    metadata.written.and(metadata.controller()).map(|owner| owner.uid.as_str())
}

/// The name of what an autoscaler scales.
fn scaled_by(entry: &Entry) -> Option<&str> {
    match &entry.object {
        Object::Hpa(object) => Some(&object.spec.scale_target_ref.name),
        Object::ScaledObject(object) => Some(&object.spec.scale_target_ref.name),
        Object::MultidimPodAutoscaler(object) => Some(&object.spec.scale_target_ref.name),
        _ => None,
    }
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    if items.next().is_some() { None } else { Some(first) }
}

/// The workload's place in the view.
impl Workload {
    /// The workload's key.
    pub fn key(&self) -> Key {
        Key {
            group: self.kind.group().to_owned(),
            kind: self.kind.name().to_owned(),
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
