use super::*;
use serde_json::{Value, json};

fn view(objects: &[Value]) -> ClusterView {
    let mut view = ClusterView::default();
    for object in objects {
        apply(&mut view, object);
    }
    view
}

fn apply(view: &mut ClusterView, object: &Value) {
    let (of, object) = Object::from_value(object).unwrap();
    view.apply(&of, object);
}

fn key(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> Key {
    Key { group: group.into(), kind: kind.into(), namespace: namespace.map(str::to_owned), name: name.into() }
}

fn deployment(namespace: Option<&str>, args: &[&str]) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "vllm", "namespace": namespace },
        "spec": { "template": { "spec": { "containers": [{
            "name": "server", "image": "vllm/vllm-openai:v0.11.0", "args": args,
            "envFrom": [{ "configMapRef": { "name": "settings" } }],
        }] } } },
    })
}

fn settings(seqs: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings", "namespace": "ml" },
        "data": { "PORT": seqs },
    })
}

fn port(view: &ClusterView) -> Option<u16> {
    view.workload(WorkloadKind::Deployment, Some("ml"), "vllm")?.server()?.port.number()
}

#[test]
fn a_config_map_that_comes_changes_or_goes_is_read_into_its_workloads() {
    let mut view = view(&[deployment(Some("ml"), &["--model=x", "--port=$(PORT)"])]);
    assert_eq!(port(&view), None);
    apply(&mut view, &settings("8081"));
    assert_eq!(port(&view), Some(8081));
    apply(&mut view, &settings("8082"));
    assert_eq!(port(&view), Some(8082));
    view.delete(&key("", "ConfigMap", Some("ml"), "settings"));
    assert_eq!(port(&view), None);
}

#[test]
fn what_is_deleted_beside_a_node_of_its_name_leaves_the_node() {
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "vllm" } });
    let mut view = view(&[node, deployment(Some("ml"), &[])]);
    view.delete(&key("apps", "Deployment", Some("ml"), "vllm"));
    assert!(view.node("vllm").is_some() && view.workloads().count() == 0);
    view.delete(&key("", "Node", None, "vllm"));
    assert!(!view.has_nodes());
}

#[test]
fn an_unset_namespace_is_any_single_one() {
    let find = |view: &ClusterView, namespace: Option<&str>| {
        view.workload(WorkloadKind::Deployment, namespace, "vllm").and_then(|found| found.metadata.namespace.clone())
    };
    let one = view(&[deployment(Some("ml"), &[])]);
    assert_eq!(find(&one, None).as_deref(), Some("ml"));
    assert_eq!(find(&one, Some("web")), None);
    let two = view(&[deployment(Some("ml"), &[]), deployment(Some("web"), &[])]);
    assert_eq!(find(&two, None), None);
    assert!(view(&[deployment(None, &[])]).workload(WorkloadKind::Deployment, Some("web"), "vllm").is_some());
}

#[test]
fn an_update_keeps_the_place_of_an_object() {
    let config_map = |name: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "ml" } });
    let mut view = view(&[config_map("a"), config_map("b"), config_map("a")]);
    let order = |view: &ClusterView, name: &str| view.get(&key("", "ConfigMap", Some("ml"), name)).unwrap().order;
    assert!(order(&view, "a") < order(&view, "b"));
    view.delete(&key("", "ConfigMap", Some("ml"), "a"));
    apply(&mut view, &config_map("a"));
    assert!(order(&view, "a") > order(&view, "b"), "who comes back stands last");
}

#[test]
fn a_namespace_always_has_its_name_as_a_label() {
    let labels = ClusterView::default().namespace_labels("ml");
    assert_eq!(labels.get("kubernetes.io/metadata.name").map(String::as_str), Some("ml"));
}

#[test]
fn a_node_leaves_its_shape_alone_and_a_heartbeat_changes_nothing() {
    let node = |name: &str, cpu: &str, heartbeat: &str| {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name, "pool": "p" } },
            "status": { "allocatable": { "cpu": cpu }, "conditions": [{ "lastHeartbeatTime": heartbeat }] },
        })
    };
    let mut view = view(&[node("a", "4", "1"), node("b", "4", "1")]);
    assert_eq!(view.node_shapes().map(|shape| shape.count).collect::<Vec<_>>(), [2]);
    assert_eq!(view.of_kind("", "Node").count(), 0);
    assert_eq!((view.count_of("", "Node"), view.keys_of("", "Node").count()), (2, 2));
    assert!(view.has(&key("", "Node", None, "a")) && !view.has(&key("", "Node", None, "c")));
    let holds = |view: &ClusterView, object: &Value| {
        let (of, object) = Object::from_value(object).unwrap();
        view.holds(&of, &object)
    };
    assert!(holds(&view, &node("a", "4", "2")));
    assert!(!holds(&view, &node("a", "8", "2")) && !holds(&view, &node("c", "4", "2")));
    apply(&mut view, &node("a", "8", "2"));
    assert_eq!(view.node_shapes().count(), 2);
}

#[test]
fn a_view_holds_an_object_of_its_version_only() {
    let hpa = |version: &str| {
        json!({
            "apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": "h", "namespace": "ml", "resourceVersion": "1" },
            "spec": { "maxReplicas": 3, "scaleTargetRef": { "kind": "Deployment", "name": "vllm" } },
        })
    };
    let view = view(&[hpa("v2")]);
    let holds = |version: &str| {
        let (of, object) = Object::from_value(&hpa(version)).unwrap();
        view.holds(&of, &object)
    };
    assert!(holds("v2") && !holds("v1"));
    assert_eq!(view.keys_of("autoscaling", "HorizontalPodAutoscaler").count(), 1);
    assert_eq!(view.count_of("autoscaling", "HorizontalPodAutoscaler"), 1);
}

#[test]
fn a_template_is_kept_only_where_it_will_be_read_again() {
    let of = |env_from: Value, seqs: &str| {
        let mut object = deployment(Some("ml"), &["--model=x", &format!("--max-num-seqs={seqs}")]);
        object["spec"]["template"]["spec"]["containers"][0]["envFrom"] = env_from;
        object
    };
    let kept = |view: &ClusterView| match &view.get(&key("apps", "Deployment", Some("ml"), "vllm")).unwrap().object {
        Object::Workload(object) => !object.template.spec.containers.is_empty(),
        _ => false,
    };
    let holds = |view: &ClusterView, object: &Value| {
        let (of, object) = Object::from_value(object).unwrap();
        view.holds(&of, &object)
    };
    let from = || json!([{ "configMapRef": { "name": "settings" } }]);
    for (env_from, expected) in [(json!([]), false), (from(), true)] {
        let object = of(env_from.clone(), "8");
        let view = view(std::slice::from_ref(&object));
        assert_eq!(kept(&view), expected);
        assert!(holds(&view, &object));
        assert!(!holds(&view, &of(env_from, "16")));
        let server = view.workload(WorkloadKind::Deployment, Some("ml"), "vllm").unwrap().server().unwrap();
        assert_eq!(server.max_num_seqs, Some(8));
    }
}

#[test]
fn a_serving_workload_is_held_although_the_view_remembers_since_when_it_serves() {
    let mut object = deployment(Some("ml"), &["--model=x"]);
    object["spec"]["template"]["spec"]["containers"][0]["envFrom"] = json!([]);
    object["status"] = json!({ "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1 });
    let mut view = ClusterView { now: 1_769_860_800, ..ClusterView::default() };
    apply(&mut view, &object);
    view.now += 60;
    let (of, same) = Object::from_value(&object).unwrap();
    assert!(view.holds(&of, &same));
    object["status"]["readyReplicas"] = 0.into();
    let (of, gone) = Object::from_value(&object).unwrap();
    assert!(!view.holds(&of, &gone));
}
