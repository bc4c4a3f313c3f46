//! The links between documents: which names the HPA's metric may have, and what makes them.

use super::engine::MetricKind;
use super::finding::ObjectRef;
use super::objects::{Object, TypeMeta};

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
}

// === impl Makers ===

impl Makers {
    /// Whether the object makes nothing.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty() && self.patterns.is_empty() && self.unreadable.is_none()
    }
}

/// What an object makes.
pub fn makers_of(_of: &TypeMeta, _object: &Object) -> Makers {
    Makers::default()
}
