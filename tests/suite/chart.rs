//! The Helm chart as the real helm renders it, without a cluster.
//!
//! Skipped, and said so, where there is neither helm nor Go to build it; with `CI` set that fails.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};
use std::sync::OnceLock;

use scalegate::admission::registration::{Installation, webhook_configurations};
use scalegate::cli::read_configuration;
use scalegate::policy::configuration::BackendKind;
use scalegate::policy::render::shared_gpu_objects_labelled;
use serde_json::{Value, json};

use crate::support::{none, repository};

const NAMESPACE: &str = "gates";

fn helm(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(repository("deploy/helm.sh"));
    command.args(arguments).env_remove("KUBECONFIG");
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, home.path());
    }
    command.output().unwrap()
}

/// Whether helm is there; says so when it is not.
fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let output = helm(&["version"]);
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(std::env::var_os("CI").is_none(), "the chart's tests must not be skipped in CI: {why}");
            eprintln!("SKIPPED: the tests of deploy/chart. {why}");
        }
        output.status.success()
    })
}

fn template(values: &Value) -> Result<Vec<Value>, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.json");
    fs::write(&file, values.to_string()).unwrap();
    let chart = repository("deploy/chart");
    let (chart, file) = (chart.to_str().unwrap(), file.to_str().unwrap());
    let output = helm(&["template", "gate", chart, "--namespace", NAMESPACE, "--values", file]);
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

fn rendered(values: &Value) -> Vec<Value> {
    template(values).unwrap_or_else(|error| panic!("{values}: {error}"))
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The one object of a kind.
fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = of_kind(objects, kind);
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

fn strings(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn helm_finds_nothing_wrong_with_the_chart() {
    if !available() {
        return;
    }
    let output = helm(&["lint", "--strict", repository("deploy/chart").to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_rendered_webhook_configurations_are_those_of_the_code() {
    if !available() {
        return;
    }
    let installation = || Installation {
        name: "scalegate".to_owned(),
        namespace: NAMESPACE.to_owned(),
        service: "scalegate".to_owned(),
        ..Installation::default()
    };
    let closed = json!({ "admission": { "failurePolicy": "Fail", "timeoutSeconds": 3, "excludeNamespaces": ["legacy"] },
                         "service": { "port": 10_250 }, "nameOverride": "gatekeeping" });
    let bundle = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBQUEKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";
    let cert_manager = json!({ "certificates": { "mode": "cert-manager" } });
    let inject = ("cert-manager.io/inject-ca-from".to_owned(), format!("{NAMESPACE}/scalegate"));
    let cases = [
        (json!({}), installation()),
        (
            closed,
            Installation {
                name: "gatekeeping".to_owned(),
                service: "gatekeeping".to_owned(),
                port: 10_250,
                fail_closed: true,
                timeout_seconds: 3,
                exclude_namespaces: vec!["legacy".to_owned()],
                ..installation()
            },
        ),
        (files(), Installation { ca_bundle: Some(bundle.to_owned()), ..installation() }),
        (cert_manager, Installation { annotations: [inject].into(), ..installation() }),
    ];
    for (values, mut wanted) in cases {
        let objects = rendered(&values);
        let mutating = only(&objects, "MutatingWebhookConfiguration");
        let labels = &mutating["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/instance"], "gate");
        wanted.labels = serde_json::from_value(labels.clone()).unwrap();
        let (wanted_mutating, wanted_validating) = webhook_configurations(&wanted);
        assert_eq!(mutating, &wanted_mutating, "{values}");
        assert_eq!(only(&objects, "ValidatingWebhookConfiguration"), &wanted_validating, "{values}");
    }
}

#[test]
fn the_gpu_objects_are_those_of_render_and_carry_the_monitors_labels() {
    if !available() {
        return;
    }
    assert_eq!(of_kind(&rendered(&json!({})), "ClusterPodMonitoring"), Vec::<&Value>::new());
    let labels = json!({ "release": "prometheus" });
    for (backend, name) in [(BackendKind::Gmp, "gmp"), (BackendKind::PrometheusOperator, "prometheus-operator")] {
        let backend_values = match backend {
            BackendKind::PrometheusOperator => json!({ "type": name, "monitorLabels": labels }),
            _ => json!({ "type": name }),
        };
        let objects = rendered(&json!({ "gpuMetrics": { "enabled": true }, "config": { "backend": backend_values } }));
        let labels = match backend {
            BackendKind::PrometheusOperator => [("release".to_owned(), "prometheus".to_owned())].into(),
            _ => std::collections::BTreeMap::new(),
        };
        for mut wanted in shared_gpu_objects_labelled(backend, &labels) {
            if backend == BackendKind::PrometheusOperator {
                wanted["metadata"]["namespace"] = json!(NAMESPACE);
            }
            assert_eq!(only(&objects, wanted["kind"].as_str().unwrap()), &wanted);
        }
    }
    let refused = template(&json!({ "gpuMetrics": { "enabled": true }, "config": { "backend": { "type": "keda" } } }));
    assert!(refused.unwrap_err().contains("nothing is shared on config.backend.type keda"));
}

#[test]
fn the_mounted_configuration_is_one_that_the_webhook_reads() {
    if !available() {
        return;
    }
    for config in [json!({}), json!({ "maxReplicas": 7, "enforcement": { "mode": "warn" } })] {
        let objects = rendered(&json!({ "config": config }));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        fs::write(&file, only(&objects, "ConfigMap")["data"]["config.yaml"].as_str().unwrap()).unwrap();
        let read = read_configuration(&file).unwrap();
        if let Some(wanted) = config["maxReplicas"].as_i64() {
            assert_eq!(read.max_replicas, wanted);
        }
    }
}

#[test]
fn values_that_cannot_be_meant_are_refused_with_what_to_write() {
    if !available() {
        return;
    }
    let cases = [
        (json!({ "webhok": {} }), "webhok"),
        (json!({ "webhook": { "replica": 3 } }), "replica"),
        (json!({ "admission": { "failurePolicy": "Closed" } }), "failurePolicy"),
        (json!({ "admission": { "timeoutSeconds": 31 } }), "timeoutSeconds"),
        (json!({ "config": { "kind": "Configuration" } }), "config"),
        (json!({ "certificates": { "mode": "files" } }), "certificates.secretName"),
        (json!({ "certificates": { "mode": "files", "secretName": "x" } }), "certificates.caBundle"),
        (json!({ "webhook": { "quietPeriodSeconds": 60 } }), "webhook.terminationGracePeriodSeconds"),
        (json!({ "controller": { "enabled": false } }), "controller.enabled must be true"),
    ];
    for (values, named) in cases {
        let error = template(&values).expect_err(&values.to_string());
        assert!(error.contains(named), "{values}: {error}");
    }
}

/// Every rule of every role, with the role's kind and name.
fn grants(objects: &[Value]) -> Vec<(String, &Value)> {
    let roles = of_kind(objects, "ClusterRole").into_iter().chain(of_kind(objects, "Role"));
    let rules = |role: &'_ Value| format!("{} {}", role["kind"], role["metadata"]["name"]).replace('"', "");
    roles.flat_map(|role| role["rules"].as_array().unwrap().iter().map(move |rule| (rules(role), rule))).collect()
}

const READING: [&str; 3] = ["get", "list", "watch"];

/// Somebody else's authority, and a Secret with a certificate.
fn files() -> Value {
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    json!({ "certificates": { "mode": "files", "secretName": "mine", "caBundle": pem } })
}

/// What a rule lets write of whatever name, and which of our accounts may.
fn unnamed_writes(objects: &[Value]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (role, rule) in grants(objects).into_iter().filter(|(_, rule)| !rule["resourceNames"].is_array()) {
        for verb in strings(&rule["verbs"]).into_iter().filter(|verb| !READING.contains(verb)) {
            for group in strings(&rule["apiGroups"]) {
                for resource in strings(&rule["resources"]) {
                    found.insert(format!("{role}: {verb} {resource}.{group}"));
                }
            }
        }
    }
    found
}

#[test]
fn the_accounts_have_no_right_that_could_do_harm() {
    if !available() {
        return;
    }
    let reading = BTreeSet::from(READING);
    let adapter = json!({ "config": { "backend": { "adapterConfigMap": "monitoring/prometheus-adapter" } } });
    let mut with_files = files();
    with_files["config"] = adapter["config"].clone();
    for values in [adapter, with_files] {
        let mut problems = Vec::new();
        let objects = rendered(&values);
        for (role, rule) in grants(&objects) {
            let (verbs, resources) = (strings(&rule["verbs"]), strings(&rule["resources"]));
            let named = rule["resourceNames"].is_array();
            let mut wrong = |what: &str| problems.push(format!("{role}: {what}: {rule}"));
            if verbs.contains("*") || strings(&rule["apiGroups"]).contains("*") {
                wrong("everything");
            }
            let metrics = strings(&rule["apiGroups"]).iter().all(|group| group.ends_with(".metrics.k8s.io"));
            if resources.contains("*") && !(metrics && verbs.is_subset(&reading)) {
                wrong("every resource");
            }
            if role.contains("webhook") && !verbs.is_subset(&reading) {
                wrong("the webhook writes");
            }
            let sensitive = resources.contains("secrets") || resources.contains("configmaps");
            if sensitive && !(role.starts_with("Role ") && named) {
                wrong("reads Secrets or ConfigMaps that are not named");
            }
            if named && !verbs.is_disjoint(&BTreeSet::from(["create", "delete", "deletecollection"])) {
                wrong("creates or deletes what is named");
            }
        }
        none(&problems, "rules give more than they must");
        // What a label brings, and nothing else.
        let mut wanted = BTreeSet::new();
        for (verbs, resource) in [
            (&["create", "patch", "delete"][..], "horizontalpodautoscalers.autoscaling"),
            (&["create", "patch", "delete"], "podmonitorings.monitoring.googleapis.com"),
            (&["create", "patch", "delete"], "podmonitors.monitoring.coreos.com"),
            (&["create", "patch"], "events."),
            (&["create", "patch"], "events.events.k8s.io"),
        ] {
            wanted.extend(verbs.iter().map(|verb| format!("ClusterRole scalegate-controller: {verb} {resource}")));
        }
        assert_eq!(unnamed_writes(&objects), wanted, "{values}");
    }
}

/// The rules of the ClusterRole of that name which only let read, and name no object.
fn reads<'a>(objects: &'a [Value], role: &str) -> Vec<&'a Value> {
    let rules = only_named(objects, "ClusterRole", role)["rules"].as_array().unwrap();
    let reads = |rule: &&Value| !rule["resourceNames"].is_array() && strings(&rule["verbs"]).contains("get");
    rules.iter().filter(reads).collect()
}

#[test]
fn webhook_and_controller_judge_over_the_same_reads() {
    if !available() {
        return;
    }
    let values = json!({ "config": { "backend": { "adapterConfigMap": "monitoring/prometheus-adapter" } } });
    let objects = rendered(&values);
    let (webhook, mut controller) = (reads(&objects, "scalegate-webhook"), reads(&objects, "scalegate-controller"));
    // The scheduler's words about pods, which no verdict rests on.
    controller.retain(|rule| rule["resources"] != json!(["events"]));
    assert_eq!(webhook, controller);
    let binding = only_named(&objects, "RoleBinding", "scalegate-adapter");
    let accounts: Vec<&str> =
        binding["subjects"].as_array().unwrap().iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(accounts, ["scalegate-webhook", "scalegate-controller"]);
    let of = |name: &str| {
        let container = &deployments_named(&objects, name)["spec"]["template"]["spec"]["containers"][0];
        let argument = strings(&container["args"]).into_iter().find(|text| text.starts_with("--config="));
        (argument.map(str::to_owned), container["volumeMounts"][0].clone())
    };
    assert_eq!(of("scalegate-webhook"), of("scalegate-controller"), "one Configuration for both");
}

#[test]
fn where_somebody_else_makes_the_certificates_the_controller_has_nothing_to_do_with_them() {
    if !available() {
        return;
    }
    for values in [files(), json!({ "certificates": { "mode": "cert-manager" } })] {
        let objects = rendered(&values);
        let arguments = strings(
            &deployments_named(&objects, "scalegate-controller")["spec"]["template"]["spec"]["containers"][0]["args"],
        );
        assert!(arguments.contains("--no-certificates"), "{arguments:?}");
        let names_one = |flag: &str| flag.starts_with("--tls-secret") || flag.starts_with("--ca-secret");
        assert!(!arguments.iter().any(|flag| names_one(flag)), "{arguments:?}");
        for (role, rule) in grants(&objects).into_iter().filter(|(role, _)| role.contains("controller")) {
            let resources = strings(&rule["resources"]);
            for kind in ["secrets", "mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
                assert!(!resources.contains(kind), "{values}: {role}: {rule}");
            }
        }
        only_named(&objects, "Lease", "scalegate");
        let egress = &only_named(&objects, "NetworkPolicy", "scalegate-controller")["spec"]["egress"];
        assert_eq!(egress.as_array().unwrap().len(), 2, "the API server and DNS: {egress}");

        let mut without = values.clone();
        without["controller"] = json!({ "enabled": false });
        let of_the_controller: Vec<String> = rendered(&without)
            .iter()
            .filter(|object| object["metadata"]["name"] == "scalegate-controller" || object["kind"] == "Lease")
            .map(|object| object["kind"].to_string())
            .collect();
        none(&of_the_controller, "objects are left of a controller that is switched off");
    }
}

#[test]
fn the_pods_meet_the_restricted_standard_and_drain_in_time() {
    if !available() {
        return;
    }
    let objects = rendered(&json!({}));
    let deployments = of_kind(&objects, "Deployment");
    assert_eq!(deployments.len(), 2);
    for deployment in deployments {
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0];
        let context = &container["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        let resources = &container["resources"];
        assert_eq!(resources["limits"], json!({ "memory": resources["requests"]["memory"] }), "no CPU limit");
    }
    let webhook = deployments_named(&objects, "scalegate-webhook");
    assert_eq!(webhook["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    assert!(webhook["spec"]["replicas"].as_i64().unwrap() >= 2);
    let secret = only_named(&objects, "Secret", "scalegate-tls");
    assert_eq!(secret.get("data"), None, "applying the chart again must not touch what the controller wrote");
    for configuration in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        assert_eq!(only(&objects, configuration)["webhooks"][0]["clientConfig"].get("caBundle"), None);
    }
}

fn only_named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    of_kind(objects, kind).into_iter().find(|object| object["metadata"]["name"] == name).unwrap()
}

fn deployments_named<'a>(objects: &'a [Value], name: &str) -> &'a Value {
    only_named(objects, "Deployment", name)
}

#[test]
fn install_yaml_is_what_the_chart_makes() {
    if !available() {
        return;
    }
    let output = Command::new(repository("deploy/render.sh")).arg("--check").output().unwrap();
    let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{}{}", texts[0], texts[1]);
}

/// The paths of all values; an empty map or list is a value.
fn paths(value: &Value, at: &str, out: &mut Vec<String>) {
    match value.as_object() {
        Some(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                paths(value, &path, out);
            }
        }
        _ => out.push(at.to_owned()),
    }
}

#[test]
fn every_value_is_described() {
    let values: Value =
        serde_saphyr::from_str(&fs::read_to_string(repository("deploy/chart/values.yaml")).unwrap()).unwrap();
    let readme = fs::read_to_string(repository("deploy/chart/README.md")).unwrap();
    let mut all = Vec::new();
    paths(&values, "", &mut all);
    // Maps whose keys are somebody else's are described as a whole.
    let parents = |path: &str| path.match_indices('.').map(|(at, _)| path[..at].to_owned()).collect::<Vec<_>>();
    let described = |path: &String| readme.contains(&format!("| `{path}` |"));
    let missing: Vec<String> =
        all.into_iter().filter(|path| !described(path) && !parents(path).iter().any(described)).collect();
    none(&missing, "values are not described in deploy/chart/README.md");
}
