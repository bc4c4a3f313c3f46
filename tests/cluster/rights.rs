//! What the two accounts may do, by real requests with their own tokens.

use std::collections::BTreeSet;
use std::sync::{LazyLock, OnceLock};

use futures::{StreamExt as _, stream};
use http::{Method, Request, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::harness::assets::{Binary, have};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::installation::{Installation, NAMESPACE};
use crate::harness::{block_on, repository};

/// Some fifty resources, their subresources, seven verbs, three places and three accounts: some thousands of requests.
const AT_ONCE: usize = 16;

/// scalegate as the chart installs it by default, its webhook with a talkative log, on a control plane with the controller
/// manager and every kind that scalegate knows. The tests of this file and of its neighbours about tenants and strangers
/// share it.
pub fn installation() -> Option<&'static Installation<'static>> {
    static SHARED: OnceLock<Option<Installation<'static>>> = OnceLock::new();
    if !have(&[Binary::Helm, Binary::ControllerManager]) {
        return None;
    }
    let start = || {
        let cluster = Box::leak(Box::new(ControlPlane::start(Options::default())?));
        let definitions = repository("tests/cluster/crds");
        cluster.kubectl(&["apply", "--server-side", "-f", definitions.to_str().unwrap()]).ok();
        cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).ok();
        cluster.controller_manager();
        let values = json!({
            "webhook": {"extraArgs": ["--log-level=debug", "--body-timeout=1s", "--head-timeout=1s"]},
            "controller": {"extraArgs": ["--log-level=debug"]},
        });
        Some(Installation::start_self_managed(cluster, &values, 1))
    };
    SHARED.get_or_init(start).as_ref()
}

/// A resource of the API server's discovery.
struct Resource {
    group: String,
    /// Such as `/apis/apps/v1`.
    path: String,
    /// With its subresource.
    name: String,
    namespaced: bool,
}

fn resources(cluster: &ControlPlane) -> Vec<Resource> {
    let parse = |path: &str| -> Value { serde_json::from_str(&cluster.get(path).unwrap()).unwrap() };
    let mut groups = vec![(String::new(), "/api/v1".to_owned())];
    for group in parse("/apis")["groups"].as_array().unwrap() {
        let version = group["preferredVersion"]["groupVersion"].as_str().unwrap();
        groups.push((group["name"].as_str().unwrap().to_owned(), format!("/apis/{version}")));
    }
    let mut found = Vec::new();
    for (group, path) in groups {
        for resource in parse(&path)["resources"].as_array().unwrap() {
            found.push(Resource {
                group: group.clone(),
                path: path.clone(),
                name: resource["name"].as_str().unwrap().to_owned(),
                namespaced: resource["namespaced"] == true,
            });
        }
    }
    found
}

/// One request, and what it asks for.
#[derive(Clone)]
struct Attempt {
    verb: &'static str,
    group: String,
    resource: String,
    /// A namespace, or nothing for all of them and for what is in none.
    place: String,
    method: Method,
    path: String,
}

impl Attempt {
    /// The requests for each verb on a resource, in a place, on the object of that name.
    fn on(resource: &Resource, place: &str, name: &str) -> Vec<Self> {
        let (plain, subresource) =
            resource.name.split_once('/').map_or((resource.name.as_str(), None), |(plain, sub)| (plain, Some(sub)));
        let namespace = if place.is_empty() { String::new() } else { format!("/namespaces/{place}") };
        let collection = format!("{}{namespace}/{plain}", resource.path);
        let object = match subresource {
            Some(subresource) => format!("{collection}/{name}/{subresource}"),
            None => format!("{collection}/{name}"),
        };
        let dry = "?dryRun=All";
        let named = [
            ("get", Method::GET, object.clone()),
            ("update", Method::PUT, format!("{object}{dry}")),
            ("patch", Method::PATCH, format!("{object}{dry}")),
            ("delete", Method::DELETE, format!("{object}{dry}")),
        ];
        let of_all = [
            ("list", Method::GET, format!("{collection}?limit=1")),
            ("watch", Method::GET, format!("{collection}?watch=true&timeoutSeconds=1")),
            ("create", Method::POST, format!("{collection}{dry}")),
            ("deletecollection", Method::DELETE, format!("{collection}{dry}")),
        ];
        let of_subresource = [("create", Method::POST, format!("{object}{dry}"))];
        // Only a collection reaches over all namespaces.
        let everywhere = resource.namespaced && place.is_empty();
        let verbs: Vec<_> = match subresource {
            Some(_) if everywhere => Vec::new(),
            Some(_) => named.into_iter().chain(of_subresource).collect(),
            None if everywhere => of_all.into_iter().filter(|(verb, ..)| *verb != "create").collect(),
            None => named.into_iter().chain(of_all).collect(),
        };
        let attempt = |(verb, method, path)| Self {
            verb,
            group: resource.group.clone(),
            resource: resource.name.clone(),
            place: place.to_owned(),
            method,
            path,
        };
        verbs.into_iter().map(attempt).collect()
    }

    fn request(&self) -> Request<Body> {
        let content_type =
            if self.method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let body = if self.method == Method::GET { "" } else { "{}" };
        Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header("Content-Type", content_type)
            .body(Body::from(body.as_bytes().to_vec()))
            .unwrap()
    }
}

/// Whether the API server lets the request pass its authorization; what it then makes of it does not matter.
async fn let_in(client: &Client, request: Request<Body>) -> bool {
    let path = request.uri().to_string();
    let answer = client.send(request).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_ne!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
    assert_ne!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
    answer.status() != StatusCode::FORBIDDEN
}

/// Those of the attempts that are let in.
fn allowed(client: &Client, attempts: &[Attempt]) -> Vec<Attempt> {
    let all = stream::iter(attempts)
        .map(|attempt| async move { let_in(client, attempt.request()).await.then(|| attempt.clone()) });
    let allowed = all.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
    block_on(allowed).into_iter().flatten().collect()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

const READING: [&str; 3] = ["get", "list", "watch"];

/// What the webhook and the controller read, wherever it is.
const READ: [(&str, &str); 24] = [
    ("", "namespaces"),
    ("", "nodes"),
    ("", "resourcequotas"),
    ("", "services"),
    ("apiregistration.k8s.io", "apiservices"),
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("autoscaling.gke.io", "autoscalingmetrics"),
    ("autoscaling.gke.io", "multidimpodautoscalers"),
    ("cloud.google.com", "computeclasses"),
    ("karpenter.sh", "nodepools"),
    ("keda.sh", "scaledobjects"),
    ("leaderworkerset.x-k8s.io", "leaderworkersets"),
    ("monitoring.coreos.com", "podmonitors"),
    ("monitoring.coreos.com", "prometheusrules"),
    ("monitoring.coreos.com", "servicemonitors"),
    ("monitoring.googleapis.com", "clusterpodmonitorings"),
    ("monitoring.googleapis.com", "clusterrules"),
    ("monitoring.googleapis.com", "globalrules"),
    ("monitoring.googleapis.com", "podmonitorings"),
    ("monitoring.googleapis.com", "rules"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceslices"),
];

/// What the controller does beside, to objects of any name, wherever they are: what a label brings, and what it says.
const WRITE: [(&str, &str, &[&str]); 5] = [
    ("autoscaling", "horizontalpodautoscalers", &["create", "patch", "delete"]),
    ("monitoring.googleapis.com", "podmonitorings", &["create", "patch", "delete"]),
    ("monitoring.coreos.com", "podmonitors", &["create", "patch", "delete"]),
    ("", "events", &["create", "patch", "get", "list"]),
    ("events.k8s.io", "events", &["create", "patch"]),
];

/// What the controller does to objects of any name, in its own namespace alone.
const AT_HOME: [(&str, &str, &[&str]); 1] = [("discovery.k8s.io", "endpointslices", &READING)];

/// What Kubernetes lets every account do: ask about itself, and, where the cluster has them, read which authorities it
/// trusts.
const EVERYBODY: [(&str, &str, &[&str]); 4] = [
    ("authentication.k8s.io", "selfsubjectreviews", &["create"]),
    ("authorization.k8s.io", "selfsubjectaccessreviews", &["create"]),
    ("authorization.k8s.io", "selfsubjectrulesreviews", &["create"]),
    ("certificates.k8s.io", "clustertrustbundles", &READING),
];

const WEBHOOK: &str = "scalegate-webhook";
const CONTROLLER: &str = "scalegate-controller";
/// An account to which nobody gave anything.
const NOBODY: &str = "nobody";

fn clients(cluster: &ControlPlane) -> [(&'static str, Client); 3] {
    static NOBODY_IS_THERE: LazyLock<std::sync::Mutex<bool>> = LazyLock::new(Default::default);
    let mut there = NOBODY_IS_THERE.lock().unwrap();
    if !*there {
        cluster.kubectl(&["create", "serviceaccount", NOBODY, "-n", NAMESPACE]).ok();
        *there = true;
    }
    [WEBHOOK, CONTROLLER, NOBODY].map(|name| (name, cluster.service_account_client(NAMESPACE, name)))
}

#[test]
fn of_every_verb_on_every_kind_each_account_is_let_in_only_where_it_must() {
    let Some(installed) = installation() else { return };
    let cluster = installed.cluster;
    let mut attempts = Vec::new();
    let resources = resources(cluster);
    for resource in &resources {
        let places: &[&str] = if resource.namespaced { &["default", NAMESPACE, ""] } else { &[""] };
        attempts.extend(places.iter().flat_map(|place| Attempt::on(resource, place, "other")));
    }
    for (group, name) in READ {
        assert!(resources.iter().any(|it| it.group == group && it.name == name), "{group}/{name} is not served");
    }
    assert!(attempts.len() > 1_500, "only {} requests", attempts.len());
    let mut wrong = Vec::new();
    for (account, client) in clients(cluster) {
        let wanted = |attempt: &Attempt| {
            let of = (attempt.group.as_str(), attempt.resource.as_str());
            let is_in = |table: &[(&str, &str, &[&str])]| {
                table.iter().any(|row| of == (row.0, row.1) && row.2.contains(&attempt.verb))
            };
            is_in(&EVERYBODY)
                || (account != NOBODY && READING.contains(&attempt.verb) && READ.contains(&of))
                || (account == CONTROLLER && is_in(&WRITE))
                || (account == CONTROLLER && is_in(&AT_HOME) && attempt.place == NAMESPACE)
        };
        let describe = |attempt: &Attempt| {
            let Attempt { verb, group, resource, place, .. } = attempt;
            format!("{account} {verb} {group}/{resource} in '{place}'")
        };
        let was: BTreeSet<String> = allowed(&client, &attempts).iter().map(describe).collect();
        let wanted: BTreeSet<String> = attempts.iter().filter(|attempt| wanted(attempt)).map(describe).collect();
        wrong.extend(was.difference(&wanted).map(|text| format!("let in: {text}")));
        wrong.extend(wanted.difference(&was).map(|text| format!("refused: {text}")));
        eprintln!("{account}: {} of {} requests are let in", was.len(), attempts.len());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_objects_that_are_named_may_be_touched_and_their_namesakes_elsewhere_not() {
    let Some(installed) = installation() else { return };
    let cluster = installed.cluster;
    let registration = "admissionregistration.k8s.io";
    type Named<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [&'a str]);
    let writing = ["get", "update", "patch"];
    let named: [Named<'_>; 10] = [
        (WEBHOOK, "", "secrets", "scalegate-tls", &["get"]),
        (WEBHOOK, "", "secrets", "scalegate-ca", &[]),
        (WEBHOOK, "", "configmaps", "scalegate", &[]),
        (WEBHOOK, registration, "validatingwebhookconfigurations", "scalegate", &["get"]),
        (WEBHOOK, registration, "mutatingwebhookconfigurations", "scalegate", &["get"]),
        (CONTROLLER, "", "secrets", "scalegate-tls", &writing),
        (CONTROLLER, "", "secrets", "scalegate-ca", &writing),
        (CONTROLLER, "coordination.k8s.io", "leases", "scalegate", &writing),
        (CONTROLLER, registration, "validatingwebhookconfigurations", "scalegate", &["get", "patch"]),
        (CONTROLLER, registration, "mutatingwebhookconfigurations", "scalegate", &["get", "patch"]),
    ];
    let resources = resources(cluster);
    let clients = clients(cluster);
    let mut wrong = Vec::new();
    for (account, client) in &clients {
        for (_, group, kind, name, _) in named {
            let resource = resources.iter().find(|it| it.group == group && it.name == kind).unwrap();
            let places: &[&str] = if resource.namespaced { &[NAMESPACE, "default", "kube-system"] } else { &[""] };
            for place in places {
                let at_home = *place == NAMESPACE || !resource.namespaced;
                let here = named.iter().filter(|row| at_home && row.0 == *account && row.2 == kind && row.3 == name);
                let wanted: BTreeSet<&str> = here.flat_map(|row| row.4.iter().copied()).collect();
                let attempts: Vec<Attempt> = Attempt::on(resource, place, name)
                    .into_iter()
                    .filter(|attempt| ["get", "update", "patch", "delete"].contains(&attempt.verb))
                    .collect();
                let mut may: BTreeSet<&str> = allowed(client, &attempts).iter().map(|attempt| attempt.verb).collect();
                // A watch of the one object, which is how it is followed.
                let path = attempts[0].path.rsplit_once('/').unwrap().0;
                let one = format!("{path}?fieldSelector=metadata.name%3D{name}&limit=1");
                if block_on(let_in(client, get(&one))) != may.contains("get") {
                    wrong.push(format!("{account} list {kind} {name} in '{place}'"));
                }
                may.retain(|verb| !wanted.contains(verb));
                if !may.is_empty() {
                    wrong.push(format!("{account} {may:?} {kind} {name} in '{place}'"));
                }
                let missing = wanted.iter().filter(|verb| {
                    let attempt = attempts.iter().find(|attempt| attempt.verb == **verb).unwrap();
                    !block_on(let_in(client, attempt.request()))
                });
                wrong.extend(missing.map(|verb| format!("{account} may not {verb} {kind} {name} in '{place}'")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_account_gets_further_rights_by_another_door() {
    let Some(installed) = installation() else { return };
    let cluster = installed.cluster;
    cluster.kubectl(&["create", "secret", "generic", "theirs", "-n", "default", "--from-literal=word=canary"]).ok();
    cluster.kubectl(&["create", "serviceaccount", "strong", "-n", "default"]).ok();
    let post = |path: &str, body: &Value| {
        let body = Body::from(body.to_string().into_bytes());
        Request::post(path).header("Content-Type", "application/json").body(body).unwrap()
    };
    for (account, client) in clients(cluster) {
        let mut requests = Vec::new();
        // Somebody else's name.
        for (header, value) in [
            ("Impersonate-User", "admin"),
            ("Impersonate-User", "system:serviceaccount:default:strong"),
            ("Impersonate-User", "system:kube-controller-manager"),
        ] {
            let request = Request::get("/api/v1/namespaces").header(header, value).body(Body::empty()).unwrap();
            requests.push((format!("{header}: {value}"), request));
        }
        let own = format!("system:serviceaccount:{NAMESPACE}:{account}");
        for (header, value) in
            [("Impersonate-Group", "system:masters"), ("Impersonate-Uid", "1"), ("Impersonate-Extra-Scopes", "all")]
        {
            let request = Request::get("/api/v1/namespaces").header("Impersonate-User", &own).header(header, value);
            requests.push((format!("{header}: {value}"), request.body(Body::empty()).unwrap()));
        }
        // A token of a stronger account, of the other one of ours, and of its own.
        for (namespace, name) in [("default", "strong"), (NAMESPACE, WEBHOOK), (NAMESPACE, CONTROLLER)] {
            let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
            let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
            requests.push((path.clone(), post(&path, &token)));
        }
        // A certificate that would be signed for masters, and a role for itself.
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let reference =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"});
        let subjects = json!([{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]);
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "mine"}, "roleRef": reference, "subjects": subjects,
        });
        requests.push(("a binding".to_owned(), post(&format!("{rbac}/clusterrolebindings?dryRun=All"), &binding)));
        for path in [
            "/api/v1/namespaces/default/secrets/theirs",
            "/api/v1/namespaces/default/secrets",
            "/api/v1/secrets",
            "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
            "/api/v1/nodes/n/proxy/pods",
            "/api/v1/namespaces/default/services/kubernetes/proxy/",
            "/api/v1/namespaces/default/pods/p/log",
            "/api/v1/namespaces/default/pods/p/exec?command=id",
            "/api/v1/namespaces/default/pods/p/portforward",
            "/metrics",
            "/logs/",
            "/debug/pprof/",
            "/configz",
        ] {
            requests.push((path.to_owned(), get(path)));
        }
        let let_in: Vec<String> = requests
            .into_iter()
            .filter_map(|(what, request)| block_on(let_in(&client, request)).then_some(what))
            .collect();
        assert!(let_in.is_empty(), "{account}: {let_in:#?}");

        // Verbs that no request has of its own.
        for (verb, group, resource) in [
            ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
            ("escalate", "rbac.authorization.k8s.io", "roles"),
            ("bind", "rbac.authorization.k8s.io", "clusterroles"),
            ("bind", "rbac.authorization.k8s.io", "roles"),
            ("impersonate", "", "users"),
            ("impersonate", "", "groups"),
            ("impersonate", "", "serviceaccounts"),
            ("approve", "certificates.k8s.io", "signers"),
            ("sign", "certificates.k8s.io", "signers"),
            ("use", "policy", "podsecuritypolicies"),
            ("*", "*", "*"),
        ] {
            for place in ["", "default", NAMESPACE] {
                let review = json!({
                    "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                    "spec": {"resourceAttributes": {
                        "verb": verb, "group": group, "resource": resource, "namespace": place,
                    }},
                });
                let bytes = review.to_string().into_bytes();
                let request = Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
                let request = request.header("Content-Type", "application/json").body(bytes).unwrap();
                let answer: Value = block_on(client.request(request)).unwrap();
                assert_eq!(answer["status"]["allowed"], false, "{account} {verb} {group}/{resource} in '{place}'");
            }
        }
    }
}

#[test]
fn webhook_and_controller_may_ask_for_metrics_and_not_write_them() {
    let Some(installed) = installation() else { return };
    for (account, client) in clients(installed.cluster) {
        for (group, version) in [("custom.metrics.k8s.io", "v1beta2"), ("external.metrics.k8s.io", "v1beta1")] {
            let path = format!("/apis/{group}/{version}/namespaces/default/pods/%2A/vllm:num_requests_running");
            assert_eq!(block_on(let_in(&client, get(&path))), account != NOBODY, "{account} {path}");
            let written = Request::post(&path).body(Body::from(b"{}".to_vec())).unwrap();
            assert!(!block_on(let_in(&client, written)), "{account} writes {path}");
        }
    }
}
