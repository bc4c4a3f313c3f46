//! The match conditions, in CEL: the same choice as [`super::mutates`] and [`super::validates`] make of objects that were
//! read, over the object after and before the request. The API server holds the objects as plain maps, so that each step
//! of a path must be asked for with `has` before it is taken: an error would skip the webhook, or under fail-closed refuse
//! the request.

use crate::policy::settings::{PREFIX, STATUS_PREFIX};

/// Where metadata with a word to us may stand, step by step below the object.
const METADATA: [&[&str]; 4] = [
    &["metadata"],
    &["spec", "template", "metadata"],
    &["spec", "leaderWorkerTemplate", "leaderTemplate", "metadata"],
    &["spec", "leaderWorkerTemplate", "workerTemplate", "metadata"],
];

/// True for a request whose object, before or after it, has a word to us.
pub(super) fn workloads() -> String {
    let places: Vec<String> = METADATA.iter().map(|path| place(path)).collect();
    format!("[object, oldObject].exists(o, o != null && ({}))", places.join(" || "))
}

/// True for a request on one of these resources, and where [`workloads`] is.
pub(super) fn autoscalers_and_workloads(resources: &[&str]) -> String {
    let quoted: Vec<String> = resources.iter().map(|resource| format!("'{resource}'")).collect();
    format!("request.resource.resource in [{}] || {}", quoted.join(", "), workloads())
}

/// One place: `(has(o.a) && has(o.a.b) && (labels || annotations))`.
fn place(path: &[&str]) -> String {
    let mut at = "o".to_owned();
    let mut terms = Vec::new();
    for step in path {
        at = format!("{at}.{step}");
        terms.push(format!("has({at})"));
    }
    let keys = ["labels", "annotations"].map(|map| {
        let map = format!("{at}.{map}");
        format!("(has({map}) && {map}.exists(k, k.startsWith('{PREFIX}') || k.startsWith('{STATUS_PREFIX}')))")
    });
    terms.push(format!("({})", keys.join(" || ")));
    format!("({})", terms.join(" && "))
}
