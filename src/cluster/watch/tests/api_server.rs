//! An API server of the tests' own on a loopback port: discovery, lists in pages, watches, and every way to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A collection's path, as in `/apis/apps/v1/deployments`.
type Path = &'static str;

/// The kinds that it serves from the start.
const BUILT_IN: &[Path] = &[
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/api/v1/services",
    "/api/v1/resourcequotas",
    "/api/v1/configmaps",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets",
    "/apis/autoscaling/v2/horizontalpodautoscalers",
    "/apis/apiregistration.k8s.io/v1/apiservices",
];

#[derive(Default)]
struct Inner {
    version: u64,
    /// Watches from before this version are answered with 410.
    oldest: u64,
    served: BTreeSet<String>,
    forbidden: BTreeSet<String>,
    away: bool,
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    events: Vec<(u64, String, Value)>,
    requests: Vec<String>,
}

/// The server.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Mutex<Inner>>,
    /// Counts changes.
    changes: watch::Sender<u64>,
    /// Counts how often all watches were cut.
    cuts: watch::Sender<u64>,
    /// Where it listens.
    pub address: String,
}

fn place(object: &Value) -> String {
    let metadata = &object["metadata"];
    format!("{}/{}", metadata["namespace"].as_str().unwrap_or_default(), metadata["name"].as_str().unwrap_or_default())
}

impl ApiServer {
    /// Starts it on a free port, with the built-in kinds.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let served = BUILT_IN.iter().map(|path| (*path).to_owned()).collect();
        let server = Self {
            inner: Arc::new(Mutex::new(Inner { version: 1, served, ..Inner::default() })),
            changes: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
            address: format!("http://{}", listener.local_addr().unwrap()),
        };
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// Creates or replaces an object.
    pub fn put(&self, path: &str, mut object: Value) {
        self.with(|inner| {
            inner.version += 1;
            object["metadata"]["resourceVersion"] = inner.version.to_string().into();
            let collection = inner.objects.entry(path.to_owned()).or_default();
            let kind = if collection.insert(place(&object), object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
            inner.events.push((inner.version, path.to_owned(), json!({ "type": kind, "object": object })));
        });
    }

    /// Deletes an object; `place` is `namespace/name`.
    pub fn delete(&self, path: &str, place: &str) {
        self.with(|inner| {
            inner.version += 1;
            let mut object = inner.objects.get_mut(path).and_then(|all| all.remove(place)).unwrap();
            object["metadata"]["resourceVersion"] = inner.version.to_string().into();
            inner.events.push((inner.version, path.to_owned(), json!({ "type": "DELETED", "object": object })));
        });
    }

    /// Forgets all events, so that who lags behind has to list again.
    pub fn compact(&self) {
        self.with(|inner| {
            inner.version += 1;
            inner.oldest = inner.version;
            inner.events.clear();
        });
    }

    /// Forgets what came before now, and nothing else.
    pub fn with_oldest_at_present(&self) {
        self.with(|inner| inner.oldest = inner.version);
    }

    /// Cuts all watches in the middle.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Answers nothing but errors from now on, or answers again.
    pub fn away(&self, away: bool) {
        self.with(|inner| inner.away = away);
        self.cut();
    }

    /// Serves a kind from now on.
    pub fn serve(&self, path: &str) {
        self.with(|inner| {
            inner.served.insert(path.to_owned());
        });
    }

    /// Serves a kind no longer: its objects are gone and its watches end.
    pub fn unserve(&self, path: &str) {
        self.with(|inner| {
            inner.served.remove(path);
            inner.objects.remove(path);
        });
        self.cut();
    }

    /// Lets nobody read a kind, or everybody again.
    pub fn forbid(&self, path: &str, forbidden: bool) {
        self.with(|inner| {
            if forbidden {
                inner.forbidden.insert(path.to_owned());
            } else {
                inner.forbidden.remove(path);
            }
        });
        self.cut();
    }

    /// Sends everybody a bookmark.
    pub fn bookmark(&self) {
        self.with(|inner| {
            inner.version += 1;
            let object = json!({ "kind": "Bookmark", "metadata": { "resourceVersion": inner.version.to_string() } });
            for path in inner.served.clone() {
                inner.events.push((inner.version, path, json!({ "type": "BOOKMARK", "object": object })));
            }
        });
    }

    /// Requests whose path and query begin and go on so.
    pub fn requests(&self, path: &str, containing: &str) -> Vec<String> {
        let inner = self.inner.lock().unwrap();
        let requests = inner.requests.iter();
        requests.filter(|request| request.starts_with(path) && request.contains(containing)).cloned().collect()
    }

    fn with(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner.lock().unwrap());
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The lines of a watch after a version, and the version that they lead to.
    fn lines(&self, path: &str, name: Option<&str>, after: u64) -> (String, u64) {
        let inner = self.inner.lock().unwrap();
        let mut lines = String::new();
        for (_, _, event) in inner.events.iter().filter(|(version, of, event)| {
            let named = name.is_none_or(|name| {
                event["type"] == "BOOKMARK" || event["object"]["metadata"]["name"].as_str() == Some(name)
            });
            *version > after && of == path && named
        }) {
            lines.push_str(&event.to_string());
            lines.push('\n');
        }
        (lines, inner.version)
    }
}

fn status(code: u16, message: &str) -> Response {
    let body = json!({ "kind": "Status", "code": code, "message": message });
    Response::builder().status(code).body(Body::from(body.to_string())).unwrap()
}

fn json_answer(body: &Value) -> Response {
    Response::new(Body::from(body.to_string()))
}

async fn answer(State(server): State<ApiServer>, request: Request) -> Response {
    let uri = request.uri().clone();
    let path = uri.path().to_owned();
    let query: BTreeMap<String, String> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.replace("%3D", "=")))
        .collect();
    {
        let mut inner = server.inner.lock().unwrap();
        inner.requests.push(uri.to_string());
        if inner.away {
            return status(500, "away");
        }
        if path == "/apis" {
            return json_answer(&groups(&inner.served));
        }
        if let Some(resources) = resources(&inner.served, &path) {
            return json_answer(&resources);
        }
    }
    let (path, namespace) = without_namespace(&path);
    let name =
        query.get("fieldSelector").and_then(|selector| selector.strip_prefix("metadata.name=")).map(str::to_owned);
    {
        let inner = server.inner.lock().unwrap();
        if inner.forbidden.contains(&path) {
            return status(403, "deployments is forbidden: User \"x\" cannot list it");
        }
        if !inner.served.contains(&path) {
            return status(404, "the server could not find the requested resource");
        }
        if !query.contains_key("watch") {
            return json_answer(&list(&inner, &path, namespace.as_deref(), name.as_deref(), &query));
        }
    }
    let from: u64 = query["resourceVersion"].parse().unwrap();
    if from < server.inner.lock().unwrap().oldest {
        return gone();
    }
    let lasting = Duration::from_secs(query["timeoutSeconds"].parse().unwrap());
    follow(server, path, name, from, lasting)
}

/// The API server answers a watch from an old version with 200 and an error event.
fn gone() -> Response {
    let event = json!({ "type": "ERROR", "object": { "kind": "Status", "code": 410, "message": "too old" } });
    Response::new(Body::from(format!("{event}\n")))
}

fn groups(served: &BTreeSet<String>) -> Value {
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for path in served {
        let parts: Vec<&str> = path.split('/').collect();
        if let ["", "apis", group, version, _] = parts.as_slice() {
            groups.entry(group).or_default().insert(version);
        }
    }
    let groups: Vec<Value> = groups
        .into_iter()
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions.into_iter().map(|version| json!({ "version": version })).collect();
            json!({ "name": name, "preferredVersion": versions[0], "versions": versions })
        })
        .collect();
    json!({ "kind": "APIGroupList", "groups": groups })
}

fn resources(served: &BTreeSet<String>, path: &str) -> Option<Value> {
    let of: Vec<Value> = served
        .iter()
        .filter_map(|served| served.rsplit_once('/').filter(|(root, _)| *root == path))
        .map(|(_, plural)| json!({ "name": plural, "verbs": ["get", "list", "watch"] }))
        .collect();
    (!of.is_empty()).then(|| json!({ "kind": "APIResourceList", "resources": of }))
}

fn without_namespace(path: &str) -> (String, Option<String>) {
    match path.split_once("/namespaces/") {
        Some((root, rest)) => {
            let (namespace, plural) = rest.split_once('/').unwrap();
            (format!("{root}/{plural}"), Some(namespace.to_owned()))
        }
        None => (path.to_owned(), None),
    }
}

fn list(
    inner: &Inner,
    path: &str,
    namespace: Option<&str>,
    name: Option<&str>,
    query: &BTreeMap<String, String>,
) -> Value {
    let limit: usize = query["limit"].parse().unwrap();
    let from: usize = query.get("continue").map_or(0, |from| from.parse().unwrap());
    let all: Vec<&Value> = inner
        .objects
        .get(path)
        .into_iter()
        .flat_map(BTreeMap::values)
        .filter(|object| name.is_none_or(|name| object["metadata"]["name"] == name))
        .filter(|object| namespace.is_none_or(|namespace| object["metadata"]["namespace"] == namespace))
        .collect();
    let page: Vec<&Value> = all.iter().skip(from).take(limit).copied().collect();
    let next = if from + limit < all.len() { (from + limit).to_string() } else { String::new() };
    json!({ "kind": "List", "metadata": { "resourceVersion": inner.version.to_string(), "continue": next }, "items": page })
}

fn follow(server: ApiServer, path: String, name: Option<String>, from: u64, lasting: Duration) -> Response {
    let deadline = tokio::time::Instant::now() + lasting;
    let (changes, cuts) = (server.changes.subscribe(), server.cuts.subscribe());
    let begin = (server, changes, cuts, from);
    let lines = stream::unfold(begin, move |(server, mut changes, mut cuts, mut from)| {
        let (path, name) = (path.clone(), name.clone());
        async move {
            loop {
                changes.borrow_and_update();
                let (lines, reached) = server.lines(&path, name.as_deref(), from);
                from = reached.max(from);
                if !lines.is_empty() {
                    return Some((Ok::<_, Infallible>(lines), (server, changes, cuts, from)));
                }
                tokio::select! {
                    _ = changes.changed() => {}
                    _ = cuts.changed() => return None,
                    () = tokio::time::sleep_until(deadline) => return None,
                }
            }
        }
    });
    Response::new(Body::from_stream(lines))
}
