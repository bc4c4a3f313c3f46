//! How an HPA writes a metric's name on each backend.

use super::super::engine::MetricKind;

/// The form of a written metric name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// `prometheus.googleapis.com|NAME|SUFFIX`: Google Managed Prometheus, through the Stackdriver adapter.
    Gmp,
    /// `prometheus.googleapis.com|NAME`: no such metric, the suffix is missing.
    GmpWithoutSuffix,
    /// `autoscaling.gke.io|OBJECT|METRIC`: GKE's managed adapter.
    GkeManaged {
        /// The AutoscalingMetric; empty when the name leaves it out.
        object: String,
    },
    /// `kubernetes.io|...`: a system metric of GKE. The name keeps its prefix, for the catalogue has it so.
    GkeSystem,
    /// Any other Cloud Monitoring type: `custom.googleapis.com|...`, `external.googleapis.com|...`.
    GoogleApis,
    /// `s0-prometheus`: a trigger of a ScaledObject, in KEDA's own HPA.
    Keda,
    /// `datadogmetric@NAMESPACE:NAME`: a DatadogMetric.
    Datadog,
    /// No decoration: what prometheus-adapter serves.
    Plain,
}

/// A metric name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelling<'a> {
    /// Form.
    pub form: Form,
    /// The metric without decoration.
    pub name: &'a str,
    /// The type that Google Managed Prometheus appends, as in `gauge` or `unknown:counter`.
    pub suffix: Option<&'a str>,
}

const GMP: &str = "prometheus.googleapis.com|";
const GKE_MANAGED: &str = "autoscaling.gke.io|";

/// Takes a metric name apart. Every text has a reading; what has no known form is [`Form::Plain`].
pub fn read(name: &str) -> Spelling<'_> {
    let spelled = |form, name| Spelling { form, name, suffix: None };
    if let Some(rest) = name.strip_prefix(GMP) {
        return match rest.rsplit_once('|') {
            Some((metric, suffix)) => Spelling { form: Form::Gmp, name: metric, suffix: Some(suffix) },
            None => spelled(Form::GmpWithoutSuffix, rest),
        };
    }
    if let Some(rest) = name.strip_prefix(GKE_MANAGED) {
        let (object, metric) = rest.split_once('|').unwrap_or(("", rest));
        return spelled(Form::GkeManaged { object: object.to_owned() }, metric);
    }
    if name.starts_with("kubernetes.io|") {
        return spelled(Form::GkeSystem, name);
    }
    if let Some((domain, rest)) = name.split_once('|')
        && domain.ends_with(".googleapis.com")
    {
        // The Stackdriver sidecar for Prometheus wrote external.googleapis.com/prometheus/NAME.
        let metric = match domain {
            "external.googleapis.com" => rest.strip_prefix("prometheus|").unwrap_or(rest),
            _ => rest,
        };
        return spelled(Form::GoogleApis, metric);
    }
    if let Some(trigger) = keda_trigger(name) {
        return spelled(Form::Keda, trigger);
    }
    if let Some(metric) = name.strip_prefix("datadogmetric@") {
        return spelled(Form::Datadog, metric);
    }
    spelled(Form::Plain, name)
}

/// `s<index>-<trigger>`, as KEDA names the External metrics of its HPAs (`GenerateMetricNameWithIndex`).
fn keda_trigger(name: &str) -> Option<&str> {
    let (index, trigger) = name.strip_prefix('s')?.split_once('-')?;
    let numbered = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    (numbered && !trigger.is_empty()).then_some(trigger)
}

/// The name of a metric of Google Managed Prometheus in an HPA.
pub fn gmp(name: &str, suffix: &str) -> String {
    format!("{GMP}{name}|{suffix}")
}

/// The suffixes that Google Managed Prometheus may give a metric. The first is the right one; the others are possible:
/// a series whose metadata were lost (renamed by relabelling, or scraped before they came) is untyped and stored twice, as
/// `unknown` and as `unknown:counter`. `recorded` says that a recording rule makes the series, which is a gauge then
/// whatever it is computed from.
pub fn gmp_suffixes(kind: MetricKind, recorded: bool) -> &'static [&'static str] {
    match kind {
        _ if recorded => &["gauge", "unknown", "unknown:counter"],
        MetricKind::Gauge | MetricKind::Info => &["gauge", "unknown", "unknown:counter"],
        MetricKind::Counter => &["counter", "unknown", "unknown:counter"],
        MetricKind::Histogram => &["histogram", "unknown", "unknown:counter"],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_backend_spelling_is_taken_apart() {
        let managed = |object: &str| Form::GkeManaged { object: object.to_owned() };
        let table = [
            (
                "prometheus.googleapis.com|vllm:num_requests_running|gauge",
                Form::Gmp,
                "vllm:num_requests_running",
                Some("gauge"),
            ),
            (
                "prometheus.googleapis.com|dcgm_fi_dev_gpu_util|unknown",
                Form::Gmp,
                "dcgm_fi_dev_gpu_util",
                Some("unknown"),
            ),
            ("prometheus.googleapis.com|x|unknown:counter", Form::Gmp, "x", Some("unknown:counter")),
            ("prometheus.googleapis.com|x|summary:counter", Form::Gmp, "x", Some("summary:counter")),
            (
                "prometheus.googleapis.com|ts_queue_latency_microseconds|counter",
                Form::Gmp,
                "ts_queue_latency_microseconds",
                Some("counter"),
            ),
            ("prometheus.googleapis.com|x|", Form::Gmp, "x", Some("")),
            (
                "prometheus.googleapis.com|vllm:num_requests_running",
                Form::GmpWithoutSuffix,
                "vllm:num_requests_running",
                None,
            ),
            ("autoscaling.gke.io|vllm|running", managed("vllm"), "running", None),
            ("autoscaling.gke.io|running", managed(""), "running", None),
            (
                "kubernetes.io|container|accelerator|duty_cycle",
                Form::GkeSystem,
                "kubernetes.io|container|accelerator|duty_cycle",
                None,
            ),
            ("custom.googleapis.com|my_metric", Form::GoogleApis, "my_metric", None),
            (
                "external.googleapis.com|prometheus|vllm:num_requests_running",
                Form::GoogleApis,
                "vllm:num_requests_running",
                None,
            ),
            (
                "pubsub.googleapis.com|subscription|num_undelivered_messages",
                Form::GoogleApis,
                "subscription|num_undelivered_messages",
                None,
            ),
            ("s0-prometheus", Form::Keda, "prometheus", None),
            ("s12-gcp-stackdriver", Form::Keda, "gcp-stackdriver", None),
            ("datadogmetric@default:vllm-running", Form::Datadog, "default:vllm-running", None),
            ("vllm_num_requests_running", Form::Plain, "vllm_num_requests_running", None),
            ("vllm:num_requests_running", Form::Plain, "vllm:num_requests_running", None),
            ("gpu_utilization_percent", Form::Plain, "gpu_utilization_percent", None),
            ("DCGM_FI_DEV_GPU_UTIL", Form::Plain, "DCGM_FI_DEV_GPU_UTIL", None),
            ("s-prometheus", Form::Plain, "s-prometheus", None),
            ("sx-y", Form::Plain, "sx-y", None),
            ("some.org|thing", Form::Plain, "some.org|thing", None),
            ("", Form::Plain, "", None),
        ];
        for (text, form, name, suffix) in table {
            assert_eq!(read(text), Spelling { form, name, suffix }, "{text}");
        }
    }

    #[test]
    fn the_right_suffix_follows_the_type_and_unknown_is_always_possible() {
        let table = [
            (MetricKind::Counter, false, "counter"),
            (MetricKind::Gauge, false, "gauge"),
            (MetricKind::Info, false, "gauge"),
            (MetricKind::Histogram, false, "histogram"),
            (MetricKind::Counter, true, "gauge"),
            (MetricKind::Gauge, true, "gauge"),
            (MetricKind::Histogram, true, "gauge"),
        ];
        for (kind, recorded, right) in table {
            let suffixes = gmp_suffixes(kind, recorded);
            assert_eq!(suffixes.first(), Some(&right), "{kind:?} {recorded}");
            assert!(suffixes.contains(&"unknown") && suffixes.contains(&"unknown:counter"), "{kind:?} {recorded}");
            assert_eq!(suffixes.len(), 3, "nothing else is possible for {kind:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_reading_that_is_part_of_it(text in ".*") {
            prop_assert!(text.contains(read(&text).name));
        }

        #[test]
        fn what_gmp_writes_is_read_back(name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,40}", suffix in "gauge|counter|unknown:counter") {
            let written = gmp(&name, &suffix);
            prop_assert_eq!(read(&written), Spelling { form: Form::Gmp, name: &name, suffix: Some(&suffix) });
        }
    }
}
