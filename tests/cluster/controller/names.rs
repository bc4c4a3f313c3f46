//! Names that change hands, and what outlives its owner.

use serde_json::json;

use super::{HPA, PATIENCE, POD_MONITORING, deployment, ground};
use crate::harness::process::until;

#[test]
fn a_renamed_workload_gets_its_own_and_the_old_ones_go() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("rename");
    ground.apply(&deployment(&namespace, "before"));
    ground.until_rendered(&namespace, "deployment/before");
    ground.apply(&deployment(&namespace, "after"));
    ground.cluster.kubectl(&["-n", &namespace, "delete", "deployment", "before"]).ok();
    ground.until_rendered(&namespace, "deployment/after");
    until("the old ones are gone", PATIENCE, || (ground.objects(&namespace).len() == 2).then_some(()));
}

#[test]
fn of_a_deployment_and_a_stateful_set_of_one_name_the_deployment_keeps_it() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("twins");
    let mut stateful = deployment(&namespace, "llm");
    stateful["kind"] = json!("StatefulSet");
    stateful["spec"]["serviceName"] = json!("llm");
    stateful["spec"]["selector"] = json!({"matchLabels": {"app": "stateful"}});
    stateful["spec"]["template"]["metadata"]["labels"] = json!({"app": "stateful"});
    ground.apply(&stateful);
    ground.until_rendered(&namespace, "statefulset/llm");
    ground.apply(&deployment(&namespace, "llm"));
    ground.until_rendered(&namespace, "deployment/llm");
    let mut wanted = ground.rendered(&namespace, "statefulset/llm");
    for object in &mut wanted {
        object["metadata"]["name"] = json!("llm-statefulset");
    }
    ground.until_are(&namespace, "statefulset/llm", &wanted);
    // The name is free again.
    ground.cluster.kubectl(&["-n", &namespace, "delete", "deployment", "llm"]).ok();
    ground.until_rendered(&namespace, "statefulset/llm");
}

#[test]
fn what_was_orphaned_is_somebodys_and_stays_until_it_is_given() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("orphan");
    ground.apply(&deployment(&namespace, "llm"));
    ground.until_rendered(&namespace, "deployment/llm");
    ground.cluster.kubectl(&["-n", &namespace, "delete", "deployment", "llm", "--cascade=orphan"]).ok();
    until("it is orphaned", PATIENCE, || {
        let objects = ground.objects(&namespace);
        let free =
            objects.iter().all(|object| object["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty));
        (objects.len() == 2 && free).then_some(())
    });
    ground.apply(&deployment(&namespace, "llm"));
    ground.until_event(&namespace, "llm", "NameTaken");
    ground.until_seen(&namespace);
    for object in ground.objects(&namespace) {
        assert!(object["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty), "{object}");
    }
    ground.patch(
        &namespace,
        &format!("{HPA}/llm"),
        &json!({"metadata": {"annotations": {"scalegate.dev/adopt": "true"}}}),
    );
    ground.cluster.kubectl(&["-n", &namespace, "delete", POD_MONITORING, "llm"]).ok();
    ground.until_rendered(&namespace, "deployment/llm");
}

#[test]
fn a_workload_that_is_replaced_gets_its_own_again() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("replace");
    ground.apply(&deployment(&namespace, "llm"));
    ground.until_rendered(&namespace, "deployment/llm");
    let before = ground.uid(&namespace, "deployment/llm");
    let document = deployment(&namespace, "llm").to_string();
    ground.cluster.kubectl_stdin(&["replace", "--force", "-f", "-"], &document).ok();
    assert_ne!(ground.uid(&namespace, "deployment/llm"), before);
    ground.until_rendered(&namespace, "deployment/llm");
}

#[test]
fn a_namespace_goes_with_everything_and_nothing_is_written_into_it() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("gone");
    ground.apply(&deployment(&namespace, "llm"));
    ground.until_rendered(&namespace, "deployment/llm");
    ground.cluster.kubectl(&["delete", "namespace", &namespace, "--wait=true", "--timeout=60s"]).ok();
    assert!(ground.objects(&namespace).is_empty());
    let elsewhere = ground.cluster.namespace("after");
    ground.until_seen(&elsewhere);
}

#[test]
fn of_two_workloads_whose_selectors_overlap_one_is_scaled() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("overlap");
    ground.apply(&deployment(&namespace, "llm"));
    ground.until_rendered(&namespace, "deployment/llm");
    let mut second = deployment(&namespace, "second");
    second["spec"]["selector"] = json!({"matchLabels": {"app": "llm", "part": "second"}});
    second["spec"]["template"]["metadata"]["labels"] = json!({"app": "llm", "part": "second"});
    ground.apply(&second);
    let note = ground.until_event(&namespace, "second", "SelectorsOverlap");
    assert!(note.contains("llm"), "{note}");
    ground.until_rendered(&namespace, "deployment/llm");
    assert!(ground.get(&namespace, HPA, "second").is_none());
}
