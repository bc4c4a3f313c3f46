//! Who owns our annotations in `metadata.managedFields`: nobody, so that no apply of a user conflicts with us, and none
//! takes them away.

use serde_json::{Value, json};

use super::{DEPLOYMENT, Kind, LEADER_WORKER_SET, STATEFUL_SET, assert_described, stored};
use crate::standing::{OURS, ours, send, standing};

const KINDS: [Kind; 3] = [DEPLOYMENT, STATEFUL_SET, LEADER_WORKER_SET];

/// The managers that own an annotation of ours, and how.
fn owners(object: &Value) -> Vec<String> {
    let managers = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let owns = |manager: &&Value| {
        let annotations = manager["fieldsV1"]["f:metadata"]["f:annotations"].as_object().into_iter().flatten();
        annotations.into_iter().any(|(key, _)| key.starts_with(&format!("f:{OURS}")))
    };
    managers.filter(owns).map(|manager| format!("{} {}", manager["manager"], manager["operation"])).collect()
}

#[test]
fn nobody_owns_what_we_write_whoever_writes_the_workload() {
    let Some(standing) = standing() else { return };
    let pair = standing.pair("owners");
    for kind in KINDS {
        let ways: [&[&str]; 4] =
            [&["apply"], &["apply", "--server-side", "--force-conflicts"], &["replace"], &["apply"]];
        for (way, port) in ways.iter().zip(8_001..) {
            for namespace in [&pair.with, &pair.without] {
                send(pair.cluster, namespace, way, &kind.labelled("v0.11.0", port)).ok();
            }
            assert_described(&pair, kind, &way.join(" "), Some(("0.11.0", &port.to_string())));
            let object = stored(&pair, kind);
            assert_eq!(owners(&object), [""; 0], "{}: {object:#}", way.join(" "));
        }
    }
}

/// As it happens to those who keep in Git what `kubectl get -o yaml` printed.
#[test]
fn a_user_who_applies_old_values_of_our_annotations_meets_no_conflict_and_no_endless_change() {
    let Some(standing) = standing() else { return };
    let pair = standing.pair("copied");
    for kind in KINDS {
        let mut copied = kind.labelled("v0.11.0", 8_001);
        copied["metadata"]["annotations"] = json!({(format!("{OURS}engine")): "vllm", (format!("{OURS}metrics-port")): "1", (format!("{OURS}gone")): "a"});
        let apply = |way: &[&str], object: &Value| send(pair.cluster, &pair.with, way, object).ok();
        for way in [&["apply", "--server-side"][..], &["apply"]] {
            let namespace = pair.cluster.namespace("copied");
            let apply = |object: &Value| send(pair.cluster, &namespace, way, object).ok();
            let get =
                || pair.cluster.kubectl(&["get", kind.name, kind.workload, "-n", &namespace, "-o", "json"]).json();
            apply(&copied);
            let first = get();
            assert_eq!(ours(&first)["metrics-port"], "8001", "{first}");
            apply(&copied);
            let second = get();
            assert_eq!(ours(&second)["metrics-port"], "8001", "{second}");
            assert_eq!(first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"], "{way:?}");
            // Taken out of the file again, they stay as long as the label does.
            apply(&kind.labelled("v0.11.0", 8_001));
            let third = ours(&get());
            assert_eq!((third["metrics-port"].as_str(), third["engine"].as_str()), ("8001", "vllm"), "{way:?}");
        }
        // Beside another manager, who owns nothing of ours.
        apply(&["apply", "--server-side", "--field-manager=first"], &copied);
        apply(&["apply", "--server-side", "--field-manager=second"], &{
            let mut object = copied.clone();
            object["metadata"]["annotations"] = json!({"example.com/second": "yes"});
            object
        });
        apply(&["apply", "--server-side", "--field-manager=first"], &kind.labelled("v0.11.0", 8_001));
        assert_eq!(ours(&stored(&pair, kind))["metrics-port"], "8001");
    }
}
