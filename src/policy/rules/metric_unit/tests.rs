use crate::policy::configuration::{BackendKind, Configuration};
use crate::policy::finding::Finding;
use crate::policy::rules::testing::{brief, review};

fn findings(yaml: &str, kind: BackendKind) -> Vec<Finding> {
    let mut configuration = Configuration::default();
    configuration.backend.kind = kind;
    review(yaml, &configuration).into_iter().filter(|finding| finding.rule == "metric-unit").collect()
}

fn of(yaml: &str) -> Vec<String> {
    brief(&findings(yaml, BackendKind::Gmp))
}

const DENY: [&str; 1] = ["metric-unit deny spec.metrics[0].pods.target.averageValue"];
const WARN: [&str; 1] = ["metric-unit warn spec.metrics[0].pods.target.averageValue"];
const KV: &str = "prometheus.googleapis.com|vllm:kv_cache_usage_perc|gauge";

#[test]
fn per_cent_for_a_share_is_refused_with_the_quantity_to_write() {
    let found = findings(super::FAILING, BackendKind::Gmp);
    assert_eq!(brief(&found), DENY);
    assert_eq!(found[0].hint.as_deref(), Some("write `800m` for 80 per cent"));
    assert!(of(super::PASSING).is_empty());
    assert!(of(&super::FAILING.replace("averageValue: 80", "averageValue: 1")).is_empty(), "1 is a share");
    assert_eq!(of(&super::FAILING.replace("averageValue: 80", "averageValue: 1001m")), DENY);
}

#[test]
fn several_ranks_are_added_up_so_it_is_a_warning() {
    let ranks = super::FAILING
        .replace("[--model=google/gemma-3-1b-it]", "[--model=google/gemma-3-1b-it, --data-parallel-size=4]");
    assert_eq!(of(&ranks), WARN);
}

#[test]
fn of_dcgm_shares_the_gpus_of_the_pod_count() {
    let share = super::FAILING.replace(KV, "prometheus.googleapis.com|DCGM_FI_PROF_GR_ENGINE_ACTIVE|gauge");
    assert_eq!(of(&share), DENY);
    assert_eq!(of(&share.replace("nvidia.com/gpu: 1", "nvidia.com/gpu: 4")), WARN);
}

#[test]
fn without_the_target_the_ranks_are_unknown() {
    let (_, hpa) = super::FAILING.split_once("---\n").unwrap();
    assert_eq!(of(hpa), WARN);
}

#[test]
fn on_other_adapters_it_is_a_warning() {
    let plain = super::FAILING.replace(KV, "vllm:kv_cache_usage_perc");
    assert_eq!(brief(&findings(&plain, BackendKind::PrometheusOperator)), WARN);
    let external = super::FAILING.replace("type: Pods", "type: External").replace("    pods:", "    external:");
    assert_eq!(of(&external), ["metric-unit warn spec.metrics[0].external.target.averageValue"]);
}

#[test]
fn a_share_for_per_cent_is_a_warning() {
    let gpu = super::FAILING.replace(KV, "prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge");
    assert!(of(&gpu).is_empty());
    let found = findings(&gpu.replace("averageValue: 80", "averageValue: 800m"), BackendKind::Gmp);
    assert_eq!(brief(&found), WARN);
    assert_eq!(found[0].hint.as_deref(), Some("write `80` if 80 per cent is meant"));
}

#[test]
fn what_a_rule_in_view_makes_may_have_another_unit() {
    let adapter = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: adapter-config, namespace: monitoring}
data:
  config.yaml: |
    rules:
    - seriesQuery: 'vllm:kv_cache_usage_perc{namespace!=\"\",pod!=\"\"}'
      resources: {overrides: {namespace: {resource: namespace}, pod: {resource: pod}}}
      name: {as: vllm_kv_cache_usage_perc}
      metricsQuery: '100 * sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
";
    let yaml = super::FAILING.replace(KV, "vllm_kv_cache_usage_perc");
    assert!(of(&format!("{yaml}{adapter}")).is_empty());
    assert_eq!(of(&yaml), WARN);
}

#[test]
fn targets_that_are_no_quantities_are_left_alone() {
    assert!(of(&super::FAILING.replace("averageValue: 80", "averageValue: eighty")).is_empty());
}

#[test]
fn ranks_that_cannot_be_read_and_a_second_server_only_warn() {
    let ranks = super::FAILING
        .replace("[--model=google/gemma-3-1b-it]", "[--model=google/gemma-3-1b-it, --data-parallel-size=$(RANKS)]");
    assert_eq!(of(&ranks), WARN);
    let second = "      - {name: second, image: 'vllm/vllm-openai:v0.11.0', args: [--port=8001]}\n---";
    assert_eq!(of(&super::FAILING.replacen("---", second, 1)), WARN);
}

#[test]
fn a_target_little_above_one_is_not_taken_for_per_cent() {
    let found = findings(&super::FAILING.replace("averageValue: 80", "averageValue: 1100m"), BackendKind::Gmp);
    assert_eq!(found[0].hint.as_deref(), Some("write a share, such as `800m` for 80 per cent"));
}
