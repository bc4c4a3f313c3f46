use super::super::configuration::Configuration;
use super::super::facts::Stage;
use super::super::objects::Object;
use super::super::rules::testing::{objects, view};
use super::*;

const RUNNING: &str = "prometheus.googleapis.com|vllm:num_requests_running|gauge";
const NOW: i64 = 1_769_870_000;

const ADAPTER: &str = "
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta2.custom.metrics.k8s.io}
spec: {group: custom.metrics.k8s.io, version: v1beta2, service: {namespace: custom-metrics, name: custom-metrics-stackdriver-adapter}}
status: {conditions: [{type: Available, status: 'True', reason: Passed}]}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.external.metrics.k8s.io}
spec: {group: external.metrics.k8s.io, version: v1beta1, service: {namespace: custom-metrics, name: custom-metrics-stackdriver-adapter}}
";

/// A Deployment whose pods are Ready since 10:00:00 on 2026-01-31, which is 4400 seconds before [`NOW`].
fn deployment(name: &str, since: &str, more: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: ml, generation: 1{more}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - {{name: server, image: 'vllm/vllm-openai:v0.11.0', args: [--model=x, --port=8081], resources: {{limits: {{nvidia.com/gpu: 1}}}}}}
status:
  replicas: 1
  updatedReplicas: 1
  readyReplicas: 1
  observedGeneration: 1
  conditions:
  - {{type: Available, status: 'True', lastTransitionTime: '{since}'}}
  - {{type: Progressing, status: 'True', reason: NewReplicaSetAvailable, lastTransitionTime: '{since}', lastUpdateTime: '{since}'}}
"
    )
}

const LONG_AGO: &str = "2026-01-31T13:00:00Z";
const JUST_NOW: &str = "2026-01-31T14:30:00Z";

fn hpa(target: &str, metrics: &str) -> String {
    format!(
        "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {target}, namespace: ml}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {target}}}
  maxReplicas: 3
  metrics: {metrics}
"
    )
}

fn pods(name: &str) -> String {
    hpa(
        "llm",
        &format!(
            "[{{type: Pods, pods: {{metric: {{name: '{name}'}}, target: {{type: AverageValue, averageValue: 4}}}}}}]"
        ),
    )
}

fn external(name: &str) -> String {
    hpa(
        "llm",
        &format!(
            "[{{type: External, external: {{metric: {{name: '{name}'}}, target: {{type: AverageValue, averageValue: 4}}}}}}]"
        ),
    )
}

fn cluster(documents: &[&str]) -> ClusterView {
    let mut view = view(&documents.join("\n---\n"));
    view.now = NOW;
    view
}

fn ask(view: &ClusterView, hpa: &str, of: impl Fn(&HpaFacts<'_>, &Context<'_>) -> Vec<Wanted>) -> Vec<Wanted> {
    let configuration = Configuration::default();
    let context = Context { view, configuration: &configuration, stage: Stage::Admission, update: false };
    let (kind, object) = objects(hpa).remove(0);
    let Object::Hpa(hpa) = object else { panic!("an HPA") };
    of(&HpaFacts::new(&kind, &hpa, None, &context), &context)
}

fn names(view: &ClusterView, hpa: &str) -> Vec<String> {
    ask(view, hpa, wanted).into_iter().map(|wanted| wanted.key.name).collect()
}

#[test]
fn what_is_asked_is_the_name_and_the_namespace_and_nothing_else() {
    let view = cluster(&[ADAPTER, &deployment("llm", LONG_AGO, "")]);
    let narrowed = pods(RUNNING).replace(
        &format!("{{name: '{RUNNING}'}}"),
        &format!("{{name: '{RUNNING}', selector: {{matchLabels: {{resource.labels.project_id: other, metric.labels.x: secret}}}}}}"),
    );
    let found = ask(&view, &narrowed, wanted);
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].path().unwrap(),
        "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ml/pods/*/prometheus.googleapis.com%7Cvllm%3Anum_requests_running%7Cgauge"
    );
    assert_eq!(
        found[0].control_path("kubernetes.io|container|uptime").unwrap(),
        "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ml/pods/*/kubernetes.io%7Ccontainer%7Cuptime"
    );
    assert_eq!(found[0].listing_path().unwrap(), "/apis/custom.metrics.k8s.io/v1beta2");
    assert_eq!(found[0].strategy(), Strategy::Control);
    assert!(found[0].pods && found[0].ready_since.is_some());
}

#[test]
fn external_names_are_asked_in_lower_case() {
    let view = cluster(&[ADAPTER]);
    let found = ask(&view, &external("prometheus.googleapis.com|DCGM_FI_DEV_GPU_UTIL|gauge"), wanted);
    assert_eq!(found[0].key.api, MetricApi::External);
    assert_eq!(
        found[0].path().unwrap(),
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/ml/prometheus.googleapis.com%7Cdcgm_fi_dev_gpu_util%7Cgauge"
    );
}

#[test]
fn what_another_object_answers_for_and_what_is_out_of_scope_is_not_asked() {
    let server = deployment("llm", LONG_AGO, "");
    let inside = cluster(&[ADAPTER, &server]);
    assert_eq!(names(&inside, &pods("anything")), ["anything"], "the target is a server");
    for name in ["autoscaling.gke.io|llm|running", "kubernetes.io|container|accelerator|duty_cycle", "a/b", ".."] {
        assert!(names(&inside, &pods(name)).is_empty(), "{name}");
    }
    for name in ["s0-prometheus", "datadogmetric@ml:running"] {
        assert!(names(&inside, &external(name)).is_empty(), "{name}");
    }
    let object = hpa(
        "llm",
        &format!(
            "[{{type: Object, object: {{describedObject: {{kind: Service, name: s}}, metric: {{name: '{RUNNING}'}}, target: {{type: Value, value: 4}}}}}}]"
        ),
    );
    assert!(names(&inside, &object).is_empty());
    let resource =
        hpa("llm", "[{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]");
    assert!(names(&inside, &resource).is_empty());
    let owned = pods(RUNNING).replace(
        "namespace: ml}",
        "namespace: ml, ownerReferences: [{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: s, uid: u}]}",
    );
    assert!(names(&inside, &owned).is_empty());
    let outside = cluster(&[ADAPTER]);
    assert!(names(&outside, &pods("http_requests_per_second")).is_empty());
    assert_eq!(names(&outside, &pods(RUNNING)), [RUNNING]);
    let datadog =
        cluster(&[&ADAPTER.replace("custom-metrics-stackdriver-adapter", "datadog-cluster-agent-metrics-api")]);
    assert!(names(&datadog, &pods(RUNNING)).is_empty());
}

#[test]
fn an_api_that_nobody_registers_is_wanted_and_cannot_be_asked() {
    let view = cluster(&[&deployment("llm", LONG_AGO, "")]);
    let found = ask(&view, &pods(RUNNING), wanted);
    assert_eq!((found[0].path(), found[0].strategy()), (None, Strategy::Nothing));
}

#[test]
fn a_look_is_taken_only_where_its_answer_can_change_the_verdict() {
    let look = |view: &ClusterView, hpa: &str| ask(view, hpa, to_look_for).len();
    let old = deployment("llm", LONG_AGO, "");
    let mut settled = cluster(&[ADAPTER, &old]);
    assert_eq!(look(&settled, &pods(RUNNING)), 1);
    assert_eq!(
        look(&cluster(&[ADAPTER, &deployment("llm", JUST_NOW, "")]), &pods(RUNNING)),
        0,
        "the pods just started"
    );
    assert_eq!(look(&cluster(&[ADAPTER]), &pods(RUNNING)), 0, "no target");
    assert_eq!(look(&cluster(&[&old]), &pods(RUNNING)), 0, "no adapter");
    let monitoring = "
apiVersion: monitoring.googleapis.com/v1
kind: PodMonitoring
metadata: {name: m, namespace: ml}
spec: {selector: {matchLabels: {app: llm}}, endpoints: [{port: 8081, interval: 15s}]}
";
    assert_eq!(look(&cluster(&[ADAPTER, &old, monitoring]), &pods(RUNNING)), 0, "it is being scraped");
    let key = MetricKey { api: MetricApi::Custom, name: RUNNING.to_owned(), namespace: "ml".to_owned() };
    for (presence, age, looks) in [
        (MetricPresence::Present, 200, 0),
        (MetricPresence::Present, 400, 1),
        (MetricPresence::Absent, 30, 0),
        (MetricPresence::Absent, 200, 1),
        (MetricPresence::Unknown, 30, 0),
        (MetricPresence::Unknown, 200, 1),
    ] {
        let observed = MetricObservation { presence, observed_at: NOW - age, ready_since: None };
        settled.metrics.insert(key.clone(), observed);
        assert_eq!(look(&settled, &pods(RUNNING)), looks, "{presence:?} {age}");
    }
}

/// Rules denied of an HPA when its metric is absent on a settled target, beside more documents.
fn denied_beside(more: &str, name: &str, since: &str, label: &str) -> bool {
    let mut view = cluster(&[ADAPTER, &deployment("llm", since, label)]);
    for (of, object) in objects(more) {
        view.apply(&of, object);
    }
    let key = MetricKey { api: MetricApi::Custom, name: name.to_owned(), namespace: "ml".to_owned() };
    let observed = MetricObservation { presence: MetricPresence::Absent, observed_at: NOW, ready_since: Some(0) };
    view.metrics.insert(key, observed);
    let findings = super::super::rules::testing::admit(&view, &pods(name), None, &Configuration::default());
    findings
        .iter()
        .any(|finding| finding.rule == "metric-exists" && finding.severity == super::super::finding::Severity::Deny)
}

#[test]
fn a_metric_that_is_being_scraped_for_the_target_is_not_refused() {
    let monitoring = |kind: &str, app: &str, port: &str| {
        format!(
            "
apiVersion: monitoring.googleapis.com/v1
kind: {kind}
metadata: {{name: m, namespace: ml}}
spec: {{selector: {{matchLabels: {{app: {app}}}}}, endpoints: [{{port: {port}, interval: 15s}}]}}
"
        )
    };
    let beside = |more: &str| denied_beside(more, RUNNING, LONG_AGO, "");
    assert!(beside(""), "nothing makes it");
    assert!(!beside(&monitoring("PodMonitoring", "llm", "8081")));
    assert!(!beside(&monitoring("ClusterPodMonitoring", "llm", "8081").replace(", namespace: ml", "")));
    assert!(beside(&monitoring("PodMonitoring", "other", "8081")), "other pods");
    assert!(beside(&monitoring("PodMonitoring", "llm", "9000")), "another port");
    assert!(beside(&monitoring("PodMonitoring", "llm", "http")), "a port that the pods do not declare");
    assert!(beside(&monitoring("PodMonitoring", "llm", "8081").replace("namespace: ml", "namespace: other")));
}

#[test]
fn the_scrape_object_that_our_label_brings_makes_the_metric_present_by_construction() {
    let label = ", labels: {scalegate.dev/autoscale: server-metrics}";
    assert!(!denied_beside("", RUNNING, LONG_AGO, label));
    let elsewhere = ", labels: {scalegate.dev/autoscale: gpu-metrics}";
    assert!(denied_beside("", RUNNING, LONG_AGO, elsewhere), "gpu-metrics brings none");
    let disabled = ", labels: {scalegate.dev/autoscale: disabled}";
    assert!(denied_beside("", RUNNING, LONG_AGO, disabled));
    let from_git =
        ", labels: {scalegate.dev/autoscale: server-metrics}, annotations: {scalegate.dev/generate: 'false'}";
    assert!(denied_beside("", RUNNING, LONG_AGO, from_git));
}

#[test]
fn the_target_itself_must_be_settled_whoever_else_uses_the_metric() {
    assert!(denied_beside("", RUNNING, LONG_AGO, ""));
    assert!(!denied_beside("", RUNNING, JUST_NOW, ""), "the observation's own time is another target's");
}

#[test]
fn an_answer_that_tells_nothing_does_not_displace_one_that_does_until_that_is_stale() {
    let probes = Configuration::default().probes;
    let key = MetricKey { api: MetricApi::Custom, name: "m".to_owned(), namespace: "ml".to_owned() };
    let observed = |presence, observed_at| MetricObservation { presence, observed_at, ready_since: None };
    let mut view = ClusterView::default();
    assert!(remember(&mut view, key.clone(), observed(MetricPresence::Present, 1000), &probes));
    assert!(
        !remember(&mut view, key.clone(), observed(MetricPresence::Present, 1060), &probes),
        "only its age changes"
    );
    assert!(!remember(&mut view, key.clone(), observed(MetricPresence::Unknown, 1120), &probes));
    assert_eq!(view.metrics[&key], observed(MetricPresence::Present, 1060));
    assert!(remember(&mut view, key.clone(), observed(MetricPresence::Absent, 1130), &probes));
    assert!(remember(&mut view, key.clone(), observed(MetricPresence::Unknown, 1500), &probes));
    assert_eq!(view.metrics[&key].presence, MetricPresence::Unknown);
}

#[test]
fn a_metric_of_several_autoscalers_is_asked_once_for_the_one_that_is_longest_ready() {
    let view = cluster(&[ADAPTER, &deployment("llm", LONG_AGO, ""), &deployment("young", JUST_NOW, "")]);
    let young = pods(RUNNING).replace("name: llm", "name: young");
    let all = ask(&view, &young, wanted).into_iter().chain(ask(&view, &pods(RUNNING), wanted));
    let joined = joined(all);
    assert_eq!(joined.len(), 1);
    assert_eq!(joined.values().next().unwrap().ready_since, Some(1_769_864_400));
}
