//! What every command exports that watches a cluster.

use std::sync::Arc;

use crate::cluster::probe::Prober;
use crate::cluster::watch::Caches;
use crate::policy::view::{MetricApi, MetricPresence};
use crate::telemetry::Metrics;
use crate::telemetry::prometheus::{Family, row};

/// How far each kind of the cluster is known.
pub(in crate::cli) fn export_caches(metrics: &Metrics, caches: &Arc<Caches>) {
    let family = |name, help, seconds| Family { name, help, labels: &["kind"], seconds };
    let read = Arc::clone(caches);
    metrics.gauges(family("cache_objects", "Objects that are known of each kind", false), move || {
        read.rows().into_iter().map(|cache| row(&[&cache.kind], cache.objects)).collect()
    });
    let read = Arc::clone(caches);
    let help = "Time since the API server was last heard of about each kind";
    metrics.gauges(family("cache_age", help, true), move || {
        read.rows().into_iter().map(|cache| (vec![cache.kind], cache.age_seconds)).collect()
    });
    let read = Arc::clone(caches);
    let help = "1 while the watch of the kind stands; at 0 what other objects say denies nothing";
    metrics.gauges(family("cache_current", help, false), move || {
        read.rows().into_iter().map(|cache| row(&[&cache.kind], u64::from(cache.current))).collect()
    });
    let read = Arc::clone(caches);
    let help = "Objects of each kind that could not be read, and are not known";
    metrics.gauges(family("cache_unreadable_objects", help, false), move || {
        read.rows().into_iter().map(|cache| row(&[&cache.kind], cache.unreadable)).collect()
    });
}

/// What the metrics APIs answered.
pub(in crate::cli) fn export_probes(metrics: &Metrics, prober: &Arc<Prober>) {
    let read = Arc::clone(prober);
    let help = "Answers about metrics, by metrics API and by what they said of the metric";
    let family = Family { name: "probe_results", help, labels: &["api", "presence"], seconds: false };
    metrics.counters(family, move || {
        let name = |api, presence| {
            let api = match api {
                MetricApi::Custom => "custom",
                MetricApi::External => "external",
            };
            let presence = match presence {
                MetricPresence::Present => "present",
                MetricPresence::Absent => "absent",
                MetricPresence::Unknown => "unknown",
            };
            [api, presence]
        };
        read.results().into_iter().map(|(api, presence, count)| row(&name(api, presence), count)).collect()
    });
    let read = Arc::clone(prober);
    let help = "1 while admissions do not ask a metrics API, because it is slow or broken";
    let family = Family { name: "probe_breaker_open", help, labels: &[], seconds: false };
    metrics.gauges(family, move || vec![row(&[], u64::from(read.breaker_open()))]);
}
