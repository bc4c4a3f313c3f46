//! The links between documents: which names the HPA's metric may have, and what makes them.
//!
//! ```text
//! scrape              whether a scrape object covers the pods and the port of a workload
//! spelling            how a backend writes a metric's name in an HPA
//! adapter             who serves the metrics APIs
//! makers              what an object makes (makers_of), what in view makes a name (makers_for)
//!   recording_rule, relabelling, adapter_rule, autoscaling_metric      one way of making a name each
//! promql              which series a query reads, and what its result is
//! ```

pub mod adapter;
pub mod adapter_rule;
mod autoscaling_metric;
mod makers;
mod pattern;
pub mod promql;
mod recording_rule;
mod relabelling;
pub mod scrape;
mod series;
pub mod spelling;

pub use adapter::Adapter;
pub use makers::{Found, makers_for, makers_of};
pub use spelling::{Form, Spelling};

use super::engine::MetricKind;
use super::finding::ObjectRef;

/// What one object makes, when it makes metric names: recording rules, `__name__` relabelling, adapter rules,
/// AutoscalingMetrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Makers {
    /// Names it makes for certain.
    pub made: Vec<Made>,
    /// Patterns of names that it may make (an adapter rule over a regular expression).
    pub patterns: Vec<Pattern>,
    /// Why its configuration could not be read: then anything may be made by it.
    pub unreadable: Option<String>,
}

/// A name that is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The name.
    pub name: String,
    /// How.
    pub by: MakerKind,
    /// The object that makes it.
    pub object: ObjectRef,
    /// The series that it is computed from, as far as they can be read.
    pub from: Vec<String>,
    /// What the result is; `None` when it cannot be told.
    pub kind: Option<MetricKind>,
}

/// How a name is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MakerKind {
    /// `record` of a recording rule.
    RecordingRule,
    /// `__name__` written by relabelling.
    Relabelling,
    /// `name.as` of a prometheus-adapter rule for the custom metrics API.
    AdapterRule,
    /// `name.as` of a prometheus-adapter external rule.
    ExternalAdapterRule,
    /// A metric of an AutoscalingMetric object.
    AutoscalingMetric,
}

/// Names that may be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// An anchored regular expression over names.
    pub regex: String,
    /// How.
    pub by: MakerKind,
    /// The object that makes them.
    pub object: ObjectRef,
    /// It hands on series under the name that they have (a case apart): it serves names, but coins none.
    pub passes_through: bool,
    /// `regex`, compiled when it is first asked.
    compiled: Compiled,
}

/// A compiled expression. It follows from the text beside it, so that it takes no part in comparisons.
#[derive(Clone, Debug, Default)]
struct Compiled(std::sync::OnceLock<Option<regex::Regex>>);

// === impl Pattern ===

impl Pattern {
    fn new(regex: String, by: MakerKind, object: ObjectRef, passes_through: bool) -> Self {
        Self { regex, by, object, passes_through, compiled: Compiled::default() }
    }

    /// Whether it may make that name. An expression that cannot be compiled may make any. Compiling takes thousands of
    /// times as long as matching, and tenants write these expressions, so it is done once and not at each admission.
    pub fn may_make(&self, name: &str) -> bool {
        let compiled = self.compiled.0.get_or_init(|| pattern::compile(&self.regex));
        compiled.as_ref().is_none_or(|regex| regex.is_match(name))
    }
}

// === impl Compiled ===

impl PartialEq for Compiled {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

// === impl Makers ===

impl Makers {
    /// Whether the object makes nothing.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty() && self.patterns.is_empty() && self.unreadable.is_none()
    }

    /// Adds a name, unless the object already makes it in that way.
    fn add(&mut self, made: Made) {
        if !made.name.is_empty() && !self.made.iter().any(|other| other.name == made.name && other.by == made.by) {
            self.made.push(made);
        }
    }

    /// Adds a pattern, unless the object already has it.
    fn add_pattern(&mut self, pattern: Pattern) {
        if !self.patterns.contains(&pattern) {
            self.patterns.push(pattern);
        }
    }
}
