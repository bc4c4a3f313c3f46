//! What admission writes on a workload: annotations under [`STATUS_PREFIX`] that say what was recognised and what is
//! generated. They are computed against the raw object's metadata and given as a JSON patch, so that nothing else of the
//! object is decoded and written back.
//!
//! The annotations inform people. Nothing reads them, so a forged one changes nothing, and the next admission corrects it.
//! - Where nothing is generated (no label, `disabled`, an unknown server, an unknown port) none of them stands.
//! - `gpu-metrics` needs no scrape object of ours: `metrics-port`, `metrics-path` and the scrape object are left out.
//! - `generate: "false"` means that the objects come from Git under names of their own choosing: what was recognised is
//!   written, the names are not, because nothing of that name is ours.
//! - `paused: "true"` stops the controller, not the description of what was recognised; the names stay, because the objects
//!   do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::configuration::{BackendKind, Configuration};
use super::objects::ObjectMeta;
use super::render::{self, Announcement};
use super::settings::{STATUS_PREFIX, Settings, Wish};
use super::workload::Workload;

/// The annotations, without the prefix. No other key is ever written or removed.
const KEYS: [&str; 7] = [
    "engine",
    "engine-version",
    "metrics-port",
    "metrics-path",
    "pod-monitoring",
    "pod-monitor",
    "horizontal-pod-autoscaler",
];
const ANNOTATIONS: &str = "/metadata/annotations";

/// One operation of a JSON patch (RFC 6902), serialised as such.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Adds a member that is not there.
    Add {
        /// JSON pointer.
        path: String,
        /// Value.
        value: Value,
    },
    /// Replaces a member that is there.
    Replace {
        /// JSON pointer.
        path: String,
        /// Value.
        value: Value,
    },
    /// Removes a member that is there.
    Remove {
        /// JSON pointer.
        path: String,
    },
}

/// The patch for a workload, empty when its annotations are already right.
///
/// `metadata` is the raw object's; `metadata_has_annotations` says that `annotations` is present in it and an object (in
/// particular not `null`), so that members can be added to it. The workload is taken to be the only one of its name.
pub fn inject(
    metadata: &ObjectMeta,
    metadata_has_annotations: bool,
    workload: &Workload,
    wish: &Wish,
    configuration: &Configuration,
) -> Vec<Operation> {
    inject_named(metadata, metadata_has_annotations, workload, wish, configuration, &|_| false)
}

/// As [`inject`], where `taken` says whether a Deployment of the same name has it, as for [`render::render`].
pub fn inject_named(
    metadata: &ObjectMeta,
    metadata_has_annotations: bool,
    workload: &Workload,
    wish: &Wish,
    configuration: &Configuration,
    taken: &dyn Fn(&str) -> bool,
) -> Vec<Operation> {
    let wanted = match wish {
        Wish::Unlabelled | Wish::Disabled => BTreeMap::new(),
        Wish::Enabled(settings) => render::announce(workload, settings, configuration, taken)
            .map(|announced| annotations(&announced, settings, configuration))
            .unwrap_or_default(),
    };
    if !metadata_has_annotations {
        return whole(&wanted);
    }
    KEYS.iter().filter_map(|name| operation(metadata, name, wanted.get(name))).collect()
}

/// The annotations that should stand, by key without prefix.
fn annotations(
    announced: &Announcement,
    settings: &Settings,
    configuration: &Configuration,
) -> BTreeMap<&'static str, String> {
    let serving = &announced.serving;
    let mut wanted = BTreeMap::from([("engine", render::engine_name(serving.engine).to_owned())]);
    if let Some(version) = serving.version {
        wanted.insert("engine-version", version.to_string());
    }
    let name = announced.name.as_ref().filter(|_| settings.generate);
    if let Some(port) = announced.scraped_port {
        wanted.insert("metrics-port", port.to_string());
        wanted.insert("metrics-path", serving.path.clone());
        if let Some(name) = name {
            let monitor = match configuration.backend.kind {
                BackendKind::PrometheusOperator => "pod-monitor",
                _ => "pod-monitoring",
            };
            wanted.insert(monitor, name.clone());
        }
    }
    if let Some(name) = name {
        wanted.insert("horizontal-pod-autoscaler", name.clone());
    }
    wanted
}

/// The patch where there is no map to add to.
fn whole(wanted: &BTreeMap<&'static str, String>) -> Vec<Operation> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let map = KEYS.iter().filter_map(|name| {
        wanted.get(name).map(|value| (format!("{STATUS_PREFIX}{name}"), Value::String(value.clone())))
    });
    vec![Operation::Add { path: ANNOTATIONS.to_owned(), value: Value::Object(map.collect()) }]
}

fn operation(metadata: &ObjectMeta, name: &str, wanted: Option<&String>) -> Option<Operation> {
    let key = format!("{STATUS_PREFIX}{name}");
    let path = format!("{ANNOTATIONS}/{}", escaped(&key));
    match (metadata.annotations.get(&key), wanted) {
        (Some(present), Some(wanted)) if present == wanted => None,
        (Some(_), Some(wanted)) => Some(Operation::Replace { path, value: Value::String(wanted.clone()) }),
        (None, Some(wanted)) => Some(Operation::Add { path, value: Value::String(wanted.clone()) }),
        (Some(_), None) => Some(Operation::Remove { path }),
        (None, None) => None,
    }
}

/// A key as a JSON pointer writes it (RFC 6901).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests;
