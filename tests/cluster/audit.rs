//! `snapshot`, `audit` and `uninstall` against a real API server.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::adapter::{Adapter, Mode};
use crate::harness::assets::{Binary, have};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::installation::NAMESPACE;
use crate::harness::process::{Ran, folder, until};
use crate::harness::repository;
use crate::harness::scalegate::Launch;

const PATIENCE: Duration = Duration::from_secs(60);

/// In every place that a snapshot has no need of.
const CANARY: &str = "c4n4ry";

/// The command under an identity, to its end.
fn scalegate(kubeconfig: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalegate"));
    command.args(arguments).env("KUBECONFIG", kubeconfig).env("NO_COLOR", "1").env_remove("RUST_LOG");
    Ran::of(command, "")
}

/// An API server that serves the kinds of the operators.
fn cluster() -> Option<ControlPlane> {
    let cluster = ControlPlane::start(Options::default())?;
    let definitions = repository("tests/cluster/crds");
    cluster.kubectl(&["apply", "--server-side", "-f", definitions.to_str().unwrap()]).ok();
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).ok();
    Some(cluster)
}

fn create(cluster: &ControlPlane, objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    cluster.kubectl_stdin(&["create", "-f", "-"], &list).ok();
}

fn server(namespace: &str, name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": {
            "example.com/owner": CANARY, "kubectl.kubernetes.io/last-applied-configuration": CANARY,
        }},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": {"checksum": CANARY}},
                "spec": {
                    "containers": [{
                        "name": "server", "image": "vllm/vllm-openai:v0.11.0",
                        "args": ["--model=google/gemma-3-1b-it", "--port=8081", format!("--api-key={CANARY}")],
                        "env": [{"name": "HF_TOKEN", "value": CANARY}],
                        "envFrom": [{"secretRef": {"name": CANARY}}],
                        "volumeMounts": [{"name": "files", "mountPath": format!("/{CANARY}")}],
                        "readinessProbe": {"httpGet": {"path": format!("/{CANARY}"), "port": 8081}},
                        "resources": {"limits": {"nvidia.com/gpu": "1"}},
                    }],
                    "serviceAccountName": CANARY,
                    "volumes": [{"name": "files", "configMap": {"name": CANARY}}],
                },
            },
        },
    })
}

fn hpa(namespace: &str, name: &str, target: &str, metric: &str) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": namespace, "annotations": {"example.com/owner": CANARY}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}, "maxReplicas": 3,
            "metrics": [{"type": "Pods", "pods": {
                "metric": {"name": metric}, "target": {"type": "AverageValue", "averageValue": "4"},
            }}],
        },
    })
}

fn label() -> Value {
    json!({"scalegate.dev/autoscale": "server-metrics"})
}

const RIGHT: &str = "prometheus.googleapis.com|vllm:num_requests_running|gauge";
const MISSPELT: &str = "prometheus.googleapis.com|vllm:num_request_running|gauge";

/// Writes what the label of a workload brings as the controller does: by its name, owned by the workload.
fn generate(cluster: &ControlPlane, namespace: &str, name: &str) {
    let get = ["get", "deployment", name, "-n", namespace, "-o", "json"];
    let workload = cluster.kubectl(&get).json();
    let file = folder("generate").join("workload.json");
    fs::write(&file, workload.to_string()).unwrap();
    let rendered = scalegate(&cluster.kubeconfig_path(), &["render", file.to_str().unwrap()]).ok();
    for mut object in crate::harness::values(&rendered) {
        object["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": workload["metadata"]["uid"],
            "controller": true, "blockOwnerDeletion": false,
        }]);
        let apply = ["apply", "--server-side", "--field-manager=scalegate", "-f", "-"];
        cluster.kubectl_stdin(&apply, &object.to_string()).ok();
    }
}

#[test]
fn a_live_audit_says_what_the_audit_of_its_snapshot_says_and_a_snapshot_holds_no_secret() {
    let Some(cluster) = cluster() else { return };
    let ml = cluster.namespace("audit");
    cluster.gpu_node("gpu-0", "gpus", 4);
    cluster.cpu_node("cpu-0", "cpus");
    create(
        &cluster,
        &[
            server(&ml, "llm", &label()),
            server(&ml, "second", &label()),
            server(&ml, "third", &json!({"scalegate.dev/autoscale": "no-such-profile"})),
            hpa(&ml, "theirs", "second", RIGHT),
            hpa(&ml, "misspelt", "other", MISSPELT),
            hpa(&ml, "stranger", "web", "requests_per_second"),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": CANARY, "namespace": ml},
                "stringData": {"token": CANARY}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CANARY, "namespace": ml},
                "data": {"start.sh": CANARY}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "adapter", "namespace": ml},
                "data": {"config.yaml": "rules:\n- seriesQuery: 'vllm:num_requests_running'\n  name: {as: made}\n"}}),
        ],
    );
    let kubeconfig = cluster.kubeconfig_path();
    let files = folder("audit");
    let path = |name: &str| files.join(name).to_str().unwrap().to_owned();
    let config = path("config.yaml");
    let text = format!(
        "apiVersion: scalegate.dev/v1alpha1\nkind: Configuration\nbackend: {{type: gmp, adapterConfigMap: {ml}/adapter}}\n"
    );
    fs::write(&config, text).unwrap();

    for (file, more) in
        [("cluster.yaml", &[][..]), ("cluster.json", &[]), ("configured.yaml", &["--config", &config][..])]
    {
        let file = path(file);
        let taken = scalegate(&kubeconfig, &[&["snapshot", "-o", &file][..], more].concat());
        assert_eq!((taken.code, taken.stdout.as_str(), taken.stderr.as_str()), (0, "", ""));
        let written = fs::read_to_string(&file).unwrap();
        let leaks: Vec<&str> = written.lines().filter(|line| line.contains(CANARY)).collect();
        assert!(leaks.is_empty(), "{leaks:#?}");
        assert_eq!(written.contains("seriesQuery"), !more.is_empty(), "only the ConfigMap that is named is read");
        assert!(written.contains("kubernetesVersion") && written.contains("v1."), "{written}");
        for arguments in [&["--output=json"][..], &["--fail-on=warn"], &["--diff"]] {
            let live = scalegate(&kubeconfig, &[&["audit"][..], arguments, more].concat());
            let read =
                scalegate(Path::new("/nowhere"), &[&["audit", "--cluster", &file][..], arguments, more].concat());
            assert_eq!(
                (live.code, &live.stdout, &live.stderr),
                (read.code, &read.stdout, &read.stderr),
                "{arguments:?}"
            );
            assert_eq!(live.code, 1, "{}{}", live.stdout, live.stderr);
        }
    }
    let file = path("cluster.yaml");
    let said = scalegate(&kubeconfig, &["audit", "--cluster", &file]).stdout;
    for expected in [
        "denied[metric-exists]",
        "--> HorizontalPodAutoscaler ",
        "/misspelt: spec.metrics[0]",
        "denied[invalid-setting]",
        "Deployment ",
        "[autoscaler-conflict]",
        "1 autoscaler has no tie to inference",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("stranger"), "{said}");

    // A kind without its CRD is complete: there is none of it.
    let snapshot: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let complete = |kind: &str| snapshot["complete"].as_array().unwrap().iter().any(|item| item == kind);
    assert!(complete("PodMonitoring") && complete("Node") && !complete("ConfigMap"), "{}", snapshot["complete"]);
    assert_eq!(snapshot["nodeShapes"].as_array().unwrap().len(), 2);
}

#[test]
fn an_audit_asks_the_metrics_apis_and_a_snapshot_holds_their_answers() {
    if !have(&[Binary::Adapter]) {
        return;
    }
    let Some(cluster) = cluster() else { return };
    let ml = cluster.namespace("metrics");
    let mut autoscaler = hpa(&ml, "llm", "llm", "vllm:num_requests_running");
    let mut served = autoscaler["spec"]["metrics"][0].clone();
    served["pods"]["metric"]["name"] = json!("vllm_num_requests_waiting");
    autoscaler["spec"]["metrics"].as_array_mut().unwrap().push(served);
    create(
        &cluster,
        &[
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": ml}}),
            // The adapter looks for pods before it looks for metrics.
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "llm-0", "namespace": ml, "labels": {"app": "llm"}},
                "spec": {"containers": [{"name": "server", "image": "vllm/vllm-openai:v0.11.0"}]}}),
            server(&ml, "llm", &json!({})),
            autoscaler,
        ],
    );
    // Ready for long, so that a missing metric means something.
    let condition = |kind: &str, reason: &str| {
        let since = "2025-01-01T00:00:00Z";
        json!({"type": kind, "status": "True", "reason": reason, "lastTransitionTime": since, "lastUpdateTime": since})
    };
    let status = json!({"status": {
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "conditions": [
            condition("Available", "MinimumReplicasAvailable"), condition("Progressing", "NewReplicaSetAvailable"),
        ],
    }});
    let patch =
        ["patch", "deployment", "llm", "-n", &ml, "--subresource=status", "--type=merge", "-p", &status.to_string()];
    cluster.kubectl(&patch).ok();
    let metrics = json!({"metrics": [{"name": "vllm_num_requests_waiting", "value": "4"}]});
    let adapter = Adapter::start(&cluster, Mode::PrometheusAdapter, &metrics);
    adapter.register();

    let kubeconfig = cluster.kubeconfig_path();
    let file = folder("metrics").join("cluster.yaml");
    let file = file.to_str().unwrap();
    let taken = scalegate(&kubeconfig, &["snapshot", "-o", file]);
    assert_eq!((taken.code, taken.stderr.as_str()), (0, ""));
    let snapshot: Value = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let answers: Vec<(&str, &str)> = snapshot["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| (metric["name"].as_str().unwrap(), metric["presence"].as_str().unwrap()))
        .collect();
    assert_eq!(answers, [("vllm:num_requests_running", "absent"), ("vllm_num_requests_waiting", "present")]);
    let live = scalegate(&kubeconfig, &["audit"]);
    let read = scalegate(Path::new("/nowhere"), &["audit", "--cluster", file]);
    assert_eq!((live.code, &live.stdout, &live.stderr), (read.code, &read.stdout, &read.stderr));
    assert!(live.code == 1 && live.stdout.contains("does not serve"), "{}{}", live.stdout, live.stderr);
}

#[test]
fn the_difference_is_empty_once_everything_is_there_and_shows_what_is_changed() {
    let Some(cluster) = cluster() else { return };
    // The genuine definitions, with the defaults that they fill in, where they are at hand.
    let genuine = repository("../shared/crds/gmp.yaml");
    if genuine.exists() {
        cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", genuine.to_str().unwrap()]);
    }
    let ml = cluster.namespace("diff");
    let kubeconfig = cluster.kubeconfig_path();
    create(&cluster, &[server(&ml, "llm", &label())]);
    let diff = || scalegate(&kubeconfig, &["audit", "--diff"]);
    let first = diff();
    assert_eq!(first.code, 1, "{}", first.stderr);
    assert_eq!(first.stdout, format!("missing: PodMonitoring {ml}/llm\nmissing: HorizontalPodAutoscaler {ml}/llm\n"));
    for label in ["throughput", "latency", "gpu-metrics", "server-metrics"] {
        let arguments =
            ["label", "--overwrite", "deployment", "llm", "-n", &ml, &format!("scalegate.dev/autoscale={label}")];
        cluster.kubectl(&arguments).ok();
        generate(&cluster, &ml, "llm");
        let ran = diff();
        // The scrape object of the profile before is left where this one scrapes nothing.
        if label == "gpu-metrics" {
            let left = format!("only in the cluster: PodMonitoring {ml}/llm (the settings no longer ask for it)\n");
            assert_eq!((ran.code, ran.stdout), (1, left));
        } else {
            assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{label}: {}", ran.stderr);
        }
    }
    let patch = ["patch", "hpa", "llm", "-n", &ml, "--type=merge", "-p", r#"{"spec":{"maxReplicas":9}}"#];
    cluster.kubectl(&patch).ok();
    let edited = diff();
    assert_eq!(edited.code, 1);
    assert!(edited.stdout.contains("-  maxReplicas: 9\n+  maxReplicas: 5\n"), "{}", edited.stdout);
    cluster.kubectl(&["label", "deployment", "llm", "-n", &ml, "scalegate.dev/autoscale-"]).ok();
    let left = diff();
    assert_eq!((left.code, left.stdout.lines().count()), (1, 2), "{}", left.stdout);
}

#[test]
fn a_cluster_that_may_not_be_read_is_named_with_what_is_missing() {
    let Some(cluster) = cluster() else { return };
    let nobody = cluster.kubeconfig_of(&cluster.user("nobody", &[]));
    let ran = scalegate(&nobody, &["snapshot", "--timeout=3s"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("HorizontalPodAutoscaler") && ran.stderr.contains("list and watch"), "{}", ran.stderr);

    // Who may read workloads and autoscalers alone gets a snapshot in which the rest proves nothing.
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "some"},
    "rules": [
        {"apiGroups": ["apps", "autoscaling", "leaderworkerset.x-k8s.io"], "resources": ["*"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]},
    ]});
    create(&cluster, &[role]);
    cluster.kubectl(&["create", "clusterrolebinding", "some", "--clusterrole=some", "--user=nobody"]).ok();
    let ran = until("the role counts", PATIENCE, || {
        let ran = scalegate(&nobody, &["snapshot", "--timeout=20s"]);
        (ran.code == 0).then_some(ran)
    });
    assert!(ran.stderr.contains("not all is known of Node: the account may not read it"), "{}", ran.stderr);
    let snapshot: Value = serde_saphyr::from_str(&ran.stdout).unwrap();
    let lists = |key: &str, kind: &str| snapshot[key].as_array().unwrap().iter().any(|item| item == kind);
    assert!(lists("complete", "Deployment") && lists("partial", "Node") && !lists("complete", "Node"));
}

/// The names of what is there of a kind, in all namespaces.
fn names(cluster: &ControlPlane, kind: &str) -> Vec<String> {
    let list = cluster.kubectl(&["get", kind, "-A", "-o", "json"]).json();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

const WEBHOOKS: [&str; 2] = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];

#[test]
fn uninstall_takes_the_webhooks_and_keeps_autoscalers_and_purge_leaves_nothing_of_ours() {
    let Some(cluster) = cluster() else { return };
    let ml = cluster.namespace("uninstall");
    let kubeconfig = cluster.kubeconfig_path();
    create(
        &cluster,
        &[
            server(&ml, "llm", &label()),
            server(&ml, "unlabelled", &label()),
            hpa(&ml, "theirs", "web", "requests_per_second"),
            // Ours by its label alone, which anybody can set.
            {
                let mut forged = hpa(&ml, "forged", "forged", RIGHT);
                forged["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "scalegate"});
                forged
            },
        ],
    );
    generate(&cluster, &ml, "llm");
    generate(&cluster, &ml, "unlabelled");
    cluster.kubectl(&["label", "deployment", "unlabelled", "-n", &ml, "scalegate.dev/autoscale-"]).ok();
    // Or the controller below would remove it, as it should.
    cluster.kubectl(&["annotate", "hpa", "unlabelled", "-n", &ml, "scalegate.dev/paused=true"]).ok();
    // Written by us, and owned by a workload that is gone.
    let mut orphan = hpa(&ml, "orphan", "gone", RIGHT);
    orphan["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "gone",
        "uid": "00000000-0000-4000-8000-000000000000", "controller": true}]);
    cluster.kubectl_stdin(&["create", "--field-manager=scalegate", "-f", "-"], &orphan.to_string()).ok();
    cluster.kubectl(&["apply", "-f", repository("deploy/install.yaml").to_str().unwrap()]).ok();
    let all = ["forged", "llm", "orphan", "theirs", "unlabelled"];
    assert_eq!(names(&cluster, "hpa"), all);

    // Who may not is told what is missing, and nothing is done.
    let nobody = cluster.kubeconfig_of(&cluster.user("nobody", &[]));
    let ran = scalegate(&nobody, &["uninstall"]);
    assert_eq!(ran.code, 2);
    let needed =
        "you need the permission to get mutatingwebhookconfigurations.admissionregistration.k8s.io cluster-wide";
    assert!(ran.stderr.contains(needed), "{}", ran.stderr);

    let dry = scalegate(&kubeconfig, &["uninstall", "--purge", "--dry-run"]).ok();
    for line in [
        "would remove: MutatingWebhookConfiguration scalegate\n",
        "would remove: ValidatingWebhookConfiguration scalegate\n",
        "would remove: ValidatingAdmissionPolicy scalegate-label\n",
        "would remove: ValidatingAdmissionPolicyBinding scalegate-label\n",
        &format!("would remove: Secret {NAMESPACE}/scalegate-tls\n"),
        &format!("would remove: Secret {NAMESPACE}/scalegate-ca\n"),
        &format!("would remove: Lease {NAMESPACE}/scalegate\n"),
        &format!("would remove: PodMonitoring {ml}/llm\n"),
    ] {
        assert!(dry.contains(line), "{line}: {dry}");
    }
    assert_eq!((names(&cluster, WEBHOOKS[0]).len(), names(&cluster, "hpa").len()), (1, all.len()));

    // While a controller runs, webhooks go, and what it would make again stays.
    let arguments = ["--namespace", NAMESPACE, "--endpoint", "127.0.0.1:1"];
    let mut controller = Launch::new("controller").args(arguments).kubeconfig(&kubeconfig).with_admin().start();
    until("the controller leads", PATIENCE, || {
        let get = ["get", "lease", "scalegate", "-n", NAMESPACE, "-o", "jsonpath={.spec.holderIdentity}"];
        (!cluster.kubectl(&get).ok().is_empty()).then_some(())
    });
    let ran = scalegate(&kubeconfig, &["uninstall"]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(ran.stderr.contains("runs (it renews Lease") && ran.stderr.contains("helm uninstall"), "{}", ran.stderr);
    assert!(ran.stdout.contains("removed: MutatingWebhookConfiguration scalegate"), "{}", ran.stdout);
    for kind in WEBHOOKS {
        assert_eq!(names(&cluster, kind), [""; 0]);
    }
    assert!(names(&cluster, "secrets").contains(&"scalegate-ca".to_owned()));
    controller.stop();

    let ran = scalegate(&kubeconfig, &["uninstall"]).ok();
    assert!(ran.contains(&format!("left: Deployment {NAMESPACE}/scalegate-controller")), "{ran}");
    assert!(ran.contains("left: HorizontalPodAutoscalers and scrape objects"), "{ran}");
    for kind in ["validatingadmissionpolicies", "validatingadmissionpolicybindings"] {
        assert!(!names(&cluster, kind).contains(&"scalegate-label".to_owned()), "{kind}");
    }
    let left = names(&cluster, "secrets");
    assert!(!left.iter().any(|name| name.starts_with("scalegate-")), "{left:?}");
    assert!(!names(&cluster, "leases").contains(&"scalegate".to_owned()));
    assert_eq!(names(&cluster, "hpa"), all, "autoscalers stay");

    let ran = scalegate(&kubeconfig, &["uninstall", "--purge"]).ok();
    assert_eq!(names(&cluster, "hpa"), ["forged", "orphan", "theirs"], "{ran}");
    assert_eq!(names(&cluster, "podmonitorings"), [""; 0], "{ran}");
    for line in [
        format!("removed: HorizontalPodAutoscaler {ml}/llm\n"),
        format!("removed: HorizontalPodAutoscaler {ml}/unlabelled\n"),
        format!(
            "left: HorizontalPodAutoscaler {ml}/forged: it is labelled as scalegate's, but scalegate did not write it\n"
        ),
        format!("left: HorizontalPodAutoscaler {ml}/orphan: Deployment gone, which owns it, is gone"),
    ] {
        assert!(ran.contains(&line), "{line}: {ran}");
    }
    assert!(!ran.contains("theirs"), "{ran}");
    // What is not there is no error.
    let again = scalegate(&kubeconfig, &["uninstall", "--purge"]).ok();
    assert!(again.contains("0 generated objects were removed, 2 with a trace of scalegate were left"), "{again}");
}
