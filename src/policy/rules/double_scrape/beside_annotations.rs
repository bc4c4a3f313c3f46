//! Pods that ask for being scraped by annotation, beside a monitor of the Prometheus Operator.

use super::{Scraped, brings_a_pod_monitor, title};
use crate::policy::chain::scrape::Coverage;
use crate::policy::configuration::BackendKind;
use crate::policy::facts::{Context, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::objects::Object;
use crate::policy::settings::Wish;

/// The annotations that self-run Prometheus servers customarily go by. Google's collectors do not read them.
const SCRAPE: &str = "prometheus.io/scrape";
const PORT: &str = "prometheus.io/port";
const PATH: &str = "prometheus.io/path";

/// A suspicion at most: whether any Prometheus goes by the annotations is in its own configuration.
pub(super) fn check(facts: &WorkloadFacts<'_>, scraped: &Scraped<'_>, context: &Context<'_>) -> Option<Finding> {
    if context.configuration.backend.kind != BackendKind::PrometheusOperator || !asks(facts, scraped) {
        return None;
    }
    let found = scraped.by(context).into_iter().find(|(entry, coverage)| {
        matches!(entry.object, Object::OperatorMonitor(_)) && coverage.contains(&Coverage::Certain)
    });
    let monitor = match (found, &facts.settings.wish) {
        (Some((entry, _)), _) => title(entry),
        (None, Ok(Wish::Enabled(settings))) if brings_a_pod_monitor(&facts.workload, settings, context) => {
            "the PodMonitor that the label brings".to_owned()
        }
        _ => return None,
    };
    let message = format!(
        "the pods ask to be scraped by the annotation {SCRAPE} and {monitor} scrapes them too: a Prometheus that goes by \
         such annotations stores each series twice"
    );
    let field = format!("{}.metadata.annotations[{SCRAPE}]", facts.workload.template_path);
    Some(Finding::suspect(field, SCRAPE, message).hint(format!("leave {SCRAPE} out: the monitor takes its place")))
}

/// Whether the annotations mean the port and path of the metrics.
fn asks(facts: &WorkloadFacts<'_>, scraped: &Scraped<'_>) -> bool {
    let annotations = &facts.written.template.metadata.annotations;
    let declared = facts.workload.server().into_iter().flat_map(|server| &server.declared_ports);
    let port = match annotations.get(PORT) {
        Some(text) => text.trim().parse() == Ok(scraped.port),
        None => declared.map(|port| port.number).any(|number| number == scraped.port),
    };
    let path = annotations.get(PATH).map_or("/metrics", String::as_str);
    annotations.get(SCRAPE).is_some_and(|value| value == "true") && port && path == scraped.path
}
