//! What admission let through, judged again over what is known now: a metric that was unknown then may be known to be absent
//! by now, and a node pool may be gone.

use std::collections::{BTreeMap, BTreeSet};

use super::events::{Told, camel};
use super::rows::word;
use crate::cluster::State;
use crate::policy::decision::Decision;
use crate::policy::facts::{Context, Stage};
use crate::policy::finding::ObjectRef;
use crate::policy::judge::{judge, judge_workload};
use crate::policy::objects::{Key, TypeMeta, WorkloadKind};
use crate::policy::settings::LABEL;
use crate::policy::view::ClusterView;

/// Objects that are judged under one lock of the view, while admission waits: a verdict takes up to some 100 us.
const CHUNK: usize = 32;
/// Namespaces that the webhook is never asked about, so that nothing was let through there.
const NEVER_ASKED: [&str; 2] = ["kube-system", "kube-node-lease"];

/// A denial of an object: its UID, the rule and the value at fault.
type Denial = (String, String, String);

/// What stands at present, and what of it was told.
#[derive(Debug, Default)]
pub(super) struct Standing {
    told: BTreeSet<Denial>,
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// How many findings of each rule and severity.
    pub findings: BTreeMap<(String, &'static str), u64>,
    /// What is new.
    pub told: Vec<Told>,
    /// Something new was left for later.
    pub more: bool,
}

// === impl Standing ===

impl Standing {
    /// Judges every HPA, ScaledObject and labelled workload in view. A denial is told when it is new since the look before;
    /// at most `most` of them, the rest by later looks. Takes the lock for a short time, many times.
    pub fn look(&mut self, state: &State, most: usize) -> Judged {
        let mut judged = Judged::default();
        let mut standing = BTreeSet::new();
        let mut certain = true;
        for chunk in state.read(|view, _| subjects(view)).chunks(CHUNK) {
            state.read(|view, configuration| {
                certain &= view.behind.is_empty();
                let context = Context { view, configuration, stage: Stage::Admission, update: false };
                for key in chunk {
                    let Some((about, uid, decision)) = decide(key, &context) else { continue };
                    for finding in &decision.findings {
                        *judged.findings.entry((finding.rule.clone(), word(finding.severity))).or_default() += 1;
                    }
                    for finding in decision.denials() {
                        let denial = (uid.clone(), finding.rule.clone(), finding.value.clone());
                        if self.told.contains(&denial) {
                            standing.insert(denial);
                        } else if judged.told.len() >= most {
                            judged.more = true;
                        } else if standing.insert(denial) {
                            judged.told.push(Told {
                                about: about.clone(),
                                uid: uid.clone(),
                                reason: camel(&finding.rule),
                                warning: true,
                                note: finding.sentence(),
                            });
                        }
                    }
                }
            });
        }
        if certain {
            self.told = standing;
        } else {
            // While news is missing, denials come as warnings: those that were told may stand.
            self.told.extend(standing);
        }
        judged
    }
}

/// What is judged.
fn subjects(view: &ClusterView) -> Vec<Key> {
    let autoscalers = view
        .of_kind("autoscaling", "HorizontalPodAutoscaler")
        .chain(view.of_kind("keda.sh", "ScaledObject"))
        .map(|(key, _)| key.clone());
    let labelled = view.workloads().filter(|workload| workload.metadata.labels.contains_key(LABEL));
    let all = autoscalers.chain(labelled.map(crate::policy::workload::Workload::key));
    all.filter(|key| key.namespace.as_deref().is_some_and(|namespace| !NEVER_ASKED.contains(&namespace))).collect()
}

fn decide(key: &Key, context: &Context<'_>) -> Option<(ObjectRef, String, Decision)> {
    let view = context.view;
    if let Some(kind) = WorkloadKind::find(&key.group, &key.kind) {
        let workload = view.workload(kind, key.namespace.as_deref(), &key.name)?;
        let of = TypeMeta { api_version: kind.api_version().to_owned(), kind: kind.name().to_owned() };
        let uid = workload.metadata.uid.clone().unwrap_or_default();
        return Some((ObjectRef::new(&of, &workload.metadata), uid, judge_workload(workload, context)));
    }
    let entry = view.get(key)?;
    let metadata = entry.object.metadata();
    // What was there first is not at fault, as in an audit.
    let decision = judge(&entry.of, &entry.object, None, Some(entry.order), context);
    Some((ObjectRef::new(&entry.of, metadata), metadata.uid.clone().unwrap_or_default(), decision))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::configuration::Configuration;
    use crate::policy::objects::Object;
    use serde_json::json;

    fn hpa(namespace: &str, uid: &str, metric: &str) -> (TypeMeta, Object) {
        Object::from_value(&json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": format!("hpa-{uid}"), "namespace": namespace, "uid": uid },
            "spec": {
                "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": format!("llm-{uid}") },
                "maxReplicas": 3,
                "metrics": [{ "type": "Pods", "pods": {
                    "metric": { "name": metric }, "target": { "type": "AverageValue", "averageValue": "4" },
                } }],
            },
        }))
        .unwrap()
    }

    const MISSPELT: &str = "prometheus.googleapis.com|vllm:num_request_running|gauge";
    const RIGHT: &str = "prometheus.googleapis.com|vllm:num_requests_running|gauge";

    fn state(objects: Vec<(TypeMeta, Object)>) -> Arc<State> {
        let mut view = ClusterView::default();
        for (of, object) in objects {
            view.apply(&of, object);
        }
        State::new(view, Configuration::default())
    }

    fn put(state: &State, (of, object): (TypeMeta, Object)) {
        state.update(|view| view.apply(&of, object));
    }

    #[test]
    fn a_denial_is_told_once_and_again_when_it_went_and_came_back() {
        let (state, mut standing) = (state(vec![hpa("ml", "1", MISSPELT)]), Standing::default());
        let first = standing.look(&state, 9);
        assert_eq!(first.told.len(), 1);
        assert_eq!(first.told[0].reason, "MetricExists");
        assert!(first.told[0].note.contains("vllm:num_request_running"), "{}", first.told[0].note);
        assert_eq!(first.findings, BTreeMap::from([(("metric-exists".to_owned(), "deny"), 1)]));
        assert!(standing.look(&state, 9).told.is_empty());
        put(&state, hpa("ml", "1", RIGHT));
        let mended = standing.look(&state, 9);
        assert!(mended.told.is_empty() && !mended.findings.keys().any(|(_, severity)| *severity == "deny"));
        put(&state, hpa("ml", "1", MISSPELT));
        assert_eq!(standing.look(&state, 9).told.len(), 1);
    }

    #[test]
    fn what_is_out_of_scope_or_of_the_control_plane_is_not_judged() {
        let objects = vec![hpa("ml", "1", "requests_per_second"), hpa("kube-system", "2", MISSPELT)];
        let judged = Standing::default().look(&state(objects), 9);
        assert!(judged.told.is_empty() && judged.findings.is_empty(), "{judged:?}");
    }

    #[test]
    fn of_many_new_denials_some_are_told_now_and_the_others_later() {
        let many = (0..5).map(|number| hpa("ml", &number.to_string(), MISSPELT)).collect();
        let (state, mut standing) = (state(many), Standing::default());
        let mut told = BTreeSet::new();
        for (count, more) in [(2, true), (2, true), (1, false), (0, false)] {
            let judged = standing.look(&state, 2);
            assert_eq!((judged.told.len(), judged.more), (count, more));
            told.extend(judged.told.into_iter().map(|told| told.uid));
        }
        assert_eq!(told.len(), 5);
    }

    #[test]
    fn while_the_view_is_behind_what_was_told_is_not_forgotten() {
        let first = hpa("ml", "1", RIGHT);
        let mut twin = hpa("ml", "2", RIGHT);
        if let (Object::Hpa(twin), Object::Hpa(first)) = (&mut twin.1, &first.1) {
            twin.spec.scale_target_ref = first.spec.scale_target_ref.clone();
        }
        let (state, mut standing) = (state(vec![first, twin]), Standing::default());
        let told = standing.look(&state, 9).told.len();
        assert!(told > 0, "two autoscalers of one target");
        state.update(|view| view.behind.extend(["HorizontalPodAutoscaler".to_owned()]));
        assert!(standing.look(&state, 9).told.is_empty());
        state.update(|view| view.behind.clear());
        assert!(standing.look(&state, 9).told.is_empty());
    }
}
