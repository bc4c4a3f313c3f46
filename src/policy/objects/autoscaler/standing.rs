//! Whether an HPA scales, as its conditions say.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::de::null_default;
use crate::policy::finding::beginning;

/// The HPA controller can compute a number of replicas.
const SCALING_ACTIVE: &str = "ScalingActive";
/// It can read and change the scale of the target.
const ABLE_TO_SCALE: &str = "AbleToScale";
/// A message is kept up to so many bytes. Those of the HPA controller repeat what the metrics API answered.
const LONGEST_MESSAGE: usize = 512;

/// What the conditions of an HPA come to. Of conditions that hold nothing but that is kept, for there are thousands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Status of `ScalingActive`; `None` while the HPA controller has not said.
    pub active: Option<bool>,
    /// The first of `AbleToScale` and `ScalingActive` that does not hold.
    pub refusal: Option<Box<Refusal>>,
}

/// A condition that does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Type of the condition.
    pub condition: String,
    /// Why, in one word such as `FailedGetPodsMetric`.
    pub reason: String,
    /// Why, in a sentence; its beginning when it is long.
    pub message: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    #[serde(deserialize_with = "null_default", rename = "type")]
    kind: String,
    #[serde(deserialize_with = "null_default")]
    status: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    message: String,
}

// === impl Standing ===

impl Standing {
    /// Whether the HPA controller has said nothing yet.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    fn of(conditions: Vec<Raw>) -> Self {
        let mut standing = Self::default();
        for raw in conditions {
            let fails = raw.status == "False";
            match raw.kind.as_str() {
                SCALING_ACTIVE => {
                    standing.active = match raw.status.as_str() {
                        "True" => Some(true),
                        "False" => Some(false),
                        _ => None,
                    };
                    if fails && standing.refusal.is_none() {
                        standing.refusal = Some(Box::new(raw.refusal()));
                    }
                }
                // What it cannot reach it cannot compute for.
                ABLE_TO_SCALE if fails => standing.refusal = Some(Box::new(raw.refusal())),
                _ => {}
            }
        }
        standing
    }

    fn raw(&self) -> Vec<Raw> {
        let mut conditions = Vec::new();
        if let Some(refusal) = &self.refusal {
            conditions.push(Raw {
                kind: refusal.condition.clone(),
                status: "False".to_owned(),
                reason: refusal.reason.clone(),
                message: refusal.message.clone(),
            });
        }
        if let Some(active) = self.active
            && !conditions.iter().any(|raw| raw.kind == SCALING_ACTIVE)
        {
            let status = if active { "True" } else { "False" };
            conditions.push(Raw { kind: SCALING_ACTIVE.to_owned(), status: status.to_owned(), ..Raw::default() });
        }
        conditions
    }
}

impl<'de> Deserialize<'de> for Standing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(Option::<Vec<Raw>>::deserialize(deserializer)?.unwrap_or_default()))
    }
}

impl Serialize for Standing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw().serialize(serializer)
    }
}

// === impl Raw ===

impl Raw {
    fn refusal(self) -> Refusal {
        let message = beginning(&self.message, LONGEST_MESSAGE).to_owned();
        Refusal { condition: self.kind, reason: self.reason, message }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::Object;
    use super::*;

    fn standing(conditions: &Value) -> Standing {
        let value = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": "a" }, "status": { "conditions": conditions } });
        match Object::from_value(&value).unwrap().1 {
            Object::Hpa(hpa) => hpa.status.standing,
            other => panic!("{other:?}"),
        }
    }

    fn condition(kind: &str, status: &str) -> Value {
        json!({ "type": kind, "status": status, "reason": format!("{kind}Reason"), "message": "because",
            "lastTransitionTime": "2026-01-31T12:00:00Z" })
    }

    #[test]
    fn conditions_that_hold_cost_nothing_and_the_first_that_does_not_is_kept_with_its_words() {
        let good = standing(&json!([condition("AbleToScale", "True"), condition("ScalingActive", "True")]));
        assert_eq!(good, Standing { active: Some(true), refusal: None });
        let bad = standing(&json!([condition("AbleToScale", "True"), condition("ScalingActive", "False")]));
        let refusal = bad.refusal.clone().unwrap();
        assert_eq!((bad.active, refusal.reason.as_str()), (Some(false), "ScalingActiveReason"));
        assert_eq!(refusal.message, "because");
        for first in [true, false] {
            let mut both = vec![condition("AbleToScale", "False"), condition("ScalingActive", "False")];
            if first {
                both.reverse();
            }
            assert_eq!(standing(&json!(both)).refusal.unwrap().condition, "AbleToScale");
        }
        assert!(standing(&Value::Null).is_unknown());
        assert_eq!(standing(&json!([condition("ScalingActive", "Unknown")])).active, None);
    }

    #[test]
    fn it_reads_back_as_it_was_written_and_a_long_message_is_cut_at_a_character() {
        let long = json!([{ "type": "ScalingActive", "status": "False", "message": "\u{e9}".repeat(400) }]);
        let read = standing(&long);
        assert_eq!(read.refusal.as_ref().unwrap().message.len(), LONGEST_MESSAGE);
        let able = standing(&json!([condition("AbleToScale", "False"), condition("ScalingActive", "True")]));
        for one in [read, able, Standing::default(), standing(&json!([condition("ScalingActive", "True")]))] {
            let text = serde_json::to_string(&one).unwrap();
            assert_eq!(serde_json::from_str::<Standing>(&text).unwrap(), one, "{text}");
        }
    }
}
