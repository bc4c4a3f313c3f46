//! What the metrics API answered about a metric.

use super::super::naming::stackdriver;
use crate::policy::engine::{Exporter, Metric};
use crate::policy::facts::{Context, HpaFacts, MetricUse, Source};
use crate::policy::finding::Finding;
use crate::policy::objects::WorkloadStatus;
use crate::policy::presence;
use crate::policy::view::MetricPresence;

/// A usable answer of the metrics API.
pub(super) enum Live {
    Served,
    Missing { minutes: i64 },
}

/// The cached answer for a metric, when it is fresh and the target had the time to be scraped.
pub(super) fn live(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Live> {
    let namespace = facts.hpa.metadata.namespace.as_deref()?;
    let observed = presence::keys(usage, namespace).iter().find_map(|key| context.view.metrics.get(key))?;
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    let probes = &context.configuration.probes;
    let now = context.view.now;
    if now.saturating_sub(observed.observed_at) > seconds(probes.stale_after_seconds) {
        return None;
    }
    match observed.presence {
        MetricPresence::Present => Some(Live::Served),
        MetricPresence::Unknown => None,
        MetricPresence::Absent => {
            let since = match facts.target.workload() {
                // What the target itself says counts, and its silence too: another target of the same metric may be older.
                Some(target) if target.ready_since.is_some() || target.status != WorkloadStatus::default() => {
                    target.ready_since
                }
                _ => observed.ready_since,
            };
            let ready = now.saturating_sub(since?);
            (ready >= seconds(probes.settle_seconds)).then_some(Live::Missing { minutes: ready / 60 })
        }
    }
}

pub(super) fn missing(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, minutes: i64) -> Finding {
    let api = if usage.source == Source::External { "external" } else { "custom" };
    let target = &facts.hpa.spec.scale_target_ref;
    let since = rounded(minutes);
    let message = format!(
        "the {api} metrics API does not serve `{}`, although the pods of {} {} are Ready for {since}, and \
         nothing in view makes it",
        usage.name, target.kind, target.name
    );
    let hint = match usage.metric() {
        Some(metric) if stackdriver(usage, facts) && matches!(metric.exporter, Exporter::Engine(_)) => {
            let port = facts.target.workload().and_then(|workload| workload.server()?.port.number());
            let port = port.map(|port| format!(" on port {port}")).unwrap_or_default();
            format!("a PodMonitoring that scrapes these pods{port} has to exist first")
        }
        Some(Metric { exporter: Exporter::Dcgm, .. }) => {
            "the scrape object of the DCGM exporter, and the recording rule that makes this name, have to exist first"
                .to_owned()
        }
        _ if stackdriver(usage, facts) => {
            "a scrape object that collects this metric, or a recording rule that makes it, has to exist first"
                .to_owned()
        }
        _ => "a scrape object that collects its series, and an adapter rule that serves this name, have to exist first"
            .to_owned(),
    };
    Finding::deny(usage.name_field(), usage.name, message).hint(hint)
}

/// A time in the largest unit of which it has at least two.
fn rounded(minutes: i64) -> String {
    let (count, unit) = match minutes {
        2880.. => (minutes / 1440, "day"),
        120.. => (minutes / 60, "hour"),
        _ => (minutes, "minute"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn a_time_is_told_in_a_unit_that_can_be_read() {
        for (minutes, told) in [
            (0, "0 minutes"),
            (1, "1 minute"),
            (15, "15 minutes"),
            (119, "119 minutes"),
            (120, "2 hours"),
            (2879, "47 hours"),
            (2880, "2 days"),
            (997_665, "692 days"),
        ] {
            assert_eq!(rounded(minutes), told);
        }
    }
}
