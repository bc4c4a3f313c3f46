//! One rule a file, its documentation and its examples in the same file.
//!
//! To add one: write `rules/my_rule.rs` with a `pub(super) static RULE`, list it in [`ALL`], and give it a failing and a
//! passing case under `tests/cases/my-rule/`.

mod accelerator_count;
mod adapter_rules;
mod api_version;
mod autoscaler_conflict;
pub(super) mod autoscalers;
mod cpu_only;
mod double_scrape;
mod duplicate_object;
mod engine_unsupported;
mod external_metric_case;
mod external_unscoped;
mod gpu_metric_without_gpu;
mod gpu_node_pool;
mod invalid_document;
mod invalid_setting;
mod label_misplaced;
mod max_below_replicas;
mod metric_dropped;
mod metric_exists;
mod metric_kind;
mod metric_removed;
mod metric_unit;
mod min_zero;
pub(super) mod naming;
mod no_accelerator;
mod object_metric_unsupported;
mod port_mismatch;
mod replicas_pinned;
mod target_unreachable;
mod unknown_field;
mod up_only_metric;

#[cfg(test)]
pub(crate) mod testing;

pub use autoscalers::reads_annotation;

use super::configuration::Level;
use super::facts::{AdapterFacts, Context, DocumentFacts, HpaFacts, ScaledObjectFacts, ScrapeFacts, WorkloadFacts};
use super::finding::Finding;

/// A rule.
pub struct Rule {
    /// Stable: configurations, annotations, metrics and reports name it.
    pub id: &'static str,
    /// Its level where the configuration says nothing.
    pub default: Level,
    /// Whether the webhook asks it too, or only a review does.
    pub at_admission: bool,
    /// One line for the table of rules.
    pub summary: &'static str,
    /// What `explain` prints: why it matters, what to do, when it is silent.
    pub explain: &'static str,
    /// Documents in which it has something to say.
    pub failing: &'static str,
    /// The same, mended.
    pub passing: &'static str,
    /// What it looks at.
    pub checks: Checks,
}

/// A rule's functions, one for each kind of subject that it looks at.
#[derive(Clone, Copy, Default)]
pub struct Checks {
    /// On HorizontalPodAutoscalers in scope.
    pub hpa: Option<fn(&HpaFacts<'_>, &Context<'_>) -> Vec<Finding>>,
    /// On ScaledObjects in scope.
    pub scaled_object: Option<fn(&ScaledObjectFacts<'_>, &Context<'_>) -> Vec<Finding>>,
    /// On workloads in scope.
    pub workload: Option<fn(&WorkloadFacts<'_>, &Context<'_>) -> Vec<Finding>>,
    /// On scrape objects.
    pub scrape_object: Option<fn(&ScrapeFacts<'_>, &Context<'_>) -> Vec<Finding>>,
    /// On ConfigMaps with prometheus-adapter's configuration.
    pub adapter: Option<fn(&AdapterFacts<'_>, &Context<'_>) -> Vec<Finding>>,
    /// On documents of files.
    pub document: Option<fn(&DocumentFacts, &Context<'_>) -> Vec<Finding>>,
}

// === impl Checks ===

impl Checks {
    /// Looks at nothing; for `..Checks::NONE` in a static.
    pub const NONE: Self =
        Self { hpa: None, scaled_object: None, workload: None, scrape_object: None, adapter: None, document: None };

    /// The kinds of subject, for the table of rules.
    pub fn subjects(&self) -> Vec<&'static str> {
        let named = [
            (self.hpa.is_some(), "HPA"),
            (self.scaled_object.is_some(), "ScaledObject"),
            (self.workload.is_some(), "workload"),
            (self.scrape_object.is_some(), "scrape object"),
            (self.adapter.is_some(), "adapter ConfigMap"),
            (self.document.is_some(), "file"),
        ];
        named.into_iter().filter(|(looks, _)| *looks).map(|(_, name)| name).collect()
    }
}

/// All rules, in the order of the table.
pub static ALL: &[&Rule] = &[
    &metric_exists::RULE,
    &metric_removed::RULE,
    &metric_kind::RULE,
    &metric_unit::RULE,
    &external_metric_case::RULE,
    &object_metric_unsupported::RULE,
    &gpu_node_pool::RULE,
    &gpu_metric_without_gpu::RULE,
    &autoscaler_conflict::RULE,
    &invalid_setting::RULE,
    &engine_unsupported::RULE,
    &metric_dropped::RULE,
    &label_misplaced::RULE,
    &port_mismatch::RULE,
    &api_version::RULE,
    &max_below_replicas::RULE,
    &target_unreachable::RULE,
    &replicas_pinned::RULE,
    &no_accelerator::RULE,
    &accelerator_count::RULE,
    &up_only_metric::RULE,
    &cpu_only::RULE,
    &external_unscoped::RULE,
    &double_scrape::RULE,
    &adapter_rules::RULE,
    &invalid_document::RULE,
    &unknown_field::RULE,
    &duplicate_object::RULE,
    &min_zero::RULE,
];

/// The rule of that id.
pub fn find(id: &str) -> Option<&'static Rule> {
    ALL.iter().copied().find(|rule| rule.id == id)
}

/// The ids of all rules.
pub fn ids() -> Vec<&'static str> {
    ALL.iter().map(|rule| rule.id).collect()
}
