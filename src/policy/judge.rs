//! The one entry for webhook, controller and reviewer: an object and a view in, a decision out.

use super::chain::adapter_rule;
use super::decision::{Decision, decide};

use super::facts::{
    AdapterFacts, Context, DocumentFacts, HpaFacts, ScaledObjectFacts, ScrapeFacts, Stage, WorkloadFacts,
};
use super::finding::{Finding, ObjectRef};
use super::objects::{Hpa, Object, ObjectMeta, ScaledObject, TypeMeta, WorkloadObject};
use super::rules::{ALL, Rule};
use super::view::ClusterView;
use super::workload::Workload;

type Said = Vec<(&'static Rule, Finding)>;

/// Judges an object. `old` is what it was before an update; `order` its place among the view's autoscalers, when only earlier
/// ones count.
pub fn judge(
    of: &TypeMeta,
    object: &Object,
    old: Option<&Object>,
    order: Option<u64>,
    context: &Context<'_>,
) -> Decision {
    let metadata = object.metadata();
    if metadata.deletion_timestamp.is_some() || old.is_some_and(|old| unchanged(object, old)) {
        return Decision::default();
    }
    let said = findings(of, object, old, order, context);
    let before = match old {
        Some(old) if !said.is_empty() => findings(of, old, None, order, context),
        _ => Said::new(),
    };
    let mut decision = decide(said, &before, metadata, context.stage, context.view, context.configuration);
    if !context.view.behind.is_empty() && !decision.allowed() {
        // What is in view may be gone or changed by now. A denial that needs none of it stands; any other is a warning.
        let mut nothing = ClusterView::default();
        nothing.now = context.view.now;
        let alone = judge(of, object, old, None, &Context { view: &nothing, ..*context });
        decision.soften_unless(|finding| {
            alone.denials().any(|same| same.rule == finding.rule && same.value == finding.value)
        });
    }
    decision
}

/// Judges a workload of which what was derived from its template is known, and not the template: one of the cluster. Rules
/// that look at the template itself are silent.
pub fn judge_workload(workload: &Workload, context: &Context<'_>) -> Decision {
    let metadata = &workload.metadata;
    if metadata.deletion_timestamp.is_some() {
        return Decision::default();
    }
    let written = workload.without_template();
    let facts = WorkloadFacts::derived(workload, &written, context);
    decide(asked_of(&facts, context), &[], metadata, context.stage, context.view, context.configuration)
}

/// Judges a document of a file by the rules on files.
pub fn judge_document(document: &DocumentFacts, context: &Context<'_>) -> Decision {
    let mut said = Said::new();
    for rule in ALL {
        if let Some(check) = rule.checks.document {
            collect(&mut said, rule, &document.object, check(document, context));
        }
    }
    let metadata = ObjectMeta {
        name: document.object.name.clone(),
        namespace: document.object.namespace.clone(),
        ..ObjectMeta::default()
    };
    decide(said, &[], &metadata, context.stage, context.view, context.configuration)
}

fn findings(of: &TypeMeta, object: &Object, old: Option<&Object>, order: Option<u64>, context: &Context<'_>) -> Said {
    match object {
        Object::Hpa(hpa) => of_hpa(of, hpa, order, context),
        Object::ScaledObject(scaled_object) => of_scaled_object(of, scaled_object, order, context),
        Object::Workload(workload) => {
            let old = match old {
                Some(Object::Workload(old)) => Some(&**old),
                _ => None,
            };
            of_workload(of, workload, old, order, context)
        }
        Object::PodMonitoring(_) | Object::OperatorMonitor(_) => of_scrape_object(
            &ScrapeFacts { object: ObjectRef::new(of, object.metadata()), written: object, order },
            context,
        ),
        Object::ConfigMap(config_map) if adapter_rule::is_adapter_configuration(config_map) => {
            of_adapter(&AdapterFacts { object: ObjectRef::new(of, &config_map.metadata), config_map }, context)
        }
        _ => Said::new(),
    }
}

fn of_hpa(of: &TypeMeta, hpa: &Hpa, order: Option<u64>, context: &Context<'_>) -> Said {
    let facts = HpaFacts::new(of, hpa, order, context);
    let mut said = Said::new();
    if facts.in_scope(context.configuration) {
        for rule in asked(context) {
            if let Some(check) = rule.checks.hpa {
                collect(&mut said, rule, &facts.object, check(&facts, context));
            }
        }
    }
    said
}

fn of_scaled_object(of: &TypeMeta, scaled_object: &ScaledObject, order: Option<u64>, context: &Context<'_>) -> Said {
    let facts = ScaledObjectFacts::new(of, scaled_object, order, context);
    let mut said = Said::new();
    if facts.in_scope(context.configuration) {
        for rule in asked(context) {
            if let Some(check) = rule.checks.scaled_object {
                collect(&mut said, rule, &facts.object, check(&facts, context));
            }
        }
    }
    said
}

fn of_workload(
    of: &TypeMeta,
    workload: &WorkloadObject,
    old: Option<&WorkloadObject>,
    order: Option<u64>,
    context: &Context<'_>,
) -> Said {
    asked_of(&WorkloadFacts { order, ..WorkloadFacts::new(of, workload, old, context) }, context)
}

fn asked_of(facts: &WorkloadFacts<'_>, context: &Context<'_>) -> Said {
    let mut said = Said::new();
    if facts.in_scope(context) {
        for rule in asked(context) {
            if let Some(check) = rule.checks.workload {
                collect(&mut said, rule, &facts.object, check(facts, context));
            }
        }
    }
    said
}

/// Scrape objects and adapter configurations are not registered at the webhook; their rules decide for themselves what is in
/// scope, since that takes what they scrape and serve.
fn of_scrape_object(facts: &ScrapeFacts<'_>, context: &Context<'_>) -> Said {
    let mut said = Said::new();
    for rule in asked(context) {
        if let Some(check) = rule.checks.scrape_object {
            collect(&mut said, rule, &facts.object, check(facts, context));
        }
    }
    said
}

fn of_adapter(facts: &AdapterFacts<'_>, context: &Context<'_>) -> Said {
    let mut said = Said::new();
    for rule in asked(context) {
        if let Some(check) = rule.checks.adapter {
            collect(&mut said, rule, &facts.object, check(facts, context));
        }
    }
    said
}

fn asked(context: &Context<'_>) -> impl Iterator<Item = &'static Rule> + use<> {
    let review = context.stage == Stage::Review;
    ALL.iter().copied().filter(move |rule| review || rule.at_admission)
}

fn collect(said: &mut Said, rule: &'static Rule, object: &ObjectRef, findings: Vec<Finding>) {
    said.extend(
        findings
            .into_iter()
            .map(|finding| (rule, Finding { rule: rule.id.to_owned(), object: object.clone(), ..finding })),
    );
}

/// Whether a change leaves alone everything that rules judge: status, managed fields and foreign metadata may differ.
fn unchanged(object: &Object, old: &Object) -> bool {
    match (object, old) {
        (Object::Hpa(new), Object::Hpa(old)) => {
            new.spec == old.spec && new.api_version == old.api_version && ours(&new.metadata) == ours(&old.metadata)
        }
        (Object::ScaledObject(new), Object::ScaledObject(old)) => {
            new.spec == old.spec && ours(&new.metadata) == ours(&old.metadata)
        }
        (Object::Workload(new), Object::Workload(old)) => {
            new.replicas == old.replicas
                && new.selector == old.selector
                && new.template == old.template
                && new.lws == old.lws
                && ours(&new.metadata) == ours(&old.metadata)
        }
        _ => false,
    }
}

/// The labels and annotations that are addressed to us; what we write ourselves is nobody's input.
fn ours(metadata: &ObjectMeta) -> Vec<(&str, &str)> {
    let all = metadata.labels.iter().chain(&metadata.annotations);
    let ours = all.filter(|(key, _)| key.starts_with(super::settings::PREFIX));
    ours.map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::configuration::Configuration;

    fn hpa(name: &str, metric: &str) -> (TypeMeta, Object) {
        let value: Value = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": name, "namespace": "ml" },
            "spec": {
                "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "llm" }, "maxReplicas": 3,
                "metrics": [{ "type": "Pods", "pods": {
                    "metric": { "name": metric }, "target": { "type": "AverageValue", "averageValue": "4" },
                } }],
            },
        });
        Object::from_value(&value).unwrap()
    }

    #[test]
    fn while_the_view_is_behind_only_what_needs_nothing_of_it_denies() {
        const RIGHT: &str = "prometheus.googleapis.com|vllm:num_requests_running|gauge";
        const MISSPELT: &str = "prometheus.googleapis.com|vllm:num_request_running|gauge";
        let configuration = Configuration::default();
        let (of, first) = hpa("first", RIGHT);
        let mut view = ClusterView::default();
        view.apply(&of, first);
        let denied = |view: &ClusterView, metric: &str| {
            let (of, second) = hpa("second", metric);
            let context = Context { view, configuration: &configuration, stage: Stage::Admission, update: false };
            let decision = judge(&of, &second, None, None, &context);
            let rules = decision.denials().map(|finding| finding.rule.clone()).collect::<Vec<_>>();
            let warned = decision.warnings().concat().contains("autoscaler-conflict");
            (rules, warned)
        };
        assert_eq!(denied(&view, RIGHT), (vec!["autoscaler-conflict".to_owned()], false));
        view.behind.insert("HorizontalPodAutoscaler".to_owned());
        assert_eq!(denied(&view, RIGHT), (vec![], true), "the first may be gone by now");
        assert_eq!(denied(&view, MISSPELT), (vec!["metric-exists".to_owned()], true));
    }
}
