//! What a signal is called: as the server exports it, and as each backend's adapter serves it.

use crate::policy::configuration::{BackendKind, Signal};
use crate::policy::engine::Version;

use super::serving::Serving;

/// The first vLLM release that exports `kv_cache_usage_perc`; before it, `gpu_cache_usage_perc` is the same gauge.
const KV_RENAMED: Version = Version::new(0, 9, 2);
/// The GPU utilisation per pod that our recording rule makes. Lower case, because adapters lower-case External names.
pub(super) const GPU_SERIES: &str = "dcgm_fi_dev_gpu_util";

/// The series of a signal, as Prometheus stores it. Unknown releases are taken as current ones.
pub fn series_name(signal: Signal, version: Option<Version>) -> &'static str {
    match signal {
        Signal::RequestsRunning => "vllm:num_requests_running",
        Signal::RequestsWaiting => "vllm:num_requests_waiting",
        Signal::KvCacheUsage if version.is_some_and(|version| version < KV_RENAMED) => "vllm:gpu_cache_usage_perc",
        Signal::KvCacheUsage => "vllm:kv_cache_usage_perc",
        Signal::GpuUtilization => GPU_SERIES,
    }
}

/// The metric's name in an HPA. On `gmp` the type at export is part of it, and all of these are gauges; on
/// `prometheus-operator` it is what [`super::adapter_rule`] makes; elsewhere, where nothing is generated, the series' name.
pub fn metric_name(signal: Signal, backend: BackendKind, version: Option<Version>) -> String {
    spelled(series_name(signal, version), backend)
}

/// The name for one server: vLLM's first engine generation never had the new name of the KV gauge.
pub(super) fn name_for(signal: Signal, backend: BackendKind, serving: &Serving) -> String {
    spelled(series_for(signal, serving), backend)
}

/// The series of one server.
pub(super) fn series_for(signal: Signal, serving: &Serving) -> &'static str {
    if signal == Signal::KvCacheUsage && serving.use_v1 == Some(false) {
        return "vllm:gpu_cache_usage_perc";
    }
    series_name(signal, serving.version)
}

pub(super) fn spelled(series: &str, backend: BackendKind) -> String {
    match backend {
        BackendKind::Gmp => format!("prometheus.googleapis.com|{series}|gauge"),
        BackendKind::PrometheusOperator => series.replace(':', "_"),
        BackendKind::Keda | BackendKind::GkeManaged => series.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_backend_has_its_own_spelling() {
        for (signal, backend, expected) in [
            (Signal::RequestsRunning, BackendKind::Gmp, "prometheus.googleapis.com|vllm:num_requests_running|gauge"),
            (Signal::GpuUtilization, BackendKind::Gmp, "prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge"),
            (Signal::RequestsWaiting, BackendKind::PrometheusOperator, "vllm_num_requests_waiting"),
            (Signal::GpuUtilization, BackendKind::PrometheusOperator, "dcgm_fi_dev_gpu_util"),
            (Signal::KvCacheUsage, BackendKind::Keda, "vllm:kv_cache_usage_perc"),
        ] {
            assert_eq!(metric_name(signal, backend, None), expected);
        }
    }

    #[test]
    fn the_kv_gauge_has_the_name_that_the_release_gives_it() {
        for (version, expected) in [
            (Some(Version::new(0, 9, 1)), "vllm:gpu_cache_usage_perc"),
            (Some(Version::new(0, 9, 2)), "vllm:kv_cache_usage_perc"),
            (Some(Version::new(0, 11, 0)), "vllm:kv_cache_usage_perc"),
            (None, "vllm:kv_cache_usage_perc"),
        ] {
            assert_eq!(series_name(Signal::KvCacheUsage, version), expected);
        }
    }
}
