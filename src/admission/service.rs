//! The decision core behind the webhook: a request and the view in, a verdict out.

mod patience;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

use self::patience::Patience;
use super::text::in_log;
use super::{Decide, FindingCounts, Operation, Request, Verdict};
use crate::cluster::{Look, State};
use crate::policy::decision::Decision;
use crate::policy::facts::{Context, HpaFacts, MOST_METRICS, Stage};
use crate::policy::inject;
use crate::policy::judge::judge;
use crate::policy::objects::{Hpa, Object, ReadError, TypeMeta};
use crate::policy::presence;
use crate::policy::render;
use crate::policy::settings;
use crate::policy::workload;

/// What of a request's time a wait leaves to judging and answering.
const FOR_THE_ANSWER: Duration = Duration::from_millis(100);

/// The webhook's decisions.
#[derive(Clone)]
pub struct Service {
    state: Arc<State>,
    findings: Arc<FindingCounts>,
    look: Option<Arc<dyn Look>>,
    patience: Option<Arc<Patience>>,
}

// === impl Service ===

impl Service {
    /// Decides by that state.
    pub fn new(state: Arc<State>) -> Self {
        Self { state, findings: Arc::default(), look: None, patience: None }
    }

    /// Counts what the rules find into `findings`.
    #[must_use]
    pub fn with_findings(mut self, findings: Arc<FindingCounts>) -> Self {
        self.findings = findings;
        self
    }

    /// Asks the metrics API too, where no cached answer tells whether an autoscaler's metric is there.
    #[must_use]
    pub fn with_look(self, look: Arc<dyn Look>) -> Self {
        Self { look: Some(look), ..self }
    }

    /// Waits a moment for news before a denial, for a view that follows a cluster and may be behind it.
    #[must_use]
    pub fn with_patience(self) -> Self {
        Self { patience: Some(Arc::new(Patience::new())), ..self }
    }

    /// One look at what an autoscaler names, when the answer can change the verdict. What is found is put into the view, for
    /// this judgement and those that follow. No lock is held while waiting.
    fn look(&self, of: &TypeMeta, object: &Object, old: Option<&Object>, request: &Request<'_>) {
        let (Some(look), Object::Hpa(hpa)) = (&self.look, object) else { return };
        if hpa.metadata.deletion_timestamp.is_some() || old.is_some_and(|old| asks_the_same(hpa, old)) {
            return;
        }
        let update = request.operation == Operation::Update;
        let (wanted, probes) = self.state.read(|view, configuration| {
            let context = Context { view, configuration, stage: Stage::Admission, update };
            let facts = HpaFacts::new(of, hpa, None, &context);
            (presence::to_look_for(&facts, &context), configuration.probes.clone())
        });
        if wanted.is_empty() {
            return;
        }
        let own = Instant::now() + Duration::from_millis(probes.look_milliseconds);
        // What the request has left is for the answer too.
        let until = request
            .deadline
            .map_or(own, |deadline| deadline.checked_sub(FOR_THE_ANSWER).map_or(own, |deadline| deadline.min(own)));
        let observed = look.look(&wanted, until);
        if observed.is_empty() {
            return;
        }
        let mut changed = false;
        self.state.update_quietly(|view| {
            for (key, observed) in observed {
                changed |= presence::remember(view, key, observed, &probes);
            }
        });
        if changed {
            self.state.update(|_| {});
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("looks", &self.look.is_some()).finish_non_exhaustive()
    }
}

/// Whether an update leaves alone what the metrics API would be asked about.
fn asks_the_same(hpa: &Hpa, old: &Object) -> bool {
    let Object::Hpa(old) = old else { return false };
    hpa.spec.metrics == old.spec.metrics && hpa.spec.scale_target_ref == old.spec.scale_target_ref
}

impl Decide for Service {
    fn mutate(&self, request: &Request<'_>) -> Verdict {
        let Some(raw) = judged(request) else { return Verdict::silent() };
        let Ok((_, Object::Workload(object))) = read(raw, request) else { return Verdict::silent() };
        if object.metadata.deletion_timestamp.is_some() {
            return Verdict::silent();
        }
        let operations = self.state.read(|view, configuration| {
            // Settings that cannot be meant are refused by the validating call; until then nothing is written.
            let Ok(wish) = settings::read(&object.metadata, configuration).wish else { return Vec::new() };
            let namespace = object.metadata.namespace.as_deref();
            let workload = workload::read(&object, &|name| view.config_map(namespace, name));
            let taken = render::taken_in(view, object.kind, namespace);
            inject::inject_named(&object.metadata, has_annotations(raw), &workload, &wish, configuration, &taken)
        });
        if operations.is_empty() {
            return Verdict::silent();
        }
        match serde_json::to_vec(&operations) {
            Ok(patch) => Verdict::Allow { patch: Some(patch), warnings: Vec::new(), audit: Vec::new() },
            Err(_) => Verdict::silent(),
        }
    }

    fn validate(&self, request: &Request<'_>) -> Verdict {
        let Some(raw) = judged(request) else { return Verdict::silent() };
        let (of, object) = match read(raw, request) {
            Ok(read) => read,
            // Not ours to refuse: the API server knows the kind better, and may have fields that we misread.
            Err(error) => return unreadable(&error),
        };
        let old = match (request.operation, request.old_object) {
            (Operation::Update, Some(old)) => read(old, request).ok().map(|(_, old)| old),
            _ => None,
        };
        let update = request.operation == Operation::Update;
        self.look(&of, &object, old.as_ref(), request);
        let judge = || {
            let mut decision = self.state.read(|view, configuration| {
                let context = Context { view, configuration, stage: Stage::Admission, update };
                judge(&of, &object, old.as_ref(), None, &context)
            });
            if update && old.is_none() {
                decision.soften();
            }
            decision
        };
        let decision = match &self.patience {
            Some(patience) => patience.judge(self.state.changes(), request.deadline, judge),
            None => judge(),
        };
        self.findings.add(&decision);
        log(request, &decision);
        verdict(&decision, unjudged(&object))
    }
}

/// Said when not all of an object was judged.
fn unjudged(object: &Object) -> Option<String> {
    let (what, count) = match object {
        Object::Hpa(hpa) => ("metrics", hpa.spec.metrics.len()),
        Object::ScaledObject(scaled_object) => ("triggers", scaled_object.spec.triggers.len()),
        _ => return None,
    };
    (count > MOST_METRICS).then(|| format!("scalegate judged the first {MOST_METRICS} of {count} {what} only"))
}

/// The new object, when this is a request that rules speak about: CREATE or UPDATE of the object itself.
fn judged<'a>(request: &Request<'a>) -> Option<&'a RawValue> {
    if !request.sub_resource.is_empty() || !matches!(request.operation, Operation::Create | Operation::Update) {
        return None;
    }
    request.object
}

/// Reads a raw object; the request says its kind and, when the object does not, its namespace and name.
fn read(raw: &RawValue, request: &Request<'_>) -> Result<(TypeMeta, Object), ReadError> {
    let (group, version) = (&request.kind.group, &request.kind.version);
    let api_version = if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
    let of = TypeMeta { api_version, kind: request.kind.kind.to_string() };
    let mut object = Object::read(&of, raw.get())?;
    let metadata = object.metadata_mut();
    if metadata.namespace.as_deref().is_none_or(str::is_empty) && !request.namespace.is_empty() {
        metadata.namespace = Some(request.namespace.to_string());
    }
    if metadata.name.is_empty() {
        metadata.name = request.name.to_string();
    }
    Ok((of, object))
}

fn unreadable(error: &ReadError) -> Verdict {
    let place = if error.field.is_empty() { String::new() } else { format!("{}: ", error.field) };
    let warning = format!("scalegate cannot read this object and did not judge it: {place}{}", error.message);
    Verdict::Allow { patch: None, warnings: vec![warning], audit: Vec::new() }
}

/// Whether the raw object has a map of annotations that a patch can add to.
fn has_annotations(raw: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Probe<'a> {
        #[serde(borrow)]
        metadata: Option<Metadata<'a>>,
    }
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        annotations: Option<&'a RawValue>,
    }
    let annotations = serde_json::from_str::<Probe<'_>>(raw.get()).ok().and_then(|probe| probe.metadata?.annotations);
    annotations.is_some_and(|annotations| annotations.get().starts_with('{'))
}

fn verdict(decision: &Decision, unjudged: Option<String>) -> Verdict {
    let mut warnings = decision.warnings();
    warnings.extend(unjudged);
    let mut audit: Vec<(String, String)> = Vec::new();
    if !decision.audit.is_empty() {
        let mut rules: Vec<&str> = decision.audit.iter().map(|finding| finding.rule.as_str()).collect();
        rules.sort_unstable();
        rules.dedup();
        audit.push(("findings".to_owned(), rules.join(",")));
    }
    if decision.allowed() {
        return Verdict::Allow { patch: None, warnings, audit };
    }
    // 422 says that the object's own settings are invalid, 403 that a policy refuses it.
    let invalid = decision.denials().all(|finding| finding.rule == "invalid-setting");
    let (code, reason) = if invalid { (422, "Invalid") } else { (403, "Forbidden") };
    Verdict::Deny { code, reason, message: decision.message(), warnings, audit }
}

fn log(request: &Request<'_>, decision: &Decision) {
    let denied = decision.denials().map(|finding| (finding, "denied"));
    for (finding, message) in denied.chain(decision.audit.iter().map(|finding| (finding, "audited"))) {
        // As text values, which the log writes in quotes and escaped: names and keys are what a tenant wrote.
        tracing::info!(
            uid = in_log(&request.uid),
            kind = in_log(&request.kind.kind),
            namespace = in_log(&request.namespace),
            name = in_log(&finding.object.name),
            operation = request.operation.as_str(),
            rule = finding.rule.as_str(),
            field = in_log(&finding.field),
            "{message}"
        );
    }
}

#[cfg(test)]
mod names_tests;
#[cfg(test)]
mod patience_tests;
#[cfg(test)]
mod tests;
