//! What an operator meets: installing and removing in each way, and each way in which the registration breaks.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use http::Request;
use serde_json::{Value, json};

use crate::harness::assets::{Binary, have};
use crate::harness::balancer::Balancer;
use crate::harness::chart::{Installed, helm_in};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::installation::{Installation, NAMESPACE, wait_until_called};
use crate::harness::process::until;
use crate::harness::{block_on, repository, values};

const PATIENCE: Duration = Duration::from_secs(60);

/// Both kinds of configurations, as kubectl names them, and as the drift metric does.
const CONFIGURATIONS: [(&str, &str); 2] =
    [("mutatingwebhookconfigurations", "mutating"), ("validatingwebhookconfigurations", "validating")];

const DRIFT: &str = "scalegate_webhook_configuration_drift";

fn control_plane() -> Option<ControlPlane> {
    if !have(&[Binary::Helm]) {
        return None;
    }
    ControlPlane::start(Options::default())
}

/// Every object that stands in no namespace, by kind and name.
fn cluster_scoped(cluster: &ControlPlane) -> BTreeSet<String> {
    let kinds = cluster.kubectl(&["api-resources", "--namespaced=false", "--verbs=list", "-o", "name"]).ok();
    let kinds: Vec<&str> = kinds.lines().collect();
    assert!(kinds.len() > 15, "{kinds:?}");
    let objects = cluster.kubectl(&["get", &kinds.join(","), "-o", "name"]).ok();
    // The API server's own priority levels and addresses come when they come.
    let own = |line: &&str| !line.contains("flowcontrol") && !line.contains("networking.k8s.io");
    objects.lines().filter(own).map(str::to_owned).collect()
}

/// What helm keeps besides the release's objects, and what every namespace has.
fn left_in_namespace(cluster: &ControlPlane) -> BTreeSet<String> {
    let kinds = cluster.kubectl(&["api-resources", "--namespaced=true", "--verbs=list", "-o", "name"]).ok();
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    let objects = cluster.kubectl(&["get", &kinds.join(","), "-n", NAMESPACE, "-o", "name"]).ok();
    objects.lines().map(str::to_owned).filter(|name| !name.ends_with("configmap/kube-root-ca.crt")).collect()
}

/// A labelled vLLM Deployment.
fn labelled(name: &str) -> String {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"scalegate.dev/autoscale": "server-metrics"}},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{
                "name": "server", "image": "vllm/vllm-openai:v0.11.0", "args": ["--model=google/gemma-3-1b-it"],
                "resources": {"limits": {"nvidia.com/gpu": "1"}},
            }]},
        }},
    })
    .to_string()
}

fn hpa(name: &str) -> String {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}, "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60},
            }}],
        },
    })
    .to_string()
}

#[test]
fn the_plain_yaml_installs_serves_and_goes_again_without_leftovers() {
    let Some(cluster) = control_plane() else { return };
    let file = repository("deploy/install.yaml");
    let file = file.to_str().unwrap();
    let before = cluster_scoped(&cluster);
    let ran = cluster.kubectl(&["apply", "-f", file]);
    assert!(!ran.stderr.contains("Warning"), "{}", ran.stderr);
    ran.ok();

    // Its two Deployments as processes, with its own accounts.
    let objects = values(&fs::read_to_string(file).unwrap());
    let installed = Installed::of(&cluster, NAMESPACE, objects);
    let mut controller = installed.launch("scalegate-controller").start_unready();
    let mut webhook = installed.launch("scalegate-webhook").start_unready();
    webhook.wait_ready();
    controller.wait_ready();
    for (_, which) in CONFIGURATIONS {
        assert_eq!(webhook.metrics().series(DRIFT, &[("configuration", which)]), [0.0], "{which}: {}", webhook.log());
    }
    // The network of this cluster is this machine, where the Service's port is the balancer's.
    let balancer = Balancer::start();
    webhook.join(&balancer);
    balancer.wait_ready(1, PATIENCE);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "scalegate", "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    });
    cluster.kubectl_stdin(&["replace", "--force", "-f", "-"], &service.to_string()).ok();
    let port = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/service/port", "value": balancer.port()}]);
    for (kind, _) in CONFIGURATIONS {
        cluster.kubectl(&["patch", kind, "scalegate", "--type=json", "-p", &port.to_string()]).ok();
    }
    wait_until_called(&cluster);
    let namespace = cluster.namespace("plain");
    cluster.kubectl_stdin(&["apply", "-n", &namespace, "-f", "-"], &labelled("server")).ok();
    let stored = cluster.kubectl(&["get", "deployment", "server", "-n", &namespace, "-o", "json"]).json();
    assert_eq!(stored["metadata"]["annotations"]["status.scalegate.dev/engine"], "vllm", "{stored}");

    // Applied again, as an upgrade does, it leaves what the controller wrote.
    let bundles = || -> Vec<String> {
        CONFIGURATIONS
            .iter()
            .map(|(kind, _)| {
                let path = "jsonpath={.webhooks[0].clientConfig.caBundle}";
                cluster.kubectl(&["get", kind, "scalegate", "-o", path]).ok()
            })
            .collect()
    };
    let written = bundles();
    assert!(written.iter().all(|bundle| !bundle.is_empty()));
    cluster.kubectl(&["apply", "-f", file]).ok();
    assert_eq!(bundles(), written);

    assert!(webhook.stop().success() && controller.stop().success());
    cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).ok();
    cluster.kubectl(&["delete", "-f", file, "--wait=false"]).ok();
    let left: Vec<String> = cluster_scoped(&cluster).difference(&before).cloned().collect();
    // Nobody finishes namespaces here: that is the controller manager's.
    assert!(left.iter().all(|name| name.starts_with("namespace/")), "{left:?}");
}

#[test]
fn helm_installs_upgrades_rolls_back_and_leaves_nothing_when_it_uninstalls() {
    let Some(cluster) = control_plane() else { return };
    let definitions = repository("tests/cluster/crds");
    cluster.kubectl(&["apply", "--server-side", "-f", definitions.to_str().unwrap()]).ok();
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).ok();
    cluster.kubectl(&["create", "namespace", NAMESPACE]).ok();
    cluster.kubectl(&["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"]).ok();
    let before = (cluster_scoped(&cluster), left_in_namespace(&cluster));
    let chart = repository("deploy/chart");
    let chart = chart.to_str().unwrap();
    let run = |arguments: &[&str]| helm_in(&cluster, &[arguments, &["--namespace", NAMESPACE]].concat());
    run(&["install", "scalegate", chart]).ok();
    let timeout = || {
        let path = "jsonpath={.webhooks[0].timeoutSeconds}";
        cluster.kubectl(&["get", "validatingwebhookconfiguration", "scalegate", "-o", path]).ok()
    };
    assert_eq!(timeout(), "5");
    // Everything that can be switched on, which the next upgrade has to take away again.
    let everything = "gpuMetrics.enabled=true,monitoring.type=gmp,monitoring.dashboard.enabled=true,\
                      admission.timeoutSeconds=7,config.maxReplicas=4";
    run(&["upgrade", "scalegate", chart, "--set", everything]).ok();
    assert_eq!(timeout(), "7");
    let all = cluster.kubectl(&["get", "clusterpodmonitorings,clusterrules", "-o", "name"]).ok();
    assert_eq!(all.lines().count(), 2, "{all}");
    run(&["upgrade", "scalegate", chart, "--reset-values"]).ok();
    assert_eq!(cluster.kubectl(&["get", "clusterpodmonitorings,clusterrules", "-o", "name"]).ok(), "");
    run(&["rollback", "scalegate", "2"]).ok();
    assert_eq!(timeout(), "7");
    // What cannot be meant changes nothing.
    for wrong in ["webhook.replicas=-1", "admission.timeoutSeconds=0", "logFormat=xml", "certificates.mode=magic"] {
        let refused = run(&["upgrade", "scalegate", chart, "--set", wrong]).refused();
        let key = wrong.split(['.', '=']).nth(usize::from(wrong.contains('.'))).unwrap();
        assert!(refused.contains(key), "{wrong}: {refused}");
    }
    assert_eq!(timeout(), "7");
    run(&["uninstall", "scalegate"]).ok();
    let left: Vec<String> = cluster_scoped(&cluster).difference(&before.0).cloned().collect();
    assert!(left.is_empty(), "{left:?}");
    let left: Vec<String> = left_in_namespace(&cluster).difference(&before.1).cloned().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Sends a patch; faster than kubectl, which matters for a long table.
fn patch(cluster: &ControlPlane, path: &str, content_type: &str, patch: &Value) {
    let request = Request::patch(path).header("Content-Type", content_type);
    let request = request.body(patch.to_string().into_bytes()).unwrap();
    let answer: Result<Value, _> = block_on(cluster.client().request(request));
    assert!(answer.is_ok(), "{patch}: {}", answer.unwrap_err());
}

#[test]
fn every_change_of_the_live_registration_shows_as_drift() {
    let Some(cluster) = control_plane() else { return };
    let installed = Installation::start(&cluster, &json!({"admission": {"excludeNamespaces": ["legacy"]}}), 1);
    let drift = |which: &str| {
        let series = installed.replicas[0].metrics().series(DRIFT, &[("configuration", which)]);
        assert_eq!(series.len(), 1, "one series for each configuration: {series:?}");
        series[0]
    };
    let until_drift = |what: &str, which: &str, some: bool| {
        until(what, PATIENCE, || ((drift(which) > 0.0) == some).then_some(()));
    };
    let other = |value: &str, one: &str, another: &str| if value == one { another.to_owned() } else { one.to_owned() };
    for (kind, which) in CONFIGURATIONS {
        until_drift("as installed", which, false);
        let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}/scalegate");
        let original: Value = serde_json::from_str(&cluster.get(&path).unwrap()).unwrap();
        let webhook = &original["webhooks"][0];
        let policy = other(webhook["failurePolicy"].as_str().unwrap(), "Fail", "Ignore");
        let selector = json!({"matchLabels": {"team": "a"}});
        let mut foreign = webhook.clone();
        foreign["name"] = json!("foreign.example.com");
        let mut changes: Vec<(&str, &str, Value)> = vec![
            ("replace", "/webhooks/0/name", json!("other.scalegate.dev")),
            ("replace", "/webhooks/0/clientConfig/service/name", json!("other")),
            ("replace", "/webhooks/0/clientConfig/service/namespace", json!("default")),
            ("replace", "/webhooks/0/clientConfig/service/path", json!("/other")),
            ("remove", "/webhooks/0/clientConfig/service/path", Value::Null),
            ("replace", "/webhooks/0/clientConfig/service/port", json!(8_443)),
            ("remove", "/webhooks/0/clientConfig/caBundle", Value::Null),
            ("replace", "/webhooks/0/clientConfig", json!({"url": "https://attacker.example/"})),
            ("replace", "/webhooks/0/failurePolicy", json!(policy)),
            ("replace", "/webhooks/0/matchPolicy", json!("Exact")),
            ("replace", "/webhooks/0/sideEffects", json!("NoneOnDryRun")),
            ("replace", "/webhooks/0/timeoutSeconds", json!(1)),
            ("replace", "/webhooks/0/admissionReviewVersions", json!(["v1", "v1beta1"])),
            ("replace", "/webhooks/0/namespaceSelector", json!({})),
            ("replace", "/webhooks/0/namespaceSelector", selector.clone()),
            ("replace", "/webhooks/0/namespaceSelector/matchExpressions/0/values", json!(["kube-system", "victims"])),
            ("replace", "/webhooks/0/objectSelector", selector),
            ("replace", "/webhooks/0/matchConditions", json!([])),
            ("replace", "/webhooks/0/matchConditions/0/expression", json!("false")),
            ("replace", "/webhooks/0/matchConditions/0/name", json!("other")),
            ("replace", "/webhooks/0/rules", json!([])),
            ("remove", "/webhooks/0/rules/0", Value::Null),
            ("replace", "/webhooks/0/rules/0/operations", json!(["CREATE"])),
            ("replace", "/webhooks/0/rules/0/operations", json!(["*"])),
            ("replace", "/webhooks/0/rules/0/resources", json!(["daemonsets"])),
            ("replace", "/webhooks/0/rules/0/apiGroups", json!(["*"])),
            ("replace", "/webhooks/0/rules/0/apiVersions", json!(["v2"])),
            ("replace", "/webhooks/0/rules/0/scope", json!("*")),
            ("add", "/webhooks/-", foreign),
            ("replace", "/webhooks", json!([])),
        ];
        if which == "mutating" {
            changes.push(("replace", "/webhooks/0/reinvocationPolicy", json!("Never")));
        }
        for (operation, pointer, value) in &changes {
            let mut change = json!({"op": operation, "path": pointer});
            if !value.is_null() {
                change["value"] = value.clone();
            }
            patch(&cluster, &path, "application/json-patch+json", &json!([change]));
            until_drift(&format!("{which}: {operation} {pointer} to {value}"), which, true);
            let whole = json!({"webhooks": original["webhooks"]});
            patch(&cluster, &path, "application/merge-patch+json", &whole);
            until_drift(&format!("{which}: {pointer} put back"), which, false);
        }
        // What others may add is none.
        let label = json!({"metadata": {"labels": {"team": "platform"}, "annotations": {"example.com/a": "b"}}});
        patch(&cluster, &path, "application/merge-patch+json", &label);
        assert!(drift(which) < 1.0, "{which}: labels");

        cluster.kubectl(&["delete", kind, "scalegate"]).ok();
        until_drift(&format!("{which} is gone"), which, true);
        let mut again = original.clone();
        again["metadata"] = json!({"name": "scalegate"});
        cluster.kubectl_stdin(&["create", "-f", "-"], &again.to_string()).ok();
        until_drift(&format!("{which} is back"), which, false);
    }
}

#[test]
fn while_nobody_answers_our_namespace_is_repaired_and_the_emergency_exit_opens() {
    let Some(cluster) = control_plane() else { return };
    let mut installed = Installation::start(&cluster, &json!({"admission": {"failurePolicy": "Fail"}}), 2);
    let team = cluster.namespace("team");
    let create = |namespace: &str, text: &str| {
        cluster.kubectl_stdin(&["create", "--dry-run=server", "-n", namespace, "-f", "-"], text)
    };
    let plain = labelled("plain").replace("scalegate.dev/autoscale", "example.com/other");
    create(&team, &labelled("server")).ok();

    // Our Service gone: the refusal says what is missing, and it heals.
    let service = installed.chart.object("Service", "scalegate").clone();
    cluster.kubectl(&["delete", "service", "scalegate", "-n", NAMESPACE]).ok();
    let refused = until("calls fail without the Service", PATIENCE, || {
        let ran = create(&team, &hpa("a"));
        (ran.code != 0).then_some(ran.stderr)
    });
    assert!(
        refused.contains("validate.scalegate.dev") && refused.contains("scalegate.scalegate-system.svc"),
        "{refused}"
    );
    let port = installed.balancer.port();
    let external = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": service["metadata"],
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    });
    cluster.kubectl_stdin(&["apply", "-f", "-"], &external.to_string()).ok();
    until("calls come through again", PATIENCE, || (create(&team, &hpa("a")).code == 0).then_some(()));

    for replica in &mut installed.replicas {
        replica.kill();
    }
    let refused = until("nobody answers", PATIENCE, || {
        let ran = create(&team, &hpa("a"));
        (ran.code != 0).then_some(ran.stderr)
    });
    assert!(refused.contains("failed calling webhook \"validate.scalegate.dev\""), "{refused}");
    create(&team, &labelled("server")).refused();
    // Who does not speak to us is not held up, and neither is what repairs us and the cluster.
    create(&team, &plain).ok();
    for namespace in [NAMESPACE, "kube-system", "kube-node-lease"] {
        create(namespace, &hpa("a")).ok();
        create(namespace, &labelled("server")).ok();
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": installed.chart.objects}).to_string();
    cluster.kubectl_stdin(&["apply", "--dry-run=server", "-f", "-"], &list).ok();
    let restart = ["rollout", "restart", "deployment", "-n", NAMESPACE];
    let deployments: Vec<&Value> =
        installed.chart.objects.iter().filter(|object| object["kind"] == "Deployment").collect();
    cluster
        .kubectl_stdin(
            &["apply", "-f", "-"],
            &json!({"apiVersion": "v1", "kind": "List", "items": deployments}).to_string(),
        )
        .ok();
    cluster.kubectl(&restart).ok();

    // The command is the documented one.
    let readme = fs::read_to_string(repository("deploy/chart/README.md")).unwrap();
    let command = readme.lines().find_map(|line| line.strip_prefix("kubectl delete mutatingwebhook"));
    let command = format!("delete mutatingwebhook{}", command.expect("the emergency exit is documented"));
    cluster.kubectl(&command.split(' ').collect::<Vec<_>>()).ok();
    until("nobody is asked any more", PATIENCE, || {
        (create(&team, &hpa("a")).code == 0 && create(&team, &labelled("server")).code == 0).then_some(())
    });
}
