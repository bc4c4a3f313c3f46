//! Keys under our prefix: known ones in their place, misspelt ones, and ones that nobody reads.

use crate::policy::finding::Finding;
use crate::policy::objects::ObjectMeta;

use super::{ADOPT, LABEL, PREFIX, SKIP, nearest, values};

/// Annotations on a workload, without the prefix.
pub(super) const ANNOTATIONS: [&str; 16] = [
    "min-replicas",
    "max-replicas",
    "target-requests-running",
    "target-requests-waiting",
    "target-kv-cache-usage",
    "target-gpu-utilization",
    "scale-up-stabilization",
    "scale-down-stabilization",
    "metrics-port",
    "metrics-path",
    "scrape-interval",
    "container",
    "engine",
    "paused",
    "generate",
    "skip",
];
/// The label, without the prefix.
const LABEL_NAME: &str = "autoscale";
/// The annotation that belongs on an HPA, without the prefix.
const ADOPT_NAME: &str = "adopt";

/// A label's path, as kubectl writes it.
pub(super) fn label_field(key: &str) -> String {
    format!("metadata.labels[{key}]")
}

/// An annotation's path, as kubectl writes it.
pub(super) fn annotation_field(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

/// Keys of one object of which something is said. The nearest known key is looked for, which takes time that an API server
/// waits for, and nobody reads more.
const MOST_WRONG: usize = 20;

/// Judges the keys, not their values.
pub(super) fn check(metadata: &ObjectMeta, denied: &mut Vec<Finding>, warnings: &mut Vec<Finding>) {
    let labels = metadata.labels.keys().map(|key| (key, Place::Label));
    let annotations = metadata.annotations.keys().map(|key| (key, Place::Annotation));
    for (key, place) in labels.chain(annotations) {
        if denied.len() + warnings.len() >= MOST_WRONG {
            break;
        }
        check_key(key, place, metadata, denied, warnings);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Label,
    Annotation,
}

impl Place {
    fn field(self, key: &str) -> String {
        match self {
            Self::Label => label_field(key),
            Self::Annotation => annotation_field(key),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Annotation => "annotation",
        }
    }
}

fn check_key(key: &str, place: Place, metadata: &ObjectMeta, denied: &mut Vec<Finding>, warnings: &mut Vec<Finding>) {
    let Some(name) = key.strip_prefix(PREFIX) else {
        if let Some(meant) = misspelt_prefix(key) {
            let message = format!("{} {} is not read by scalegate", place.word(), values::shown(key));
            warnings.push(Finding::suspect(place.field(key), key, message).hint(format!("did you mean {meant}?")));
        }
        return;
    };
    let is_annotation = ANNOTATIONS.contains(&name);
    match place {
        Place::Label if name == LABEL_NAME => {}
        Place::Annotation if is_annotation => {}
        Place::Annotation if name == ADOPT_NAME => {
            let message = format!("annotation {ADOPT} on a workload has no effect");
            let hint = "write it on the HPA that scalegate may take over";
            warnings.push(Finding::warn(place.field(key), key, message).hint(hint));
        }
        Place::Annotation if name == LABEL_NAME => {
            let message = format!("{LABEL} is a label, and stands here as an annotation");
            let hint = "write it under metadata.labels";
            if metadata.labels.contains_key(LABEL) {
                warnings.push(Finding::warn(place.field(key), key, format!("{message} too")).hint("remove it"));
            } else {
                denied.push(Finding::deny(place.field(key), key, message).hint(hint));
            }
        }
        Place::Label if is_annotation => {
            let message = format!("{key} is an annotation, and stands here as a label");
            denied.push(Finding::deny(place.field(key), key, message).hint("write it under metadata.annotations"));
        }
        _ => {
            let message = format!("unknown {} {}", place.word(), values::shown(key));
            let known = std::iter::once(LABEL_NAME).chain(ANNOTATIONS).chain(std::iter::once(ADOPT_NAME));
            if let Some(meant) = nearest(name, known) {
                let kind = if meant == LABEL_NAME { "label" } else { "annotation" };
                let hint = format!("did you mean the {kind} {PREFIX}{meant}?");
                denied.push(Finding::deny(place.field(key), key, message).hint(hint));
            } else {
                let hint = format!("nothing reads it; known annotations: {}", ANNOTATIONS.join(", "));
                warnings.push(Finding::warn(place.field(key), key, message).hint(hint));
            }
        }
    }
}

/// The key that is meant by one whose name is ours and whose prefix is nearly so (`scalgate.dev/autoscale`).
fn misspelt_prefix(key: &str) -> Option<String> {
    let (domain, name) = key.split_once('/')?;
    let ours = PREFIX.trim_end_matches('/');
    let known = name == LABEL_NAME || ANNOTATIONS.contains(&name);
    // A subdomain of ours, such as the status prefix, is no misspelling.
    if !known || domain.ends_with(&format!(".{ours}")) || domain.len() > 2 * ours.len() {
        return None;
    }
    (strsim::osa_distance(domain, ours) <= 2).then(|| format!("{PREFIX}{name}"))
}

/// Settings without the label do nothing: said once, for the first of them.
pub(super) fn warn_without_label(metadata: &ObjectMeta, warnings: &mut Vec<Finding>) {
    let setting = metadata
        .annotations
        .keys()
        .find(|key| key.as_str() != SKIP && key.strip_prefix(PREFIX).is_some_and(|name| ANNOTATIONS.contains(&name)));
    if let Some(key) = setting {
        let message = format!("annotation {key} has no effect without the label {LABEL}");
        let hint = format!("add the label {LABEL}, for example with the value \"enabled\"");
        warnings.push(Finding::warn(annotation_field(key), key.as_str(), message).hint(hint));
    }
}
