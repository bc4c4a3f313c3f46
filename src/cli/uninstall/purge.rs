//! What scalegate made, found and removed. An object is ours when a living workload owns it as its controller and scalegate
//! is among its field managers; labels, which anybody can set, count for nothing.

use std::collections::BTreeMap;
use std::io::Write;

use kube::api::DynamicObject;
use kube::core::ObjectMeta;

use super::requests::{Deleted, Place, Requests, Resource};
use crate::cli::progress::Progress;
use crate::policy::objects::{TypeMeta, WorkloadKind};
use crate::policy::render::{MANAGED_BY, MANAGER};

/// The kinds that a label brings: the autoscaler first, so that nothing scales on a metric that is no longer scraped.
const GENERATED: [Resource; 3] = [
    Resource::of("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    Resource::of("monitoring.googleapis.com", "v1", "PodMonitoring", "podmonitorings"),
    Resource::of("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
];
/// How often an object that changes meanwhile is read again.
const TRIES: usize = 5;

/// A workload that owns an object, as its reference names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    kind: WorkloadKind,
    name: String,
    uid: String,
}

/// Whether an object is ours, by its metadata alone.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ours {
    /// When this owner lives.
    With(Owner),
    /// It has a trace of us, but is not.
    Not(&'static str),
    /// It has nothing to do with us.
    Foreign,
}

/// Removes what is ours of every kind, in all namespaces.
///
/// # Errors
/// When it may not be listed, read or deleted.
pub(super) async fn purge(requests: &Requests, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut living: BTreeMap<(String, &'static str, String), Option<String>> = BTreeMap::new();
    let (mut removed, mut left) = (0_usize, 0_usize);
    for resource in GENERATED {
        for (namespace, name) in candidates(requests, resource).await? {
            let place = Place::within(resource, &namespace, name);
            let deleted = one(requests, &place, &namespace, &mut living).await?;
            match &deleted {
                Deleted::Yes => removed += 1,
                Deleted::Left(_) => left += 1,
                Deleted::NotThere => {}
            }
            if let Some(line) = deleted.line(&place, requests.dry_run()) {
                writeln!(out, "{line}")?;
            }
        }
    }
    let verb = if requests.dry_run() { "would be removed" } else { "were removed" };
    writeln!(out, "{removed} generated objects {verb}, {left} with a trace of scalegate were left")?;
    Ok(())
}

/// Namespace and name of what has a trace of us. Only these are kept: the whole list may be long.
async fn candidates(requests: &Requests, resource: Resource) -> anyhow::Result<Vec<(String, String)>> {
    let mut progress = Progress::new();
    let mut found = Vec::new();
    let mut seen = 0;
    let mut next = None;
    loop {
        let Some(page) = requests.page(resource, next.as_deref()).await? else { return Ok(found) };
        seen += page.items.len();
        progress.say(&format!("looking through {}: {seen}", resource.plural));
        for item in page.items {
            if ours(&item.metadata) != Ours::Foreign
                && let (Some(namespace), Some(name)) = (item.metadata.namespace, item.metadata.name)
            {
                found.push((namespace, name));
            }
        }
        next = page.metadata.continue_.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// Reads an object again, and deletes it as it was read when it is ours.
async fn one(
    requests: &Requests,
    place: &Place,
    namespace: &str,
    living: &mut BTreeMap<(String, &'static str, String), Option<String>>,
) -> anyhow::Result<Deleted> {
    for _ in 0..TRIES {
        let Some(read) = requests.metadata(place).await? else { return Ok(Deleted::NotThere) };
        let owner = match ours(&read.metadata) {
            Ours::With(owner) => owner,
            Ours::Not(why) => return Ok(Deleted::Left(why.to_owned())),
            Ours::Foreign => return Ok(Deleted::Left("it is no longer scalegate's".to_owned())),
        };
        if read.metadata.deletion_timestamp.is_some() {
            return Ok(Deleted::Left("it is being deleted already".to_owned()));
        }
        let key = (namespace.to_owned(), owner.kind.name(), owner.name.clone());
        if !living.contains_key(&key) {
            let workload = Place::within(resource_of(owner.kind), namespace, owner.name.clone());
            let uid = requests.metadata(&workload).await?.and_then(|found| found.metadata.uid);
            living.insert(key.clone(), uid);
        }
        if living.get(&key).and_then(Option::as_deref) != Some(owner.uid.as_str()) {
            return Ok(Deleted::Left(format!(
                "{} {}, which owns it, is gone: the garbage collector deletes it",
                owner.kind, owner.name
            )));
        }
        let seen = DynamicObject { types: None, metadata: read.metadata, data: serde_json::Value::Null };
        if let Some(deleted) = requests.delete_seen(place, &seen).await? {
            return Ok(deleted);
        }
    }
    Ok(Deleted::Left("it changes again and again; run this again".to_owned()))
}

fn ours(metadata: &ObjectMeta) -> Ours {
    let written = metadata.managed_fields.iter().flatten().any(|entry| {
        entry.manager.as_deref() == Some(MANAGER) && entry.subresource.as_deref().unwrap_or_default().is_empty()
    });
    let labelled = metadata.labels.iter().flatten().any(|(key, value)| key == MANAGED_BY && value == MANAGER);
    let controller = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let owner = controller.and_then(|owner| {
        let of = TypeMeta { api_version: owner.api_version.clone(), kind: owner.kind.clone() };
        let kind = WorkloadKind::find(of.group(), &of.kind)?;
        Some(Owner { kind, name: owner.name.clone(), uid: owner.uid.clone() })
    });
    match (written, owner) {
        (true, Some(owner)) => Ours::With(owner),
        (true, None) => Ours::Not("scalegate wrote to it, but no workload owns it as its controller"),
        (false, _) if labelled => Ours::Not("it is labelled as scalegate's, but scalegate did not write it"),
        (false, _) => Ours::Foreign,
    }
}

const fn resource_of(kind: WorkloadKind) -> Resource {
    match kind {
        WorkloadKind::Deployment => Resource::DEPLOYMENTS,
        WorkloadKind::StatefulSet => Resource::of("apps", "v1", "StatefulSet", "statefulsets"),
        WorkloadKind::LeaderWorkerSet => {
            Resource::of("leaderworkerset.x-k8s.io", "v1", "LeaderWorkerSet", "leaderworkersets")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(metadata: Value) -> Ours {
        ours(&serde_json::from_value(metadata).unwrap())
    }

    fn owner(kind: &str, controller: bool) -> Value {
        json!([{ "apiVersion": "apps/v1", "kind": kind, "name": "llm", "uid": "u", "controller": controller }])
    }

    #[test]
    fn ours_is_what_a_workload_owns_and_scalegate_wrote() {
        let written = json!([{ "manager": "scalegate", "operation": "Apply" }]);
        let deployment = Owner { kind: WorkloadKind::Deployment, name: "llm".to_owned(), uid: "u".to_owned() };
        assert_eq!(
            told(json!({ "managedFields": written, "ownerReferences": owner("Deployment", true) })),
            Ours::With(deployment)
        );
        for (what, metadata) in [
            ("no owner", json!({ "managedFields": written })),
            ("not its controller", json!({ "managedFields": written, "ownerReferences": owner("Deployment", false) })),
            ("no workload", json!({ "managedFields": written, "ownerReferences": owner("ReplicaSet", true) })),
            ("labelled by hand", json!({ "labels": { MANAGED_BY: "scalegate" } })),
            (
                "labelled and owned",
                json!({ "labels": { MANAGED_BY: "scalegate" }, "ownerReferences": owner("Deployment", true) }),
            ),
        ] {
            assert!(matches!(told(metadata.clone()), Ours::Not(_)), "{what}");
        }
        let status = json!([{ "manager": "scalegate", "operation": "Update", "subresource": "status" }]);
        for (what, metadata) in [
            (
                "a stranger's",
                json!({ "managedFields": [{ "manager": "kubectl" }], "ownerReferences": owner("Deployment", true) }),
            ),
            ("only its status", json!({ "managedFields": status, "ownerReferences": owner("Deployment", true) })),
            ("bare", json!({})),
        ] {
            assert_eq!(told(metadata), Ours::Foreign, "{what}");
        }
    }
}
