//! What a rule has to say.

use serde::{Deserialize, Serialize};

use super::objects::{ObjectMeta, TypeMeta};

/// How grave a finding is, after enforcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Said only in a review.
    Note,
    /// Said, and admitted.
    Warn,
    /// Refused.
    Deny,
}

/// Whether what a finding says is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// It cannot be otherwise, as far as the view is right.
    Proven,
    /// It may be so. Never denies.
    Unknown,
}

/// The object that a finding is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; null where a file leaves it open or the kind has none.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// One thing that a rule has to say about one field of one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule's id.
    pub rule: String,
    /// After enforcement; a rule itself sets what it would be by default.
    pub severity: Severity,
    /// Whether it is certain.
    pub certainty: Certainty,
    /// The object.
    pub object: ObjectRef,
    /// The field, as kubectl writes it (`spec.metrics[0].pods.metric.name`); empty for the object itself.
    pub field: String,
    /// The file; null at admission.
    pub file: Option<String>,
    /// From 1; null without a file.
    pub line: Option<usize>,
    /// From 1, in characters; null without a file.
    pub column: Option<usize>,
    /// What is wrong, in one sentence that names the value at fault.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
    /// Line and column, from 1, inside the text that `field` holds (the file in a ConfigMap); the report turns it into a place
    /// of the outer file. Not printed.
    #[serde(skip)]
    pub inside: Option<(usize, usize)>,
    /// The value at fault (metric name, target, scale target): with the rule it identifies the fault across an update,
    /// whatever its index. Not printed.
    #[serde(skip)]
    pub value: String,
}

// === impl ObjectRef ===

impl ObjectRef {
    /// The reference to an object of that type.
    pub fn new(of: &TypeMeta, metadata: &ObjectMeta) -> Self {
        Self {
            api_version: of.api_version.clone(),
            kind: of.kind.clone(),
            namespace: metadata.namespace.clone(),
            name: if metadata.name.is_empty() {
                metadata.generate_name.as_ref().map(|prefix| format!("{prefix}*")).unwrap_or_default()
            } else {
                metadata.name.clone()
            },
        }
    }
}

// === impl Finding ===

impl Finding {
    fn new(severity: Severity, certainty: Certainty, field: String, value: String, message: String) -> Self {
        Self {
            rule: String::new(),
            severity,
            certainty,
            object: ObjectRef::default(),
            field,
            file: None,
            line: None,
            column: None,
            message,
            hint: None,
            inside: None,
            value,
        }
    }

    /// Proven wrong. The rule's id and the object are filled in by [`super::rules`]; `value` is the value at fault.
    pub fn deny(field: impl Into<String>, value: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Deny, Certainty::Proven, field.into(), value.into(), message.into())
    }

    /// Proven, and worth a warning only.
    pub fn warn(field: impl Into<String>, value: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warn, Certainty::Proven, field.into(), value.into(), message.into())
    }

    /// There is evidence against it, but it may be right: a warning at admission and in a review.
    pub fn suspect(field: impl Into<String>, value: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warn, Certainty::Unknown, field.into(), value.into(), message.into())
    }

    /// Cannot be told: silent at admission, a note in a review.
    pub fn note(field: impl Into<String>, value: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, Certainty::Unknown, field.into(), value.into(), message.into())
    }

    /// The same as a suspicion, where something speaks for what is at fault. A note stays one.
    #[must_use]
    pub fn doubted(self) -> Self {
        match self.severity {
            Severity::Note => self,
            _ => Self { severity: Severity::Warn, certainty: Certainty::Unknown, ..self },
        }
    }

    /// Says where in the text that the field holds: line and column from 1.
    #[must_use]
    pub fn inside(self, place: Option<(usize, usize)>) -> Self {
        Self { inside: place, ..self }
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
/// The beginning of a text that has at most so many bytes, and ends with a whole character.
pub fn beginning(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}
