//! What is known of a series by its name alone.

use super::super::engine::{self, Exporter, MetricKind};

/// Series that are catalogued, with their types. System metrics of GKE are not among them: they are no series, and no
/// query and no relabelling meets them.
pub(super) fn catalogued() -> impl Iterator<Item = (&'static str, MetricKind)> {
    engine::metrics().filter(|metric| metric.exporter != Exporter::GkeSystem).map(|metric| (metric.name, metric.kind))
}

/// What a series is: as catalogued, or a histogram's own series, or a counter by Prometheus' convention on names. `None`
/// when its name does not tell.
pub(super) fn kind(name: &str) -> Option<MetricKind> {
    if let Some((_, kind)) = catalogued().find(|(catalogued, _)| *catalogued == name) {
        return Some(kind);
    }
    let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|suffix| {
        name.strip_suffix(suffix)
            .is_some_and(|base| catalogued().any(|(name, kind)| name == base && kind == MetricKind::Histogram))
    });
    (of_histogram || name.ends_with("_total") || name.ends_with("_bucket")).then_some(MetricKind::Counter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_type_as_far_as_it_can() {
        let table = [
            ("vllm:num_requests_running", Some(MetricKind::Gauge)),
            ("vllm:prompt_tokens_total", Some(MetricKind::Counter)),
            ("vllm:iteration_tokens_total", Some(MetricKind::Histogram)),
            ("vllm:iteration_tokens_total_sum", Some(MetricKind::Counter)),
            ("vllm:time_to_first_token_seconds", Some(MetricKind::Histogram)),
            ("vllm:time_to_first_token_seconds_bucket", Some(MetricKind::Counter)),
            ("http_requests_total", Some(MetricKind::Counter)),
            ("x_bucket", Some(MetricKind::Counter)),
            ("node_gpu_count", None),
            ("queue_depth", None),
            ("", None),
        ];
        for (name, expected) in table {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
