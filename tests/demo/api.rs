//! What the demo reads of the API server, and of JSON.

use std::time::Duration;

use kube::Client;
use serde_json::Value;

use crate::harness::control_plane::ControlPlane;
use crate::harness::{block_on, runtime};

/// An answer that takes longer is looked for again.
const PATIENCE: Duration = Duration::from_secs(5);

/// One connection to the API server.
#[derive(Clone)]
pub struct Api(Client);

impl Api {
    /// As the harness, which may read everything.
    pub fn of(cluster: &ControlPlane) -> Self {
        // The client spawns tasks.
        let _guard = runtime().enter();
        Self(cluster.client())
    }

    /// The object or list at a path; nothing when there is none, or no answer.
    pub fn get(&self, path: &str) -> Option<Value> {
        let request = ::http::Request::get(path).body(Vec::new()).ok()?;
        block_on(async { tokio::time::timeout(PATIENCE, self.0.request(request)).await }).ok()?.ok()
    }

    /// A merge patch of what is at a path; whether it went through.
    pub fn patch(&self, path: &str, patch: &Value) -> bool {
        let request = ::http::Request::patch(path).header("Content-Type", "application/merge-patch+json");
        let Ok(request) = request.body(patch.to_string().into_bytes()) else { return false };
        let answer = block_on(async { tokio::time::timeout(PATIENCE, self.0.request::<Value>(request)).await });
        answer.is_ok_and(|answer| answer.is_ok())
    }
}

/// The items of an array; none of anything else.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text; empty of anything else.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
