//! Whether a scrape object covers the pods of a workload on the port that serves its metrics: PodMonitoring and
//! ClusterPodMonitoring of Google Managed Prometheus, PodMonitor and ServiceMonitor of the Prometheus Operator.

use super::super::objects::{
    Endpoint, IntOrString, Object, OperatorMonitor, PodMonitoring, RelabelRule, Service, ServicePort,
};
use super::super::view::{ClusterView, Entry, may_be_same};
use super::super::workload::Workload;
use super::pattern;

/// The series that autoscalers of inference servers use. An object that leaves all of them out does not cover the server.
pub const SCALED_ON: [&str; 4] =
    ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"];

/// The path that is scraped where an endpoint names none.
const DEFAULT_PATH: &str = "/metrics";

/// Most rules on series of one endpoint that are followed, for each compiles an expression, which tenants write. Published
/// endpoints have a handful.
const MAX_RULES: usize = 50;

/// Whether something is scraped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coverage {
    /// No.
    No,
    /// It is meant to be, but relabelling, an open namespace or a port that the pods do not declare may prevent it.
    Perhaps,
    /// Yes.
    Certain,
}

/// Whether a scrape object covers the pods of a workload on a port and path, for any series that autoscalers use, as far as
/// can be told. An object that is being deleted covers nothing, and nor does any other kind of object.
pub fn covers(object: &Object, workload: &Workload, port: u16, path: &str, view: &ClusterView) -> bool {
    SCALED_ON.iter().any(|series| coverage(object, workload, port, path, series, view) > Coverage::No)
}

/// Whether a scrape object collects one series of the pods of a workload, from a port and path.
pub fn coverage(
    object: &Object,
    workload: &Workload,
    port: u16,
    path: &str,
    series: &str,
    view: &ClusterView,
) -> Coverage {
    if object.metadata().deletion_timestamp.is_some() {
        return Coverage::No;
    }
    let place = Place { workload, port, path, series };
    match object {
        Object::PodMonitoring(monitoring) => place.by_pod_monitoring(monitoring),
        Object::OperatorMonitor(monitor) if monitor.service => best(
            services(monitor, workload, view).map(|(service, reach)| reach.min(place.by_service(monitor, service))),
        ),
        Object::OperatorMonitor(monitor) => place.by_pod_monitor(monitor),
        _ => Coverage::No,
    }
}

/// The Services through which a ServiceMonitor certainly collects one series of the pods of a workload. Each makes a target of
/// its own, so that two of them count a pod twice.
pub fn services_between<'a>(
    monitor: &'a OperatorMonitor,
    workload: &'a Workload,
    port: u16,
    path: &'a str,
    series: &'a str,
    view: &'a ClusterView,
) -> impl Iterator<Item = &'a Service> + 'a {
    let place = Place { workload, port, path, series };
    services(monitor, workload, view)
        .filter(move |(service, reach)| {
            monitor.service && reach.min(&place.by_service(monitor, service)) == &Coverage::Certain
        })
        .map(|(service, _)| service)
}

/// The scrape objects in view that may look at pods of a namespace (`None` may be any). A PodMonitoring scrapes its own, so that
/// those of other namespaces, of which a large cluster has thousands, are not gone through.
pub fn objects<'a>(view: &'a ClusterView, namespace: Option<&'a str>) -> impl Iterator<Item = &'a Entry> + 'a {
    const ELSEWHERE_TOO: [(&str, &str); 3] = [
        ("monitoring.googleapis.com", "ClusterPodMonitoring"),
        ("monitoring.coreos.com", "PodMonitor"),
        ("monitoring.coreos.com", "ServiceMonitor"),
    ];
    let (group, kind) = ("monitoring.googleapis.com", "PodMonitoring");
    // An open namespace comes first in the order of keys.
    let open = view.of_kind(group, kind).take_while(move |(key, _)| namespace.is_some() && key.namespace.is_none());
    let own = view.of_namespace(group, kind, namespace);
    let all = ELSEWHERE_TOO.into_iter().flat_map(|(group, kind)| view.of_kind(group, kind));
    open.chain(own).chain(all).map(|(_, entry)| entry)
}

/// The port that an endpoint of a PodMonitor scrapes, when it is a number: `portNumber`, or the one in the address that its
/// relabelling writes.
pub fn number(endpoint: &Endpoint) -> Option<i64> {
    endpoint.port_number.or_else(|| addresses(&endpoint.relabelings).find_map(|port| port.parse().ok()))
}

/// The ports in the addresses that relabelling writes.
fn addresses(relabelings: &[RelabelRule]) -> impl Iterator<Item = &str> {
    relabelings
        .iter()
        .filter(|rule| rule.target_label.as_deref() == Some("__address__"))
        .filter_map(|rule| Some(rule.replacement.as_deref()?.rsplit_once(':')?.1))
}

/// What is to be scraped.
#[derive(Clone, Copy)]
struct Place<'a> {
    workload: &'a Workload,
    port: u16,
    path: &'a str,
    series: &'a str,
}

// === impl Place ===

impl Place<'_> {
    fn by_pod_monitoring(&self, monitoring: &PodMonitoring) -> Coverage {
        let reach = if monitoring.cluster {
            Coverage::Certain
        } else {
            same(monitoring.metadata.namespace.as_deref(), self.workload.metadata.namespace.as_deref())
        };
        if !monitoring.spec.selector.matches(&self.workload.pod_labels) {
            return Coverage::No;
        }
        // Without its pod label a series is nobody's: the adapter adds up by it.
        let attributed = match &monitoring.spec.target_labels.metadata {
            Some(labels) if !labels.iter().any(|label| label == "pod") => Coverage::Perhaps,
            _ => Coverage::Certain,
        };
        let endpoints = monitoring.spec.endpoints.iter().map(|endpoint| {
            let port = endpoint.port.as_ref().map_or(Coverage::No, |port| self.is(port, Coverage::Certain));
            and(port.min(self.path_of(endpoint)), || kept(&endpoint.metric_relabeling, self.series))
        });
        reach.min(attributed).min(best(endpoints))
    }

    fn by_pod_monitor(&self, monitor: &OperatorMonitor) -> Coverage {
        if !monitor.spec.selector.matches(&self.workload.pod_labels) {
            return Coverage::No;
        }
        let reach = reach(monitor, self.workload.metadata.namespace.as_deref());
        let endpoints = monitor.spec.pod_metrics_endpoints.iter().map(|endpoint| self.by_pod_endpoint(endpoint));
        reach.min(best(endpoints))
    }

    /// By the order in which the operator looks at the fields (`generatePodMonitorConfig` of prometheus-operator v0.85.0:
    /// `port`, `portNumber`, `targetPort`). Each becomes a rule that keeps targets whose pods declare the port.
    fn by_pod_endpoint(&self, endpoint: &Endpoint) -> Coverage {
        let number = endpoint.port_number.filter(|number| *number != 0).map(IntOrString::Int);
        let port = match named(endpoint.port.as_ref()).or(number.as_ref()).or(endpoint.target_port.as_ref()) {
            Some(port) => self.is(port, Coverage::Perhaps),
            None => self.every_port(&endpoint.relabelings),
        };
        and(port, || self.of_operator(endpoint))
    }

    fn by_service(&self, monitor: &OperatorMonitor, service: &Service) -> Coverage {
        let endpoints = monitor.spec.endpoints.iter().map(|endpoint| {
            let port = match (named(endpoint.port.as_ref()), &endpoint.target_port) {
                (Some(name), _) => self.through(service, Some(&name.to_string())),
                // Ports that the pods declare are targets too, behind whichever Service.
                (None, Some(port)) => self.is(port, Coverage::Perhaps).max(self.through_number(service, port)),
                (None, None) => self.through(service, None),
            };
            and(port, || self.of_operator(endpoint))
        });
        best(endpoints)
    }

    /// Whether a Service's port of that name, or any, leads to the port.
    fn through(&self, service: &Service, name: Option<&str>) -> Coverage {
        let ports = service.spec.ports.iter().filter(|port| name.is_none_or(|name| port.name.as_deref() == Some(name)));
        best(ports.map(|port| self.behind(port)))
    }

    /// Whether a Service leads to the pods' port of that number.
    fn through_number(&self, service: &Service, port: &IntOrString) -> Coverage {
        match port {
            IntOrString::Int(number) if *number == i64::from(self.port) => {
                self.through(service, None).min(Coverage::Perhaps)
            }
            _ => Coverage::No,
        }
    }

    fn behind(&self, port: &ServicePort) -> Coverage {
        match (&port.target_port, port.port) {
            (Some(target), _) => self.is(target, Coverage::Certain),
            (None, Some(number)) if number == i64::from(self.port) => Coverage::Certain,
            _ => Coverage::No,
        }
    }

    /// Whether a port of the pods, by number or by the name that the server's container declares, is the one. `undeclared` is
    /// the answer for a number that the container does not declare.
    fn is(&self, port: &IntOrString, undeclared: Coverage) -> Coverage {
        match port {
            IntOrString::Int(number) if *number != i64::from(self.port) => Coverage::No,
            IntOrString::Int(_) if self.declares(None) => Coverage::Certain,
            IntOrString::Int(_) => undeclared,
            IntOrString::String(name) if self.declares(Some(name)) => Coverage::Certain,
            IntOrString::String(_) => Coverage::No,
        }
    }

    fn declares(&self, name: Option<&str>) -> bool {
        let declared = self.workload.server().into_iter().flat_map(|server| &server.declared_ports);
        declared
            .filter(|port| port.number == self.port)
            .any(|port| name.is_none_or(|name| port.name.as_deref() == Some(name)))
    }

    /// An endpoint that names no port takes every declared one, or the address that relabelling writes.
    fn every_port(&self, relabelings: &[RelabelRule]) -> Coverage {
        let mut addresses = addresses(relabelings).peekable();
        if addresses.peek().is_none() {
            return if self.declares(None) { Coverage::Certain } else { Coverage::No };
        }
        let number = self.port.to_string();
        if addresses.any(|port| port == number) { Coverage::Perhaps } else { Coverage::No }
    }

    fn of_operator(&self, endpoint: &Endpoint) -> Coverage {
        and(self.path_of(endpoint), || {
            targeted(&endpoint.relabelings).min(kept(&endpoint.metric_relabelings, self.series))
        })
    }

    fn path_of(&self, endpoint: &Endpoint) -> Coverage {
        let path = endpoint.path.as_deref().filter(|path| !path.is_empty()).unwrap_or(DEFAULT_PATH);
        let same = path.trim_start_matches('/') == self.path.trim_start_matches('/');
        if same { Coverage::Certain } else { Coverage::No }
    }
}

fn best(all: impl Iterator<Item = Coverage>) -> Coverage {
    all.max().unwrap_or(Coverage::No)
}

/// The lesser of the two. The second costs more, and is asked only where it counts.
fn and(first: Coverage, second: impl FnOnce() -> Coverage) -> Coverage {
    if first == Coverage::No { first } else { first.min(second()) }
}

/// A port by name; an empty one is none.
fn named(port: Option<&IntOrString>) -> Option<&IntOrString> {
    port.filter(|port| !matches!(port, IntOrString::String(name) if name.is_empty()))
}

/// Whether two namespaces are the same. Of a folder whose objects leave it open, all go to one.
fn same(one: Option<&str>, other: Option<&str>) -> Coverage {
    match (one.is_some() == other.is_some(), may_be_same(one, other)) {
        (_, false) => Coverage::No,
        (true, true) => Coverage::Certain,
        (false, true) => Coverage::Perhaps,
    }
}

/// Whether a monitor looks at a namespace.
fn reach(monitor: &OperatorMonitor, namespace: Option<&str>) -> Coverage {
    let selector = &monitor.spec.namespace_selector;
    if selector.any {
        return Coverage::Certain;
    }
    if selector.match_names.is_empty() {
        return same(monitor.metadata.namespace.as_deref(), namespace);
    }
    match namespace {
        None => Coverage::Perhaps,
        Some(namespace) if selector.match_names.iter().any(|name| name == namespace) => Coverage::Certain,
        Some(_) => Coverage::No,
    }
}

/// The Services that a ServiceMonitor selects and that lead to the workload's pods.
fn services<'a>(
    monitor: &'a OperatorMonitor,
    workload: &'a Workload,
    view: &'a ClusterView,
) -> impl Iterator<Item = (&'a Service, Coverage)> + 'a {
    let namespace = workload.metadata.namespace.as_deref();
    view.services_in(namespace).filter_map(move |service| {
        let own = service.metadata.namespace.as_deref();
        let selector = &service.spec.selector;
        let leads = !selector.is_empty()
            && selector.iter().all(|(key, value)| workload.pod_labels.get(key) == Some(value))
            && service.metadata.deletion_timestamp.is_none();
        if !leads || !monitor.spec.selector.matches(&service.metadata.labels) {
            return None;
        }
        let reach = reach(monitor, own).min(same(own, namespace));
        (reach > Coverage::No).then_some((service, reach))
    })
}

/// Whether rules on targets leave them: what they look at is known to Prometheus alone.
fn targeted(rules: &[RelabelRule]) -> Coverage {
    let selects = |rule: &RelabelRule| {
        !matches!(action(rule).as_str(), "replace" | "lowercase" | "uppercase" | "labelmap" | "labeldrop" | "labelkeep")
            || rule.target_label.as_deref().is_some_and(|label| label.starts_with("__"))
    };
    if rules.iter().any(selects) { Coverage::Perhaps } else { Coverage::Certain }
}

/// Whether rules on series leave one under its name.
fn kept(rules: &[RelabelRule], series: &str) -> Coverage {
    if rules.len() > MAX_RULES {
        return Coverage::Perhaps;
    }
    let mut kept = Coverage::Certain;
    for rule in rules {
        let by_name = matches!(rule.source_labels.as_slice(), [label] if label == "__name__");
        let matched =
            || pattern::compile_anchored(rule.regex.as_deref().unwrap_or("(.*)")).map(|regex| regex.is_match(series));
        let of_this = match action(rule).as_str() {
            "keep" | "drop" if !by_name => Coverage::Perhaps,
            keep @ ("keep" | "drop") => match matched() {
                None => Coverage::Perhaps,
                Some(matched) if matched == (keep == "keep") => Coverage::Certain,
                Some(_) => Coverage::No,
            },
            "keepequal" | "dropequal" => Coverage::Perhaps,
            "labeldrop" | "labelkeep" | "labelmap" => Coverage::Certain,
            _ if rule.target_label.as_deref() != Some("__name__") => Coverage::Certain,
            _ if by_name && matched() == Some(false) => Coverage::Certain,
            // Renamed: the autoscaler may go by the new name.
            _ => Coverage::Perhaps,
        };
        kept = kept.min(of_this);
    }
    kept
}

/// What a rule does; Prometheus takes any case.
fn action(rule: &RelabelRule) -> String {
    rule.action.as_deref().filter(|action| !action.is_empty()).unwrap_or("replace").to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
