//! Kubernetes Events on workloads: what their owners should know.

use http::Method;
use serde_json::json;

use super::super::event::{self, Event};
use crate::policy::finding::ObjectRef;
use crate::policy::objects::{Key, WorkloadKind};
use crate::policy::render::fingerprint;

use super::rest::{Class, Content, Fault, Rest};

/// One thing to tell the owner of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) workload: Key,
    pub(super) uid: String,
    pub(super) reason: &'static str,
    pub(super) warning: bool,
    /// A sentence without its full stop.
    pub(super) note: String,
    /// How often this was told, this time included.
    pub(super) times: u32,
}

/// Writes Events.
#[derive(Clone)]
pub(super) struct Events {
    rest: Rest,
    instance: String,
}

// === impl Events ===

impl Events {
    /// Events that `instance` reports, a pod's name.
    pub(super) fn new(rest: Rest, instance: &str) -> Self {
        Self { rest, instance: instance.to_owned() }
    }

    /// Writes one. The same thing told again, by whichever replica, is one Event, and a series of them when it was something
    /// else in between.
    pub(super) async fn tell(&self, told: &Told) -> Result<(), Fault> {
        let Told { workload, uid, reason, warning, note, times } = told;
        let Some(kind) = WorkloadKind::find(&workload.group, &workload.kind) else { return Ok(()) };
        let about = ObjectRef {
            api_version: kind.api_version().to_owned(),
            kind: workload.kind.clone(),
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
        };
        let event = Event { about: &about, uid, reason, warning: *warning, note, action: "Reconcile" };
        let Some(path) = event.collection() else { return Ok(()) };
        let now = event::now();
        match self.rest.ask(Method::POST, &path, Content::Json(&event.document(&self.instance, &now))).await {
            Err(fault) if fault.class == Class::Conflict && *times > 1 => {
                let series = json!({ "series": { "count": times, "lastObservedTime": now } });
                let path = format!("{path}/{}", event.name());
                self.rest.ask(Method::PATCH, &path, Content::MergePatch(&series)).await.map(drop)
            }
            Err(fault) if fault.class == Class::Conflict => Ok(()),
            answer => answer.map(drop),
        }
    }
}

/// A number for what is told of a workload.
pub(super) fn number(reason: &str, note: &str) -> u64 {
    fingerprint("Event", &json!([reason, note]))
}
