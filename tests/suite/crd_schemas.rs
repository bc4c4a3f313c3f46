//! Every object that is generated for Google Managed Prometheus is accepted by the genuine custom resource definitions,
//! their validation rules, and the admission policies that GMP installs; and every one for the Prometheus Operator by its
//! definitions.

use std::collections::BTreeSet;

use cel::{Context, Program};
use jsonschema::Validator;
use scalegate::policy::configuration::{Backend, BackendKind, Configuration};
use scalegate::policy::render::{render, shared_gpu_objects};
use scalegate::policy::settings::{self, LABEL, PREFIX, Wish};
use scalegate::policy::workload::Workload;
use serde_json::{Value, json};

use crate::reference;

const GROUP: &str = "monitoring.googleapis.com";

const OPERATOR_GROUP: &str = "monitoring.coreos.com";
const OPERATOR: &str = "github.com/prometheus-operator/prometheus-operator@v0.85.0";

struct Definitions {
    group: &'static str,
    kinds: Vec<Value>,
    policies: Vec<Value>,
}

impl Definitions {
    fn gmp() -> Option<Self> {
        let kinds = reference::documents("crds/gmp.yaml")?;
        let policies = reference::documents("crds/gmp-admission-policies.yaml")?;
        let policies = policies.into_iter().filter(|policy| policy["kind"] == "ValidatingAdmissionPolicy").collect();
        Some(Self { group: GROUP, kinds, policies })
    }

    fn operator() -> Option<Self> {
        let mut definitions = Vec::new();
        for plural in ["podmonitors", "servicemonitors", "prometheusrules"] {
            let file = format!("example/prometheus-operator-crd/{OPERATOR_GROUP}_{plural}.yaml");
            definitions.extend(reference::of_go_module(OPERATOR, &file)?);
        }
        // A flag in the middle of an expression, which this validator does not know, in a field that we do not write.
        let text = Value::Array(definitions).to_string().replace("^(?i)(abort|warn)?$", "^(abort|warn)?$");
        let kinds = serde_json::from_str(&text).unwrap();
        Some(Self { group: OPERATOR_GROUP, kinds, policies: Vec::new() })
    }

    fn definition(&self, kind: &str) -> &Value {
        self.kinds.iter().find(|definition| definition["spec"]["names"]["kind"] == kind).expect(kind)
    }

    fn schema(&self, object: &Value) -> &Value {
        let version = object["apiVersion"].as_str().unwrap().strip_prefix(self.group).unwrap().trim_start_matches('/');
        let definition = self.definition(object["kind"].as_str().unwrap());
        let versions = definition["spec"]["versions"].as_array().unwrap();
        let version =
            versions.iter().find(|found| found["name"] == version && found["served"] == true).expect("served");
        &version["schema"]["openAPIV3Schema"]
    }

    /// What the API server would say against an object; `unjudged` collects the rules that this evaluator cannot run.
    fn complaints(&self, object: &Value, unjudged: &mut BTreeSet<String>) -> Vec<String> {
        let schema = self.schema(object);
        let validator: Validator = jsonschema::draft4::new(schema).unwrap();
        let mut complaints: Vec<String> =
            validator.iter_errors(object).map(|error| format!("{}: {error}", error.instance_path())).collect();
        walk(schema, object, "", &mut complaints, unjudged);
        if !complaints.is_empty() {
            // The policies may take the object's types for granted.
            return complaints;
        }
        let resource = self.definition(object["kind"].as_str().unwrap())["spec"]["names"]["plural"].clone();
        for policy in &self.policies {
            let applies = policy["spec"]["matchConstraints"]["resourceRules"]
                .as_array()
                .unwrap()
                .iter()
                .any(|rule| rule["resources"].as_array().unwrap().contains(&resource));
            if applies {
                apply_policy(policy, object, &mut complaints, unjudged);
            }
        }
        complaints
    }
}

enum Verdict {
    Holds(bool),
    CannotJudge(String),
}

fn evaluate(rule: &str, context: &Context<'_, '_>) -> Verdict {
    let program = match Program::compile(rule) {
        Ok(program) => program,
        Err(error) => return Verdict::CannotJudge(format!("does not compile: {error}")),
    };
    match program.execute(context) {
        Ok(cel::Value::Bool(holds)) => Verdict::Holds(holds),
        Ok(other) => Verdict::CannotJudge(format!("gives {other:?}")),
        Err(error) => Verdict::CannotJudge(format!("does not run: {error}")),
    }
}

fn judge(
    rule: &str,
    place: &str,
    context: &Context<'_, '_>,
    complaints: &mut Vec<String>,
    unjudged: &mut BTreeSet<String>,
) {
    match evaluate(rule, context) {
        Verdict::Holds(true) => {}
        Verdict::Holds(false) => complaints.push(format!("{place}: violates {rule}")),
        Verdict::CannotJudge(why) => {
            unjudged.insert(format!("{rule} ({why})"));
        }
    }
}

/// Follows an object through its structural schema: unknown fields, which the API server would drop, and the rules that
/// stand beside each value.
fn walk(schema: &Value, value: &Value, place: &str, complaints: &mut Vec<String>, unjudged: &mut BTreeSet<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let mut context = Context::default();
        context.add_variable("self", value.clone()).unwrap();
        judge(rule["rule"].as_str().unwrap(), place, &context, complaints, unjudged);
    }
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let place = format!("{place}.{key}");
                let known = schema["properties"].get(key).or_else(|| schema.get("additionalProperties"));
                match known {
                    Some(schema) => walk(schema, member, &place, complaints, unjudged),
                    // The metadata's schema is the API server's own.
                    None if place.starts_with(".metadata.") => {}
                    None => complaints.push(format!("{place}: unknown field")),
                }
            }
        }
        Value::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                walk(&schema["items"], entry, &format!("{place}[{index}]"), complaints, unjudged);
            }
        }
        _ => {}
    }
}

fn apply_policy(policy: &Value, object: &Value, complaints: &mut Vec<String>, unjudged: &mut BTreeSet<String>) {
    let mut context = Context::default();
    context.add_variable("object", object.clone()).unwrap();
    let mut variables = serde_json::Map::new();
    for variable in policy["spec"]["variables"].as_array().into_iter().flatten() {
        let expression = variable["expression"].as_str().unwrap();
        let program = Program::compile(expression).unwrap();
        let ports = program.execute(&context).unwrap();
        // The only variable is a list of ports; the evaluator's value goes back through JSON's types.
        let cel::Value::List(list) = ports else { panic!("{expression}") };
        let entries = list.iter().map(|entry| match entry {
            cel::Value::Int(number) => json!(number),
            cel::Value::UInt(number) => json!(number),
            cel::Value::String(text) => json!(text.as_str()),
            other => panic!("{other:?}"),
        });
        variables.insert(variable["name"].as_str().unwrap().to_owned(), entries.collect());
    }
    context.add_variable("variables", Value::Object(variables)).unwrap();
    let place = policy["metadata"]["name"].as_str().unwrap();
    for validation in policy["spec"]["validations"].as_array().unwrap() {
        judge(validation["expression"].as_str().unwrap(), place, &context, complaints, unjudged);
    }
}

/// What every built-in profile, and one with every setting, generates on a backend; and the shared objects.
fn generated(kind: BackendKind, group: &str) -> Vec<Value> {
    let backend = Backend {
        kind,
        monitor_labels: [("release".to_owned(), "prometheus".to_owned())].into(),
        ..Backend::default()
    };
    let configuration = Configuration { backend, ..Configuration::default() };
    let all = [
        ("min-replicas", "2"),
        ("max-replicas", "9"),
        ("target-requests-running", "7"),
        ("target-requests-waiting", "2.5"),
        ("target-kv-cache-usage", "0.8"),
        ("target-gpu-utilization", "60"),
        ("metrics-port", "65535"),
        ("metrics-path", "/a/b.c"),
        ("scrape-interval", "5m"),
    ];
    let mut objects = shared_gpu_objects(kind);
    for profile in settings::profiles::BUILT_IN {
        objects.extend(rendered(profile, &[], &configuration));
        objects.extend(rendered(profile, &all, &configuration));
    }
    objects.retain(|object| object["apiVersion"].as_str().unwrap().starts_with(group));
    objects
}

fn rendered(profile: &str, annotations: &[(&str, &str)], configuration: &Configuration) -> Vec<Value> {
    let annotations: serde_json::Map<String, Value> =
        annotations.iter().map(|(name, value)| (format!("{PREFIX}{name}"), json!(value))).collect();
    let workload: Workload = serde_json::from_value(json!({
        "kind": "Deployment",
        "metadata": {
            "name": "vllm", "namespace": "models", "labels": { LABEL: profile }, "annotations": annotations,
        },
        "replicas": 1,
        "selector": {
            "matchLabels": { "app": "vllm" },
            "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["gpu"] }],
        },
        "podLabels": { "app": "vllm", "tier": "gpu" },
        "templatePath": "spec.template",
        "server": { "server": {
            "engine": "vllm", "version": "0.11.0", "evidence": "image", "container": "server",
            "path": "spec.template.spec.containers[0]", "port": { "default": { "number": 8000 } },
            "metricsPath": "/metrics", "argumentsComplete": true, "maxNumSeqs": 64, "dataParallel": 1,
            "devicesUsed": 1, "servedModel": null, "hiddenMetricsFor": null, "logStatsDisabled": false,
            "useV1": null, "cpu": false, "shutdownTimeout": null, "preStopSeconds": null,
        } },
        "pods": [],
        "graceSeconds": 30,
    }))
    .unwrap();
    let read = settings::read(&workload.metadata, configuration).wish;
    let Ok(Wish::Enabled(settings)) = read else { panic!("{read:?}") };
    render(&workload, &settings, configuration, &|_| false).unwrap().objects
}

#[test]
fn every_generated_object_is_accepted() {
    let Some(gmp) = Definitions::gmp() else { return };
    let mut unjudged = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    for object in generated(BackendKind::Gmp, GROUP) {
        assert_eq!(gmp.complaints(&object, &mut unjudged), Vec::<String>::new(), "{object:#}");
        kinds.insert(object["kind"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["ClusterPodMonitoring", "ClusterRules", "PodMonitoring"]);
    for rule in &unjudged {
        println!("NOT JUDGED: {rule}");
    }
    assert!(unjudged.is_empty(), "a rule that meets our objects cannot be evaluated: {unjudged:#?}");
}

#[test]
fn every_object_that_is_generated_for_the_operator_is_accepted_by_its_definitions() {
    let Some(operator) = Definitions::operator() else { return };
    let mut unjudged = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    for object in generated(BackendKind::PrometheusOperator, OPERATOR_GROUP) {
        assert_eq!(operator.complaints(&object, &mut unjudged), Vec::<String>::new(), "{object:#}");
        kinds.insert(object["kind"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["PodMonitor", "PrometheusRule", "ServiceMonitor"]);
    assert!(unjudged.is_empty(), "a rule that meets our objects cannot be evaluated: {unjudged:#?}");
    let backend = Backend { kind: BackendKind::PrometheusOperator, ..Backend::default() };
    let configuration = Configuration { backend, ..Configuration::default() };
    let mut bad = rendered("server-metrics", &[], &configuration).remove(0);
    bad["spec"]["podMetricsEndpoints"][0]["interval"] = json!("soon");
    let complaints = operator.complaints(&bad, &mut BTreeSet::new());
    assert!(complaints.iter().any(|complaint| complaint.contains("interval")), "{complaints:#?}");
}

#[test]
fn what_the_definitions_and_policies_forbid_is_seen() {
    let Some(gmp) = Definitions::gmp() else { return };
    let good = rendered("server-metrics", &[], &Configuration::default()).remove(0);
    let [scrape, rules] = shared_gpu_objects(BackendKind::Gmp).try_into().unwrap();
    let changed = |object: &Value, pointer: &str, value: Value| {
        let mut changed = object.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };
    let endpoint = good["spec"]["endpoints"][0].clone();
    for (bad, said) in [
        (changed(&good, "/spec/endpoints/0/port", json!(0)), "violates self != 0"),
        (changed(&good, "/spec/endpoints/0/port", json!(true)), "/spec/endpoints/0/port"),
        (changed(&good, "/spec/endpoints", json!([])), "/spec/endpoints"),
        (changed(&good, "/spec/endpoints/0", json!({ "port": 1 })), "interval"),
        (changed(&good, "/spec/endpoints", json!([endpoint, endpoint])), "unique-ports"),
        (changed(&good, "/spec/selector", json!({ "app": "vllm" })), "unknown field"),
        (changed(&scrape, "/spec/endpoints/0/metricRelabeling/0/regex", json!(".*")), "protected-labels"),
        (changed(&scrape, "/spec/endpoints/0/metricRelabeling/0/regex", json!("e")), "protected-labels"),
        (changed(&scrape, "/spec/endpoints/0/metricRelabeling/0/action", json!("labelmap")), "action"),
        (changed(&scrape, "/spec/targetLabels/metadata", json!(["job"])), "targetLabels"),
        (
            changed(&rules, "/spec/groups/0/rules/0", json!({ "record": "a", "alert": "b", "expr": "c" })),
            "violates (has(self.record)",
        ),
    ] {
        let complaints = gmp.complaints(&bad, &mut BTreeSet::new());
        assert!(complaints.iter().any(|complaint| complaint.contains(said)), "{said}: {complaints:#?}");
    }
}
