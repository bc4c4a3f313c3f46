//! Comparing a live webhook configuration with the one that would be installed: owned fields alone, so that what a cloud or
//! a GitOps tool adds beside them is no alarm.

use serde_json::{Map, Value, json};

/// Selector keys that the Admissions Enforcer of AKS adds to namespace selectors, to keep webhooks off its own namespaces.
const ENFORCER_KEYS: [&str; 2] = ["control-plane", "kubernetes.azure.com/managedby"];

/// The fields in which `live` differs from `expected`, such as `webhooks[mutate.scalegate.dev].failurePolicy`; none when the
/// configuration is as it should be. `<missing>` when there is none.
///
/// Compared is each webhook by its name, with the API server's defaults filled in on both sides; metadata is not ours. A
/// `caBundle` counts as different only when the live one is empty: which authority stands there is the certificates' affair.
/// A webhook that `expected` does not have is a difference, too: it calls somebody in our name.
pub fn drift(expected: &Value, live: Option<&Value>) -> Vec<String> {
    let Some(live) = live else { return vec!["<missing>".to_owned()] };
    let (expected, live) = (webhooks(expected), webhooks(live));
    let mut fields = Vec::new();
    for (name, webhook) in &expected {
        let path = format!("webhooks[{name}]");
        let mut same_name = live.iter().filter(|(other, _)| other == name);
        match (same_name.next(), same_name.next()) {
            (Some((_, other)), None) => {
                compare(&path, &normal(webhook, None), &normal(other, Some(webhook)), &mut fields);
            }
            _ => fields.push(path),
        }
    }
    let foreign = live.iter().filter(|(name, _)| !expected.iter().any(|(other, _)| other == name));
    fields.extend(foreign.map(|(name, _)| format!("webhooks[{name}]")));
    fields.sort_unstable();
    fields.dedup();
    fields
}

fn webhooks(configuration: &Value) -> Vec<(&str, &Value)> {
    let list = configuration.get("webhooks").and_then(Value::as_array);
    let name = |webhook: &Value| webhook.get("name").and_then(Value::as_str).is_some();
    list.into_iter()
        .flatten()
        .filter(|webhook| name(webhook))
        .filter_map(|webhook| Some((webhook.get("name")?.as_str()?, webhook)))
        .collect()
}

/// The webhook with defaults filled in (kubernetes/kubernetes `pkg/apis/admissionregistration/v1/defaults.go`), lists whose
/// order means nothing sorted, and a caBundle that only says whether it is there. Where `expected` is given, this is the live
/// one, and what the enforcer added is taken out.
fn normal(webhook: &Value, expected: Option<&Value>) -> Value {
    let mut webhook = webhook.as_object().cloned().unwrap_or_default();
    // A null is an absent field.
    webhook.retain(|_, value| !value.is_null());
    for (field, default) in [
        ("failurePolicy", json!("Fail")),
        ("matchPolicy", json!("Equivalent")),
        ("reinvocationPolicy", json!("Never")),
        ("timeoutSeconds", json!(10)),
        ("namespaceSelector", json!({})),
        ("objectSelector", json!({})),
        ("matchConditions", json!([])),
        ("rules", json!([])),
        ("clientConfig", json!({})),
    ] {
        webhook.entry(field).or_insert(default);
    }
    let expressions_of = |field: &str| -> Vec<Value> {
        let expressions = expected.and_then(|expected| expected.get(field)?.get("matchExpressions")?.as_array());
        expressions.into_iter().flatten().map(sorted_values).collect()
    };
    let known = expressions_of("namespaceSelector");
    for field in ["namespaceSelector", "objectSelector"] {
        if let Some(Value::Object(selector)) = webhook.get_mut(field) {
            let is_live_namespace = expected.is_some() && field == "namespaceSelector";
            normal_selector(selector, |expression| {
                is_live_namespace && is_enforcers(expression) && !known.contains(expression)
            });
        }
    }
    if let Some(Value::Object(client)) = webhook.get_mut("clientConfig") {
        let empty = client.get("caBundle").and_then(Value::as_str).is_none_or(str::is_empty);
        // Installed without one where somebody else fills it in: then the live one alone is judged.
        client
            .insert("caBundle".to_owned(), if expected.is_some() && empty { json!("<empty>") } else { json!("<set>") });
        if let Some(Value::Object(service)) = client.get_mut("service") {
            service.entry("port").or_insert(json!(443));
        }
    }
    for rule in webhook.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(rule) = rule.as_object_mut() else { continue };
        rule.entry("scope").or_insert(json!("*"));
        for list in rule.values_mut() {
            sort(list);
        }
    }
    Value::Object(webhook)
}

fn normal_selector(selector: &mut Map<String, Value>, drop: impl Fn(&Value) -> bool) {
    if let Some(Value::Array(expressions)) = selector.get_mut("matchExpressions") {
        for expression in expressions.iter_mut() {
            *expression = sorted_values(expression);
        }
        expressions.retain(|expression| !drop(expression));
        expressions.sort_by_key(Value::to_string);
    }
    let empty = |value: &Value| match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        other => other.is_null(),
    };
    selector.retain(|_, value| !empty(value));
}

/// Key, operator and sorted values, in that order.
fn sorted_values(expression: &Value) -> Value {
    let mut values = expression.get("values").cloned().unwrap_or(json!([]));
    if values.is_null() {
        values = json!([]);
    }
    sort(&mut values);
    json!({ "key": expression.get("key"), "operator": expression.get("operator"), "values": values })
}

/// An exclusion under one of the enforcer's keys. `In` or `Exists` would leave us hardly any namespace, and counts.
fn is_enforcers(expression: &Value) -> bool {
    let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
    ENFORCER_KEYS.contains(&text("key")) && matches!(text("operator"), "NotIn" | "DoesNotExist")
}

fn sort(list: &mut Value) {
    if let Value::Array(list) = list {
        list.sort_by_key(Value::to_string);
    }
}

/// Goes down objects; everything else differs as a whole.
fn compare(path: &str, expected: &Value, live: &Value, fields: &mut Vec<String>) {
    match (expected, live) {
        (Value::Object(expected), Value::Object(live)) => {
            for (name, value) in expected {
                compare(&format!("{path}.{name}"), value, live.get(name).unwrap_or(&Value::Null), fields);
            }
            let added = live.iter().filter(|(name, value)| !value.is_null() && !expected.contains_key(*name));
            fields.extend(added.map(|(name, _)| format!("{path}.{name}")));
        }
        _ if expected == live => {}
        _ => fields.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests;
