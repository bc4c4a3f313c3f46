//! Accelerator metrics that GKE itself writes to Cloud Monitoring, named as an External metric names them.
//!
//! Source: Google's list of Kubernetes metrics (`docs.cloud.google.com/monitoring/api/metrics_kubernetes`).

use super::{Exporter, Metric, MetricKind, Unit};

use Unit::{Other, Percent};

/// The metrics.
pub(super) static METRICS: [Metric; 11] = [
    metric("kubernetes.io|container|accelerator|duty_cycle", Percent, false),
    metric("kubernetes.io|container|accelerator|memory_used", Other, true),
    metric("kubernetes.io|container|accelerator|memory_total", Other, false),
    metric("kubernetes.io|container|accelerator|request", Other, false),
    metric("kubernetes.io|container|accelerator|memory_bandwidth_utilization", Percent, false),
    metric("kubernetes.io|container|accelerator|tensorcore_utilization", Percent, false),
    metric("kubernetes.io|node|accelerator|duty_cycle", Percent, false),
    metric("kubernetes.io|node|accelerator|memory_used", Other, true),
    metric("kubernetes.io|node|accelerator|memory_total", Other, false),
    metric("kubernetes.io|node|accelerator|memory_bandwidth_utilization", Percent, false),
    metric("kubernetes.io|node|accelerator|tensorcore_utilization", Percent, false),
];

const fn metric(name: &'static str, unit: Unit, up_only: bool) -> Metric {
    Metric { name, exporter: Exporter::GkeSystem, kind: MetricKind::Gauge, unit, up_only, successors: &[] }
}
