//! The names that the mutating call announces are the ones that objects get.

use serde_json::{Value, json};

use super::*;
use crate::admission::Review;
use crate::policy::configuration::Configuration;
use crate::policy::view::ClusterView;

fn workload(kind: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": "llm", "namespace": "ml", "labels": {"scalegate.dev/autoscale": "server-metrics"}},
        "spec": {
            "selector": {"matchLabels": {"app": "llm"}},
            "template": {
                "metadata": {"labels": {"app": "llm"}},
                "spec": {"containers": [{"name": "s", "image": "vllm/vllm-openai:v0.9.1", "args": ["--model", "m"]}]},
            },
        },
    })
}

fn view(objects: &[Value]) -> ClusterView {
    let mut view = ClusterView::default();
    for object in objects {
        let (of, object) = Object::from_value(object).expect("an object");
        view.apply(&of, object);
    }
    view
}

/// The value that the patch gives the annotation that names the HPA.
fn hpa_name(object: &Value, view: ClusterView) -> String {
    let kind = object["kind"].as_str().expect("a kind");
    let body = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": {"group": "apps", "version": "v1", "kind": kind}, "name": "llm", "namespace": "ml",
            "operation": "CREATE", "object": object,
        },
    })
    .to_string();
    let request = Review::parse(body.as_bytes()).expect("a review");
    let service = Service::new(State::new(view, Configuration::default()));
    let Verdict::Allow { patch: Some(patch), .. } = service.mutate(&request) else { panic!("no patch") };
    let patch: Value = serde_json::from_slice(&patch).expect("a patch");
    let name = &patch[0]["value"]["status.scalegate.dev/horizontal-pod-autoscaler"];
    name.as_str().expect("an HPA is announced").to_owned()
}

#[test]
fn a_stateful_set_that_shares_a_deployments_name_is_told_the_name_its_objects_get() {
    let (deployment, stateful_set) = (workload("Deployment"), workload("StatefulSet"));
    assert_eq!(hpa_name(&stateful_set, ClusterView::default()), "llm");
    assert_eq!(hpa_name(&stateful_set, view(std::slice::from_ref(&deployment))), "llm-statefulset");
    assert_eq!(hpa_name(&deployment, view(&[deployment.clone(), stateful_set])), "llm");
}
