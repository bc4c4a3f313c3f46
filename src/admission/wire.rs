//! The request half of `admission.k8s.io/v1`: bytes in, a [`Request`] that borrows from them out.
//!
//! ```text
//! bytes -> json_guard (UTF-8, depth) -> envelope (no duplicate key) -> Request; object and oldObject stay raw text
//! ```
//!
//! The types are ours because no library's keep the object raw: a decoded and re-encoded object loses the fields that
//! the decoder does not know, and a full tree costs several times the CPU of the whole review.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json_guard::{self, MAX_DEPTH, Unfit};

/// The only version of the review that we register for and answer.
pub const API_VERSION: &str = "admission.k8s.io/v1";
/// The kind of the envelope.
pub const KIND: &str = "AdmissionReview";

/// Which of the two calls of the API server is being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `POST /mutate`: the answer may carry a patch.
    Mutating,
    /// `POST /validate`: the answer must not carry a patch.
    Validating,
}

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The object is new; there is no old object.
    Create,
    /// The object replaces the old one.
    Update,
    /// The object goes; there is only the old one.
    Delete,
    /// A connection to a subresource, such as `pods/exec`.
    Connect,
}

impl Operation {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }

    fn from_wire(text: &str) -> Option<Self> {
        [Self::Create, Self::Update, Self::Delete, Self::Connect]
            .into_iter()
            .find(|operation| operation.as_str() == text)
    }
}

/// A kind with its group and version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupVersionKind<'a> {
    /// Empty for the core group.
    pub group: Cow<'a, str>,
    /// Such as `v1`.
    pub version: Cow<'a, str>,
    /// Such as `Deployment`.
    pub kind: Cow<'a, str>,
}

/// A resource with its group and version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupVersionResource<'a> {
    /// Empty for the core group.
    pub group: Cow<'a, str>,
    /// Such as `v1`.
    pub version: Cow<'a, str>,
    /// The plural, such as `deployments`.
    pub resource: Cow<'a, str>,
}

/// One admission request. Text and raw objects borrow from the body.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Identifies this call; the answer repeats it.
    pub uid: Cow<'a, str>,
    /// The kind and version in which the object was sent to us.
    pub kind: GroupVersionKind<'a>,
    /// The resource that belongs to `kind`.
    pub resource: GroupVersionResource<'a>,
    /// Such as `scale` or `status`; empty for the object itself.
    pub sub_resource: Cow<'a, str>,
    /// The kind in which the user sent the object, where the API server says so. It differs from `kind` when the object
    /// was converted for us.
    pub request_kind: Option<GroupVersionKind<'a>>,
    /// Empty when the API server is still to make one up from `generateName`.
    pub name: Cow<'a, str>,
    /// Empty for cluster-scoped objects; a Namespace carries its own name here.
    pub namespace: Cow<'a, str>,
    /// What is done.
    pub operation: Operation,
    /// `userInfo.username`: who asks. Empty when not told.
    pub username: Cow<'a, str>,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// The new object, a JSON object as sent; none on DELETE.
    pub object: Option<&'a RawValue>,
    /// The object as stored; none on CREATE.
    pub old_object: Option<&'a RawValue>,
    /// The options of the operation, such as CreateOptions.
    pub options: Option<&'a RawValue>,
    /// When the decision must be there, if there is such a moment. Not on the wire: whoever received the request fills
    /// it in, and whoever decides may give up an optional step for it.
    pub deadline: Option<Instant>,
}

/// Why a body is no admission request. The text names fields and places, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Some bytes are not UTF-8.
    #[error("the body is not valid UTF-8")]
    NotUtf8,
    /// Nested too deeply.
    #[error("the body nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Not one JSON document, or one that ends early.
    #[error("the body is not a JSON object that ends where the body ends (line {line}, column {column})")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A key stands twice where we read. Parsers differ in which one they believe, so neither is believed.
    #[error("`{key}` stands twice in {place}")]
    Duplicate {
        /// Which key, shortened.
        key: String,
        /// In which part of the envelope.
        place: &'static str,
    },
    /// A field that every request has is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field is there and cannot be meant.
    #[error("{field} is not {expected}")]
    Wrong {
        /// The field, dotted.
        field: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
}

impl From<Unfit> for BadRequest {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::NotUtf8 => Self::NotUtf8,
            Unfit::TooDeep => Self::TooDeep,
        }
    }
}

/// The envelope, as a place for its parser.
#[derive(Debug)]
pub struct Review;

impl Review {
    /// Reads the body of a review.
    ///
    /// # Errors
    /// Says what is wrong with a body that is not an `admission.k8s.io/v1` AdmissionReview with a usable request.
    pub fn parse(body: &[u8]) -> Result<Request<'_>, BadRequest> {
        let text = json_guard::check(body)?;
        let envelope: Envelope<'_> = serde_json::from_str(text)
            .map_err(|error| BadRequest::Syntax { line: error.line(), column: error.column() })?;
        if let Some(key) = envelope.duplicate {
            return Err(BadRequest::Duplicate { key, place: "the review" });
        }
        let api_version = text_of(envelope.api_version, "apiVersion")?.ok_or(BadRequest::Missing("apiVersion"))?;
        if api_version != API_VERSION {
            return Err(BadRequest::Wrong { field: "apiVersion", expected: API_VERSION });
        }
        let kind = text_of(envelope.kind, "kind")?.ok_or(BadRequest::Missing("kind"))?;
        if kind != KIND {
            return Err(BadRequest::Wrong { field: "kind", expected: KIND });
        }
        let fields = envelope.request.ok_or(BadRequest::Missing("request"))?;
        fields.unique("request")?;
        Self::request(&fields)
    }

    fn request<'a>(fields: &Fields<'a>) -> Result<Request<'a>, BadRequest> {
        let uid = text_of(fields.get("uid"), "request.uid")?.unwrap_or_default();
        if uid.is_empty() {
            return Err(BadRequest::Missing("request.uid"));
        }
        let operation =
            text_of(fields.get("operation"), "request.operation")?.ok_or(BadRequest::Missing("request.operation"))?;
        let operation = Operation::from_wire(&operation)
            .ok_or(BadRequest::Wrong { field: "request.operation", expected: "CREATE, UPDATE, DELETE or CONNECT" })?;
        let kind = kind_of(fields.get("kind"), "request.kind")?.ok_or(BadRequest::Missing("request.kind"))?;
        let resource = match fields_of(fields.get("resource"), "request.resource")? {
            None => GroupVersionResource::default(),
            Some(inner) => GroupVersionResource {
                group: text_of(inner.get("group"), "request.resource.group")?.unwrap_or_default(),
                version: text_of(inner.get("version"), "request.resource.version")?.unwrap_or_default(),
                resource: text_of(inner.get("resource"), "request.resource.resource")?.unwrap_or_default(),
            },
        };
        let username = match fields_of(fields.get("userInfo"), "request.userInfo")? {
            None => Cow::Borrowed(""),
            Some(inner) => text_of(inner.get("username"), "request.userInfo.username")?.unwrap_or_default(),
        };
        let dry_run = match fields.get("dryRun").map(RawValue::get) {
            None | Some("null" | "false") => false,
            Some("true") => true,
            Some(_) => return Err(BadRequest::Wrong { field: "request.dryRun", expected: "true or false" }),
        };
        Ok(Request {
            uid,
            kind,
            resource,
            sub_resource: text_of(fields.get("subResource"), "request.subResource")?.unwrap_or_default(),
            request_kind: kind_of(fields.get("requestKind"), "request.requestKind")?,
            name: text_of(fields.get("name"), "request.name")?.unwrap_or_default(),
            namespace: text_of(fields.get("namespace"), "request.namespace")?.unwrap_or_default(),
            operation,
            username,
            dry_run,
            object: object_of(fields.get("object"), "request.object")?,
            old_object: object_of(fields.get("oldObject"), "request.oldObject")?,
            options: object_of(fields.get("options"), "request.options")?,
            deadline: None,
        })
    }
}

/// Absent, null, or text.
fn text_of<'a>(raw: Option<&'a RawValue>, field: &'static str) -> Result<Option<Cow<'a, str>>, BadRequest> {
    let Some(raw) = present(raw) else { return Ok(None) };
    let Text(text) = serde_json::from_str(raw.get()).map_err(|_| BadRequest::Wrong { field, expected: "a string" })?;
    Ok(Some(text))
}

/// Absent, null, or a JSON object whose keys are collected.
fn fields_of<'a>(raw: Option<&'a RawValue>, field: &'static str) -> Result<Option<Fields<'a>>, BadRequest> {
    let Some(raw) = object_of(raw, field)? else { return Ok(None) };
    let fields: Fields<'a> =
        serde_json::from_str(raw.get()).map_err(|_| BadRequest::Wrong { field, expected: "an object" })?;
    fields.unique(field)?;
    Ok(Some(fields))
}

/// Absent, null, or a group, version and kind.
fn kind_of<'a>(raw: Option<&'a RawValue>, field: &'static str) -> Result<Option<GroupVersionKind<'a>>, BadRequest> {
    let Some(inner) = fields_of(raw, field)? else { return Ok(None) };
    Ok(Some(GroupVersionKind {
        group: text_of(inner.get("group"), field)?.unwrap_or_default(),
        version: text_of(inner.get("version"), field)?.unwrap_or_default(),
        kind: text_of(inner.get("kind"), field)?.unwrap_or_default(),
    }))
}

/// Absent, null, or the raw text of a JSON object.
fn object_of<'a>(raw: Option<&'a RawValue>, field: &'static str) -> Result<Option<&'a RawValue>, BadRequest> {
    match present(raw) {
        None => Ok(None),
        Some(raw) if raw.get().starts_with('{') => Ok(Some(raw)),
        Some(_) => Err(BadRequest::Wrong { field, expected: "an object" }),
    }
}

/// JSON's null means absent, as it does to the API server.
fn present(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

/// The top of the body. `request` is read in the same pass, so that a large object is scanned once.
#[derive(Default)]
struct Envelope<'a> {
    api_version: Option<&'a RawValue>,
    kind: Option<&'a RawValue>,
    request: Option<Fields<'a>>,
    duplicate: Option<String>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a review")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut envelope = Envelope::default();
                let mut seen = std::collections::BTreeSet::new();
                while let Some(Text(key)) = map.next_key()? {
                    match &*key {
                        "apiVersion" => envelope.api_version = Some(map.next_value()?),
                        "kind" => envelope.kind = Some(map.next_value()?),
                        "request" => envelope.request = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                    if seen.contains(&key) {
                        envelope.duplicate.get_or_insert_with(|| shortened(&key));
                    }
                    seen.insert(key);
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(Top)
    }
}

/// The keys of one JSON object with their raw values.
struct Fields<'a> {
    values: BTreeMap<Cow<'a, str>, &'a RawValue>,
    duplicate: Option<String>,
}

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.values.get(key).copied()
    }

    fn unique(&self, place: &'static str) -> Result<(), BadRequest> {
        match &self.duplicate {
            None => Ok(()),
            Some(key) => Err(BadRequest::Duplicate { key: key.clone(), place }),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Fields { values: BTreeMap::new(), duplicate: None };
                while let Some(Text(key)) = map.next_key()? {
                    let value = map.next_value()?;
                    if fields.values.contains_key(&key) {
                        fields.duplicate.get_or_insert_with(|| shortened(&key));
                    }
                    fields.values.insert(key, value);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A string that borrows from the body unless it holds an escape. serde gives a `Cow` that always owns.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrowing)
    }
}

/// Keeps a key readable in a message: a key may be megabytes long or full of control characters.
fn shortened(key: &str) -> String {
    key.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(request: &str) -> String {
        format!(r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{request}}}"#)
    }

    const SMALL: &str =
        r#"{"uid":"u-1","kind":{"group":"apps","version":"v1","kind":"Deployment"},"operation":"CREATE"}"#;

    fn refusal(body: &str) -> BadRequest {
        Review::parse(body.as_bytes()).expect_err("the body has to be refused")
    }

    #[test]
    fn a_whole_request_is_read_and_borrows_from_the_body() {
        let body = review(
            r#"{"uid":"u-1","kind":{"group":"autoscaling","version":"v2","kind":"HorizontalPodAutoscaler"},
            "resource":{"group":"autoscaling","version":"v2","resource":"horizontalpodautoscalers"},
            "subResource":"status","requestKind":{"group":"autoscaling","version":"v1","kind":"HorizontalPodAutoscaler"},
            "name":"a\u002db","namespace":"ml","operation":"UPDATE",
            "userInfo":{"username":"kube:admin","groups":["g"]},
            "object":{"x": 1.50, "x": 2},"oldObject":{"y":null},"dryRun":true,"options":{"kind":"UpdateOptions"}}"#,
        );
        let request = Review::parse(body.as_bytes()).expect("a good request");
        assert!(matches!(request.uid, Cow::Borrowed("u-1")));
        assert_eq!(request.kind.kind, "HorizontalPodAutoscaler");
        assert_eq!(request.resource.resource, "horizontalpodautoscalers");
        assert_eq!(request.sub_resource, "status");
        assert_eq!(request.request_kind.expect("was sent").version, "v1");
        assert_eq!(request.name, "a-b");
        assert_eq!(request.namespace, "ml");
        assert_eq!(request.operation, Operation::Update);
        assert_eq!(request.username, "kube:admin");
        assert!(request.dry_run);
        // Raw: neither the number's spelling nor the object's own duplicate key is touched here.
        assert_eq!(request.object.expect("was sent").get(), r#"{"x": 1.50, "x": 2}"#);
        assert_eq!(request.old_object.expect("was sent").get(), r#"{"y":null}"#);
    }

    #[test]
    fn null_and_absent_mean_the_same() {
        let body = review(
            r#"{"uid":"u","kind":{"kind":"Deployment"},"operation":"DELETE","object":null,"dryRun":null,"name":null,
            "userInfo":null,"requestKind":null}"#,
        );
        let request = Review::parse(body.as_bytes()).expect("a good request");
        assert!(request.object.is_none() && request.old_object.is_none() && request.request_kind.is_none());
        assert!(!request.dry_run && request.name.is_empty() && request.username.is_empty());
    }

    #[test]
    fn duplicate_keys_are_refused_in_every_part_of_the_envelope() {
        for (request, key, place) in [
            (r#"{"uid":"a","uid":"b","kind":{"kind":"D"},"operation":"CREATE"}"#, "uid", "request"),
            (r#"{"uid":"a","foreign":1,"foreign":2,"kind":{"kind":"D"},"operation":"CREATE"}"#, "foreign", "request"),
            (r#"{"uid":"a","u\u0069d":"b","kind":{"kind":"D"},"operation":"CREATE"}"#, "uid", "request"),
            (r#"{"uid":"a","kind":{"kind":"D","kind":"E"},"operation":"CREATE"}"#, "kind", "request.kind"),
            (
                r#"{"uid":"a","kind":{"kind":"D"},"operation":"CREATE","userInfo":{"username":"a","username":"b"}}"#,
                "username",
                "request.userInfo",
            ),
        ] {
            assert_eq!(refusal(&review(request)), BadRequest::Duplicate { key: key.into(), place }, "{request}");
        }
        let twice = format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{SMALL},"request":{SMALL}}}"#
        );
        assert_eq!(refusal(&twice), BadRequest::Duplicate { key: "request".into(), place: "the review" });
    }

    #[test]
    fn keys_are_case_sensitive_as_they_are_to_the_api_server() {
        let body = review(r#"{"uid":"a","UID":"b","kind":{"kind":"D"},"operation":"CREATE"}"#);
        assert_eq!(Review::parse(body.as_bytes()).expect("a good request").uid, "a");
        let body = review(r#"{"UID":"b","kind":{"kind":"D"},"operation":"CREATE"}"#);
        assert_eq!(refusal(&body), BadRequest::Missing("request.uid"));
    }

    #[test]
    fn another_version_or_kind_is_refused() {
        let other = review(SMALL).replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
        assert_eq!(refusal(&other), BadRequest::Wrong { field: "apiVersion", expected: API_VERSION });
        let other = review(SMALL).replace("AdmissionReview", "ConversionReview");
        assert_eq!(refusal(&other), BadRequest::Wrong { field: "kind", expected: KIND });
        let other = review(SMALL).replace(r#""kind":"AdmissionReview","#, "");
        assert_eq!(refusal(&other), BadRequest::Missing("kind"));
    }

    #[test]
    fn wrong_types_are_named_by_field_and_never_by_value() {
        for (request, field) in [
            (r#"{"uid":7,"kind":{"kind":"D"},"operation":"CREATE"}"#, "request.uid"),
            (r#"{"uid":"a","kind":["D"],"operation":"CREATE"}"#, "request.kind"),
            (r#"{"uid":"a","kind":{"kind":"D"},"operation":"PATCH"}"#, "request.operation"),
            (r#"{"uid":"a","kind":{"kind":"D"},"operation":"CREATE","dryRun":"yes"}"#, "request.dryRun"),
            (r#"{"uid":"a","kind":{"kind":"D"},"operation":"CREATE","object":"token=abc"}"#, "request.object"),
            (r#"{"uid":"a","kind":{"kind":"D"},"operation":"CREATE","oldObject":[1]}"#, "request.oldObject"),
        ] {
            let refused = refusal(&review(request));
            assert!(matches!(&refused, BadRequest::Wrong { field: f, .. } if *f == field), "{request}: {refused:?}");
            assert!(!refused.to_string().contains("abc"));
        }
    }

    #[test]
    fn what_is_not_one_json_object_is_refused_with_its_place() {
        for body in ["", "null", "[]", "{", "nonsense", "{}x", "\u{feff}{}", r#"{"request":[]}"#] {
            let refused = refusal(body);
            assert!(matches!(refused, BadRequest::Syntax { .. }), "{body:?}: {refused:?}");
        }
        let small = review(SMALL);
        for end in 0..small.len() {
            Review::parse(&small.as_bytes()[..end]).expect_err("a cut body is never a request");
        }
    }

    #[test]
    fn deep_bodies_are_refused_wherever_the_depth_is() {
        let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        for body in [
            deep.clone(),
            review(&format!(r#"{{"uid":"a","kind":{{"kind":"D"}},"operation":"CREATE","object":{{"a":{deep}}}}}"#)),
            format!(r#"{{"ignored":{deep},"apiVersion":"admission.k8s.io/v1"}}"#),
        ] {
            assert_eq!(refusal(&body), BadRequest::TooDeep);
        }
    }

    #[test]
    fn wide_bodies_long_strings_and_odd_numbers_are_only_carried() {
        let wide = format!("[{}]", vec!["{}"; 50_000].join(","));
        let long = "x".repeat(1 << 20);
        let body = review(&format!(
            r#"{{"uid":"a","kind":{{"kind":"D"}},"operation":"CREATE",
            "object":{{"a":{wide},"b":"{long}","c":1e400,"d":123456789012345678901234567890,"e":"1e9Gi"}}}}"#
        ));
        let request = Review::parse(body.as_bytes()).expect("a good request");
        assert!(request.object.expect("was sent").get().len() > 1 << 20);
    }
}
