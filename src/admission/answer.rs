//! The answer half of `admission.k8s.io/v1`. Everything is written by serde, so no uid or message can break the JSON.
//!
//! Differences from what client libraries write, each on purpose: the patch is base64 text, an allowing answer has no
//! `status`, a denial has code and reason, audit annotations have a fixed order.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::PatchOperation;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::counters::{Counters, Outcome};
use super::wire::{API_VERSION, KIND, Phase, Request};
use super::{Verdict, text};

/// Told to the user when our own patch would have made the API server refuse the object.
const PATCH_WITHHELD: &str =
    "scalegate: the changes it computed do not fit this object, which is admitted without them; please report this";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<String, String>,
}

/// The part of `metav1.Status` that the API server reads from a denial.
#[derive(Serialize)]
struct Status {
    #[serde(rename = "status")]
    outcome: &'static str,
    message: String,
    reason: &'static str,
    code: u16,
}

/// Writes the answer to `request`, and counts what became of the verdict.
///
/// # Errors
/// Only if serde cannot write the answer, which holds strings and numbers alone.
pub fn write(
    phase: Phase,
    request: &Request<'_>,
    verdict: Verdict,
    counters: &Counters,
) -> Result<Vec<u8>, serde_json::Error> {
    write_telling(phase, request, verdict, counters).map(|(answer, _)| answer)
}

/// As [`write`], with what the answer says.
pub(super) fn write_telling(
    phase: Phase,
    request: &Request<'_>,
    verdict: Verdict,
    counters: &Counters,
) -> Result<(Vec<u8>, Outcome), serde_json::Error> {
    let (allowed, status, patch, mut warnings, audit) = match verdict {
        Verdict::Allow { patch, warnings, audit } => (true, None, patch, warnings, audit),
        Verdict::Deny { code, reason, message, warnings, audit } => {
            let mut message = text::message(&message);
            if message.is_empty() {
                reason.clone_into(&mut message);
            }
            // Below 400 the API server would make it 400 itself.
            let code = if (400..600).contains(&code) { code } else { 403 };
            (false, Some(Status { outcome: "Failure", message, reason, code }), None, warnings, audit)
        }
    };

    let patch = match check_patch(phase, patch.as_deref(), request.object) {
        PatchCheck::None => None,
        PatchCheck::Applies => patch.map(|patch| STANDARD.encode(patch)),
        PatchCheck::Withhold => {
            counters.patches_withheld.increment();
            warnings.insert(0, PATCH_WITHHELD.to_owned());
            None
        }
    };

    let mut audit_annotations = BTreeMap::new();
    for (key, value) in audit {
        if text::is_audit_key(&key) {
            // The API server refuses to overwrite a key with another value, so the first one stands here too.
            audit_annotations.entry(key).or_insert(value);
        } else {
            counters.audit_annotations_dropped.increment();
        }
    }
    let (warnings, shortened) = text::warnings(&warnings);
    if shortened {
        counters.warnings_shortened.increment();
    }
    if allowed { &counters.allowed } else { &counters.denied }.increment();
    if patch.is_some() {
        counters.patched.increment();
    }
    let outcome = match (allowed, &patch) {
        (false, _) => Outcome::Denied,
        (true, Some(_)) => Outcome::Patched,
        (true, None) => Outcome::Allowed,
    };

    let answer = serde_json::to_vec(&Answer {
        api_version: API_VERSION,
        kind: KIND,
        response: Response {
            uid: &request.uid,
            allowed,
            status,
            patch_type: patch.as_ref().map(|_| "JSONPatch"),
            patch,
            warnings,
            audit_annotations,
        },
    })?;
    Ok((answer, outcome))
}

/// What may be done with a patch.
#[derive(Debug, PartialEq, Eq)]
enum PatchCheck {
    /// There is none, or it changes nothing: neither `patch` nor `patchType` is sent.
    None,
    /// Send it.
    Applies,
    /// A patch that does not apply makes the API server refuse the user's request whatever the failure policy says,
    /// which is worse than no patch.
    Withhold,
}

/// Tries the patch on the object as it was sent. The object becomes a tree only here, and only when there is a patch.
fn check_patch(phase: Phase, patch: Option<&[u8]>, object: Option<&RawValue>) -> PatchCheck {
    let Some(patch) = patch.filter(|patch| !patch.is_empty()) else { return PatchCheck::None };
    let Ok(patch) = serde_json::from_slice::<json_patch::Patch>(patch) else { return PatchCheck::Withhold };
    if patch.0.is_empty() {
        return PatchCheck::None;
    }
    // The API server's applier (evanphx/json-patch v4) knows no operation on the document as a whole.
    let whole_document = patch.0.iter().any(|operation| {
        let from = match operation {
            PatchOperation::Move(moved) => Some(&moved.from),
            PatchOperation::Copy(copy) => Some(&copy.from),
            _ => None,
        };
        operation.path().is_root() || from.is_some_and(|from| from.is_root())
    });
    let (Phase::Mutating, Some(object), false) = (phase, object, whole_document) else { return PatchCheck::Withhold };
    let inside_metadata = patch.0.iter().all(|operation| {
        let from = match operation {
            PatchOperation::Move(moved) => Some(&moved.from),
            PatchOperation::Copy(copy) => Some(&copy.from),
            _ => None,
        };
        operation.path().as_str().starts_with("/metadata/")
            && from.is_none_or(|from| from.as_str().starts_with("/metadata/"))
    });
    // Such a patch touches nothing else, and the rest of the object may be hundreds of kilobytes.
    let tree = if inside_metadata { metadata_alone(object) } else { None };
    let tree = tree.map_or_else(|| serde_json::from_str::<serde_json::Value>(object.get()), Ok);
    let Ok(mut tree) = tree else { return PatchCheck::Withhold };
    match json_patch::patch(&mut tree, &patch.0) {
        Ok(()) => PatchCheck::Applies,
        Err(_) => PatchCheck::Withhold,
    }
}

/// `{"metadata": ...}` of an object; `None` when it has none or more than one.
fn metadata_alone(object: &RawValue) -> Option<serde_json::Value> {
    #[derive(Deserialize)]
    struct Probe {
        metadata: serde_json::Value,
    }
    let Probe { metadata } = serde_json::from_str(object.get()).ok()?;
    Some(serde_json::json!({ "metadata": metadata }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Review;
    use serde_json::{Value, json};

    const REVIEW: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":
        {"uid":"a\"}\\\u0001é","kind":{"group":"apps","version":"v1","kind":"Deployment"},"operation":"CREATE",
        "object":{"metadata":{"name":"x"},"list":[1,2]}}}"#;

    fn written(phase: Phase, verdict: Verdict, counters: &Counters) -> Value {
        let request = Review::parse(REVIEW.as_bytes()).expect("a good request");
        serde_json::from_slice(&write(phase, &request, verdict, counters).expect("writable")).expect("JSON")
    }

    fn patched(patch: &str) -> (Value, Counters) {
        let counters = Counters::default();
        let verdict =
            Verdict::Allow { patch: Some(patch.as_bytes().to_vec()), warnings: vec!["w".into()], audit: Vec::new() };
        (written(Phase::Mutating, verdict, &counters), counters)
    }

    #[test]
    fn a_silent_allowance_holds_the_uid_and_nothing_else() {
        let answer = written(Phase::Validating, Verdict::silent(), &Counters::default());
        assert_eq!(
            answer,
            json!({"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview",
                   "response":{"uid":"a\"}\\\u{1}é","allowed":true}})
        );
    }

    #[test]
    fn a_patch_that_applies_is_base64_text_with_its_type() {
        let patch = r#"[{"op":"add","path":"/metadata/annotations","value":{"k":"v"}}]"#;
        let (answer, counters) = patched(patch);
        assert_eq!(answer["response"]["patchType"], "JSONPatch");
        let text = answer["response"]["patch"].as_str().expect("text, not an array of numbers");
        assert_eq!(STANDARD.decode(text).expect("base64"), patch.as_bytes());
        assert_eq!((counters.patched.get(), counters.patches_withheld.get()), (1, 0));
    }

    #[test]
    fn an_empty_patch_is_no_patch() {
        for empty in ["[]", " [ ] ", ""] {
            let (answer, counters) = patched(empty);
            assert_eq!(answer["response"], json!({"uid":"a\"}\\\u{1}é","allowed":true,"warnings":["w"]}));
            assert_eq!(counters.patches_withheld.get(), 0);
        }
    }

    #[test]
    fn a_patch_that_the_api_server_would_choke_on_is_withheld_with_a_warning() {
        for patch in [
            r#"[{"op":"remove","path":"/absent"}]"#,
            r#"[{"op":"add","path":"/a/b","value":1}]"#,
            r#"[{"op":"replace","path":"/list/7","value":1}]"#,
            r#"[{"op":"test","path":"/metadata/name","value":"y"}]"#,
            r#"[{"op":"replace","path":"","value":{}}]"#,
            r#"[{"op":"copy","from":"","path":"/a"}]"#,
            r#"[{"op":"conjure","path":"/a","value":1}]"#,
            r#"{"metadata":null}"#,
            "nonsense",
        ] {
            let (answer, counters) = patched(patch);
            let response = &answer["response"];
            assert_eq!(response["allowed"], true, "{patch}");
            assert!(response.get("patch").is_none() && response.get("patchType").is_none(), "{patch}");
            assert_eq!(response["warnings"], json!([PATCH_WITHHELD, "w"]), "{patch}");
            assert_eq!((counters.patched.get(), counters.patches_withheld.get()), (0, 1), "{patch}");
        }
    }

    #[test]
    fn a_validating_answer_never_carries_a_patch() {
        let counters = Counters::default();
        let patch = br#"[{"op":"add","path":"/a","value":1}]"#.to_vec();
        let verdict = Verdict::Allow { patch: Some(patch), warnings: Vec::new(), audit: Vec::new() };
        let answer = written(Phase::Validating, verdict, &counters);
        assert!(answer["response"].get("patch").is_none() && answer["response"].get("patchType").is_none());
        assert_eq!(counters.patches_withheld.get(), 1);
    }

    #[test]
    fn a_request_without_an_object_is_never_patched() {
        let body = REVIEW.replace("\"object\"", "\"oldObject\"").replace("CREATE", "DELETE");
        let request = Review::parse(body.as_bytes()).expect("a good request");
        let patch = br#"[{"op":"add","path":"/a","value":1}]"#.to_vec();
        let verdict = Verdict::Allow { patch: Some(patch), warnings: Vec::new(), audit: Vec::new() };
        let bytes = write(Phase::Mutating, &request, verdict, &Counters::default()).expect("writable");
        let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert!(answer["response"].get("patch").is_none());
    }

    #[test]
    fn a_denial_has_code_reason_failure_and_message_and_its_warnings_too() {
        let answer = written(
            Phase::Validating,
            Verdict::Deny {
                code: 422,
                reason: "Invalid",
                message: "first\nsecond".into(),
                warnings: vec!["careful".into()],
                audit: vec![("b".into(), "2".into()), ("a".into(), "1".into()), ("a".into(), "3".into())],
            },
            &Counters::default(),
        );
        assert_eq!(
            answer["response"],
            json!({"uid":"a\"}\\\u{1}é","allowed":false,
                   "status":{"status":"Failure","message":"first\nsecond","reason":"Invalid","code":422},
                   "warnings":["careful"],"auditAnnotations":{"a":"1","b":"2"}})
        );
    }

    #[test]
    fn a_denial_that_says_nothing_useful_is_mended() {
        let verdict =
            Verdict::Deny { code: 200, reason: "Forbidden", message: " \n".into(), warnings: vec![], audit: vec![] };
        let answer = written(Phase::Validating, verdict, &Counters::default());
        assert_eq!(answer["response"]["status"]["code"], 403);
        assert_eq!(answer["response"]["status"]["message"], "Forbidden");
    }

    #[test]
    fn audit_keys_that_the_api_server_would_drop_are_dropped_and_counted() {
        let counters = Counters::default();
        let audit = vec![("a/b".to_owned(), "1".to_owned()), ("ok".to_owned(), "2".to_owned())];
        let verdict = Verdict::Allow { patch: None, warnings: Vec::new(), audit };
        let answer = written(Phase::Mutating, verdict, &counters);
        assert_eq!(answer["response"]["auditAnnotations"], json!({"ok":"2"}));
        assert_eq!(counters.audit_annotations_dropped.get(), 1);
    }
}
