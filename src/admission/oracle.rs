//! The API server's side of an admission call: given an answer, does it take it, and what does the user get?
//!
//! Re-implemented from the behaviour of kubernetes/apiserver (`admission/plugin/webhook`: response verification,
//! dispatchers, denial status; `endpoints/filters/warning.go`; audit annotation keys), apart from the code that writes
//! our answers, so that the one can judge the other. Tests fuzz against it, and `scalegate try` shows with it what a
//! cluster would do.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::{Patch, PatchOperation};
use serde::Deserialize;
use serde_json::Value;

use super::wire::Phase;

/// An answer that the API server takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Nothing when the request goes on; else what the user is told.
    pub denial: Option<Denial>,
    /// The object after the patch; nothing when the answer changes nothing.
    pub patched: Option<Value>,
    /// The patch as it was sent.
    pub patch: Option<Patch>,
    /// The warnings as the user sees them, in order.
    pub warnings: Vec<String>,
    /// The audit annotations that are kept, without the webhook's name before their keys.
    pub audit: BTreeMap<String, String>,
    /// What the API server drops or shortens without a word: each is a fault of the webhook that hides from its users.
    pub losses: Vec<String>,
}

/// A denial as the API server passes it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// At least 400.
    pub code: u16,
    /// Such as `Forbidden`; may be empty.
    pub reason: String,
    /// What the webhook said, or nothing useful.
    explanation: Option<String>,
}

impl Denial {
    /// The message that the user sees; `webhook` is the webhook's name in its configuration.
    pub fn message(&self, webhook: &str) -> String {
        match &self.explanation {
            Some(text) => format!("admission webhook {webhook:?} denied the request: {text}"),
            None => format!("admission webhook {webhook:?} denied the request without explanation"),
        }
    }
}

/// An answer that the API server does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The call counts as failed, and the failure policy decides: under `Ignore` the request goes on.
    #[error("failed calling webhook: {0}")]
    CallFailed(String),
    /// An internal error that reaches the user whatever the failure policy says.
    #[error("internal error: {0}")]
    Internal(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: Option<String>,
    kind: Option<String>,
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    allowed: bool,
    status: Option<Status>,
    patch: Option<Value>,
    patch_type: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    #[serde(default)]
    audit_annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// Judges one answer to a request with this uid. `original` is the object as sent, `Null` where the request had none
/// (DELETE); `status` and `body` are the HTTP answer.
///
/// # Errors
/// Says why the API server does not take the answer, and whether a failure policy could soften it.
pub fn judge(phase: Phase, uid: &str, original: &Value, status: u16, body: &[u8]) -> Result<Accepted, Rejected> {
    let failed = |why: String| Err(Rejected::CallFailed(why));
    if !(200..=206).contains(&status) {
        return failed(format!("HTTP status {status}: {}", String::from_utf8_lossy(body)));
    }
    let review: Review = match serde_json::from_slice(body) {
        Ok(review) => review,
        Err(error) => return failed(format!("the answer does not decode: {error}")),
    };
    if (review.api_version.as_deref(), review.kind.as_deref()) != (Some("admission.k8s.io/v1"), Some("AdmissionReview"))
    {
        return failed(format!(
            "expected an admission.k8s.io/v1 AdmissionReview, got {:?} {:?}",
            review.api_version, review.kind
        ));
    }
    let Some(response) = review.response else { return failed("webhook response was absent".to_owned()) };
    if response.uid != uid {
        return failed(format!("expected response.uid={uid:?}, got {:?}", response.uid));
    }

    let patch = decode_patch_field(response.patch.as_ref()).map_err(Rejected::CallFailed)?;
    match (phase, &patch, &response.patch_type) {
        (Phase::Validating, Some(_), _) | (Phase::Validating, _, Some(_)) => {
            return failed("a validating answer must have neither patch nor patchType".to_owned());
        }
        (Phase::Mutating, Some(_), None) => return failed("a patch without a patchType".to_owned()),
        (Phase::Mutating, None, Some(_)) => return failed("a patchType without a patch".to_owned()),
        (Phase::Mutating, Some(_), Some(kind)) if kind != "JSONPatch" => {
            return failed(format!("unsupported patch type {kind:?}"));
        }
        _ => {}
    }

    // Warnings and annotations are taken before `allowed` is looked at.
    let mut losses = Vec::new();
    let warnings = deliver(&response.warnings.unwrap_or_default(), &mut losses);
    let audit = keep_annotations(response.audit_annotations.unwrap_or_default(), &mut losses);

    if !response.allowed {
        let denial = Some(denial(response.status.unwrap_or_default()));
        return Ok(Accepted { denial, patched: None, patch: None, warnings, audit, losses });
    }
    let (patch, patched) = match patch {
        None => (None, None),
        Some(bytes) => {
            let patch: Patch = match serde_json::from_slice(&bytes) {
                Ok(patch) => patch,
                Err(error) => return failed(format!("the patch does not decode: {error}")),
            };
            let patched = if patch.0.is_empty() { None } else { Some(apply(&patch, original)?) };
            (Some(patch), patched)
        }
    };
    Ok(Accepted { denial: None, patched, patch, warnings, audit, losses })
}

/// `patch` is base64 text. Go would also take an array of byte numbers, which some libraries send; that is no JSON
/// anybody documented, so it is not taken here.
fn decode_patch_field(patch: Option<&Value>) -> Result<Option<Vec<u8>>, String> {
    match patch {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => {
            STANDARD.decode(text).map(Some).map_err(|error| format!("the patch is not base64: {error}"))
        }
        Some(_) => Err("the patch is not text".to_owned()),
    }
}

/// How much `copy` operations may add, bytes of JSON (kubernetes/apiserver `JSONPatchMaxCopyBytes`).
const COPY_MOST: usize = 3 << 20;

/// Applies the patch as the API server's library does (evanphx/json-patch v4): as RFC 6902, but without operations on
/// the whole document, and with a limit on copies.
fn apply(patch: &Patch, original: &Value) -> Result<Value, Rejected> {
    let internal = |why: String| Rejected::Internal(why);
    if original.is_null() {
        return Err(internal("a patch was sent for a request without an object".to_owned()));
    }
    let mut object = original.clone();
    let mut copied = 0usize;
    for operation in &patch.0 {
        let from = match operation {
            PatchOperation::Copy(copy) => Some(&copy.from),
            PatchOperation::Move(moved) => Some(&moved.from),
            _ => None,
        };
        if operation.path().is_root() || from.is_some_and(|from| from.is_root()) {
            return Err(internal("the patch has an operation on the whole document".to_owned()));
        }
        if let PatchOperation::Copy(copy) = operation {
            copied += object.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len());
            if copied > COPY_MOST {
                return Err(internal(format!("the patch copies more than {COPY_MOST} bytes")));
            }
        }
        json_patch::patch(&mut object, std::slice::from_ref(operation))
            .map_err(|error| internal(format!("the patch does not apply: {error}")))?;
    }
    for field in ["apiVersion", "kind"] {
        if object.get(field) != original.get(field) {
            return Err(internal(format!("the patched object does not decode: its {field} changed")));
        }
    }
    Ok(object)
}

/// What a denial becomes.
fn denial(status: Status) -> Denial {
    let explanation = [&status.message, &status.reason].into_iter().find(|text| !text.is_empty()).cloned();
    Denial { code: u16::try_from(status.code.max(400)).unwrap_or(400), reason: status.reason, explanation }
}

/// Runes of all warnings of a request, after which each is cut to [`WARNING_MOST`].
const WARNINGS_BUDGET: usize = 4096;
/// Runes of one warning once the budget is exceeded.
const WARNING_MOST: usize = 256;

/// The warnings that reach the user. Others that the request collected elsewhere are not known here.
fn deliver(texts: &[String], losses: &mut Vec<String>) -> Vec<String> {
    let mut recorded: BTreeSet<&str> = BTreeSet::new();
    let mut usable: Vec<&str> = Vec::new();
    for text in texts {
        if text.is_empty() {
            losses.push("an empty warning is dropped".to_owned());
        } else if !recorded.insert(text) {
            losses.push(format!("a repeated warning is dropped: {text:?}"));
        } else if text.chars().any(char::is_control) {
            losses.push(format!("a warning with a control character is dropped: {text:?}"));
        } else {
            usable.push(text);
        }
    }
    let length = |text: &str| text.chars().count();
    if usable.iter().map(|text| length(text)).sum::<usize>() <= WARNINGS_BUDGET {
        return usable.into_iter().map(str::to_owned).collect();
    }
    let mut written = 0usize;
    let mut delivered = Vec::new();
    for text in usable {
        if written >= WARNINGS_BUDGET {
            losses.push(format!("a warning beyond {WARNINGS_BUDGET} runes is dropped: {text:?}"));
            continue;
        }
        if length(text) > WARNING_MOST {
            losses.push(format!("a warning is cut to {WARNING_MOST} runes: {text:?}"));
        }
        let kept: String = text.chars().take(WARNING_MOST).collect();
        written += length(&kept);
        delivered.push(kept);
    }
    delivered
}

/// The audit annotations whose keys are taken. The server puts `<webhook name>/` before a key and then wants exactly a
/// subdomain and a name.
fn keep_annotations(all: BTreeMap<String, String>, losses: &mut Vec<String>) -> BTreeMap<String, String> {
    let name = |key: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        (1..=63).contains(&key.len())
            && key.chars().all(inner)
            && key.starts_with(|c: char| c.is_ascii_alphanumeric())
            && key.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    let (kept, dropped): (BTreeMap<_, _>, BTreeMap<_, _>) = all.into_iter().partition(|(key, _)| name(key));
    losses.extend(dropped.keys().map(|key| format!("an audit annotation with this key is dropped: {key:?}")));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(phase: Phase, response: &Value) -> Result<Accepted, Rejected> {
        let original = json!({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"}});
        let answer = json!({"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":response});
        judge(phase, "u", &original, 200, answer.to_string().as_bytes())
    }

    fn with_patch(patch: &Value) -> Result<Accepted, Rejected> {
        let text = STANDARD.encode(patch.to_string());
        judged(Phase::Mutating, &json!({"uid":"u","allowed":true,"patch":text,"patchType":"JSONPatch"}))
    }

    fn call_failed(result: &Result<Accepted, Rejected>, about: &str) {
        assert!(matches!(result, Err(Rejected::CallFailed(why)) if why.contains(about)), "{about}: {result:?}");
    }

    fn internal(result: &Result<Accepted, Rejected>, about: &str) {
        assert!(matches!(result, Err(Rejected::Internal(why)) if why.contains(about)), "{about}: {result:?}");
    }

    #[test]
    fn the_envelope_has_to_be_the_one_that_was_asked_for() {
        let ok = json!({"uid":"u","allowed":true});
        assert_eq!(judged(Phase::Validating, &ok).expect("taken").denial, None);
        call_failed(&judged(Phase::Validating, &json!({"uid":"v","allowed":true})), "response.uid");
        call_failed(&judged(Phase::Validating, &json!({"allowed":true})), "response.uid");
        call_failed(&judged(Phase::Validating, &Value::Null), "absent");
        for body in [
            json!({"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","response":ok}),
            json!({"apiVersion":"admission.k8s.io/v1","kind":"Status","response":ok}),
            json!({"response":ok}),
        ] {
            call_failed(&judge(Phase::Validating, "u", &Value::Null, 200, body.to_string().as_bytes()), "expected an");
        }
        call_failed(&judge(Phase::Validating, "u", &Value::Null, 200, b"{"), "decode");
        call_failed(&judge(Phase::Validating, "u", &Value::Null, 500, b"boom"), "500: boom");
    }

    #[test]
    fn patch_and_type_come_together_and_only_when_mutating() {
        let text = STANDARD.encode("[]");
        call_failed(&judged(Phase::Mutating, &json!({"uid":"u","allowed":true,"patch":text})), "without a patchType");
        call_failed(
            &judged(Phase::Mutating, &json!({"uid":"u","allowed":true,"patchType":"JSONPatch"})),
            "without a patch",
        );
        call_failed(
            &judged(Phase::Mutating, &json!({"uid":"u","allowed":true,"patch":text,"patchType":"MergePatch"})),
            "unsupported",
        );
        call_failed(
            &judged(Phase::Validating, &json!({"uid":"u","allowed":true,"patchType":"JSONPatch"})),
            "validating",
        );
        call_failed(&judged(Phase::Validating, &json!({"uid":"u","allowed":true,"patch":text})), "validating");
    }

    #[test]
    fn a_patch_is_base64_text_of_a_json_patch() {
        let of = |patch: Value| {
            judged(Phase::Mutating, &json!({"uid":"u","allowed":true,"patch":patch,"patchType":"JSONPatch"}))
        };
        call_failed(&of(json!([91, 93])), "not text");
        call_failed(&of(json!("[]")), "base64");
        call_failed(&of(json!(STANDARD.encode("{}"))), "does not decode");
        assert_eq!(of(json!(STANDARD.encode("[]"))).expect("taken").patched, None);
    }

    #[test]
    fn a_patch_is_applied_and_one_that_cannot_be_is_beyond_any_failure_policy() {
        let accepted = with_patch(&json!([{"op":"add","path":"/metadata/labels","value":{"a":"b"}}])).expect("taken");
        assert_eq!(accepted.patched.expect("changed")["metadata"]["labels"]["a"], "b");
        internal(&with_patch(&json!([{"op":"add","path":"/a/b","value":1}])), "does not apply");
        internal(&with_patch(&json!([{"op":"remove","path":"/a"}])), "does not apply");
        internal(&with_patch(&json!([{"op":"replace","path":"","value":{}}])), "whole document");
        internal(&with_patch(&json!([{"op":"copy","from":"","path":"/a"}])), "whole document");
        internal(&with_patch(&json!([{"op":"replace","path":"/kind","value":"Pod"}])), "kind changed");
        let text = STANDARD.encode(r#"[{"op":"add","path":"/a","value":1}]"#);
        let answer = json!({"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview",
            "response":{"uid":"u","allowed":true,"patch":text,"patchType":"JSONPatch"}});
        internal(&judge(Phase::Mutating, "u", &Value::Null, 200, answer.to_string().as_bytes()), "without an object");
    }

    #[test]
    fn copies_may_not_grow_the_object_without_limit() {
        let original = json!({"a":"x".repeat(1 << 20)});
        let copies = |n: usize| {
            let patch: Vec<Value> = (0..n).map(|i| json!({"op":"copy","from":"/a","path":format!("/b{i}")})).collect();
            let text = STANDARD.encode(json!(patch).to_string());
            let answer = json!({"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview",
                "response":{"uid":"u","allowed":true,"patch":text,"patchType":"JSONPatch"}});
            judge(Phase::Mutating, "u", &original, 200, answer.to_string().as_bytes())
        };
        copies(2).expect("within the limit");
        internal(&copies(4), "copies more");
    }

    #[test]
    fn a_denial_is_forced_to_be_an_error_and_explained() {
        let denied = |status: Value| {
            let accepted = judged(Phase::Validating, &json!({"uid":"u","allowed":false,"status":status}));
            accepted.expect("taken").denial.expect("denied")
        };
        let said = denied(json!({"code":403,"reason":"Forbidden","message":"no"}));
        assert_eq!((said.code, said.reason.as_str()), (403, "Forbidden"));
        assert_eq!(said.message("a.b.c"), r#"admission webhook "a.b.c" denied the request: no"#);
        assert_eq!(denied(json!({"code":200,"message":"no"})).code, 400);
        assert_eq!(denied(Value::Null).code, 400);
        assert!(denied(json!({"reason":"Invalid"})).message("w").ends_with(": Invalid"));
        assert!(denied(json!({})).message("w").ends_with("denied the request without explanation"));
    }

    #[test]
    fn warnings_and_annotations_of_a_denial_count_too() {
        let accepted = judged(
            Phase::Validating,
            &json!({"uid":"u","allowed":false,"warnings":["w"],"auditAnnotations":{"k":"v","a/b":"c"}}),
        )
        .expect("taken");
        assert_eq!(accepted.warnings, ["w"]);
        assert_eq!(accepted.audit, BTreeMap::from([("k".to_owned(), "v".to_owned())]));
        assert_eq!(accepted.losses.len(), 1);
    }

    #[test]
    fn warnings_are_lost_exactly_as_the_api_server_loses_them() {
        let run = |texts: &[String]| {
            let mut losses = Vec::new();
            (deliver(texts, &mut losses), losses)
        };
        let (kept, losses) = run(&["a".into(), String::new(), "a".into(), "b\nc".into()]);
        assert_eq!((kept.as_slice(), losses.len()), (["a".to_owned()].as_slice(), 3));
        // One long warning passes whole while the budget holds.
        let (kept, losses) = run(&["x".repeat(4096)]);
        assert_eq!((kept[0].len(), losses.len()), (4096, 0));
        // One rune more, and each is cut to 256.
        let (kept, losses) = run(&["x".repeat(4096), "y".into()]);
        assert_eq!((kept[0].len(), kept[1].len(), losses.len()), (256, 1, 1));
        let many: Vec<String> = (0..40).map(|n| format!("{n:0>300}")).collect();
        let (kept, losses) = run(&many);
        assert_eq!(kept.len(), 16);
        assert_eq!(losses.len(), 40);
    }
}
