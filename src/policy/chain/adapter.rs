//! Who serves the metrics APIs.

use std::collections::BTreeSet;

use super::super::configuration::{BackendKind, Configuration};
use super::super::objects::ApiService;
use super::super::view::{ClusterView, MetricApi};
use super::MakerKind;

/// The adapter behind a metrics API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Adapter {
    /// Google's Custom Metrics Stackdriver Adapter.
    Stackdriver,
    /// prometheus-adapter.
    PrometheusAdapter,
    /// KEDA's metrics server (External metrics only).
    Keda,
    /// Datadog's cluster agent (External metrics only).
    Datadog,
    /// Another one, as `namespace/name` of its Service, or by the name of its product.
    Other(String),
    /// It cannot be told.
    Unknown,
}

/// Who serves `custom.metrics.k8s.io`: the adapter whose APIService is in view, else the one whose rules are in view, else
/// the one that belongs to the configured backend.
pub fn custom(view: &ClusterView, configuration: &Configuration) -> Adapter {
    let in_view = in_view(view, configuration, "custom.metrics.k8s.io", MakerKind::AdapterRule);
    in_view.unwrap_or_else(|| match configuration.backend.kind {
        BackendKind::Gmp => Adapter::Stackdriver,
        BackendKind::PrometheusOperator => Adapter::PrometheusAdapter,
        // KEDA serves External metrics only; who serves the others is not said.
        BackendKind::Keda => Adapter::Unknown,
        BackendKind::GkeManaged => gke_managed(),
    })
}

/// Who serves `external.metrics.k8s.io`, found as [`custom`] finds its adapter.
pub fn external(view: &ClusterView, configuration: &Configuration) -> Adapter {
    let in_view = in_view(view, configuration, "external.metrics.k8s.io", MakerKind::ExternalAdapterRule);
    in_view.unwrap_or_else(|| match configuration.backend.kind {
        BackendKind::Gmp => Adapter::Stackdriver,
        BackendKind::PrometheusOperator => Adapter::PrometheusAdapter,
        BackendKind::Keda => Adapter::Keda,
        BackendKind::GkeManaged => gke_managed(),
    })
}

/// A metrics API as its APIServices register it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Who serves it.
    pub adapter: Adapter,
    /// The version to ask, as the HPA controller prefers it.
    pub version: &'static str,
    /// Why the API server does not reach it, when it says so: the condition's reason.
    pub unavailable: Option<String>,
}

/// Versions of `custom.metrics.k8s.io` and `external.metrics.k8s.io` that the HPA controller knows, the preferred one first
/// (`k8s.io/metrics`, `custom_metrics` and `external_metrics`).
const CUSTOM_VERSIONS: &[&str] = &["v1beta2", "v1beta1"];
const EXTERNAL_VERSIONS: &[&str] = &["v1beta1"];

/// How a metrics API is registered. `None` when no APIService in view registers it in a version that is asked: a
/// configured adapter is no evidence that there is one.
pub fn served(view: &ClusterView, api: MetricApi) -> Option<Served> {
    let (group, versions) = match api {
        MetricApi::Custom => ("custom.metrics.k8s.io", CUSTOM_VERSIONS),
        MetricApi::External => ("external.metrics.k8s.io", EXTERNAL_VERSIONS),
    };
    let named = |version: &&'static str| {
        view.api_services()
            .find(|service| service.metadata.name == format!("{version}.{group}"))
            .map(|found| (*version, found))
    };
    let registered: Vec<(&'static str, &ApiService)> = versions.iter().filter_map(named).collect();
    let (version, service) =
        registered.iter().find(|(_, service)| unavailable(service).is_none()).or(registered.first())?;
    let adapter = |service: &ApiService| {
        let server = service.spec.service.as_ref();
        server.map_or(Adapter::Unknown, |server| of_service(&server.namespace, &server.name))
    };
    let adapters: BTreeSet<Adapter> = registered.iter().map(|(_, service)| adapter(service)).collect();
    let adapter = if adapters.len() == 1 { adapter(service) } else { Adapter::Unknown };
    Some(Served { adapter, version, unavailable: unavailable(service) })
}

/// The reason that an APIService gives for not being reached.
fn unavailable(service: &ApiService) -> Option<String> {
    let condition = service.status.conditions.iter().find(|condition| condition.kind == "Available")?;
    (condition.status == "False").then(|| condition.reason.clone())
}

fn gke_managed() -> Adapter {
    Adapter::Other("GKE managed metrics adapter".to_owned())
}

/// The adapter that objects in view tell. `None` when they tell nothing.
fn in_view(view: &ClusterView, configuration: &Configuration, group: &str, rules: MakerKind) -> Option<Adapter> {
    let adapters: BTreeSet<Adapter> = view
        .api_services()
        .filter(|service| {
            service.spec.group == group || service.metadata.name.split_once('.').is_some_and(|(_, rest)| rest == group)
        })
        .map(|service| {
            service
                .spec
                .service
                .as_ref()
                .map_or(Adapter::Unknown, |service| of_service(&service.namespace, &service.name))
        })
        .collect();
    match adapters.len() {
        0 => {}
        1 => return adapters.into_iter().next(),
        // Versions of one group at different servers: which one answers depends on priorities that are not in view.
        _ => return Some(Adapter::Unknown),
    }
    // Rules without an APIService count only where APIServices may be missing from the view, or where the administrator
    // named the adapter: its APIService may come after the autoscaler.
    let named = configuration.backend.adapter_config_map.is_some();
    let has_rules = (named || !view.is_closed("APIService"))
        && view.makers().any(|(_, makers)| {
            makers.made.iter().any(|made| made.by == rules)
                || makers.patterns.iter().any(|pattern| pattern.by == rules)
                || (rules == MakerKind::AdapterRule && makers.unreadable.is_some())
        });
    has_rules.then_some(Adapter::PrometheusAdapter)
}

/// Which adapter a Service belongs to. The names are those of the projects' own manifests and charts, with any release
/// name before them.
fn of_service(namespace: &str, name: &str) -> Adapter {
    if name.contains("stackdriver") {
        Adapter::Stackdriver
    } else if name.contains("prometheus-adapter") {
        Adapter::PrometheusAdapter
    } else if name.contains("keda") {
        Adapter::Keda
    } else if name.contains("datadog") {
        Adapter::Datadog
    } else {
        Adapter::Other(format!("{namespace}/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::configuration::Backend;
    use crate::policy::objects::Object;

    fn view(objects: &[serde_json::Value]) -> ClusterView {
        let mut view = ClusterView::default();
        for object in objects {
            let (of, object) = Object::from_value(object).unwrap();
            view.apply(&of, object);
        }
        view
    }

    fn api_service(version: &str, group: &str, namespace: &str, name: &str) -> serde_json::Value {
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": format!("{version}.{group}")},
            "spec": {"group": group, "version": version, "service": {"namespace": namespace, "name": name}}})
    }

    fn configuration(kind: BackendKind) -> Configuration {
        Configuration { backend: Backend { kind, ..Backend::default() }, ..Configuration::default() }
    }

    #[test]
    fn the_adapter_in_view_is_preferred_to_the_configured_one() {
        let table = [
            ("custom-metrics", "custom-metrics-stackdriver-adapter", Adapter::Stackdriver),
            ("monitoring", "prometheus-adapter", Adapter::PrometheusAdapter),
            ("monitoring", "my-release-prometheus-adapter", Adapter::PrometheusAdapter),
            ("keda", "keda-operator-metrics-apiserver", Adapter::Keda),
            ("datadog", "datadog-cluster-agent-metrics-api", Adapter::Datadog),
            ("x", "kube-metrics-adapter", Adapter::Other("x/kube-metrics-adapter".to_owned())),
        ];
        for (namespace, name, adapter) in table {
            let view = view(&[
                api_service("v1beta1", "custom.metrics.k8s.io", namespace, name),
                api_service("v1beta2", "custom.metrics.k8s.io", namespace, name),
                api_service("v1beta1", "external.metrics.k8s.io", namespace, name),
                api_service("v1beta1", "metrics.k8s.io", "kube-system", "metrics-server"),
            ]);
            assert_eq!(custom(&view, &configuration(BackendKind::GkeManaged)), adapter);
            assert_eq!(external(&view, &configuration(BackendKind::GkeManaged)), adapter);
        }
    }

    #[test]
    fn without_an_adapter_in_view_the_backend_decides() {
        let view = view(&[api_service("v1beta1", "metrics.k8s.io", "kube-system", "metrics-server")]);
        let table = [
            (BackendKind::Gmp, Adapter::Stackdriver, Adapter::Stackdriver),
            (BackendKind::PrometheusOperator, Adapter::PrometheusAdapter, Adapter::PrometheusAdapter),
            (BackendKind::Keda, Adapter::Unknown, Adapter::Keda),
            (BackendKind::GkeManaged, gke_managed(), gke_managed()),
        ];
        for (kind, of_custom, of_external) in table {
            assert_eq!(custom(&view, &configuration(kind)), of_custom);
            assert_eq!(external(&view, &configuration(kind)), of_external);
        }
    }

    #[test]
    fn an_adapter_configuration_alone_tells_the_adapter_unless_api_services_are_all_in_view() {
        let rules = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"},
            "data": {"config.yaml": "rules:\n- seriesQuery: x\n  name: {as: y}\n  metricsQuery: x\n"}});
        let mut view = view(&[rules]);
        assert_eq!(custom(&view, &configuration(BackendKind::Gmp)), Adapter::PrometheusAdapter);
        assert_eq!(external(&view, &configuration(BackendKind::Gmp)), Adapter::Stackdriver);
        view.closed.insert("APIService".to_owned());
        assert_eq!(custom(&view, &configuration(BackendKind::Gmp)), Adapter::Stackdriver);
        let mut named = configuration(BackendKind::Gmp);
        named.backend.adapter_config_map = Some("monitoring/a".to_owned());
        assert_eq!(custom(&view, &named), Adapter::PrometheusAdapter, "its APIService may come later");
    }

    #[test]
    fn the_newest_version_that_is_reached_is_asked() {
        let service = |version: &str, available: &str| {
            let mut service = api_service(version, "custom.metrics.k8s.io", "monitoring", "prometheus-adapter");
            service["status"] =
                json!({ "conditions": [{ "type": "Available", "status": available, "reason": "Why" }] });
            service
        };
        let asked = |objects: &[serde_json::Value]| {
            served(&view(objects), MetricApi::Custom).map(|served| (served.version, served.unavailable))
        };
        let why = || Some("Why".to_owned());
        assert_eq!(asked(&[service("v1beta1", "True"), service("v1beta2", "True")]), Some(("v1beta2", None)));
        assert_eq!(asked(&[service("v1beta1", "True"), service("v1beta2", "False")]), Some(("v1beta1", None)));
        assert_eq!(asked(&[service("v1beta1", "False"), service("v1beta2", "False")]), Some(("v1beta2", why())));
        assert_eq!(asked(&[service("v1", "True")]), None);
        assert_eq!(served(&view(&[service("v1beta1", "True")]), MetricApi::External), None);
    }

    #[test]
    fn versions_of_one_group_at_different_servers_tell_nothing() {
        let view = view(&[
            api_service("v1beta1", "custom.metrics.k8s.io", "monitoring", "prometheus-adapter"),
            api_service("v1beta2", "custom.metrics.k8s.io", "custom-metrics", "custom-metrics-stackdriver-adapter"),
        ]);
        assert_eq!(custom(&view, &configuration(BackendKind::Gmp)), Adapter::Unknown);
    }
}
