//! The webhook from a file of the cluster's objects, called by the API server through a balancer.

use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scalegate::tls::DevCa;
use serde_json::{Value, json};

use crate::harness::balancer::Balancer;
use crate::harness::control_plane::ControlPlane;
use crate::harness::scalegate::{Launch, Scalegate};
use crate::harness::{process, repository};

const PATIENCE: Duration = Duration::from_secs(60);

/// Replicas behind a balancer, registered for one namespace through a Service that points at the balancer.
struct Served {
    balancer: Balancer,
    replicas: Vec<Scalegate>,
    namespace: String,
}

/// Serves over the objects of `cluster.yaml`'s text.
fn serve(cluster: &ControlPlane, topic: &str, replicas: usize) -> Served {
    let namespace = cluster.namespace(topic);
    let ca = DevCa::generate("serving test", Duration::from_secs(86_400)).unwrap();
    let issued = ca.issue(&[&format!("scalegate.{namespace}.svc")]).unwrap();
    let folder = process::folder("serving");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let objects = write("cluster.yaml", "apiVersion: v1\nkind: List\nitems: []\n");
    let (certificate, key) = (write("tls.crt", &issued.chain_pem), write("tls.key", &issued.key_pem));
    let config = repository("deploy/walkthrough/configuration.yaml");
    let balancer = Balancer::start();
    let launch = || {
        let arguments = ["--cluster", &objects, "--tls-cert", &certificate, "--tls-key", &key, "--quiet-period", "1"];
        Launch::new("webhook")
            .args(arguments)
            .args(["--config", config.to_str().unwrap()])
            .listening()
            .with_admin()
            .start()
    };
    let replicas: Vec<Scalegate> = (0..replicas).map(|_| launch()).collect();
    for replica in &replicas {
        replica.join(&balancer);
    }
    balancer.wait_ready(replicas.len(), PATIENCE);
    register(cluster, &namespace, balancer.port(), ca.certificate_pem().as_str());
    Served { balancer, replicas, namespace }
}

fn register(cluster: &ControlPlane, namespace: &str, port: u16, ca: &str) {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "scalegate", "namespace": namespace},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    });
    let configuration = |kind: &str, name: &str, path: &str, rules: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": namespace},
            "webhooks": [{
                "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "clientConfig": {
                    "service": {"name": "scalegate", "namespace": namespace, "path": path, "port": port},
                    "caBundle": STANDARD.encode(ca),
                },
                "rules": rules,
            }],
        })
    };
    let rule = |group: &str, resource: &str| {
        let versions = if group == "apps" { ["v1"] } else { ["v2"] };
        json!({"apiGroups": [group], "apiVersions": versions, "resources": [resource], "operations": ["CREATE", "UPDATE"]})
    };
    let workloads = json!([rule("apps", "deployments")]);
    let all = json!([rule("apps", "deployments"), rule("autoscaling", "horizontalpodautoscalers")]);
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        service,
        configuration("MutatingWebhookConfiguration", "mutate.scalegate.dev", "/mutate", workloads),
        configuration("ValidatingWebhookConfiguration", "validate.scalegate.dev", "/validate", all),
    ]});
    cluster.kubectl_stdin(&["apply", "-f", "-"], &objects.to_string()).ok();
    // The API server hears of its webhooks by a watch: wait until a Deployment that nothing else refuses is refused.
    let probe = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "probe", "labels": {"scalegate.dev/autoscale": "no-such-profile"}},
        "spec": {
            "selector": {"matchLabels": {"app": "probe"}},
            "template": {
                "metadata": {"labels": {"app": "probe"}},
                "spec": {"containers": [{"name": "a", "image": "vllm/vllm-openai:v0.11.0"}]},
            },
        },
    });
    process::until("both webhooks are called", PATIENCE, || {
        let ran =
            cluster.kubectl_stdin(&["create", "-n", namespace, "--dry-run=server", "-f", "-"], &probe.to_string());
        ran.stderr.contains("validate.scalegate.dev").then_some(())
    });
}

#[test]
fn the_labelled_walkthrough_comes_back_annotated() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let served = serve(cluster, "walkthrough", 1);
    let folder = repository("deploy/walkthrough/server-metrics");
    let (folder, namespace) = (folder.to_str().unwrap(), served.namespace.as_str());
    cluster.kubectl(&["apply", "-n", namespace, "-f", folder]).ok();
    let deployment = cluster.kubectl(&["get", "deployment", "gemma-server", "-n", namespace, "-o", "json"]).json();
    let annotations = &deployment["metadata"]["annotations"];
    assert_eq!(annotations["status.scalegate.dev/engine"], "vllm", "{deployment}");
    assert_eq!(annotations["status.scalegate.dev/metrics-port"], "8081", "{deployment}");
    let again = cluster.kubectl(&["apply", "-n", namespace, "-f", folder]).ok();
    assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
}

#[test]
fn a_bad_autoscaler_is_refused_in_our_words() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let served = serve(cluster, "broken", 1);
    let folder = repository("deploy/broken/metric-exists");
    let apply =
        |file: &str| cluster.kubectl(&["apply", "-n", &served.namespace, "-f", folder.join(file).to_str().unwrap()]);
    apply("deployment.yaml").ok();
    let refused = apply("hpa.yaml").refused();
    assert!(refused.contains("admission webhook \"validate.scalegate.dev\" denied the request"), "{refused}");
    assert!(refused.contains("num_requests_running") && refused.contains("metric-exists"), "{refused}");
    assert_eq!(cluster.kubectl(&["get", "hpa", "-n", &served.namespace, "-o", "name"]).ok(), "");
}

#[test]
fn two_replicas_answer_every_call_while_each_restarts() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let Served { balancer, mut replicas, namespace } = serve(cluster, "restart", 2);
    let file = repository("deploy/walkthrough/server-metrics/deployment.yaml");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let applied = std::thread::scope(|scope| {
        let applying = scope.spawn(|| {
            let mut applied = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let arguments =
                    ["apply", "-n", &namespace, "--dry-run=server", "-o", "json", "-f", file.to_str().unwrap()];
                let answer = cluster.kubectl(&arguments).json();
                assert_eq!(answer["metadata"]["annotations"]["status.scalegate.dev/engine"], "vllm", "{answer}");
                applied += 1;
            }
            applied
        });
        for replica in &mut replicas {
            replica.restart();
            balancer.wait_ready(2, PATIENCE);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        applying.join().unwrap()
    });
    assert!(applied > 3, "only {applied} applies");
    assert!(balancer.connections().iter().all(|(_, count)| *count > 0), "{:?}", balancer.connections());
}
