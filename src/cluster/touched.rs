//! Which workloads may need another look after a change of the view.

use std::collections::BTreeSet;

use crate::policy::objects::{Key, Object};
use crate::policy::view::{ClusterView, Entry};

/// Workloads by namespace and name, whatever their kind: two of one name share what is generated for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Every workload.
    pub all: bool,
    /// Every workload of these namespaces.
    pub namespaces: BTreeSet<String>,
    /// These workloads: namespace and name.
    pub names: BTreeSet<(String, String)>,
}

// === impl Touched ===

impl Touched {
    /// Every workload.
    pub fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Whether nothing is to be looked at.
    pub fn is_empty(&self) -> bool {
        !self.all && self.namespaces.is_empty() && self.names.is_empty()
    }

    /// Adds what another one has.
    pub(super) fn add(&mut self, other: Self) {
        self.all |= other.all;
        self.namespaces.extend(other.namespaces);
        self.names.extend(other.names);
    }

    /// Adds what an object of that key touches, as it stands in the view. To be asked before and after a change of it.
    pub(super) fn by(&mut self, key: &Key, view: &ClusterView) {
        match view.get(key) {
            Some(entry) => self.by_entry(key, entry),
            None => self.by_key(key),
        }
    }

    /// Of an object that is not in the view only its key tells.
    fn by_key(&mut self, key: &Key) {
        match key.kind.as_str() {
            "Node" | "ClusterPodMonitoring" => self.all = true,
            "PodMonitoring" | "PodMonitor" | "ServiceMonitor" => {}
            _ => self.name(key.namespace.as_deref(), &key.name),
        }
    }

    fn by_entry(&mut self, key: &Key, entry: &Entry) {
        let namespace = key.namespace.as_deref();
        if let Some(owner) = entry.object.metadata().controller() {
            self.name(namespace, &owner.name);
        }
        match &entry.object {
            Object::Workload(_) => self.name(namespace, &key.name),
            // By its own name too, since what we write there is named like the workload.
            Object::Hpa(hpa) => {
                self.name(namespace, &hpa.spec.scale_target_ref.name);
                self.name(namespace, &key.name);
            }
            Object::ScaledObject(object) => self.name(namespace, &object.spec.scale_target_ref.name),
            Object::MultidimPodAutoscaler(object) => self.name(namespace, &object.spec.scale_target_ref.name),
            Object::PodMonitoring(object) if !object.cluster => self.namespace(namespace),
            Object::OperatorMonitor(object) if !object.spec.namespace_selector.reaches_others() => {
                self.namespace(namespace);
            }
            Object::Namespace(_) => self.namespace(Some(&key.name)),
            // No rule of admission reads it.
            Object::Service(_) => {}
            _ => self.all = true,
        }
    }

    fn name(&mut self, namespace: Option<&str>, name: &str) {
        if let Some(namespace) = namespace {
            self.names.insert((namespace.to_owned(), name.to_owned()));
        }
    }

    fn namespace(&mut self, namespace: Option<&str>) {
        if let Some(namespace) = namespace {
            self.namespaces.insert(namespace.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn touched(value: &Value) -> Touched {
        let (of, object) = Object::from_value(value).unwrap();
        let key = object.key(&of);
        let mut view = ClusterView::default();
        let mut touched = Touched::default();
        view.apply(&of, object);
        touched.by(&key, &view);
        touched
    }

    fn names(of: &[&str]) -> BTreeSet<(String, String)> {
        of.iter().map(|name| ("ml".to_owned(), (*name).to_owned())).collect()
    }

    #[test]
    fn an_autoscaler_touches_what_it_scales_what_owns_it_and_what_has_its_name() {
        let hpa = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": "a", "namespace": "ml",
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "c", "uid": "1",
                    "controller": true }] },
            "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "b" } } });
        assert_eq!(touched(&hpa), Touched { names: names(&["a", "b", "c"]), ..Touched::default() });
    }

    #[test]
    fn what_scrapes_touches_the_namespaces_that_it_reaches() {
        let pod_monitoring = json!({ "apiVersion": "monitoring.googleapis.com/v1", "kind": "PodMonitoring",
            "metadata": { "name": "a", "namespace": "ml" }, "spec": {} });
        let namespaces = BTreeSet::from(["ml".to_owned()]);
        assert_eq!(touched(&pod_monitoring), Touched { namespaces, ..Touched::default() });
        let far = json!({ "apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
            "metadata": { "name": "a", "namespace": "ml" }, "spec": { "namespaceSelector": { "any": true } } });
        assert!(touched(&far).all);
        let cluster = json!({ "apiVersion": "monitoring.googleapis.com/v1", "kind": "ClusterPodMonitoring",
            "metadata": { "name": "a" }, "spec": {} });
        assert!(touched(&cluster).all);
    }

    #[test]
    fn a_service_touches_nothing_and_a_quota_everything() {
        let of =
            |kind: &str| json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": "a", "namespace": "ml" } });
        assert!(touched(&of("Service")).is_empty());
        assert!(touched(&of("ResourceQuota")).all);
    }
}
