//! Writes and removes one object. Nothing here relies on being the only one who writes: each request says which object it
//! means, and does nothing when another one is there.

use http::Method;
use serde_json::{Value, json};

use crate::cluster::watch::collection;
use crate::policy::objects::Key;
use crate::policy::reconcile::{Live, Prune, Write};
use crate::policy::render::{MANAGER, fingerprint};
use crate::policy::settings::{ADOPT, PAUSED};

use super::rest::{Class, Content, Fault, Rest};

/// An object as the API server answered with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) uid: String,
    /// Of its spec.
    pub(super) fingerprint: u64,
    pub(super) revision: String,
    /// Who else wrote of its spec.
    pub(super) others: Vec<String>,
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) answer: Answer,
    pub(super) how: How,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It made the object.
    Created,
    /// It changed the object, or would have.
    Applied,
    /// Nothing: the object had been made so, by another controller.
    Found,
}

/// How a removal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// We removed it.
    Yes,
    /// It is gone, or not ours any more.
    NotThere,
}

/// Writes an object for the workload of that UID. When that is a repair, it looks first who else writes it: an apply takes
/// the fields from them.
pub(super) async fn write(rest: &Rest, owner: &str, write: &Write, repair: bool) -> Result<Written, Fault> {
    let places = places(&write.key)?;
    let Some(live) = &write.live else { return create(rest, owner, write, &places).await };
    let mut others = Vec::new();
    if repair {
        others = answer(&write.key, &rest.ask(Method::GET, &places.object, Content::None).await?).others;
    }
    let mut precondition = json!({ "uid": live.uid });
    if live.adopted {
        // Whether its owner gives it away is asked of the API server, and it is written as it was then.
        let there = rest.ask(Method::GET, &places.object, Content::None).await?;
        let metadata = &there["metadata"];
        if metadata["uid"] != live.uid.as_str() || metadata["annotations"][ADOPT] != "true" {
            return Err(Fault::new(Class::Conflict, "it is not given away any more"));
        }
        precondition["resourceVersion"] = metadata["resourceVersion"].clone();
    }
    let mut written = apply(rest, write, &places, &precondition).await?;
    written.answer.others.extend(others);
    written.answer.others.sort_unstable();
    written.answer.others.dedup();
    Ok(written)
}

/// Makes an object that is not there. What is there already is looked at and not touched, unless it is ours.
async fn create(rest: &Rest, owner: &str, write: &Write, places: &Places) -> Result<Written, Fault> {
    let path = format!("{}?fieldManager={MANAGER}", places.collection);
    let fault = match rest.ask(Method::POST, &path, Content::Json(&write.object)).await {
        Ok(object) => return Ok(Written { answer: answer(&write.key, &object), how: How::Created }),
        Err(fault) => fault,
    };
    if fault.class != Class::Conflict {
        return Err(fault);
    }
    // Made by us a moment ago, by another controller, or by somebody else.
    let there = match rest.ask(Method::GET, &places.object, Content::None).await {
        Err(gone) if gone.class == Class::NotFound => return Err(fault),
        there => there?,
    };
    if !is_ours(&there, owner) {
        return Err(fault);
    }
    let answer = answer(&write.key, &there);
    if answer.fingerprint == write.fingerprint {
        return Ok(Written { answer, how: How::Found });
    }
    apply(rest, write, places, &json!({ "uid": answer.uid })).await
}

/// Server-side apply over the object of that UID; any other answers 409.
async fn apply(rest: &Rest, write: &Write, places: &Places, precondition: &Value) -> Result<Written, Fault> {
    let mut object = write.object.clone();
    for name in ["uid", "resourceVersion"] {
        if let Some(value) = precondition.get(name) {
            object["metadata"][name] = value.clone();
        }
    }
    let path = format!("{}?fieldManager={MANAGER}&force=true", places.object);
    let mut now = answer(&write.key, &rest.ask(Method::PATCH, &path, Content::Apply(&object)).await?);
    if now.fingerprint != write.fingerprint {
        // An apply leaves what others added, and what we wrote otherwise than by apply: the first write, a create.
        let patch = json!([
            { "op": "test", "path": "/metadata/uid", "value": now.uid },
            { "op": "replace", "path": "/spec", "value": write.object["spec"] },
        ]);
        let path = format!("{}?fieldManager={MANAGER}", places.object);
        now = answer(&write.key, &rest.ask(Method::PATCH, &path, Content::JsonPatch(&patch)).await?);
    }
    Ok(Written { answer: now, how: How::Applied })
}

/// Removes an object that was generated for the workload of that UID, after looking whether it still is.
pub(super) async fn prune(rest: &Rest, owner: &str, prune: &Prune) -> Result<Removed, Fault> {
    let places = places(&prune.key)?;
    let there = match rest.ask(Method::GET, &places.object, Content::None).await {
        Err(fault) if fault.class == Class::NotFound => return Ok(Removed::NotThere),
        there => there?,
    };
    let metadata = &there["metadata"];
    if metadata["uid"] != prune.uid.as_str()
        || !is_ours(&there, owner)
        || metadata["annotations"][PAUSED] == "true"
        || metadata["deletionTimestamp"].is_string()
    {
        return Ok(Removed::NotThere);
    }
    let options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": { "uid": prune.uid, "resourceVersion": metadata["resourceVersion"] },
    });
    match rest.ask(Method::DELETE, &places.object, Content::Json(&options)).await {
        Err(fault) if fault.class == Class::NotFound => Ok(Removed::NotThere),
        removed => removed.map(|_| Removed::Yes),
    }
}

/// Paths of an object and of all of its kind in its namespace.
struct Places {
    collection: String,
    object: String,
}

fn places(key: &Key) -> Result<Places, Fault> {
    let collection = collection(key)
        .ok_or_else(|| Fault::new(Class::Refused, format!("{} is no kind that is written", key.kind)))?;
    // A name of Kubernetes holds nothing that a path would have to encode.
    let object = format!("{collection}/{}", key.name);
    Ok(Places { collection, object })
}

/// Whether an object, as the API server has it, was generated for the workload of that UID.
fn is_ours(object: &Value, owner: &str) -> bool {
    let metadata = &object["metadata"];
    let mut owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let mut managers = metadata["managedFields"].as_array().into_iter().flatten();
    owners.any(|of| of["controller"] == true && of["uid"] == owner) && managers.any(|by| by["manager"] == MANAGER)
}

fn answer(key: &Key, object: &Value) -> Answer {
    let metadata = &object["metadata"];
    let text = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
    let managers = metadata["managedFields"].as_array().into_iter().flatten();
    let mut others: Vec<String> = managers
        .filter(|by| by["manager"] != MANAGER && by["fieldsV1"]["f:spec"].is_object())
        .filter_map(|by| by["manager"].as_str().map(str::to_owned))
        .collect();
    others.dedup();
    Answer {
        uid: text("uid"),
        fingerprint: fingerprint(&key.kind, &object["spec"]),
        revision: text("resourceVersion"),
        others,
    }
}

/// Whether what the API server holds was written over meanwhile, as far as the view told.
pub(super) fn is_same(live: Option<&Live>, other: Option<&Live>) -> bool {
    let place = |live: Option<&Live>| live.map(|live| (live.uid.clone(), live.fingerprint));
    place(live) == place(other)
}
