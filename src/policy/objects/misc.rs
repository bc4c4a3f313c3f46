//! Services, ConfigMaps and the other small kinds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::de::null_default;
use super::{Condition, IntOrString, ObjectMeta, Quantity};

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// Where it sends.
    #[serde(deserialize_with = "null_default")]
    pub spec: ServiceSpec,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// Labels of the pods; empty selects none.
    #[serde(deserialize_with = "null_default")]
    pub selector: BTreeMap<String, String>,
    /// Ports.
    #[serde(deserialize_with = "null_default")]
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Port of the Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i64>,
    /// Port of the pod; `port` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<IntOrString>,
}

/// A ConfigMap. Its values may be anything: never print them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// Keys and values.
    #[serde(deserialize_with = "null_default")]
    pub data: BTreeMap<String, String>,
}

/// An APIService: which adapter serves a metrics API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiService {
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// Who serves it.
    #[serde(deserialize_with = "null_default")]
    pub spec: ApiServiceSpec,
    /// Whether it is reached.
    #[serde(deserialize_with = "null_default")]
    pub status: ApiServiceStatus,
}

/// `status` of an APIService.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiServiceStatus {
    /// `Available` says whether the API server reaches the server behind it.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// `spec` of an APIService.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiServiceSpec {
    /// API group.
    #[serde(deserialize_with = "null_default")]
    pub group: String,
    /// Version.
    #[serde(deserialize_with = "null_default")]
    pub version: String,
    /// The server; absent for the API server's own groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceReference>,
}

/// A Service by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceReference {
    /// Namespace.
    #[serde(deserialize_with = "null_default")]
    pub namespace: String,
    /// Name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
}

/// A Namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Namespace {
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
}

/// A ResourceQuota.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceQuota {
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// Limits.
    #[serde(deserialize_with = "null_default")]
    pub spec: QuotaSpec,
}

/// `spec` of a ResourceQuota.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QuotaSpec {
    /// Limits by resource, such as `requests.nvidia.com/gpu`.
    #[serde(deserialize_with = "null_default")]
    pub hard: BTreeMap<String, Quantity>,
    /// Pods that it is for; all when this and `scope_selector` are empty.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The same, with operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope_selector: Option<serde_json::Value>,
}
