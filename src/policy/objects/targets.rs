//! How the targets of a PodMonitoring do, as GMP's operator writes it into the status when OperatorConfig
//! `features.targetStatus.enabled` is set.

use serde::{Deserialize, Serialize};

use super::de::null_default;
use crate::policy::finding::beginning;

/// An error is kept up to so many bytes.
const LONGEST_ERROR: usize = 256;

/// The part of a PodMonitoring's status that rules read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodMonitoringStatus {
    /// Its targets; `None` where the operator does not tell.
    pub targets: Option<Box<Targets>>,
}

/// The targets of all endpoints of a PodMonitoring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Targets.
    pub active: i64,
    /// Those of them that could not be scraped.
    pub unhealthy: i64,
    /// An error of one of them; empty when there is none.
    pub error: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    #[serde(deserialize_with = "null_default")]
    endpoint_statuses: Vec<RawEndpoint>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawEndpoint {
    #[serde(deserialize_with = "null_default")]
    active_targets: i64,
    #[serde(deserialize_with = "null_default")]
    unhealthy_targets: i64,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    sample_groups: Vec<RawGroup>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawGroup {
    #[serde(deserialize_with = "null_default")]
    sample_targets: Vec<RawTarget>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawTarget {
    #[serde(deserialize_with = "null_default")]
    last_error: String,
}

// === impl PodMonitoringStatus ===

impl PodMonitoringStatus {
    /// Whether it tells nothing.
    pub fn is_silent(&self) -> bool {
        self.targets.is_none()
    }
}

impl From<RawStatus> for PodMonitoringStatus {
    fn from(raw: RawStatus) -> Self {
        if raw.endpoint_statuses.is_empty() {
            return Self::default();
        }
        let mut targets = Targets::default();
        for endpoint in raw.endpoint_statuses {
            targets.active = targets.active.saturating_add(endpoint.active_targets.max(0));
            targets.unhealthy = targets.unhealthy.saturating_add(endpoint.unhealthy_targets.max(0));
            let mut samples = endpoint.sample_groups.iter().flat_map(|group| &group.sample_targets);
            if targets.error.is_empty()
                && let Some(sample) = samples.find(|sample| !sample.last_error.is_empty())
            {
                beginning(&sample.last_error, LONGEST_ERROR).clone_into(&mut targets.error);
            }
        }
        Self { targets: Some(Box::new(targets)) }
    }
}

impl<'de> Deserialize<'de> for PodMonitoringStatus {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawStatus::deserialize(deserializer).map(Self::from)
    }
}

impl Serialize for PodMonitoringStatus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let endpoints = self.targets.iter().map(|targets| {
            let sample = RawTarget { last_error: targets.error.clone() };
            let groups =
                if targets.error.is_empty() { vec![] } else { vec![RawGroup { sample_targets: vec![sample] }] };
            RawEndpoint { active_targets: targets.active, unhealthy_targets: targets.unhealthy, sample_groups: groups }
        });
        RawStatus { endpoint_statuses: endpoints.collect() }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_endpoints_are_added_up_and_one_error_is_kept() {
        let status: PodMonitoringStatus = serde_json::from_value(json!({ "endpointStatuses": [
            { "name": "PodMonitoring/ml/llm/8000", "activeTargets": 3, "unhealthyTargets": 1,
              "lastUpdateTime": "2026-01-31T12:00:00Z", "collectorsFraction": "1",
              "sampleGroups": [
                  { "count": 2, "sampleTargets": [{ "health": "up", "labels": { "pod": "a" } }] },
                  { "count": 1, "sampleTargets": [{ "health": "down", "lastError": "refused" }] },
              ] },
            { "name": "PodMonitoring/ml/llm/9000", "activeTargets": 2 },
        ] }))
        .unwrap();
        let targets = Targets { active: 5, unhealthy: 1, error: "refused".to_owned() };
        assert_eq!(status, PodMonitoringStatus { targets: Some(Box::new(targets)) });
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<PodMonitoringStatus>(&text).unwrap(), status, "{text}");
    }

    #[test]
    fn a_status_without_endpoints_tells_nothing() {
        for status in [json!({}), json!({ "endpointStatuses": null }), json!({ "conditions": [{ "type": "a" }] })] {
            assert!(serde_json::from_value::<PodMonitoringStatus>(status).unwrap().is_silent());
        }
    }
}
