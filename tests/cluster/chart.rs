//! The chart before a real API server: what it accepts, what survives an upgrade, what its accounts may do, and who may
//! set the label.

use std::collections::BTreeSet;

use clap::Parser as _;
use http::Request;
use serde_json::{Value, json};

use crate::harness::assets::{Binary, have};
use crate::harness::block_on;
use crate::harness::chart::{helm, render_chart};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::process::Ran;
use crate::harness::repository;

/// A control plane of our own, since the chart registers webhooks and a policy for every namespace, with the kinds that
/// the chart can make besides Kubernetes' own. Nothing without binaries.
fn control_plane() -> Option<ControlPlane> {
    if !have(&[Binary::Helm]) {
        return None;
    }
    let cluster = ControlPlane::start(Options::default())?;
    let kinds = [
        ("monitoring.googleapis.com", "PodMonitoring", "podmonitorings", "Namespaced"),
        ("monitoring.googleapis.com", "ClusterPodMonitoring", "clusterpodmonitorings", "Cluster"),
        ("monitoring.googleapis.com", "Rules", "rules", "Namespaced"),
        ("monitoring.googleapis.com", "ClusterRules", "clusterrules", "Cluster"),
        ("monitoring.coreos.com", "PodMonitor", "podmonitors", "Namespaced"),
        ("monitoring.coreos.com", "ServiceMonitor", "servicemonitors", "Namespaced"),
        ("monitoring.coreos.com", "PrometheusRule", "prometheusrules", "Namespaced"),
        ("cert-manager.io", "Issuer", "issuers", "Namespaced"),
        ("cert-manager.io", "Certificate", "certificates", "Namespaced"),
    ];
    // The genuine definitions of GMP check what is in the objects; the others here only take them.
    let genuine = repository("../shared/crds/gmp.yaml");
    if genuine.exists() {
        cluster.kubectl(&["apply", "--server-side", "-f", genuine.to_str().unwrap()]).ok();
    } else {
        eprintln!("SKIPPED: the GMP objects are not checked against the genuine definitions, which are not here");
    }
    for (group, kind, plural, scope) in kinds {
        if genuine.exists() && group == "monitoring.googleapis.com" {
            continue;
        }
        cluster.kubectl_stdin(&["apply", "-f", "-"], &definition(group, kind, plural, scope).to_string()).ok();
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).ok();
    Some(cluster)
}

fn definition(group: &str, kind: &str, plural: &str, scope: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn restricted(cluster: &ControlPlane) -> String {
    let namespace = cluster.namespace("chart");
    cluster.kubectl(&["label", "namespace", &namespace, "pod-security.kubernetes.io/enforce=restricted"]).ok();
    namespace
}

/// The values that matter, each with what it may be.
fn dimensions() -> Vec<Vec<Value>> {
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let on_off = |off: Value, on: Value| vec![off, on];
    vec![
        vec![
            json!({}),
            json!({"certificates": {"mode": "cert-manager"}}),
            json!({"certificates": {"mode": "cert-manager"}, "controller": {"enabled": false}}),
            json!({"certificates": {"mode": "files", "secretName": "mine", "caBundle": pem}}),
        ],
        vec![
            json!({}),
            json!({"gpuMetrics": {"enabled": true}}),
            json!({"gpuMetrics": {"enabled": true}, "config": {"backend": {"type": "prometheus-operator"}}}),
        ],
        vec![
            json!({}),
            json!({"monitoring": {"type": "gmp"}}),
            json!({"monitoring": {"type": "prometheus-operator", "dashboard": {"enabled": true}}}),
        ],
        vec![
            json!({}),
            json!({"networkPolicy": {"enabled": false}}),
            json!({"networkPolicy": {
                "apiServerCIDRs": ["10.0.0.0/28"], "metricsFrom": [{"namespaceSelector": {}}],
                "extraEgress": [{"ports": [{"port": 3128}]}],
            }}),
        ],
        on_off(json!({}), json!({"admission": {"failurePolicy": "Fail", "excludeNamespaces": ["legacy"]}})),
        on_off(json!({}), json!({"labelPolicy": {"enabled": false}})),
        on_off(json!({}), json!({"webhook": {"replicas": 1, "priorityClassName": "system-cluster-critical"}})),
        on_off(json!({}), json!({"webhook": {"hostNetwork": true, "port": 10_260}})),
        on_off(
            json!({}),
            json!({
                "logFormat": "text", "webhook": {"extraArgs": ["--max-in-flight=64", "--log-level=info,kube=warn"]},
                "controller": {"extraArgs": ["--log-level=debug"], "replicas": 2}, "service": {"port": 8443},
            }),
        ),
        on_off(json!({}), json!({"config": {"enforcement": {"mode": "warn"}}, "commonLabels": {"team": "ml"}})),
    ]
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// Choices of one value a dimension, such that any two values of any two dimensions meet in one of them.
fn pairwise(sizes: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for size in sizes {
        all = all
            .into_iter()
            .flat_map(|chosen: Vec<usize>| (0..*size).map(move |next| [&chosen[..], &[next]].concat()))
            .collect();
    }
    let pairs = |chosen: &[usize]| {
        let mut pairs = BTreeSet::new();
        for (first, a) in chosen.iter().enumerate() {
            pairs.extend(chosen.iter().enumerate().skip(first + 1).map(|(second, b)| (first, *a, second, *b)));
        }
        pairs
    };
    let mut open: BTreeSet<_> = all.iter().flat_map(|chosen| pairs(chosen)).collect();
    let mut rows = Vec::new();
    while !open.is_empty() {
        let best = all.iter().max_by_key(|chosen| pairs(chosen).intersection(&open).count()).unwrap();
        for pair in pairs(best) {
            open.remove(&pair);
        }
        rows.push(best.clone());
    }
    rows
}

/// The command line that each Deployment's container has.
fn assert_flags_are_understood(values: &Value, objects: &[Value]) {
    for deployment in objects.iter().filter(|object| object["kind"] == "Deployment") {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
        let line: Vec<&str> = std::iter::once("scalegate").chain(arguments).collect();
        let understood = scalegate::cli::Cli::try_parse_from(&line);
        assert!(understood.is_ok(), "{values}: {line:?}: {}", understood.unwrap_err());
    }
}

#[test]
fn every_pair_of_values_is_accepted_and_its_pods_are_restricted() {
    let Some(cluster) = control_plane() else { return };
    let namespace = restricted(&cluster);
    let accounts: Vec<Value> =
        render_chart(&namespace, &json!({})).into_iter().filter(|object| object["kind"] == "ServiceAccount").collect();
    cluster.kubectl_stdin(&["apply", "-f", "-"], &list(&accounts)).ok();
    let dimensions = dimensions();
    let rows = pairwise(&dimensions.iter().map(Vec::len).collect::<Vec<_>>());
    assert!(rows.len() >= 9, "{rows:?}");
    for row in rows {
        let mut values = json!({});
        for (dimension, choice) in dimensions.iter().zip(row) {
            merge(&mut values, &dimension[choice]);
        }
        let mut objects = render_chart(&namespace, &values);
        assert_flags_are_understood(&values, &objects);
        let host = values["webhook"]["hostNetwork"] == true;
        let pods = objects.iter().filter(|object| object["kind"] == "Deployment").map(|deployment| {
            let template = &deployment["spec"]["template"];
            json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"], "metadata": {
                "name": deployment["metadata"]["name"], "namespace": namespace, "labels": template["metadata"]["labels"],
            }})
        });
        // Pod Security `restricted` forbids the host's network, as the chart's README says.
        objects.extend(pods.filter(|pod| !host || pod["spec"]["hostNetwork"] != true).collect::<Vec<_>>());
        let ran = cluster.kubectl_stdin(&["apply", "--dry-run=server", "-f", "-"], &list(&objects));
        assert_eq!(ran.code, 0, "{values}\n{}", ran.stderr);
        let warned = ran.stderr.lines().filter(|line| line.contains("Warning") && !host).collect::<Vec<_>>();
        assert!(warned.is_empty(), "{values}\n{warned:?}");
    }
}

/// caBundles, certificates and Lease, as the controller would find them.
fn written(cluster: &ControlPlane, namespace: &str) -> [String; 3] {
    let configurations = "mutatingwebhookconfigurations,validatingwebhookconfigurations";
    let ask = |arguments: &[&str]| cluster.kubectl(arguments).ok();
    [
        ask(&["get", configurations, "-o", "jsonpath={.items[*].webhooks[*].clientConfig.caBundle}"]),
        ask(&[
            "get",
            "secrets",
            "-n",
            namespace,
            "-l",
            "app.kubernetes.io/name=scalegate",
            "-o",
            "jsonpath={.items[*].data}",
        ]),
        ask(&["get", "lease", "scalegate", "-n", namespace, "-o", "jsonpath={.spec}"]),
    ]
}

/// Writes what the controller writes, each by a patch of those fields alone.
fn write(cluster: &ControlPlane, namespace: &str) {
    use base64::Engine as _;
    let bundle = base64::engine::general_purpose::STANDARD.encode(cluster.ca_pem());
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let patch = json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]).to_string();
        cluster.kubectl(&["patch", kind, "scalegate", "--type=json", "-p", &patch]).ok();
    }
    let data = json!({"data": {"tls.crt": "eA==", "tls.key": "eQ=="}}).to_string();
    for secret in ["scalegate-tls", "scalegate-ca"] {
        cluster.kubectl(&["patch", "secret", secret, "-n", namespace, "--type=merge", "-p", &data]).ok();
    }
    let holder = json!({"spec": {"holderIdentity": "controller-0", "leaseDurationSeconds": 15}}).to_string();
    cluster.kubectl(&["patch", "lease", "scalegate", "-n", namespace, "--type=merge", "-p", &holder]).ok();
}

#[test]
fn what_the_controller_wrote_survives_upgrades_and_applying_the_chart_again() {
    let Some(cluster) = control_plane() else { return };
    let namespace = restricted(&cluster);
    let kubeconfig = cluster.kubeconfig_path();
    let (chart, kubeconfig) = (repository("deploy/chart"), kubeconfig.to_str().unwrap().to_owned());
    let common = [chart.to_str().unwrap(), "--namespace", &namespace, "--kubeconfig", &kubeconfig];
    let run = |command: &str, more: &[&str]| -> Ran { helm(&[&[command, "scalegate"], &common[..], more].concat()) };
    run("install", &[]).ok();
    write(&cluster, &namespace);
    let before = written(&cluster, &namespace);
    assert_eq!(before[0].split(' ').collect::<BTreeSet<_>>().len(), 1, "{before:?}");
    assert!(before[1].contains("eQ==") && before[2].contains("controller-0"), "{before:?}");
    let same = |what: &str| assert_eq!(written(&cluster, &namespace), before, "after {what}");

    run("upgrade", &[]).ok();
    same("helm upgrade");
    run("upgrade", &["--set", "admission.timeoutSeconds=4,admission.failurePolicy=Fail"]).ok();
    same("helm upgrade with other values");
    // As Helm 3 does it: three-way merges on the client.
    run("upgrade", &["--server-side=false", "--set", "admission.timeoutSeconds=3"]).ok();
    same("helm upgrade on the client");
    for (seconds, arguments) in [
        (6, &["apply", "-f", "-"][..]),
        (7, &["apply", "-f", "-"][..]),
        (8, &["apply", "--server-side", "--force-conflicts", "-f", "-"][..]),
        (9, &["apply", "--server-side", "--force-conflicts", "-f", "-"][..]),
    ] {
        let objects = render_chart(&namespace, &json!({"admission": {"timeoutSeconds": seconds}}));
        cluster.kubectl_stdin(arguments, &list(&objects)).ok();
        same(&format!("kubectl {arguments:?}"));
        let live = cluster.kubectl(&["get", "validatingwebhookconfiguration", "scalegate", "-o", "json"]).json();
        assert_eq!(live["webhooks"][0]["timeoutSeconds"], seconds, "the rest did change");
    }
    helm(&["uninstall", "scalegate", "--namespace", &namespace, "--kubeconfig", &kubeconfig]).ok();
    let left = cluster.kubectl(&["get", "secrets,leases", "-n", &namespace, "-o", "name"]).ok();
    assert!(!left.contains("scalegate-") && !left.contains("leases.coordination.k8s.io/scalegate\n"), "{left}");
}

/// Every resource that the API server names: group and resource, subresources included.
fn resources(cluster: &ControlPlane) -> BTreeSet<(String, String)> {
    let parse = |path: &str| -> Value { serde_json::from_str(&cluster.get(path).unwrap()).unwrap() };
    let mut paths = vec![(String::new(), "/api/v1".to_owned())];
    for group in parse("/apis")["groups"].as_array().unwrap() {
        let version = group["preferredVersion"]["groupVersion"].as_str().unwrap();
        paths.push((group["name"].as_str().unwrap().to_owned(), format!("/apis/{version}")));
    }
    let mut found = BTreeSet::new();
    for (group, path) in paths {
        for resource in parse(&path)["resources"].as_array().unwrap() {
            found.insert((group.clone(), resource["name"].as_str().unwrap().to_owned()));
        }
    }
    found
}

/// Whether a service account may do that, says the API server.
fn may(cluster: &ControlPlane, [namespace, account]: [&str; 2], attributes: &Value) -> bool {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": format!("system:serviceaccount:{namespace}:{account}"),
            "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated"],
            "resourceAttributes": attributes,
        },
    });
    let request = Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
        .header("Content-Type", "application/json")
        .body(review.to_string().into_bytes())
        .unwrap();
    let answer: Value = block_on(cluster.client().request(request)).unwrap();
    answer["status"]["allowed"] == true
}

/// What both accounts may read in every namespace.
const READ: [(&str, &str); 20] = [
    ("", "namespaces"),
    ("", "nodes"),
    ("", "resourcequotas"),
    ("", "services"),
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("leaderworkerset.x-k8s.io", "leaderworkersets"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("keda.sh", "scaledobjects"),
    ("monitoring.googleapis.com", "podmonitorings"),
    ("monitoring.googleapis.com", "clusterpodmonitorings"),
    ("monitoring.googleapis.com", "rules"),
    ("monitoring.googleapis.com", "clusterrules"),
    ("monitoring.coreos.com", "podmonitors"),
    ("monitoring.coreos.com", "servicemonitors"),
    ("monitoring.coreos.com", "prometheusrules"),
    ("karpenter.sh", "nodepools"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceslices"),
    ("apiregistration.k8s.io", "apiservices"),
];

/// What the controller may do beside, in every namespace.
const WRITE: [(&str, &str, &[&str]); 5] = [
    ("autoscaling", "horizontalpodautoscalers", &["create", "patch", "delete"]),
    ("monitoring.googleapis.com", "podmonitorings", &["create", "patch", "delete"]),
    ("monitoring.coreos.com", "podmonitors", &["create", "patch", "delete"]),
    ("", "events", &["create", "patch", "get", "list"]),
    ("events.k8s.io", "events", &["create", "patch"]),
];

#[test]
fn the_two_accounts_may_do_what_they_need_and_nothing_else() {
    let Some(cluster) = control_plane() else { return };
    let namespace = restricted(&cluster);
    cluster.namespace("monitoring-of-others");
    let values = json!({"config": {"backend": {"adapterConfigMap": format!("{namespace}/adapter")}}});
    let roles: Vec<Value> = render_chart(&namespace, &values)
        .into_iter()
        .filter(|object| object["apiVersion"] == "rbac.authorization.k8s.io/v1")
        .collect();
    cluster.kubectl_stdin(&["apply", "-f", "-"], &list(&roles)).ok();
    let verbs =
        ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate", "bind"];
    let webhook = [namespace.as_str(), "scalegate-webhook"];
    let controller = [namespace.as_str(), "scalegate-controller"];
    let ask = |account: [&str; 2], verb: &str, group: &str, resource: &str, place: &str, name: &str| {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = json!({
            "verb": verb, "group": group, "resource": resource, "subresource": subresource,
            "namespace": place, "name": name,
        });
        may(&cluster, account, &attributes)
    };
    let reading = ["get", "list", "watch"];
    let mut wrong = Vec::new();
    for (group, resource) in resources(&cluster) {
        // Everybody may ask about themselves.
        if resource.starts_with("selfsubject") {
            continue;
        }
        for verb in verbs {
            let read = reading.contains(&verb) && READ.contains(&(group.as_str(), resource.as_str()));
            let written = WRITE.iter().any(|row| (row.0, row.1) == (&group, &resource) && row.2.contains(&verb));
            let endpoints = resource == "endpointslices" && reading.contains(&verb);
            for (account, place, wanted) in [
                (webhook, "default", read),
                (webhook, namespace.as_str(), read),
                (controller, "default", read || written),
                (controller, namespace.as_str(), read || written || endpoints),
            ] {
                let allowed = ask(account, verb, &group, &resource, place, "other");
                // What Kubernetes lets every account do is not of the chart's giving.
                let everybody = || ask([&namespace, "nobody"], verb, &group, &resource, place, "other");
                if allowed != wanted && !(allowed && everybody()) {
                    wrong.push(format!("{} {verb} {group}/{resource} in {place}: not {wanted}", account[1]));
                }
            }
        }
    }
    let registration = "admissionregistration.k8s.io";
    type Named<'a> = ([&'a str; 2], &'a str, &'a str, &'a str, &'a [&'a str]);
    let named: [Named<'_>; 10] = [
        (webhook, "", "secrets", "scalegate-tls", &reading),
        (webhook, "", "secrets", "scalegate-ca", &[]),
        (webhook, "", "configmaps", "adapter", &reading),
        (webhook, registration, "validatingwebhookconfigurations", "scalegate", &reading),
        (controller, "", "configmaps", "adapter", &reading),
        (controller, "", "secrets", "scalegate-tls", &["get", "list", "watch", "update", "patch"]),
        (controller, "", "secrets", "scalegate-ca", &["get", "list", "watch", "update", "patch"]),
        (controller, "coordination.k8s.io", "leases", "scalegate", &["get", "list", "watch", "update", "patch"]),
        (controller, registration, "validatingwebhookconfigurations", "scalegate", &["get", "list", "watch", "patch"]),
        (controller, registration, "mutatingwebhookconfigurations", "scalegate", &["get", "list", "watch", "patch"]),
    ];
    for (account, group, resource, name, allowed) in named {
        for verb in verbs {
            if ask(account, verb, group, resource, &namespace, name) != allowed.contains(&verb) {
                wrong.push(format!("{} {verb} {group}/{resource} {name}: not {}", account[1], allowed.contains(&verb)));
            }
        }
    }
    for verb in verbs {
        for account in [webhook, controller] {
            let pods = ask(account, verb, "custom.metrics.k8s.io", "pods/vllm:num_requests_running", "default", "*");
            if pods != ["get", "list"].contains(&verb) {
                wrong.push(format!("{} {verb} custom.metrics.k8s.io", account[1]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_who_may_create_autoscalers_may_touch_the_label() {
    let Some(cluster) = control_plane() else { return };
    let namespace = restricted(&cluster);
    let policy: Vec<Value> = render_chart(&namespace, &json!({}))
        .into_iter()
        .filter(|object| object["kind"].as_str().is_some_and(|kind| kind.starts_with("ValidatingAdmissionPolicy")))
        .collect();
    assert_eq!(policy.len(), 2);
    cluster.kubectl_stdin(&["apply", "-f", "-"], &list(&policy)).ok();
    let team = cluster.namespace("team");
    let role = |name: &str, group: &str, resources: &[&str], users: &[&str]| {
        let subjects: Vec<Value> = users.iter().map(|user| json!({"kind": "User", "name": user})).collect();
        [
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                   "metadata": {"name": name, "namespace": team},
                   "rules": [{"apiGroups": [group], "resources": resources, "verbs": ["*"]}]}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                   "metadata": {"name": name, "namespace": team}, "subjects": subjects,
                   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}}),
        ]
    };
    let workloads = role("workloads", "apps", &["deployments", "deployments/scale"], &["tenant", "lead"]);
    let autoscalers = role("autoscalers", "autoscaling", &["horizontalpodautoscalers"], &["lead"]);
    cluster.kubectl_stdin(&["apply", "-f", "-"], &list(&[workloads, autoscalers].concat())).ok();
    let deployment = |name: &str, labels: Value, annotations: Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
               "metadata": {"name": name, "namespace": team, "labels": labels, "annotations": annotations},
               "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": {
                   "metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}})
        .to_string()
    };
    let label = json!({"scalegate.dev/autoscale": "enabled"});
    let setting = json!({"scalegate.dev/max-replicas": "3"});
    let marked = deployment("marked", label.clone(), setting.clone());
    cluster.kubectl_stdin(&["create", "-f", "-"], &marked).ok();
    cluster.kubectl_stdin(&["create", "-f", "-"], &deployment("plain", json!({}), json!({}))).ok();

    let create = |user: &str, text: &str| {
        cluster.kubectl_stdin(&["create", "--as", user, "--dry-run=server", "-f", "-"], text).code == 0
    };
    for (labels, annotations, tenant) in [
        (json!({}), json!({"other": "x"}), true),
        (json!({}), json!({"status.scalegate.dev/engine": "vllm"}), true),
        (label, json!({}), false),
        (json!({}), setting, false),
    ] {
        let text = deployment("new", labels, annotations);
        assert_eq!((create("tenant", &text), create("lead", &text)), (tenant, true), "{text}");
    }
    let patch = |kind: &str, name: &str, path: &str| [kind, name, path].map(str::to_owned);
    let marked = "deployment/marked";
    for (arguments, tenant) in [
        (patch("label", marked, "scalegate.dev/autoscale-"), false),
        (patch("label", marked, "scalegate.dev/other=x"), false),
        (patch("label", "deployment/plain", "scalegate.dev/autoscale=enabled"), false),
        (patch("annotate", marked, "scalegate.dev/max-replicas-"), false),
        (patch("annotate", marked, "status.scalegate.dev/engine=x"), true),
        (patch("annotate", marked, "other=x"), true),
    ] {
        let run = |user: &str| {
            let mut command = vec!["-n", &team, "--as", user, "--dry-run=server"];
            command.extend(arguments.iter().map(String::as_str));
            cluster.kubectl(&command)
        };
        let ran = run("tenant");
        assert_eq!(ran.code == 0, tenant, "{arguments:?} {}", ran.stderr);
        assert!(tenant || ran.stderr.contains("create horizontalpodautoscalers.autoscaling"), "{}", ran.stderr);
        run("lead").ok();
    }
    for arguments in [
        &["set", "image", marked, "c=y"][..],
        &["rollout", "restart", marked],
        &["scale", marked, "--replicas=2"],
        &["delete", marked],
    ] {
        cluster.kubectl(&[&["-n", &team, "--as", "tenant"], arguments].concat()).ok();
    }
}
