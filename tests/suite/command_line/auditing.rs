//! `audit --cluster FILE`, without a cluster.

use serde_json::{Value, json};

use super::{GOOD, MISSPELT, at, deployment, folder, hpa};
use crate::support::{ran, run, scalegate, values};

/// What `kubectl get -o yaml` prints of these documents, in the namespace `ml`.
fn printed(documents: &str) -> String {
    let items = values(documents).into_iter().map(|mut object| {
        object["metadata"]["namespace"] = json!("ml");
        object["metadata"]["uid"] = json!("u");
        object
    });
    json!({"apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<Value>>()}).to_string()
}

#[test]
fn what_kubectl_printed_is_audited_with_the_exit_status_of_a_review() {
    let good = printed(&deployment(GOOD, &[]));
    let bad = printed(&format!("{}---\n{}", deployment(GOOD, &[]), hpa(MISSPELT)));
    let folder = folder(&[("good.json", &good), ("bad.json", &bad), ("empty.yaml", "")]);
    let ran = run(&["audit", "--cluster", &at(&folder, "good.json")]);
    assert!(ran.code == 0 && ran.stdout.contains("1 object: 0 denied"), "{}{}", ran.stdout, ran.stderr);
    let ran = run(&["audit", "--cluster", &at(&folder, "bad.json")]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("denied[metric-exists]")
            && ran.stdout.contains("--> HorizontalPodAutoscaler ml/llm: spec.")
    );
    let ran = run(&["audit", "--cluster", &at(&folder, "bad.json"), "--output", "json"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(ran.code == 1 && report["findings"][0]["line"].is_null() && report["deny"].as_u64() > Some(0), "{report}");
    let of = report["findings"].as_array().unwrap().iter().map(|finding| finding["object"]["namespace"].clone());
    assert!(of.into_iter().all(|namespace| namespace == "ml"), "{report}");
    let ran = run(&["audit", "--cluster", &at(&folder, "empty.yaml")]);
    assert!(ran.code == 2 && ran.stderr.contains("nothing to judge"), "{}", ran.stderr);
    for wrong in
        [&["audit", "--cluster", "no-such-file"][..], &["audit", "--diff", "--output", "json"], &["audit", "x"]]
    {
        let ran = run(wrong);
        assert!(ran.code == 2 && ran.stdout.is_empty() && !ran.stderr.is_empty(), "{wrong:?}");
    }
}

#[test]
fn a_configuration_counts_for_an_audit() {
    let bad = printed(&hpa(MISSPELT));
    let config = "apiVersion: scalegate.dev/v1alpha1\nkind: Configuration\nenforcement: {mode: warn}\n";
    let folder = folder(&[("bad.json", &bad), ("config.yaml", config)]);
    let file = at(&folder, "bad.json");
    let config = at(&folder, "config.yaml");
    let ran = run(&["audit", "--cluster", &file, "--config", &config]);
    assert!(ran.code == 0 && ran.stdout.contains("warning[metric-exists]"), "{}", ran.stdout);
    assert_eq!(run(&["audit", "--cluster", &file, "--config", &config, "--fail-on", "warn"]).code, 1);
}

#[test]
fn the_difference_of_a_label_that_brought_nothing_yet_is_what_is_missing() {
    let folder = folder(&[("cluster.json", &printed(&deployment(GOOD, &[])))]);
    let ran = run(&["audit", "--diff", "--cluster", &at(&folder, "cluster.json")]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(ran.stdout, "missing: PodMonitoring ml/llm\nmissing: HorizontalPodAutoscaler ml/llm\n");
}

#[test]
fn without_a_cluster_the_live_commands_say_what_to_set() {
    for command in ["audit", "snapshot", "uninstall"] {
        let mut command = scalegate(&[command]);
        command.env("KUBECONFIG", "/nowhere").env_remove("KUBERNETES_SERVICE_HOST").env("HOME", "/nowhere");
        let ran = ran(&command.output().unwrap());
        assert!(ran.code == 2 && ran.stdout.is_empty(), "{}", ran.stderr);
        assert!(ran.stderr.contains("no cluster: set KUBECONFIG"), "{}", ran.stderr);
    }
}
