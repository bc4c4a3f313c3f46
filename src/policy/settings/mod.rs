//! What a workload's owner asks for: one label and a few annotations, read into [`Settings`] or into findings that name
//! the key, the value and what to write instead.

use crate::policy::configuration::{BackendKind, Configuration, ProfileTarget, Signal};
use crate::policy::finding::Finding;
use crate::policy::objects::{Behavior, ObjectMeta};

mod annotations;
mod check;
mod keys;
mod nearest;
pub mod profiles;
pub mod values;

pub use annotations::skipped_rules;
pub use check::check;
pub(crate) use nearest::nearest;

/// The label that asks for autoscaling.
pub const LABEL: &str = "scalegate.dev/autoscale";
/// Prefix of the label and of the annotations that owners write.
pub const PREFIX: &str = "scalegate.dev/";
/// Prefix of the annotations that scalegate writes. Nothing reads them as input.
pub const STATUS_PREFIX: &str = "status.scalegate.dev/";
/// The annotation on an HPA that consents to its take-over.
pub const ADOPT: &str = "scalegate.dev/adopt";
/// The annotation, on workload or HPA, that stops every write of ours.
pub const PAUSED: &str = "scalegate.dev/paused";
/// The annotation, on workload or HPA, that names rules to skip.
pub const SKIP: &str = "scalegate.dev/skip";
/// Seconds between two scrapes when no annotation says otherwise, as in the published walkthroughs.
pub const SCRAPE_INTERVAL_SECONDS: u64 = 15;

/// What the label asks for.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)]
pub enum Wish {
    /// The label is not there.
    Unlabelled,
    /// The label says `disabled`.
    Disabled,
    /// Autoscaling, this way.
    Enabled(Settings),
}

/// A workload's settings, with the profile's values filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The profile's name; `enabled` is already resolved.
    pub profile: String,
    /// The profile's metrics in its order; an annotation's target replaces the profile's, or is added at the end.
    pub metrics: Vec<(Signal, ProfileTarget)>,
    /// Signals whose target an annotation gives.
    pub explicit_targets: Vec<Signal>,
    /// Fewest replicas.
    pub min_replicas: i64,
    /// Most replicas.
    pub max_replicas: i64,
    /// `max-replicas` is given by annotation.
    pub max_explicit: bool,
    /// The profile's behaviour, with the annotations' stabilisation windows.
    pub behavior: Behavior,
    /// `metrics-port`.
    pub metrics_port: Option<u16>,
    /// `metrics-path`.
    pub metrics_path: Option<String>,
    /// `scrape-interval`, or [`SCRAPE_INTERVAL_SECONDS`].
    pub scrape_interval_seconds: u64,
    /// `container`: which one serves.
    pub container: Option<String>,
    /// `engine`: which server it runs, where image and command do not tell.
    pub engine: Option<String>,
    /// `paused: "true"`: the controller writes nothing.
    pub paused: bool,
    /// False with `generate: "false"`: the objects come from elsewhere (Git).
    pub generate: bool,
    /// Rules that `skip` names and the configuration allows to skip.
    pub skip: Vec<String>,
    /// The configured backend, on which some checks depend.
    pub backend: BackendKind,
}

/// A workload's settings as read, and what is to be said about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The wish, or what is wrong with it (every finding denies).
    pub wish: Result<Wish, Vec<Finding>>,
    /// What does not stop anything: keys that nobody reads.
    pub warnings: Vec<Finding>,
}

/// Reads a workload's label and annotations. Findings carry no rule and no object: rule `invalid-setting` fills them in.
/// Annotations under [`STATUS_PREFIX`] are never looked at.
pub fn read(metadata: &ObjectMeta, configuration: &Configuration) -> Read {
    let mut denied = Vec::new();
    let mut warnings = Vec::new();
    keys::check(metadata, &mut denied, &mut warnings);
    let wish = match metadata.labels.get(LABEL).map(String::as_str) {
        None => {
            keys::warn_without_label(metadata, &mut warnings);
            Wish::Unlabelled
        }
        Some(profiles::DISABLED) => Wish::Disabled,
        Some(value) => {
            let name = if value == profiles::ENABLED { configuration.default_profile.as_str() } else { value };
            if let Some(profile) = profiles::find(name, configuration) {
                let name = name.to_owned();
                Wish::Enabled(annotations::settings(name, profile, metadata, configuration, &mut denied, &mut warnings))
            } else {
                denied.push(no_profile(value, configuration));
                Wish::Unlabelled
            }
        }
    };
    Read { wish: if denied.is_empty() { Ok(wish) } else { Err(denied) }, warnings }
}

/// The finding on a label value that is no profile.
fn no_profile(value: &str, configuration: &Configuration) -> Finding {
    let allowed = profiles::label_values(configuration);
    let meant = match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(profiles::ENABLED),
        "false" | "no" | "off" | "0" => Some(profiles::DISABLED),
        _ => nearest(value, allowed.iter().copied()),
    };
    let message = format!("label {LABEL} is {}, which is no profile", values::shown(value));
    let hint = match meant {
        Some(meant) => format!("did you mean {meant:?}? Known: {}", allowed.join(", ")),
        None => format!("write one of {}", allowed.join(", ")),
    };
    Finding::deny(keys::label_field(LABEL), value, message).hint(hint)
}

#[cfg(test)]
mod tests;
