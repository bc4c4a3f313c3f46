//! Each link in each state.

use super::*;
use crate::policy::objects::{Key, Object};
use crate::policy::rules::testing::objects;
use crate::policy::view::{MetricApi, MetricKey, MetricObservation, MetricPresence};

/// 2026-01-31T12:00:00Z.
const NOON: i64 = 1_769_860_800;
const HOUR: i64 = 3_600;
const METRIC: &str = "prometheus.googleapis.com|vllm:num_requests_running|gauge";

/// A Deployment that has been Ready since noon, with our label.
fn server() -> String {
    "
apiVersion: apps/v1
kind: Deployment
metadata: {name: llm, namespace: ml, uid: u1, labels: {scalegate.dev/autoscale: server-metrics}, annotations: {}}
spec:
  replicas: 1
  selector: {matchLabels: {app: llm}}
  template:
    metadata: {labels: {app: llm}}
    spec:
      containers:
      - name: vllm
        image: vllm/vllm-openai:v0.11.0
        args: [--port=8000]
        ports: [{name: http, containerPort: 8000}]
        resources: {limits: {nvidia.com/gpu: 1}}
status:
  {replicas: 1, updatedReplicas: 1, readyReplicas: 1, conditions: [
    {type: Available, status: 'True', lastTransitionTime: '2026-01-31T12:00:00Z'},
    {type: Progressing, status: 'True', reason: NewReplicaSetAvailable, lastUpdateTime: '2026-01-31T12:00:00Z'}]}
"
    .to_owned()
}

fn monitoring(status: &str) -> String {
    format!(
        "
apiVersion: monitoring.googleapis.com/v1
kind: PodMonitoring
metadata: {{name: theirs, namespace: ml}}
spec:
  selector: {{matchLabels: {{app: llm}}}}
  endpoints: [{{port: 8000, interval: 15s}}]
status: {status}
"
    )
}

fn hpa(conditions: &str) -> String {
    format!(
        "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: llm, namespace: ml}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: llm}}
  maxReplicas: 4
  metrics:
  - {{type: Pods, pods: {{metric: {{name: '{METRIC}'}}, target: {{type: AverageValue, averageValue: 4}}}}}}
status: {{conditions: {conditions}}}
"
    )
}

const ADAPTER: &str = "
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta2.custom.metrics.k8s.io}
spec:
  group: custom.metrics.k8s.io
  version: v1beta2
  service: {name: custom-metrics-stackdriver-adapter, namespace: custom-metrics}
";

/// The whole of it, an hour after noon.
fn whole() -> ClusterView {
    view(&[
        &server(),
        &monitoring("{endpointStatuses: [{name: a, activeTargets: 1}]}"),
        &hpa("[{type: ScalingActive, status: 'True'}]"),
        ADAPTER,
    ])
}

fn view(documents: &[&str]) -> ClusterView {
    let mut view = ClusterView::default();
    view.now = NOON + HOUR;
    put(&mut view, &documents.join("\n---\n"));
    observe(&mut view, MetricPresence::Present);
    view
}

fn put(view: &mut ClusterView, yaml: &str) {
    for (of, object) in objects(yaml) {
        view.apply(&of, object);
    }
}

fn observe(view: &mut ClusterView, presence: MetricPresence) {
    let key = MetricKey { api: MetricApi::Custom, name: METRIC.to_owned(), namespace: "ml".to_owned() };
    let observed = MetricObservation { presence, observed_at: view.now, ready_since: None };
    view.metrics.insert(key, observed);
}

fn links(view: &ClusterView, pending: Option<&Pending>) -> Vec<Link> {
    health(view.workloads().next().unwrap(), view, &Configuration::default(), pending)
}

fn state(view: &ClusterView, name: Name) -> Health {
    links(view, None).into_iter().find(|link| link.name == name).unwrap().state
}

#[track_caller]
fn broken(view: &ClusterView, name: Name, words: &str) {
    match state(view, name) {
        Health::Broken { reason, fix } if reason.contains(words) && !fix.is_empty() => {}
        other => panic!("{name} should be broken with {words:?}, and is {other:?}"),
    }
}

#[track_caller]
fn unknown(view: &ClusterView, name: Name, words: &str) {
    match state(view, name) {
        Health::Unknown { reason } if reason.contains(words) => {}
        other => panic!("{name} should be unknown with {words:?}, and is {other:?}"),
    }
}

#[test]
fn a_whole_chain_is_healthy_in_every_link_and_in_their_order() {
    let links = links(&whole(), None);
    let expected = Name::ALL.map(|name| Link { name, state: Health::Healthy });
    assert_eq!(links, expected);
}

#[test]
fn what_asks_for_no_autoscaling_or_is_going_has_no_links() {
    for metadata in [
        "labels: {}",
        "labels: {scalegate.dev/autoscale: disabled}",
        "deletionTimestamp: '2026-01-31T12:00:00Z', labels: {scalegate.dev/autoscale: server-metrics}",
    ] {
        let text = server().replace("labels: {scalegate.dev/autoscale: server-metrics}", metadata);
        assert_eq!(links(&view(&[&text]), None), [], "{metadata}");
    }
}

#[test]
fn settings_that_are_not_valid_leave_server_and_scrape_open_and_the_autoscaler_is_still_looked_at() {
    let mut view = whole();
    put(&mut view, &server().replace("autoscale: server-metrics", "autoscale: sever-metrics"));
    for name in [Name::Server, Name::Scrape, Name::Targets] {
        unknown(&view, name, "settings are not valid");
    }
    assert_eq!(state(&view, Name::Active), Health::Healthy);
}

#[test]
fn a_server_that_is_not_recognised_or_has_no_port_breaks_the_first_link() {
    let other = view(&[&server().replace("vllm/vllm-openai:v0.11.0", "nginx:1.27").replace("args: [--port=8000]", "")]);
    broken(&other, Name::Server, "no inference server is recognised");
    unknown(&other, Name::Scrape, "server is not known");
    let open = view(&[&server().replace("--port=8000", "--port=$(PORT)")]);
    broken(&open, Name::Server, "port of the server is unknown");
}

#[test]
fn pods_that_nothing_scrapes_break_the_link_once_all_scrape_objects_are_in_view() {
    let mut none = view(&[&server()]);
    broken(&none, Name::Scrape, "no PodMonitoring or ClusterPodMonitoring covers its pods on port 8000");
    unknown(&none, Name::Targets, "no scrape object");
    none.partial.insert("PodMonitoring".to_owned());
    unknown(&none, Name::Scrape, "not every PodMonitoring");
    none.partial.clear();
    none.behind.insert("ClusterPodMonitoring".to_owned());
    unknown(&none, Name::Scrape, "not every ClusterPodMonitoring");
    none.behind.clear();
    none.absent.insert("PodMonitoring".to_owned());
    broken(&none, Name::Scrape, "does not serve PodMonitoring");
    let other = view(&[&server(), &monitoring("{}").replace("8000", "9000")]);
    broken(&other, Name::Scrape, "port 8000");
}

#[test]
fn a_workload_that_is_paused_is_told_so_where_nothing_scrapes_or_scales_it() {
    let text = server().replace("annotations: {}", "annotations: {scalegate.dev/generate: 'false'}");
    let view = view(&[&text]);
    for name in [Name::Scrape, Name::Active] {
        let Health::Broken { fix, .. } = state(&view, name) else { panic!("{name}") };
        assert!(fix.contains("scalegate.dev/generate"), "{fix}");
    }
}

#[test]
fn before_the_pods_have_been_ready_for_long_nothing_is_blamed() {
    let absent = |now: i64| {
        let mut view = view(&[&server(), ADAPTER, &hpa("[{type: ScalingActive, status: 'False', reason: A}]")]);
        view.now = now;
        observe(&mut view, MetricPresence::Absent);
        view
    };
    for name in [Name::Scrape, Name::Metric, Name::Active] {
        unknown(&absent(NOON + 10), name, "not been Ready for long");
        assert!(matches!(state(&absent(NOON + HOUR), name), Health::Broken { .. }), "{name}");
    }
    let starting = server().replace("readyReplicas: 1", "readyReplicas: 0");
    let view = view(&[&starting, &hpa("[{type: ScalingActive, status: 'False', reason: A}]")]);
    for name in [Name::Scrape, Name::Active] {
        unknown(&view, name, "no pod of it is Ready");
    }
}

#[test]
fn targets_are_judged_by_the_status_where_it_tells() {
    let of = |status: &str| view(&[&server(), &monitoring(status)]);
    unknown(&of("{}"), Name::Targets, "features.targetStatus.enabled");
    let down = "{endpointStatuses: [{name: a, activeTargets: 1, unhealthyTargets: 1,
        sampleGroups: [{sampleTargets: [{lastError: connection refused}]}]}]}";
    broken(&of(down), Name::Targets, "1 of 1 targets of theirs cannot be scraped: connection refused");
    broken(&of("{endpointStatuses: [{name: a}]}"), Name::Targets, "theirs finds none of its pods");
    let some = "{endpointStatuses: [{name: a, activeTargets: 3, unhealthyTargets: 1}]}";
    unknown(&of(some), Name::Targets, "may be other pods");
    let ours = |replicas: i64| {
        let monitoring = monitoring(some)
            .replace("name: theirs, namespace: ml", "name: llm, namespace: ml, labels: {scalegate.dev/profile: a}");
        view(&[&server().replace("spec:\n  replicas: 1", &format!("spec:\n  replicas: {replicas}")), &monitoring])
    };
    broken(&ours(1), Name::Targets, "1 of 3 targets");
    unknown(&ours(3), Name::Targets, "as long as pods start");
}

#[test]
fn a_metric_that_is_not_served_breaks_the_link_and_an_old_answer_does_not() {
    let mut view = whole();
    observe(&mut view, MetricPresence::Absent);
    broken(&view, Name::Metric, "does not serve prometheus.googleapis.com|vllm:num_requests_running|gauge");
    view.now += 10 * HOUR;
    unknown(&view, Name::Metric, "not known");
    observe(&mut view, MetricPresence::Unknown);
    unknown(&view, Name::Metric, "not known");
    observe(&mut view, MetricPresence::Present);
    assert_eq!(state(&view, Name::Metric), Health::Healthy);
}

#[test]
fn a_metrics_api_that_nobody_serves_breaks_the_link_only_when_that_is_certain() {
    let mut view = view(&[&server(), &hpa("[]")]);
    unknown(&view, Name::Metric, "how custom.metrics.k8s.io is registered is not known");
    view.closed.insert("APIService".to_owned());
    broken(&view, Name::Metric, "no APIService registers custom.metrics.k8s.io");
    let away = "\nstatus: {conditions: [{type: Available, status: 'False', reason: MissingEndpoints}]}\n";
    put(&mut view, &format!("{ADAPTER}{away}"));
    broken(&view, Name::Metric, "does not reach the adapter that serves custom.metrics.k8s.io: MissingEndpoints");
}

#[test]
fn an_autoscaler_that_does_not_scale_is_told_in_its_own_words() {
    let of = |conditions: &str| view(&[&server(), &hpa(conditions)]);
    let failing = "[{type: AbleToScale, status: 'True'},
        {type: ScalingActive, status: 'False', reason: FailedGetPodsMetric, message: unable to get metric x.}]";
    broken(
        &of(failing),
        Name::Active,
        "HorizontalPodAutoscaler llm has ScalingActive=False, FailedGetPodsMetric: unable to get metric x",
    );
    broken(&of("[{type: AbleToScale, status: 'False', reason: FailedGetScale}]"), Name::Active, "AbleToScale=False");
    unknown(&of("[{type: ScalingActive, status: 'False', reason: ScalingDisabled}]"), Name::Active, "scaled to zero");
    unknown(&of("[]"), Name::Active, "has not said");
    unknown(&of("[{type: ScalingActive, status: Unknown}]"), Name::Active, "has not said");
}

#[test]
fn a_workload_without_autoscaler_is_broken_unless_one_may_be_out_of_sight() {
    let mut view = view(&[&server()]);
    broken(&view, Name::Active, "no HorizontalPodAutoscaler scales it");
    unknown(&view, Name::Metric, "no autoscaler of it names a metric");
    view.behind.insert("HorizontalPodAutoscaler".to_owned());
    unknown(&view, Name::Active, "not every HorizontalPodAutoscaler is in view");
    view.behind.clear();
    put(
        &mut view,
        "
apiVersion: autoscaling.gke.io/v1beta1
kind: MultidimPodAutoscaler
metadata: {name: mpa, namespace: ml}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: llm}}
",
    );
    unknown(&view, Name::Active, "MultidimPodAutoscaler mpa scales it");
}

/// A view in which two of three replicas are not Ready.
fn scaling_up() -> ClusterView {
    view(&[&server().replace("spec:\n  replicas: 1", "spec:\n  replicas: 3")])
}

fn unscheduled(pod: &str, message: &str, at: i64) -> Unscheduled {
    Unscheduled { pod: pod.to_owned(), message: message.to_owned(), at }
}

fn capacity(view: &ClusterView, events: &[Unscheduled]) -> Health {
    let pending = pending(view.workloads().next().unwrap(), events, NOON);
    links(view, pending.as_ref()).into_iter().find(|link| link.name == Name::Capacity).unwrap().state
}

#[test]
fn pods_that_wait_for_accelerators_break_the_link_and_others_do_not() {
    let view = scaling_up();
    let gpu = "0/5 nodes are available: 2 Insufficient cpu, 5 Insufficient nvidia.com/gpu. preemption: no.";
    let events = [unscheduled("llm-59d8-abcde", "old", NOON + 1), unscheduled("llm-59d8-abcde", gpu, NOON + 2)];
    match capacity(&view, &events) {
        Health::Broken { reason, .. } => {
            assert!(reason.starts_with("1 of its pods find no node: 0/5 nodes are available"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let cpu = [unscheduled("llm-59d8-abcde", "0/5 nodes are available: 5 Insufficient cpu.", NOON + 2)];
    assert!(matches!(capacity(&view, &cpu), Health::Unknown { reason } if reason.contains("Insufficient cpu")));
    assert!(matches!(capacity(&view, &[]), Health::Unknown { reason } if reason.contains("no Event")));
    let old = [unscheduled("llm-59d8-abcde", gpu, NOON - 1)];
    assert!(matches!(capacity(&view, &old), Health::Unknown { .. }));
    assert_eq!(capacity(&whole(), &events), Health::Healthy, "all are Ready by now");
}

#[test]
fn events_of_other_workloads_pods_do_not_count() {
    let view = scaling_up();
    let found = |pod: &str| pending(view.workloads().next().unwrap(), &[unscheduled(pod, "x", NOON)], NOON).is_some();
    assert!(found("llm-59d8f7-abcde"));
    for other in ["llm-large-59d8f7-abcde", "llm2-59d8f7-abcde", "llm", "llm-", "llm-0", "other-llm-59d8f7-abcde"] {
        assert!(!found(other), "{other}");
    }
    let set = server().replace("kind: Deployment", "kind: StatefulSet").replace("readyReplicas: 1", "readyReplicas: 0");
    let (_, object) = objects(&set).remove(0);
    let Object::Workload(object) = object else { panic!() };
    let set = crate::policy::workload::read(&object, &|_| None);
    assert!(pending(&set, &[unscheduled("llm-0", "x", NOON)], NOON).is_some());
    assert!(pending(&set, &[unscheduled("llm-59d8f7-abcde", "x", NOON)], NOON).is_none());
}

#[test]
fn the_pods_of_a_long_name_are_known_though_the_name_is_cut() {
    let long = "l".repeat(70);
    let view = view(&[&server()
        .replace("name: llm, namespace", &format!("name: {long}, namespace"))
        .replace("spec:\n  replicas: 1", "spec:\n  replicas: 2")]);
    let workload = view.workloads().next().unwrap();
    let pod = format!("{}abcde", "l".repeat(58));
    assert!(pending(workload, &[unscheduled(&pod, "x", NOON)], NOON).is_some());
    assert!(pending(workload, &[unscheduled(&"m".repeat(63), "x", NOON)], NOON).is_none());
}

#[test]
fn a_changed_condition_is_news_to_the_view() {
    let view = whole();
    let changed = objects(&hpa("[{type: ScalingActive, status: 'False', reason: A}]")).remove(0);
    assert!(!view.holds(&changed.0, &changed.1));
    let key = changed.1.key(&changed.0);
    assert_eq!(key, Key { group: "autoscaling".into(), kind: "HorizontalPodAutoscaler".into(), ..key.clone() });
    let same = objects(&hpa("[{type: ScalingActive, status: 'True', message: counts 3}]")).remove(0);
    assert!(view.holds(&same.0, &same.1), "what a condition that holds says is not kept");
}
