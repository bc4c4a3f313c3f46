//! What was asked of the API server, by its audit log.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::control_plane::ControlPlane;

/// An audit policy that notes every request of these users, the Lease of the leader left out.
pub fn policy(users: &[&str]) -> String {
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
            {"level": "Metadata", "users": users},
            {"level": "None"},
        ],
    })
    .to_string()
}

/// Verb, resource (or path) and whether it was refused.
type Call = (String, String, bool);

/// Requests by what they were.
#[derive(Clone, Default)]
pub struct Counts(pub BTreeMap<Call, u64>);

impl Counts {
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Requests that would change one of these resources, and were not refused.
    pub fn writes(&self, resources: &[&str]) -> u64 {
        let of =
            |(verb, resource, refused): &Call| !refused && is_write(verb) && resources.contains(&resource.as_str());
        self.0.iter().filter(|(call, _)| of(call)).map(|(_, count)| count).sum()
    }
}

fn is_write(verb: &str) -> bool {
    !matches!(verb, "get" | "list" | "watch")
}

/// The calls so far, by user. The log is read on as it grows.
pub struct Calls {
    log: PathBuf,
    read: RefCell<Read>,
}

#[derive(Default)]
struct Read {
    to: u64,
    /// User and call, in the order of the log.
    all: Vec<(String, Call)>,
}

impl Calls {
    pub fn of(cluster: &ControlPlane) -> Self {
        Self { log: cluster.folder().join("audit.log"), read: RefCell::default() }
    }

    /// A place in the log: what was asked so far is before it.
    pub fn mark(&self) -> usize {
        self.read_on();
        self.read.borrow().all.len()
    }

    /// What a user asked since.
    pub fn since(&self, mark: usize, user: &str) -> Counts {
        self.read_on();
        let mut counts = Counts::default();
        for (_, call) in self.read.borrow().all[mark..].iter().filter(|(by, _)| by == user) {
            *counts.0.entry(call.clone()).or_default() += 1;
        }
        counts
    }

    /// What a user wrote of other resources than these.
    pub fn of_others(&self, user: &str, resources: &[&str]) -> Vec<Call> {
        let counts = self.since(0, user);
        let asks = |resource: &str| resource.contains("review");
        let others = counts.0.into_keys().filter(|(verb, resource, refused)| {
            !refused && is_write(verb) && !asks(resource) && !resources.contains(&resource.as_str())
        });
        others.collect()
    }

    fn read_on(&self) {
        let mut read = self.read.borrow_mut();
        let Ok(mut file) = File::open(&self.log) else { return };
        file.seek(SeekFrom::Start(read.to)).expect("a log");
        let mut lines = BufReader::new(file);
        let mut line = String::new();
        // The last line may be half written.
        while lines.read_line(&mut line).is_ok_and(|length| length > 0) && line.ends_with('\n') {
            read.to += line.len() as u64;
            if let Some(call) = call(&line) {
                read.all.push(call);
            }
            line.clear();
        }
    }
}

/// The user and the call of an audit event. A watch counts when it begins, anything else when it is answered.
fn call(line: &str) -> Option<(String, Call)> {
    let event: Value = serde_json::from_str(line).ok()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let verb = text(&event["verb"]);
    let stage = if verb == "watch" { "ResponseStarted" } else { "ResponseComplete" };
    if event["stage"] != stage {
        return None;
    }
    let what = match &event["objectRef"]["resource"] {
        Value::String(resource) => match &event["objectRef"]["subresource"] {
            Value::String(subresource) => format!("{resource}/{subresource}"),
            _ => resource.clone(),
        },
        _ => "discovery and health".to_owned(),
    };
    let refused = event["responseStatus"]["code"].as_u64().is_none_or(|code| code >= 300);
    Some((text(&event["user"]["username"]), (verb, what, refused)))
}
