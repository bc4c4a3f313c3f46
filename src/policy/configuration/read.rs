//! Reading the document strictly: an unknown key, a value out of range or a name that does not exist is a problem, and
//! all of them are reported together.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::document::{
    BackendForm, BehaviorForm, Document, EnforcementForm, ExemptionForm, LevelForm, MetricForm, PoolForm, PoolsForm,
    ProbesForm, ProfileForm, RulesForm, SelectorForm,
};
use super::{
    API_VERSION, Backend, BackendKind, Configuration, ConfigurationProblem, DeclaredPool, Enforcement, Exemption, KIND,
    Level, NamespaceEnforcement, Pools, Probes, Profile, ProfileMetric, ProfileTarget, Signal, keys,
};
use crate::policy::objects::{
    Behavior, LabelSelector, Quantity, ScalingPolicy, ScalingRules, SelectorRequirement, Taint,
};
use crate::policy::settings::values::{self, BadValue, MAX_COUNT};
use crate::policy::settings::{nearest, profiles};

/// The longest that an admission may wait for a metrics API, in milliseconds: far below the API server's own patience.
const MAX_LOOK_MILLISECONDS: u64 = 2000;
/// The longest duration of a probe setting, in seconds.
const MAX_PROBE_SECONDS: u64 = 86_400;

pub(super) fn read(document: &Value, rule_ids: &[&str]) -> Result<Configuration, Vec<ConfigurationProblem>> {
    let mut reader = Reader { problems: Vec::new(), rule_ids };
    reader.check_type(document);
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let result: Result<Document, _> = {
        let tracked = serde_path_to_error::Deserializer::new(document, &mut track);
        let mut note = |path: serde_ignored::Path<'_>| unknown.push(keys::segments(&path));
        let ignored = serde_ignored::Deserializer::new(tracked, &mut note);
        Document::deserialize(ignored)
    };
    if !unknown.is_empty() {
        let schema = super::schema();
        for path in &unknown {
            reader.unknown_key(path, &schema);
        }
    }
    let configuration = match result {
        Ok(document) => reader.configuration(document),
        Err(error) => {
            let text = error.to_string();
            let hint = meant_variant(&text);
            reader.problem(&keys::rendered(&keys::tracked(&track.path())), text, hint);
            return Err(reader.problems);
        }
    };
    if reader.problems.is_empty() { Ok(configuration) } else { Err(reader.problems) }
}

/// Out of serde's "unknown variant `x`, expected one of `a`, `b`" the variant that `x` is near to.
fn meant_variant(text: &str) -> Option<String> {
    let rest = text.strip_prefix("unknown variant ")?;
    let mut words = rest.split('`').skip(1).step_by(2);
    let word = words.next()?;
    nearest(word, words).map(|meant| format!("did you mean {meant:?}?"))
}

struct Reader<'a> {
    problems: Vec<ConfigurationProblem>,
    rule_ids: &'a [&'a str],
}

impl Reader<'_> {
    fn problem(&mut self, field: &str, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(ConfigurationProblem { field: field.to_owned(), message: message.into(), hint });
    }

    fn bad(&mut self, field: &str, value: &str, bad: BadValue) {
        self.problem(field, format!("{} {}", values::shown(value), bad.problem), Some(bad.allowed));
    }

    /// A value that was parsed, or the default and a problem.
    fn parsed<T>(
        &mut self,
        field: &str,
        text: Option<&str>,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, BadValue>,
    ) -> T {
        match text.map(|text| (text, parse(text))) {
            None => default,
            Some((_, Ok(value))) => value,
            Some((text, Err(bad))) => {
                self.bad(field, text, bad);
                default
            }
        }
    }

    fn in_range(&mut self, field: &str, value: Option<i64>, least: i64, most: i64) -> Option<i64> {
        if let Some(number) = value.filter(|number| !(least..=most).contains(number)) {
            let hint = format!("write a whole number from {least} to {most}");
            self.problem(field, format!("{number} is out of range"), Some(hint));
        }
        value
    }

    /// `apiVersion` and `kind` come first, for another version may mean anything by its fields.
    fn check_type(&mut self, document: &Value) {
        if !document.is_object() {
            self.problem(
                "",
                "the document is not a mapping",
                Some(format!("write apiVersion: {API_VERSION}, kind: {KIND}")),
            );
            return;
        }
        for (field, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            match document.get(field).and_then(Value::as_str) {
                Some(found) if found == expected => {}
                Some(found) => {
                    self.problem(
                        field,
                        format!("{} is not known", values::shown(found)),
                        Some(format!("write {expected}")),
                    );
                }
                None => self.problem(field, "is missing", Some(format!("write {expected}"))),
            }
        }
    }

    fn unknown_key(&mut self, path: &[keys::Segment], schema: &Value) {
        let known = keys::known(schema, path);
        let word = match path.last() {
            Some(keys::Segment::Key(key)) => key.as_str(),
            _ => "",
        };
        let hint = match nearest(word, known.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("known here: {}", known.join(", ")),
        };
        self.problem(&keys::rendered(path), format!("unknown key {}", values::shown(word)), Some(hint));
    }

    fn configuration(&mut self, document: Document) -> Configuration {
        let default = Configuration::default();
        let profiles = self.profiles(document.profiles.unwrap_or_default());
        let default_profile = document.default_profile.unwrap_or(default.default_profile);
        if profiles::built_in(&default_profile).is_none() && !profiles.contains_key(&default_profile) {
            let names = profiles::BUILT_IN.into_iter().chain(profiles.keys().map(String::as_str)).collect::<Vec<_>>();
            let hint = match nearest(&default_profile, names.iter().copied()) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!("write one of {}", names.join(", ")),
            };
            self.problem("defaultProfile", format!("{} is no profile", values::shown(&default_profile)), Some(hint));
        }
        let max_replicas = self.in_range("maxReplicas", document.max_replicas, 1, MAX_COUNT);
        let max_replicas = max_replicas.unwrap_or(default.max_replicas);
        for (name, profile) in &profiles {
            let (least, most) = (profile.min_replicas.unwrap_or(1), profile.max_replicas.unwrap_or(max_replicas));
            if least > most {
                let field = keys::child("profiles", name);
                let hint = "set the profile's maxReplicas to as many or more".to_owned();
                self.problem(&field, format!("minReplicas, {least}, is above the most replicas, {most}"), Some(hint));
            }
        }
        let backend = document.backend.map(|form| self.backend(form)).unwrap_or_default();
        let inject_pod_annotations = document.inject.and_then(|form| form.pod_annotations).unwrap_or(false);
        if inject_pod_annotations && matches!(backend.kind, BackendKind::Gmp | BackendKind::PrometheusOperator) {
            let message = "cannot be true with a backend that generates scrape objects: pods would be scraped twice, or the \
                           annotations would do nothing";
            let hint = "remove it, or set backend.type to keda or gke-managed".to_owned();
            self.problem("inject.podAnnotations", message, Some(hint));
        }
        let allow_skip = document.allow_skip.unwrap_or_default();
        for (index, rule) in allow_skip.iter().enumerate() {
            self.check_rule(&format!("allowSkip[{index}]"), rule);
        }
        let accelerator_resources = document.accelerator_resources.unwrap_or(default.accelerator_resources);
        for (index, name) in accelerator_resources.iter().enumerate() {
            if values::label_key(name).is_err() {
                let message = format!("{} is not the name of a resource", values::shown(name));
                let hint = "write a name such as example.com/gpu".to_owned();
                self.problem(&format!("acceleratorResources[{index}]"), message, Some(hint));
            }
        }
        Configuration {
            default_profile,
            max_replicas,
            backend,
            scope: document.scope.unwrap_or_default(),
            enforcement: document.enforcement.map(|form| self.enforcement(form)).unwrap_or_default(),
            allow_skip,
            makers_first: document.makers_first.unwrap_or(false),
            exempt: self.exemptions(document.exempt.unwrap_or_default()),
            pools: document.pools.map(|form| self.pools(form)).unwrap_or_default(),
            accelerator_resources,
            profiles,
            inject_pod_annotations,
            probes: document.probes.map(|form| self.probes(form)).unwrap_or_default(),
        }
    }

    fn check_rule(&mut self, field: &str, rule: &str) {
        if self.rule_ids.is_empty() || self.rule_ids.contains(&rule) {
            return;
        }
        let hint = match nearest(rule, self.rule_ids.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => "scalegate explain lists the rules".to_owned(),
        };
        self.problem(field, format!("{} is no rule", values::shown(rule)), Some(hint));
    }

    fn backend(&mut self, form: BackendForm) -> Backend {
        let monitor_labels = form.monitor_labels.unwrap_or_default();
        self.labels("backend.monitorLabels", &monitor_labels);
        if let Some(text) = &form.adapter_config_map {
            let two = text
                .split_once('/')
                .is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'));
            if !two {
                let hint = "write namespace/name, such as monitoring/prometheus-adapter".to_owned();
                self.problem(
                    "backend.adapterConfigMap",
                    format!("{} is not namespace/name", values::shown(text)),
                    Some(hint),
                );
            }
        }
        Backend { kind: form.kind.unwrap_or_default(), monitor_labels, adapter_config_map: form.adapter_config_map }
    }

    fn labels(&mut self, field: &str, labels: &BTreeMap<String, String>) {
        for (key, value) in labels {
            let place = keys::child(field, key);
            if let Err(bad) = values::label_key(key) {
                self.bad(&place, key, bad);
            }
            if let (false, Err(bad)) = (value.is_empty(), values::label_value(value)) {
                self.bad(&place, value, bad);
            }
        }
    }

    fn levels(&mut self, field: &str, rules: Option<BTreeMap<String, LevelForm>>) -> BTreeMap<String, Level> {
        let rules = rules.unwrap_or_default();
        for rule in rules.keys() {
            self.check_rule(&keys::child(field, rule), rule);
        }
        rules.into_iter().map(|(rule, level)| (rule, level.0)).collect()
    }

    fn enforcement(&mut self, form: EnforcementForm) -> Enforcement {
        let rules = self.levels("enforcement.rules", form.rules);
        let mut namespaces = Vec::new();
        for (index, namespace) in form.namespaces.unwrap_or_default().into_iter().enumerate() {
            let field = format!("enforcement.namespaces[{index}]");
            namespaces.push(NamespaceEnforcement {
                selector: self.selector(&format!("{field}.selector"), namespace.selector),
                mode: namespace.mode.map(|level| level.0),
                rules: self.levels(&format!("{field}.rules"), namespace.rules),
            });
        }
        Enforcement { mode: form.mode.map(|level| level.0), rules, namespaces }
    }

    fn selector(&mut self, field: &str, form: SelectorForm) -> LabelSelector {
        let match_labels = form.match_labels.unwrap_or_default();
        self.labels(&format!("{field}.matchLabels"), &match_labels);
        let mut match_expressions = Vec::new();
        for (index, form) in form.match_expressions.unwrap_or_default().into_iter().enumerate() {
            let field = format!("{field}.matchExpressions[{index}]");
            let values = form.values.unwrap_or_default();
            if let Err(bad) = values::label_key(&form.key) {
                self.bad(&format!("{field}.key"), &form.key, bad);
            }
            match (form.operator.as_str(), values.is_empty()) {
                ("In" | "NotIn", false) | ("Exists" | "DoesNotExist", true) => {}
                ("In" | "NotIn", true) => {
                    self.problem(&format!("{field}.values"), "is empty", Some("write at least one value".to_owned()));
                }
                ("Exists" | "DoesNotExist", false) => {
                    let message = format!("has values, and the operator is {}", form.operator);
                    self.problem(&format!("{field}.values"), message, Some("remove them".to_owned()));
                }
                _ => self.one_of(
                    &format!("{field}.operator"),
                    &form.operator,
                    &["In", "NotIn", "Exists", "DoesNotExist"],
                ),
            }
            match_expressions.push(SelectorRequirement { key: form.key, operator: form.operator, values });
        }
        LabelSelector { match_labels, match_expressions }
    }

    fn one_of(&mut self, field: &str, value: &str, allowed: &[&str]) {
        if !allowed.contains(&value) {
            let hint = match nearest(value, allowed.iter().copied()) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!("write one of {}", allowed.join(", ")),
            };
            self.problem(field, format!("{} is not known", values::shown(value)), Some(hint));
        }
    }

    fn exemptions(&mut self, forms: Vec<ExemptionForm>) -> Vec<Exemption> {
        let mut exemptions = Vec::new();
        for (index, form) in forms.into_iter().enumerate() {
            let exemption = Exemption {
                namespaces: form.namespaces.unwrap_or_default(),
                names: form.names.unwrap_or_default(),
                rules: form.rules.unwrap_or_default(),
            };
            for (position, rule) in exemption.rules.iter().enumerate() {
                self.check_rule(&format!("exempt[{index}].rules[{position}]"), rule);
            }
            if exemption == Exemption::default() {
                let hint = "give namespaces, names or rules; to switch everything off, set enforcement.mode".to_owned();
                self.problem(&format!("exempt[{index}]"), "exempts everything", Some(hint));
            }
            exemptions.push(exemption);
        }
        exemptions
    }

    fn pools(&mut self, form: PoolsForm) -> Pools {
        let default = Pools::default();
        let identity_labels = form.identity_labels.unwrap_or(default.identity_labels);
        for (index, key) in identity_labels.iter().enumerate() {
            if let Err(bad) = values::label_key(key) {
                self.bad(&format!("pools.identityLabels[{index}]"), key, bad);
            }
        }
        let mut names = BTreeSet::new();
        let mut items = Vec::new();
        for (index, form) in form.items.unwrap_or_default().into_iter().enumerate() {
            let field = format!("pools.items[{index}]");
            if form.name.is_empty() {
                self.problem(&format!("{field}.name"), "is empty", None);
            } else if !names.insert(form.name.clone()) {
                self.problem(&format!("{field}.name"), format!("{} is there twice", values::shown(&form.name)), None);
            }
            items.push(self.pool(&field, form));
        }
        Pools {
            complete: form.complete.unwrap_or(default.complete),
            provisioning: form.provisioning.unwrap_or(default.provisioning),
            items,
            identity_labels,
        }
    }

    fn pool(&mut self, field: &str, form: PoolForm) -> DeclaredPool {
        let labels = form.labels.unwrap_or_default();
        self.labels(&format!("{field}.labels"), &labels);
        let mut taints = Vec::new();
        for (index, taint) in form.taints.unwrap_or_default().into_iter().enumerate() {
            let place = format!("{field}.taints[{index}]");
            self.one_of(&format!("{place}.effect"), &taint.effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
            if let Err(bad) = values::label_key(&taint.key) {
                self.bad(&format!("{place}.key"), &taint.key, bad);
            }
            taints.push(Taint { key: taint.key, value: taint.value.unwrap_or_default(), effect: taint.effect });
        }
        let mut allocatable = BTreeMap::new();
        for (resource, quantity) in form.allocatable.unwrap_or_default() {
            let place = keys::child(&format!("{field}.allocatable"), &resource);
            self.quantity(&place, &quantity.0, true, None);
            allocatable.insert(resource, quantity.0);
        }
        let min_nodes = self.in_range(&format!("{field}.minNodes"), form.min_nodes, 0, MAX_COUNT);
        let max_nodes = self.in_range(&format!("{field}.maxNodes"), form.max_nodes, 0, MAX_COUNT);
        if let (Some(least), Some(most)) = (min_nodes, max_nodes)
            && least > most
        {
            self.problem(&format!("{field}.minNodes"), format!("{least} is above maxNodes, {most}"), None);
        }
        DeclaredPool { name: form.name, labels, taints, allocatable, min_nodes, max_nodes }
    }

    fn quantity(&mut self, field: &str, quantity: &Quantity, zero: bool, most: Option<i64>) {
        let is_zero = quantity.nanos().is_ok_and(|nanos| nanos == 0);
        if zero && is_zero {
            return;
        }
        if let Err(bad) = values::target(quantity.text(), most) {
            self.bad(field, quantity.text(), bad);
        }
    }

    fn profiles(&mut self, forms: BTreeMap<String, ProfileForm>) -> BTreeMap<String, Profile> {
        let mut profiles = BTreeMap::new();
        for (name, form) in forms {
            let field = keys::child("profiles", &name);
            let reserved =
                profiles::built_in(&name).is_some() || [profiles::ENABLED, profiles::DISABLED].contains(&&*name);
            if reserved {
                let message = format!("{} is built in, and means the same in every cluster", values::shown(&name));
                let hint = "give the profile another name, and set defaultProfile to it".to_owned();
                self.problem(&field, message, Some(hint));
                continue;
            }
            if let Err(bad) = values::label_value(&name) {
                self.bad(&field, &name, bad);
            }
            let profile = self.profile(&field, form);
            profiles.insert(name, profile);
        }
        profiles
    }

    fn profile(&mut self, field: &str, form: ProfileForm) -> Profile {
        if form.metrics.is_empty() {
            self.problem(&format!("{field}.metrics"), "is empty", Some("name at least one metric".to_owned()));
        }
        let mut metrics: Vec<ProfileMetric> = Vec::new();
        for (index, metric) in form.metrics.into_iter().enumerate() {
            let place = format!("{field}.metrics[{index}]");
            if metrics.iter().any(|known| known.signal == metric.signal) {
                self.problem(&format!("{place}.signal"), "is there twice", None);
            }
            metrics.extend(self.metric(&place, metric));
        }
        let behavior = form.behavior.map(|form| self.behavior(&format!("{field}.behavior"), form)).unwrap_or_default();
        Profile {
            metrics,
            min_replicas: self.in_range(&format!("{field}.minReplicas"), form.min_replicas, 1, MAX_COUNT),
            max_replicas: self.in_range(&format!("{field}.maxReplicas"), form.max_replicas, 1, MAX_COUNT),
            behavior,
        }
    }

    fn metric(&mut self, field: &str, form: MetricForm) -> Option<ProfileMetric> {
        let most = match form.signal {
            Signal::KvCacheUsage => Some(1),
            Signal::GpuUtilization => Some(100),
            Signal::RequestsRunning | Signal::RequestsWaiting => None,
        };
        let target = match (form.target, form.ceiling_percent) {
            (Some(target), None) => {
                self.quantity(&format!("{field}.target"), &target.0, false, most);
                if form.otherwise.is_some() {
                    self.problem(
                        &format!("{field}.otherwise"),
                        "counts only with ceilingPercent",
                        Some("remove it".to_owned()),
                    );
                }
                ProfileTarget::Fixed(target.0)
            }
            (None, Some(percent)) => {
                if form.signal != Signal::RequestsRunning {
                    let hint = Some("write target".to_owned());
                    self.problem(&format!("{field}.ceilingPercent"), "only requestsRunning has a ceiling", hint);
                }
                self.in_range(&format!("{field}.ceilingPercent"), Some(i64::from(percent)), 1, 100);
                if let Some(otherwise) = &form.otherwise {
                    self.quantity(&format!("{field}.otherwise"), &otherwise.0, false, most);
                }
                ProfileTarget::OfCeiling { percent, otherwise: form.otherwise.map(|otherwise| otherwise.0) }
            }
            _ => {
                self.problem(field, "needs a target", Some("write either target or ceilingPercent".to_owned()));
                return None;
            }
        };
        Some(ProfileMetric { signal: form.signal, target })
    }

    fn behavior(&mut self, field: &str, form: BehaviorForm) -> Behavior {
        Behavior {
            scale_up: form.scale_up.map(|form| self.rules(&format!("{field}.scaleUp"), form)),
            scale_down: form.scale_down.map(|form| self.rules(&format!("{field}.scaleDown"), form)),
        }
    }

    /// The bounds are those of autoscaling/v2 validation.
    fn rules(&mut self, field: &str, form: RulesForm) -> ScalingRules {
        if let Some(policy) = &form.select_policy {
            self.one_of(&format!("{field}.selectPolicy"), policy, &["Max", "Min", "Disabled"]);
        }
        let mut policies = Vec::new();
        for (index, policy) in form.policies.unwrap_or_default().into_iter().enumerate() {
            let place = format!("{field}.policies[{index}]");
            self.one_of(&format!("{place}.type"), &policy.kind, &["Pods", "Percent"]);
            self.in_range(&format!("{place}.value"), Some(policy.value), 1, MAX_COUNT);
            self.in_range(&format!("{place}.periodSeconds"), Some(policy.period_seconds), 1, 1800);
            policies.push(ScalingPolicy {
                kind: policy.kind,
                value: policy.value,
                period_seconds: policy.period_seconds,
            });
        }
        if let Some(tolerance) = &form.tolerance {
            self.quantity(&format!("{field}.tolerance"), &tolerance.0, true, None);
        }
        let window = form.stabilization_window_seconds;
        ScalingRules {
            stabilization_window_seconds: self.in_range(
                &format!("{field}.stabilizationWindowSeconds"),
                window,
                0,
                3600,
            ),
            select_policy: form.select_policy,
            policies,
            tolerance: form.tolerance.map(|tolerance| tolerance.0),
        }
    }

    fn probes(&mut self, form: ProbesForm) -> Probes {
        let default = Probes::default();
        let seconds = |text: &str| values::seconds(text, 1, MAX_PROBE_SECONDS);
        let look = |text: &str| {
            let milliseconds = values::milliseconds(text)?;
            if milliseconds > MAX_LOOK_MILLISECONDS {
                let allowed = format!("write a duration from 0ms to {MAX_LOOK_MILLISECONDS}ms");
                return values::bad(format!("is above {MAX_LOOK_MILLISECONDS}ms"), allowed);
            }
            Ok(milliseconds)
        };
        if form.per_minute == Some(0) {
            self.problem("probes.perMinute", "0 is out of range", Some("write 1 or more".to_owned()));
        }
        Probes {
            interval_seconds: self.parsed(
                "probes.interval",
                form.interval.as_deref(),
                default.interval_seconds,
                seconds,
            ),
            settle_seconds: self.parsed("probes.settle", form.settle.as_deref(), default.settle_seconds, seconds),
            stale_after_seconds: self.parsed(
                "probes.staleAfter",
                form.stale_after.as_deref(),
                default.stale_after_seconds,
                seconds,
            ),
            per_minute: form.per_minute.unwrap_or(default.per_minute),
            look_milliseconds: self.parsed("probes.look", form.look.as_deref(), default.look_milliseconds, look),
            control: form.control,
        }
    }
}
