//! The document as it is written: every field may be absent, and `null` is the same as absent. The JSON Schema is made of
//! these types; their comments are what an editor shows.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use super::{BackendKind, Level, Scope, Signal};
use crate::policy::objects::Quantity;

/// How scalegate decides and what it generates.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields, title = "Configuration")]
pub(super) struct Document {
    /// Always scalegate.dev/v1alpha1.
    #[schemars(extend("const" = super::API_VERSION))]
    #[allow(dead_code, reason = "checked before the rest is read")]
    pub(super) api_version: String,
    /// Always Configuration.
    #[schemars(extend("const" = super::KIND))]
    #[allow(dead_code, reason = "checked before the rest is read")]
    pub(super) kind: String,
    /// Not read; it may stand there so that tools take the document for an object.
    #[allow(dead_code, reason = "accepted and not read")]
    pub(super) metadata: Option<BTreeMap<String, serde_json::Value>>,
    /// The profile of the label value `enabled`. Default: throughput.
    pub(super) default_profile: Option<String>,
    /// Most replicas where neither profile nor annotation says it. Default: 2.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub(super) max_replicas: Option<i64>,
    /// How metrics reach the HPA.
    pub(super) backend: Option<BackendForm>,
    /// Which HPAs are judged. Default: inference.
    pub(super) scope: Option<Scope>,
    /// How grave the findings of rules may become.
    pub(super) enforcement: Option<EnforcementForm>,
    /// Rules that owners may skip by the annotation scalegate.dev/skip. Default: none.
    pub(super) allow_skip: Option<Vec<String>>,
    /// Rules and adapters are always applied before HPAs, so a metric that nothing in view makes is wrong. Default: false.
    pub(super) makers_first: Option<bool>,
    /// What is not judged.
    pub(super) exempt: Option<Vec<ExemptionForm>>,
    /// Node pools, as far as the cluster cannot tell them.
    pub(super) pools: Option<PoolsForm>,
    /// Extended resources that count as accelerators, beside those of the known device plugins.
    pub(super) accelerator_resources: Option<Vec<String>>,
    /// Profiles beside the built-in ones, by name. A built-in name cannot be taken.
    pub(super) profiles: Option<BTreeMap<String, ProfileForm>>,
    /// What is written on workloads beside our own annotations.
    pub(super) inject: Option<InjectForm>,
    /// How metrics APIs are asked.
    pub(super) probes: Option<ProbesForm>,
}

/// How metrics reach the HPA.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct BackendForm {
    /// Default: gmp.
    #[serde(rename = "type")]
    pub(super) kind: Option<BackendKind>,
    /// Labels put on a PodMonitor, so that the Prometheus object selects it.
    pub(super) monitor_labels: Option<BTreeMap<String, String>>,
    /// namespace/name of prometheus-adapter's ConfigMap.
    pub(super) adapter_config_map: Option<String>,
}

/// How grave the findings of rules may become.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct EnforcementForm {
    /// A cap for every rule; without it each keeps its default.
    pub(super) mode: Option<LevelForm>,
    /// Level by rule.
    pub(super) rules: Option<BTreeMap<String, LevelForm>>,
    /// Overrides by namespace; the first that matches counts.
    pub(super) namespaces: Option<Vec<NamespaceForm>>,
}

/// Enforcement in some namespaces.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct NamespaceForm {
    /// On the namespace's labels; kubernetes.io/metadata.name is always there.
    pub(super) selector: SelectorForm,
    /// A cap for every rule.
    pub(super) mode: Option<LevelForm>,
    /// Level by rule.
    pub(super) rules: Option<BTreeMap<String, LevelForm>>,
}

/// A label selector.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct SelectorForm {
    /// Labels that must be there.
    pub(super) match_labels: Option<BTreeMap<String, String>>,
    /// Further requirements.
    pub(super) match_expressions: Option<Vec<RequirementForm>>,
}

/// A requirement of a label selector.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct RequirementForm {
    /// Label key.
    pub(super) key: String,
    /// In, `NotIn`, Exists or `DoesNotExist`.
    #[schemars(extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist"]))]
    pub(super) operator: String,
    /// Values of In and `NotIn`.
    pub(super) values: Option<Vec<String>>,
}

/// Objects that are not judged. Every list that is given must match.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct ExemptionForm {
    /// Namespaces; a `*` at the end matches any rest.
    pub(super) namespaces: Option<Vec<String>>,
    /// Object names; a `*` at the end matches any rest.
    pub(super) names: Option<Vec<String>>,
    /// Rules; all when absent.
    pub(super) rules: Option<Vec<String>>,
}

/// Node pools, as far as the cluster cannot tell them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct PoolsForm {
    /// The declared and visible pools are all there are. Default: false.
    pub(super) complete: Option<bool>,
    /// Nodes with accelerators may appear unannounced (node auto-provisioning, Autopilot). Default: false.
    pub(super) provisioning: Option<bool>,
    /// Declared pools.
    pub(super) items: Option<Vec<PoolForm>>,
    /// Labels whose value names a pool. Replaces the default list (GKE, EKS, AKS, Karpenter).
    pub(super) identity_labels: Option<Vec<String>>,
}

/// A declared node pool.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct PoolForm {
    /// Name.
    pub(super) name: String,
    /// Labels of its nodes.
    pub(super) labels: Option<BTreeMap<String, String>>,
    /// Taints of its nodes.
    pub(super) taints: Option<Vec<TaintForm>>,
    /// Allocatable resources of one node.
    pub(super) allocatable: Option<BTreeMap<String, QuantityForm>>,
    /// Fewest nodes.
    #[schemars(range(min = 0))]
    pub(super) min_nodes: Option<i64>,
    /// Most nodes.
    #[schemars(range(min = 0))]
    pub(super) max_nodes: Option<i64>,
}

/// A taint.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct TaintForm {
    /// Key.
    pub(super) key: String,
    /// Value.
    pub(super) value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    #[schemars(extend("enum" = ["NoSchedule", "PreferNoSchedule", "NoExecute"]))]
    pub(super) effect: String,
}

/// A named set of metrics, targets and behaviour.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct ProfileForm {
    /// Metrics; the largest proposal wins.
    #[schemars(length(min = 1))]
    pub(super) metrics: Vec<MetricForm>,
    /// Fewest replicas. Default: 1.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub(super) min_replicas: Option<i64>,
    /// Most replicas. Default: the document's maxReplicas.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub(super) max_replicas: Option<i64>,
    /// As in autoscaling/v2.
    pub(super) behavior: Option<BehaviorForm>,
}

/// A metric of a profile: a fixed target, or a share of the most requests that a pod runs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct MetricForm {
    /// What is measured.
    pub(super) signal: Signal,
    /// Average per pod. Either this or ceilingPercent.
    pub(super) target: Option<QuantityForm>,
    /// Only for requestsRunning: this share, rounded down, of --max-num-seqs x data-parallel ranks.
    #[schemars(range(min = 1, max = 100))]
    pub(super) ceiling_percent: Option<u32>,
    /// With ceilingPercent: the target when the server does not tell its ceiling. Without it the metric is left out then.
    pub(super) otherwise: Option<QuantityForm>,
}

/// How fast the HPA may move, as in autoscaling/v2.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct BehaviorForm {
    /// Upwards.
    pub(super) scale_up: Option<RulesForm>,
    /// Downwards.
    pub(super) scale_down: Option<RulesForm>,
}

/// Limits in one direction.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct RulesForm {
    /// Seconds.
    #[schemars(range(min = 0, max = 3600))]
    pub(super) stabilization_window_seconds: Option<i64>,
    /// Max, Min or Disabled.
    #[schemars(extend("enum" = ["Max", "Min", "Disabled", null]))]
    pub(super) select_policy: Option<String>,
    /// Policies.
    pub(super) policies: Option<Vec<PolicyForm>>,
    /// A ratio; the cluster's default is 0.1.
    pub(super) tolerance: Option<QuantityForm>,
}

/// At most so much in so long.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct PolicyForm {
    /// Pods or Percent.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["Pods", "Percent"]))]
    pub(super) kind: String,
    /// Pods, or per cent of the present replicas.
    #[schemars(range(min = 1))]
    pub(super) value: i64,
    /// Seconds.
    #[schemars(range(min = 1, max = 1800))]
    pub(super) period_seconds: i64,
}

/// What is written on workloads beside our own annotations.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct InjectForm {
    /// Write prometheus.io/* on pod templates, for a Prometheus that finds pods by them. Not with a backend that generates
    /// scrape objects. Default: false.
    pub(super) pod_annotations: Option<bool>,
}

/// How metrics APIs are asked. Durations are written with their unit, such as 15m.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct ProbesForm {
    /// Between two probes of a metric. Default: 1m.
    pub(super) interval: Option<String>,
    /// How long a target's pods are Ready before a missing metric counts. Default: 15m.
    pub(super) settle: Option<String>,
    /// When an answer is too old to prove absence. Default: 5m.
    pub(super) stale_after: Option<String>,
    /// Probes per minute in the background, and as many by admissions. Default: 60.
    #[schemars(range(min = 1))]
    pub(super) per_minute: Option<u32>,
    /// How long an admission waits for a metrics API at most; 0s asks none. Default: 300ms.
    pub(super) look: Option<String>,
    /// A metric that is always there, asked beside one that seems absent. Without it absence is never proven before the
    /// Stackdriver adapter; before prometheus-adapter the first metric of its list is asked.
    pub(super) control: Option<String>,
}

/// A quantity, as a number or as a text.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct QuantityForm(pub(super) Quantity);

impl JsonSchema for QuantityForm {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A Kubernetes quantity, such as 4, 0.8 or 800m.",
            "type": ["number", "string"],
        })
    }
}

/// A level. YAML 1.1 reads a bare `off` as false, so false is taken for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LevelForm(pub(super) Level);

impl<'de> Deserialize<'de> for LevelForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = LevelForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one of deny, warn, audit, off")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<LevelForm, E> {
                if value {
                    Err(E::invalid_value(de::Unexpected::Bool(value), &self))
                } else {
                    Ok(LevelForm(Level::Off))
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<LevelForm, E> {
                Ok(LevelForm(match text {
                    "deny" => Level::Deny,
                    "warn" => Level::Warn,
                    "audit" => Level::Audit,
                    "off" => Level::Off,
                    _ => return Err(E::unknown_variant(text, &["deny", "warn", "audit", "off"])),
                }))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for LevelForm {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Level".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "How grave a finding may become: deny, warn, audit (logs, metrics and reports) or off.",
            "enum": ["deny", "warn", "audit", "off", false],
        })
    }
}
