//! Denials while the view is behind.

use serde_json::{Value, json};

use super::*;
use crate::admission::Review;
use crate::policy::configuration::Configuration;
use crate::policy::objects::Key;
use crate::policy::view::ClusterView;

fn hpa(name: &str) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "ml"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "vllm"}, "maxReplicas": 3,
            "metrics": [{"type": "Pods", "pods": {
                "metric": {"name": "prometheus.googleapis.com|vllm:num_requests_running|gauge"},
                "target": {"type": "AverageValue", "averageValue": "4"},
            }}],
        },
    })
}

fn creation(object: &Value) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "name": object["metadata"]["name"], "namespace": "ml", "operation": "CREATE", "object": object,
            "kind": {"group": "autoscaling", "version": "v2", "kind": "HorizontalPodAutoscaler"},
        },
    })
    .to_string()
}

/// A view with an autoscaler called `old`.
fn state() -> (Arc<State>, Key) {
    let (of, object) = Object::from_value(&hpa("old")).unwrap();
    let key = object.key(&of);
    let mut view = ClusterView::default();
    view.apply(&of, object);
    (State::new(view, Configuration::default()), key)
}

fn is_denied(service: &Service, name: &str) -> bool {
    let body = creation(&hpa(name));
    let verdict = service.validate(&Review::parse(body.as_bytes()).unwrap());
    matches!(verdict, Verdict::Deny { .. })
}

#[test]
fn what_was_deleted_a_moment_ago_denies_nothing() {
    let (state, key) = state();
    let service = Service::new(Arc::clone(&state)).with_patience();
    let behind = std::thread::spawn({
        let state = Arc::clone(&state);
        move || {
            std::thread::sleep(Duration::from_millis(60));
            // Something else first: one judgement more, and the wait goes on.
            state.update(|view| view.now += 1);
            std::thread::sleep(Duration::from_millis(60));
            state.update(|view| view.delete(&key));
        }
    });
    assert!(!is_denied(&service, "new"));
    behind.join().unwrap();
}

#[test]
fn what_stays_denies_after_a_moment_and_no_request_is_kept_beyond_its_deadline() {
    let (state, _) = state();
    let service = Service::new(Arc::clone(&state)).with_patience();
    assert!(is_denied(&service, "new"));
    // One whose time is over already gets its answer as it is.
    let body = creation(&hpa("new"));
    let mut request = Review::parse(body.as_bytes()).unwrap();
    request.deadline = Some(Instant::now());
    assert!(matches!(service.validate(&request), Verdict::Deny { .. }));
}

#[test]
fn a_view_that_nobody_fills_is_not_waited_for() {
    let (state, _) = state();
    let patience = patience::Patience::new();
    let changes = state.changes();
    let judged = std::cell::Cell::new(0);
    drop(state);
    let decision = patience.judge(changes, None, || {
        judged.set(judged.get() + 1);
        let mut decision = Decision::default();
        decision.findings.push(crate::policy::finding::Finding::deny("spec", "value", "message"));
        decision
    });
    assert!(!decision.allowed());
    assert_eq!(judged.get(), 1);
}
