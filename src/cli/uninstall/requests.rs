//! One object of the cluster: read it, and delete what was read.

use std::fmt;

use anyhow::{Context as _, anyhow};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, ObjectList, PartialObjectMeta, Preconditions};
use kube::core::Status;
use kube::{Api, Client};

/// Objects of one page of a list.
const PAGE: u32 = 500;
/// How often an object that changes meanwhile is read again.
const TRIES: usize = 5;

/// A kind, as the API server's paths name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) resource: Resource,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deleted {
    /// It is gone, or would be.
    Yes,
    /// It was not there.
    NotThere,
    /// It stays, for that reason.
    Left(String),
}

/// Asks the API server.
pub(super) struct Requests {
    client: Client,
    dry_run: bool,
}

// === impl Resource ===

impl Resource {
    pub(super) const MUTATING_WEBHOOKS: Self =
        Self::admission("MutatingWebhookConfiguration", "mutatingwebhookconfigurations");
    pub(super) const VALIDATING_WEBHOOKS: Self =
        Self::admission("ValidatingWebhookConfiguration", "validatingwebhookconfigurations");
    pub(super) const POLICIES: Self = Self::admission("ValidatingAdmissionPolicy", "validatingadmissionpolicies");
    pub(super) const POLICY_BINDINGS: Self =
        Self::admission("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings");
    pub(super) const SECRETS: Self = Self::of("", "v1", "Secret", "secrets");
    pub(super) const LEASES: Self = Self::of("coordination.k8s.io", "v1", "Lease", "leases");
    pub(super) const DEPLOYMENTS: Self = Self::of("apps", "v1", "Deployment", "deployments");

    pub(super) const fn of(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self { group, version, kind, plural }
    }

    const fn admission(kind: &'static str, plural: &'static str) -> Self {
        Self::of("admissionregistration.k8s.io", "v1", kind, plural)
    }

    fn api_resource(self) -> ApiResource {
        let Self { group, version, kind, plural } = self;
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }

    /// The resource as RBAC names it, `horizontalpodautoscalers.autoscaling`.
    fn rbac(self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
}

// === impl Place ===

impl Place {
    pub(super) fn cluster(resource: Resource, name: String) -> Self {
        Self { resource, namespace: None, name }
    }

    pub(super) fn within(resource: Resource, namespace: &str, name: String) -> Self {
        Self { resource, namespace: Some(namespace.to_owned()), name }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, namespace, name } = self;
        match namespace {
            Some(namespace) => write!(f, "{} {namespace}/{name}", resource.kind),
            None => write!(f, "{} {name}", resource.kind),
        }
    }
}

// === impl Deleted ===

impl Deleted {
    /// What is said of it; nothing of what was not there.
    pub(super) fn line(&self, place: &Place, dry_run: bool) -> Option<String> {
        match self {
            Self::Yes if dry_run => Some(format!("would remove: {place}")),
            Self::Yes => Some(format!("removed: {place}")),
            Self::NotThere => None,
            Self::Left(why) => Some(format!("left: {place}: {why}")),
        }
    }
}

// === impl Requests ===

impl Requests {
    pub(super) fn new(client: Client, dry_run: bool) -> Self {
        Self { client, dry_run }
    }

    pub(super) fn dry_run(&self) -> bool {
        self.dry_run
    }

    fn api(&self, resource: Resource, namespace: Option<&str>) -> Api<DynamicObject> {
        let of = resource.api_resource();
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &of),
            None => Api::all_with(self.client.clone(), &of),
        }
    }

    /// The object; `None` when it, or its kind, is not there. Of a Secret only the metadata is asked for.
    ///
    /// # Errors
    /// When the API server cannot be asked or does not allow it.
    pub(super) async fn object(&self, place: &Place) -> anyhow::Result<Option<DynamicObject>> {
        if place.resource == Resource::SECRETS {
            let read = self.metadata(place).await?;
            return Ok(read.map(|read| DynamicObject {
                types: read.types,
                metadata: read.metadata,
                data: serde_json::Value::Null,
            }));
        }
        let read = self.api(place.resource, place.namespace.as_deref()).get(&place.name).await;
        there(read, "get", place.resource, place.namespace.as_deref(), &place.to_string())
    }

    /// The object's metadata; `None` when it is not there.
    ///
    /// # Errors
    /// As [`Requests::object`].
    pub(super) async fn metadata(&self, place: &Place) -> anyhow::Result<Option<PartialObjectMeta<DynamicObject>>> {
        let read = self.api(place.resource, place.namespace.as_deref()).get_metadata(&place.name).await;
        there(read, "get", place.resource, place.namespace.as_deref(), &place.to_string())
    }

    /// The metadata of one page of a kind in all namespaces; `None` when the kind is not served.
    ///
    /// # Errors
    /// As [`Requests::object`].
    pub(super) async fn page(
        &self,
        resource: Resource,
        next: Option<&str>,
    ) -> anyhow::Result<Option<ObjectList<PartialObjectMeta<DynamicObject>>>> {
        let mut parameters = ListParams::default().limit(PAGE);
        if let Some(next) = next {
            parameters = parameters.continue_token(next);
        }
        let read = self.api(resource, None).list_metadata(&parameters).await;
        there(read, "list", resource, None, &resource.rbac())
    }

    /// Deletes an object as it was when `ours` held of it: what changed in between is read again.
    ///
    /// # Errors
    /// As [`Requests::object`], and when it changes again and again.
    pub(super) async fn delete(
        &self,
        place: &Place,
        ours: &dyn Fn(&DynamicObject) -> Result<(), String>,
    ) -> anyhow::Result<Deleted> {
        for _ in 0..TRIES {
            let Some(object) = self.object(place).await? else { return Ok(Deleted::NotThere) };
            if let Err(why) = ours(&object) {
                return Ok(Deleted::Left(why));
            }
            if object.metadata.deletion_timestamp.is_some() {
                return Ok(Deleted::Left("it is being deleted already".to_owned()));
            }
            if let Some(deleted) = self.delete_seen(place, &object).await? {
                return Ok(deleted);
            }
        }
        Err(anyhow!("{place} changes again and again, so it is not deleted; run this again"))
    }

    /// Deletes the object of that UID and version; `None` when it is another one by now.
    pub(super) async fn delete_seen(&self, place: &Place, seen: &DynamicObject) -> anyhow::Result<Option<Deleted>> {
        let preconditions =
            Preconditions { uid: seen.metadata.uid.clone(), resource_version: seen.metadata.resource_version.clone() };
        let parameters = DeleteParams { dry_run: self.dry_run, ..DeleteParams::background() };
        let parameters = parameters.preconditions(preconditions);
        match self.api(place.resource, place.namespace.as_deref()).delete(&place.name, &parameters).await {
            Ok(_) => Ok(Some(Deleted::Yes)),
            Err(kube::Error::Api(error)) if error.code == NOT_FOUND => Ok(Some(Deleted::NotThere)),
            Err(kube::Error::Api(error)) if error.is_conflict() => Ok(None),
            Err(kube::Error::Api(error)) => {
                Err(refused(&error, "delete", place.resource, place.namespace.as_deref(), &place.to_string()))
            }
            Err(error) => Err(error).with_context(|| format!("cannot delete {place}")),
        }
    }
}

/// By number: the API server's answer for a kind that it does not serve is plain text and has no reason, by which kube tells.
const NOT_FOUND: u16 = 404;

/// What was read, or `None` when it is not there.
fn there<T>(
    read: Result<T, kube::Error>,
    verb: &str,
    of: Resource,
    namespace: Option<&str>,
    what: &str,
) -> anyhow::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(kube::Error::Api(error)) if error.code == NOT_FOUND => Ok(None),
        Err(kube::Error::Api(error)) => Err(refused(&error, verb, of, namespace, what)),
        Err(error) => Err(error).with_context(|| format!("cannot {verb} {what}")),
    }
}

/// What to say when the API server does not do it: of a missing permission, which one.
fn refused(error: &Status, verb: &str, of: Resource, namespace: Option<&str>, what: &str) -> anyhow::Error {
    if !error.is_forbidden() {
        return anyhow!("cannot {verb} {what}: {}", error.message);
    }
    let place =
        namespace.map_or_else(|| "cluster-wide".to_owned(), |namespace| format!("in the namespace {namespace}"));
    anyhow!(
        "cannot {verb} {what}: you need the permission to {verb} {} {place} ({}); what was removed before stays removed, \
         run this again when you have it",
        of.rbac(),
        error.message
    )
}
