//! Which of the kinds the API server serves, and in which version.

use std::collections::BTreeMap;

use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::kinds::{KINDS, Kind};
use super::wire::{self, Trouble};

/// What the API server says of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// It is served in this version.
    In(String),
    /// It is not served.
    No,
    /// It could not be told this time.
    Unknown,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Group {
    name: String,
    versions: Vec<Version>,
    preferred_version: Version,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Version {
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    resources: Vec<Resource>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resource {
    name: String,
    verbs: Vec<String>,
}

/// Asks which kinds are served. `absent` says which are known not to be, so that they need not be confirmed again.
///
/// # Errors
/// When the list of API groups cannot be read. A group that fails by itself leaves its kinds unknown.
pub(super) async fn discover(
    client: &Client,
    absent: &(dyn Fn(&Kind) -> bool + Sync),
) -> Result<Vec<(&'static Kind, Served)>, Trouble> {
    let groups: Groups = read(client, "/apis").await?;
    let mut documents = BTreeMap::new();
    let mut found = Vec::with_capacity(KINDS.len());
    for kind in KINDS {
        let versions = versions(kind, &groups);
        let unlisted = versions.is_empty() && !absent(kind);
        let mut served = if unlisted { confirmed(client, kind).await } else { Served::No };
        let mut open = false;
        for version in versions {
            let root = kind.root(&version);
            if !documents.contains_key(&root) {
                let document = match read::<Resources>(client, &root).await {
                    Ok(document) => Some(document),
                    Err(Trouble::NotServed) => Some(Resources::default()),
                    Err(_) => None,
                };
                documents.insert(root.clone(), document);
            }
            match documents.get(&root) {
                Some(Some(document)) if has(document, kind) => {
                    served = Served::In(version);
                    break;
                }
                Some(Some(_)) => {}
                _ => open = true,
            }
        }
        if served == Served::No && open {
            served = Served::Unknown;
        }
        found.push((kind, served));
    }
    Ok(found)
}

/// The versions of a kind's group that are served, the best first.
fn versions(kind: &Kind, groups: &Groups) -> Vec<String> {
    if kind.group.is_empty() {
        return vec!["v1".to_owned()];
    }
    let Some(group) = groups.groups.iter().find(|group| group.name == kind.group) else { return Vec::new() };
    let served = |version: &&str| group.versions.iter().any(|served| served.version == **version);
    let known = kind.versions.iter().copied().filter(served);
    let others = [&group.preferred_version].into_iter().chain(&group.versions).map(|version| version.version.as_str());
    let mut versions: Vec<String> = Vec::new();
    for version in known.chain(others) {
        if !version.is_empty() && !versions.iter().any(|other| other == version) {
            versions.push(version.to_owned());
        }
    }
    versions
}

fn has(document: &Resources, kind: &Kind) -> bool {
    document.resources.iter().any(|resource| {
        let can = |verb: &str| resource.verbs.iter().any(|has| has == verb);
        resource.name == kind.plural && can("list") && can("watch")
    })
}

/// A group that is missing from the list is missing for sure only when its path is not there either: an API server that
/// just starts lists groups that are defined by CRDs late, and answers 503 for their paths until then.
async fn confirmed(client: &Client, kind: &Kind) -> Served {
    let Some(version) = kind.versions.first() else { return Served::No };
    let path = format!("{}?limit=1", kind.path(version));
    match wire::get(client, &path, wire::accept(kind, true)).await {
        // The authorizer is asked before the path is looked up, so its refusal says nothing; the list of groups stands.
        Err(Trouble::NotServed | Trouble::Forbidden(_)) => Served::No,
        _ => Served::Unknown,
    }
}

async fn read<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, Trouble> {
    let body = wire::get(client, path, "application/json").await?;
    serde_json::from_slice(&body).map_err(|error| Trouble::Other(format!("{path} cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(name: &str) -> &'static Kind {
        KINDS.iter().find(|kind| kind.kind == name).unwrap()
    }

    fn groups(name: &str, versions: &[&str], preferred: &str) -> Groups {
        let versions: Vec<_> = versions.iter().map(|version| json!({ "version": version })).collect();
        let group = json!({ "name": name, "versions": versions, "preferredVersion": { "version": preferred } });
        serde_json::from_value(json!({ "groups": [group] })).unwrap()
    }

    #[test]
    fn our_own_version_comes_before_the_servers_and_one_that_is_new_to_us_is_still_read() {
        let karpenter = |served: &[&str], preferred: &str| {
            versions(kind("NodePool"), &groups("karpenter.sh", served, preferred)).join(" ")
        };
        assert_eq!(karpenter(&["v1beta1", "v1"], "v1beta1"), "v1 v1beta1");
        assert_eq!(karpenter(&["v1beta1"], "v1beta1"), "v1beta1");
        assert_eq!(karpenter(&["v3", "v2"], "v3"), "v3 v2");
        assert_eq!(versions(kind("NodePool"), &Groups::default()), Vec::<String>::new());
        assert_eq!(versions(kind("Node"), &Groups::default()), ["v1"]);
    }

    #[test]
    fn a_kind_that_cannot_be_watched_is_not_served() {
        let document = |verbs: &[&str]| -> Resources {
            serde_json::from_value(json!({ "resources": [{ "name": "nodes", "verbs": verbs }] })).unwrap()
        };
        assert!(has(&document(&["get", "list", "watch"]), kind("Node")));
        assert!(!has(&document(&["get", "list"]), kind("Node")));
        assert!(!has(&document(&["list", "watch"]), kind("Service")));
    }
}
