//! The kinds that are watched: those that a rule reads.

/// One kind.
#[derive(Debug, PartialEq, Eq)]
// `kind` is what Kubernetes calls it.
#[allow(clippy::struct_field_names)]
pub(super) struct Kind {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Kind; no two of the table share a name.
    pub kind: &'static str,
    /// The resource, as it stands in a path.
    pub plural: &'static str,
    /// Versions that the types of [`crate::policy::objects`] are written for, the preferred one first. Where the API server
    /// serves none of them, its own preferred version is read.
    pub versions: &'static [&'static str],
    /// Nothing can be judged without it: an account that may not read it is never ready.
    pub core: bool,
    /// No rule reads more than its metadata, so no more is asked for.
    pub metadata_only: bool,
}

/// The adapter's ConfigMap, the only ConfigMap that is watched. It is watched by name, so its kind is never closed.
pub(super) const CONFIG_MAP: Kind = Kind::of("", "ConfigMap", "configmaps", &["v1"]);

/// All kinds but [`CONFIG_MAP`].
pub(super) static KINDS: &[Kind] = &[
    Kind::of("", "Namespace", "namespaces", &["v1"]).core(),
    Kind::of("apps", "Deployment", "deployments", &["v1"]).core(),
    Kind::of("apps", "StatefulSet", "statefulsets", &["v1"]).core(),
    Kind::of("leaderworkerset.x-k8s.io", "LeaderWorkerSet", "leaderworkersets", &["v1"]).core(),
    Kind::of("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers", &["v2"]).core(),
    Kind::of("", "Node", "nodes", &["v1"]),
    Kind::of("", "Service", "services", &["v1"]),
    Kind::of("", "ResourceQuota", "resourcequotas", &["v1"]),
    Kind::of("apiregistration.k8s.io", "APIService", "apiservices", &["v1"]),
    Kind::of("keda.sh", "ScaledObject", "scaledobjects", &["v1alpha1"]),
    Kind::of("autoscaling.gke.io", "MultidimPodAutoscaler", "multidimpodautoscalers", &["v1beta1"]),
    Kind::of("autoscaling.gke.io", "AutoscalingMetric", "autoscalingmetrics", &["v1beta1"]),
    Kind::of("monitoring.googleapis.com", "PodMonitoring", "podmonitorings", &["v1"]),
    Kind::of("monitoring.googleapis.com", "ClusterPodMonitoring", "clusterpodmonitorings", &["v1"]),
    Kind::of("monitoring.googleapis.com", "Rules", "rules", &["v1"]),
    Kind::of("monitoring.googleapis.com", "ClusterRules", "clusterrules", &["v1"]),
    Kind::of("monitoring.googleapis.com", "GlobalRules", "globalrules", &["v1"]),
    Kind::of("monitoring.coreos.com", "PodMonitor", "podmonitors", &["v1"]),
    Kind::of("monitoring.coreos.com", "ServiceMonitor", "servicemonitors", &["v1"]),
    Kind::of("monitoring.coreos.com", "PrometheusRule", "prometheusrules", &["v1"]),
    Kind::of("karpenter.sh", "NodePool", "nodepools", &["v1", "v1beta1"]),
    Kind::of("cloud.google.com", "ComputeClass", "computeclasses", &["v1"]),
    Kind::of("resource.k8s.io", "DeviceClass", "deviceclasses", &["v1", "v1beta2", "v1beta1"]).metadata_only(),
    Kind::of("resource.k8s.io", "ResourceSlice", "resourceslices", &["v1", "v1beta2", "v1beta1"]).metadata_only(),
];

// === impl Kind ===

impl Kind {
    const fn of(
        group: &'static str,
        kind: &'static str,
        plural: &'static str,
        versions: &'static [&'static str],
    ) -> Self {
        Self { group, kind, plural, versions, core: false, metadata_only: false }
    }

    const fn core(self) -> Self {
        Self { core: true, ..self }
    }

    const fn metadata_only(self) -> Self {
        Self { metadata_only: true, ..self }
    }

    /// `apiVersion` of its objects in a version.
    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// The path of a group and version.
    pub fn root(&self, version: &str) -> String {
        if self.group.is_empty() { format!("/api/{version}") } else { format!("/apis/{}/{version}", self.group) }
    }

    /// The path of all of its objects, in every namespace.
    pub fn path(&self, version: &str) -> String {
        format!("{}/{}", self.root(version), self.plural)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_kinds_share_a_name_and_each_has_a_version() {
        let names: BTreeSet<&str> = KINDS.iter().map(|kind| kind.kind).collect();
        assert_eq!(names.len(), KINDS.len());
        assert!(KINDS.iter().all(|kind| !kind.versions.is_empty()));
    }

    #[test]
    fn a_path_has_the_form_of_its_group() {
        assert_eq!(CONFIG_MAP.path("v1"), "/api/v1/configmaps");
        assert_eq!(KINDS[1].path("v1"), "/apis/apps/v1/deployments");
        assert_eq!(KINDS[1].api_version("v1"), "apps/v1");
    }
}
