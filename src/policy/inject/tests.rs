use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::policy::configuration::Backend;
use crate::policy::render::testing;
use crate::policy::settings::{self, LABEL, PREFIX};
use crate::policy::workload::{Port, Reading};

/// A raw object with that label and those annotations.
fn raw(label: Option<&str>, annotations: &Value) -> Value {
    let mut metadata = json!({ "name": "vllm", "namespace": "models", "labels": { "app": "vllm" } });
    if let Some(label) = label {
        metadata["labels"][LABEL] = json!(label);
    }
    if *annotations != json!("absent") {
        metadata["annotations"] = annotations.clone();
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": { "replicas": 1, "futureField": { "a": [1, 2] } },
    })
}

fn workload_of(object: &Value) -> Workload {
    Workload { metadata: serde_json::from_value(object["metadata"].clone()).unwrap(), ..testing::workload() }
}

fn patch(object: &Value, workload: &Workload, configuration: &Configuration) -> Vec<Operation> {
    let wish = settings::read(&workload.metadata, configuration).wish.unwrap();
    inject(&workload.metadata, object["metadata"]["annotations"].is_object(), workload, &wish, configuration)
}

/// Applies the patch as the API server would, and checks that a second admission has nothing to add.
fn admitted(object: &Value, configuration: &Configuration, change: impl Fn(&mut Workload)) -> Value {
    let mut workload = workload_of(object);
    change(&mut workload);
    let operations = patch(object, &workload, configuration);
    let patch_document: json_patch::Patch = serde_json::from_value(json!(operations)).unwrap();
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &patch_document).unwrap();
    let mut again = workload_of(&patched);
    change(&mut again);
    assert_eq!(patch(&patched, &again, configuration), [], "a second admission changes nothing");
    let mut rest = patched.clone();
    rest["metadata"]["annotations"] = object["metadata"]["annotations"].clone();
    let mut before = object.clone();
    before["metadata"]["annotations"] = object["metadata"]["annotations"].clone();
    assert_eq!(rest, before, "nothing but annotations is touched");
    patched
}

fn annotations(object: &Value) -> Value {
    object["metadata"]["annotations"].clone()
}

#[test]
fn a_labelled_workload_says_what_was_recognised_and_what_is_generated() {
    for none in [json!("absent"), json!(null), json!({})] {
        let patched = admitted(&raw(Some("server-metrics"), &none), &Configuration::default(), |_| {});
        assert_eq!(
            annotations(&patched),
            json!({
                "status.scalegate.dev/engine": "vllm",
                "status.scalegate.dev/engine-version": "0.11.0",
                "status.scalegate.dev/metrics-port": "8081",
                "status.scalegate.dev/metrics-path": "/metrics",
                "status.scalegate.dev/pod-monitoring": "vllm",
                "status.scalegate.dev/horizontal-pod-autoscaler": "vllm",
            })
        );
    }
}

#[test]
fn operations_are_written_as_rfc_6902_wants_them() {
    let object = raw(
        Some("gpu-metrics"),
        &json!({ "status.scalegate.dev/engine": "forged", "status.scalegate.dev/pod-monitor": "x" }),
    );
    let operations = patch(&object, &workload_of(&object), &Configuration::default());
    assert_eq!(
        json!(operations),
        json!([
            { "op": "replace", "path": "/metadata/annotations/status.scalegate.dev~1engine", "value": "vllm" },
            { "op": "add", "path": "/metadata/annotations/status.scalegate.dev~1engine-version", "value": "0.11.0" },
            { "op": "remove", "path": "/metadata/annotations/status.scalegate.dev~1pod-monitor" },
            { "op": "add", "path": "/metadata/annotations/status.scalegate.dev~1horizontal-pod-autoscaler", "value": "vllm" },
        ])
    );
    assert_eq!(escaped("a~b/c"), "a~0b~1c");
}

#[test]
fn the_other_backend_has_the_other_scrape_object() {
    let configuration = Configuration {
        backend: Backend { kind: BackendKind::PrometheusOperator, ..Backend::default() },
        ..Configuration::default()
    };
    let object = raw(Some("latency"), &json!({ "status.scalegate.dev/pod-monitoring": "vllm" }));
    let patched = annotations(&admitted(&object, &configuration, |_| {}));
    assert_eq!(patched["status.scalegate.dev/pod-monitor"], "vllm");
    assert!(patched.get("status.scalegate.dev/pod-monitoring").is_none());
}

#[test]
fn without_the_label_ours_go_and_everything_else_stays() {
    let standing = json!({
        "status.scalegate.dev/engine": "vllm",
        "status.scalegate.dev/metrics-port": "8081",
        "status.scalegate.dev/of-another-release": "kept",
        "team": "blue",
    });
    for label in [None, Some("disabled")] {
        let patched = admitted(&raw(label, &standing), &Configuration::default(), |_| {});
        assert_eq!(annotations(&patched), json!({ "status.scalegate.dev/of-another-release": "kept", "team": "blue" }));
    }
    let untouched = raw(None, &json!("absent"));
    assert_eq!(patch(&untouched, &workload_of(&untouched), &Configuration::default()), []);
}

#[test]
fn nothing_stands_where_nothing_can_be_generated() {
    let standing = raw(Some("server-metrics"), &json!({ "status.scalegate.dev/engine": "vllm" }));
    let unknown_port = admitted(&standing, &Configuration::default(), |workload| {
        testing::server_mut(workload).port = Port::Unknown { reason: "a script starts it".to_owned() };
    });
    let unknown_server = admitted(&standing, &Configuration::default(), |workload| {
        workload.server = Reading::None { reason: "it runs nginx".to_owned() };
    });
    assert_eq!([annotations(&unknown_port), annotations(&unknown_server)], [json!({}), json!({})]);
}

#[test]
fn objects_from_git_are_not_named() {
    let object = raw(Some("server-metrics"), &json!({ "scalegate.dev/generate": "false" }));
    let patched = annotations(&admitted(&object, &Configuration::default(), |_| {}));
    assert_eq!(patched["status.scalegate.dev/metrics-port"], "8081");
    assert!(patched.get("status.scalegate.dev/pod-monitoring").is_none());
    assert!(patched.get("status.scalegate.dev/horizontal-pod-autoscaler").is_none());
}

#[test]
fn a_workload_that_has_no_name_yet_announces_no_names() {
    let mut object = raw(Some("server-metrics"), &json!("absent"));
    object["metadata"]["name"] = json!("");
    object["metadata"]["generateName"] = json!("vllm-");
    let patched = annotations(&admitted(&object, &Configuration::default(), |_| {}));
    assert_eq!(patched["status.scalegate.dev/engine"], "vllm");
    assert!(patched.get("status.scalegate.dev/horizontal-pod-autoscaler").is_none());
}

#[test]
fn a_name_that_a_deployment_has_is_announced_as_it_is_rendered() {
    let object = raw(Some("server-metrics"), &json!({}));
    let mut workload = workload_of(&object);
    workload.kind = crate::policy::objects::WorkloadKind::StatefulSet;
    let configuration = Configuration::default();
    let wish = settings::read(&workload.metadata, &configuration).wish.unwrap();
    let operations = inject_named(&workload.metadata, true, &workload, &wish, &configuration, &|_| true);
    assert!(json!(operations).to_string().contains("\"vllm-statefulset\""));
}

fn annotation() -> impl Strategy<Value = (String, String)> {
    let key = prop_oneof![
        proptest::sample::select(KEYS.to_vec()).prop_map(|name| format!("{STATUS_PREFIX}{name}")),
        proptest::sample::select(vec!["max-replicas", "generate", "paused", "metrics-port", "container"])
            .prop_map(|name| format!("{PREFIX}{name}")),
        "[a-z~/.]{0,12}",
    ];
    let value = prop_oneof!["true|false|[0-9]{1,5}", ".{0,12}", Just("vllm".to_owned())];
    (key, value)
}

proptest! {
    #[test]
    fn whatever_stands_there_the_patch_applies_once_and_touches_annotations_only(
        label in proptest::option::of(proptest::sample::select(settings::profiles::BUILT_IN.to_vec())),
        standing in proptest::option::of(proptest::collection::vec(annotation(), 0..8)),
        known in any::<bool>(),
    ) {
        let standing = standing.map_or(json!("absent"), |pairs| Value::Object(
            pairs.into_iter().map(|(key, value)| (key, json!(value))).collect()
        ));
        let object = raw(label, &standing);
        let workload = workload_of(&object);
        if settings::read(&workload.metadata, &Configuration::default()).wish.is_ok() {
            let patched = admitted(&object, &Configuration::default(), |workload| {
                if !known {
                    workload.server = Reading::None { reason: String::new() };
                }
            });
            for (key, value) in standing.as_object().into_iter().flatten() {
                if !key.starts_with(STATUS_PREFIX) {
                    prop_assert_eq!(&patched["metadata"]["annotations"][key.as_str()], value);
                }
            }
        }
    }
}
