//! One label, put, changed and taken away.

use serde_json::json;

use super::{HPA, POD_MONITORING, deployment, ground};

#[test]
fn a_label_brings_what_render_prints_and_nothing_of_the_workloads_own_metadata() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("label");
    let mut workload = deployment(&namespace, "llm");
    // What Argo CD, Flux and Helm would prune if a copy carried it.
    let tracking = [
        ("app.kubernetes.io/instance", "labels", "release"),
        ("argocd.argoproj.io/tracking-id", "annotations", "app:apps/Deployment:ns/llm"),
        ("meta.helm.sh/release-name", "annotations", "release"),
        ("helm.sh/chart", "labels", "vllm-1.0.0"),
        ("kustomize.toolkit.fluxcd.io/name", "labels", "apps"),
    ];
    for (key, of, value) in tracking {
        workload["metadata"][of][key] = json!(value);
    }
    ground.apply(&workload);
    ground.until_rendered(&namespace, "deployment/llm");
    for object in ground.objects(&namespace) {
        let text = json!([object["metadata"]["labels"], object["metadata"]["annotations"]]).to_string();
        for (key, ..) in tracking {
            assert!(!text.contains(key), "{text}");
        }
    }
}

#[test]
fn another_profile_writes_what_it_asks_for_and_removes_the_rest() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("relabel");
    ground.apply(&deployment(&namespace, "llm"));
    ground.until_rendered(&namespace, "deployment/llm");
    ground.patch(
        &namespace,
        "deployment/llm",
        &json!({"metadata": {"labels": {"scalegate.dev/autoscale": "gpu-metrics"}}}),
    );
    ground.until_rendered(&namespace, "deployment/llm");
    assert!(ground.get(&namespace, POD_MONITORING, "llm").is_none());
}

#[test]
fn without_the_label_what_is_ours_goes_and_the_workload_stays() {
    let Some(ground) = ground() else { return };
    for change in [json!(null), json!("disabled")] {
        let namespace = ground.cluster.namespace("unlabel");
        ground.apply(&deployment(&namespace, "llm"));
        ground.until_rendered(&namespace, "deployment/llm");
        ground.patch(
            &namespace,
            "deployment/llm",
            &json!({"metadata": {"labels": {"scalegate.dev/autoscale": change}}}),
        );
        ground.until_nothing(&namespace);
        assert!(ground.get(&namespace, "deployment", "llm").is_some());
    }
}

#[test]
fn a_deleted_workload_takes_what_was_generated_with_it() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("delete");
    ground.apply(&deployment(&namespace, "llm"));
    ground.until_rendered(&namespace, "deployment/llm");
    ground.cluster.kubectl(&["-n", &namespace, "delete", "deployment", "llm"]).ok();
    ground.until_nothing(&namespace);
}

#[test]
fn what_others_change_or_delete_of_ours_is_written_again() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("edit");
    ground.apply(&deployment(&namespace, "llm"));
    ground.until_rendered(&namespace, "deployment/llm");
    let hpa = format!("{HPA}/llm");
    for patch in [
        json!({"spec": {"maxReplicas": 50}}),
        json!({"spec": {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 600}}}}),
        json!({"metadata": {"labels": {"scalegate.dev/profile": null, "app.kubernetes.io/managed-by": "me"}}}),
    ] {
        ground.patch(&namespace, &hpa, &patch);
        ground.until_rendered(&namespace, "deployment/llm");
    }
    ground.patch(&namespace, &format!("{POD_MONITORING}/llm"), &json!({"spec": {"limits": {"samples": 1}}}));
    ground.until_rendered(&namespace, "deployment/llm");
    for kind in [HPA, POD_MONITORING] {
        ground.cluster.kubectl(&["-n", &namespace, "delete", kind, "llm"]).ok();
        ground.until_rendered(&namespace, "deployment/llm");
    }
}
