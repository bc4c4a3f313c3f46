//! The reads and writes of [`plan`](mod@super::plan): pictures taken in the order that it asks for, and each write with the
//! version that was read.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::dial::{Address, addresses, dial};
use super::issue::{self, IssueError};
use super::plan::{Authorities, Authority, Endpoint, Leaf, Picture};
use super::{FIELD_MANAGER, Settings};
use crate::cluster::secret::{CHAIN_KEY, PRIVATE_KEY};

/// The keys of the authorities' Secret: the issuing one, its key, and those that are still trusted.
const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const CA_PREVIOUS: &str = "previous.crt";

/// Why a step failed. Holds no part of a key.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server refused or could not be asked.
    #[error("cannot {verb} {what}: {}", said(source))]
    Api {
        /// What was tried.
        verb: &'static str,
        /// Kind and name.
        what: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// A certificate cannot be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The authority went away between plan and write, which the next look sees.
    #[error("there is no authority to issue from")]
    NoAuthority,
}

/// Whether a write took place, or somebody else was faster and one has to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It did.
    Yes,
    /// The version that was read is not the present one any more.
    Conflict,
}

/// One webhook configuration with our webhook in it.
struct Configuration {
    kind: Kind,
    version: String,
    bundle: Option<Vec<Vec<u8>>>,
}

#[derive(Clone, Copy)]
enum Kind {
    Mutating,
    Validating,
}

/// Everything that was read for one step.
pub struct Read {
    /// What to decide by. Endpoints are not dialled yet.
    pub picture: Picture,
    configurations: Vec<Configuration>,
    leaf: Option<Secret>,
    authorities: Option<Secret>,
}

/// The client side.
pub struct Cluster<'a> {
    settings: &'a Settings,
    client: Client,
}

impl<'a> Cluster<'a> {
    /// Over `client`, with the names of `settings`.
    pub fn new(settings: &'a Settings, client: Client) -> Self {
        Self { settings, client }
    }

    /// Takes a picture: configurations, then the leaf, then the authorities. No cache is asked, each read is current.
    ///
    /// # Errors
    /// When something cannot be read. What is not there is no error.
    pub async fn read(&self, now: SystemTime) -> Result<Read, ApplyError> {
        let settings = self.settings;
        let configurations = self.configurations().await?;
        let leaf_secret = self.secret(&settings.tls_secret).await?;
        let authority_secret = self.secret(&settings.ca_secret).await?;

        let mut authorities = authorities_of(authority_secret.as_ref(), now);
        let chain = data(leaf_secret.as_ref(), CHAIN_KEY);
        let key = data(leaf_secret.as_ref(), PRIVATE_KEY);
        let name = settings.server_name();
        if authorities.issuing.is_none() {
            // Our Secret is gone or broken, replicas serve on: what they serve has to stay trusted until they change.
            let bundles = configurations.iter().filter_map(|configuration| configuration.bundle.as_ref()).flatten();
            let bundles = issue::authorities(issue::bundle_pem(bundles).as_bytes()).unwrap_or_default();
            let chained = issue::authorities(chain).unwrap_or_default();
            for candidate in bundles.into_iter().chain(chained.into_iter().skip(1)) {
                let serves = matches!(
                    issue::leaf(chain, key, &name, std::slice::from_ref(&candidate), now),
                    Leaf::Usable { issuer: Some(_), .. }
                );
                if serves && !authorities.previous.contains(&candidate) {
                    authorities.previous.push(candidate);
                }
            }
        }
        let known: Vec<Authority> = authorities.issuing.iter().chain(&authorities.previous).cloned().collect();
        let picture = Picture {
            now,
            bundles: configurations.iter().map(|configuration| configuration.bundle.clone()).collect(),
            leaf: issue::leaf(chain, key, &name, &known, now),
            authorities,
            settled: false,
            endpoints: None,
        };
        Ok(Read { picture, configurations, leaf: leaf_secret, authorities: authority_secret })
    }

    /// Dials every endpoint of the Service, or those that were named. Says how many there are, and what each showed.
    ///
    /// # Errors
    /// When the endpoints cannot be listed.
    pub async fn endpoints(&self, authority: &[u8]) -> Result<Vec<Endpoint>, ApplyError> {
        let settings = self.settings;
        let found = if settings.endpoints.is_empty() {
            let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &settings.namespace);
            let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={}", settings.service));
            let slices = api.list(&of_service).await.map_err(|source| failed("list", "EndpointSlices", source))?;
            addresses(&slices.items, &settings.port_name)
        } else {
            settings.endpoints.iter().map(|at| Address { at: *at, leaving: false }).collect()
        };
        Ok(dial(&found, authority, &settings.server_name()).await)
    }

    /// Writes `bundle` to every configuration that has another. Nothing else of a configuration is touched: others own
    /// the rest, and edit it (AKS adds exclusions of its own to selectors).
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn publish(&self, read: &Read, bundle: &Vec<Vec<u8>>) -> Result<Written, ApplyError> {
        let text = STANDARD.encode(issue::bundle_pem(bundle));
        let mut written = Written::Yes;
        let differing =
            read.configurations.iter().filter(|configuration| configuration.bundle.as_ref() != Some(bundle));
        for Configuration { kind, version, .. } in differing {
            let patch = |webhook: &str| {
                // Merged by the webhook's name; with a version, the patch makes neither a configuration nor a webhook.
                Patch::Strategic(json!({
                    "metadata": { "resourceVersion": version },
                    "webhooks": [{ "name": webhook, "clientConfig": { "caBundle": text } }],
                }))
            };
            let (params, name) =
                (PatchParams { field_manager: Some(manager()), ..Default::default() }, &self.settings.configuration);
            let done = match kind {
                Kind::Mutating => {
                    let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
                    api.patch(name, &params, &patch(&self.settings.mutating_webhook)).await.map(drop)
                }
                Kind::Validating => {
                    let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
                    api.patch(name, &params, &patch(&self.settings.validating_webhook)).await.map(drop)
                }
            };
            if outcome(done, "patch", kind.name(), name)? == Written::Conflict {
                written = Written::Conflict;
            }
        }
        Ok(written)
    }

    /// Makes an authority, which issues from now on, and keeps `previous`.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub async fn new_authority(&self, read: &Read, previous: &[Authority]) -> Result<Written, ApplyError> {
        let made = issue::make_authority(read.picture.now, self.settings.validity.authority)?;
        let data = [
            (CA_CERTIFICATE, made.chain_pem.into_bytes()),
            (CA_KEY, made.key_pem.into_bytes()),
            (CA_PREVIOUS, issue::bundle_pem(previous.iter().map(|authority| &authority.der)).into_bytes()),
        ];
        self.write(&self.settings.ca_secret, read.authorities.as_ref(), "Opaque", data).await
    }

    /// Forgets the previous authorities but for `keep`.
    ///
    /// # Errors
    /// When the Secret cannot be written.
    pub async fn retire(&self, read: &Read, keep: &[Authority]) -> Result<Written, ApplyError> {
        let previous = issue::bundle_pem(keep.iter().map(|authority| &authority.der)).into_bytes();
        self.write(&self.settings.ca_secret, read.authorities.as_ref(), "Opaque", [(CA_PREVIOUS, previous)]).await
    }

    /// Issues a leaf of the issuing authority.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub async fn issue_leaf(&self, read: &Read) -> Result<Written, ApplyError> {
        let Settings { validity, tls_secret, .. } = self.settings;
        let now = read.picture.now;
        let issuing = read.picture.authorities.issuing.as_ref().ok_or(ApplyError::NoAuthority)?;
        let key = std::str::from_utf8(data(read.authorities.as_ref(), CA_KEY)).map_err(|_| ApplyError::NoAuthority)?;
        let ends = validity.leaf_ends(now, issuing);
        let made = issue::issue(&issuing.der, key, &self.settings.server_name(), now, ends)?;
        let data = [(CHAIN_KEY, made.chain_pem.into_bytes()), (PRIVATE_KEY, made.key_pem.into_bytes())];
        self.write(tls_secret, read.leaf.as_ref(), "kubernetes.io/tls", data).await
    }

    async fn configurations(&self) -> Result<Vec<Configuration>, ApplyError> {
        let Settings { configuration: name, mutating_webhook, validating_webhook, .. } = self.settings;
        let mut found = Vec::new();
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        if let Some(object) = mutating.get_opt(name).await.map_err(|error| failed("get", name, error))? {
            let ours =
                object.webhooks.unwrap_or_default().into_iter().find(|webhook| webhook.name == *mutating_webhook);
            found.extend(ours.map(|ours| configuration(Kind::Mutating, &object.metadata, &ours.client_config)));
        }
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        if let Some(object) = validating.get_opt(name).await.map_err(|error| failed("get", name, error))? {
            let ours =
                object.webhooks.unwrap_or_default().into_iter().find(|webhook| webhook.name == *validating_webhook);
            found.extend(ours.map(|ours| configuration(Kind::Validating, &object.metadata, &ours.client_config)));
        }
        Ok(found)
    }

    async fn secret(&self, name: &str) -> Result<Option<Secret>, ApplyError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.settings.namespace);
        api.get_opt(name).await.map_err(|source| failed("get", &format!("Secret {name}"), source))
    }

    /// Puts `data` into a Secret as it was read, or makes it.
    async fn write(
        &self,
        name: &str,
        read: Option<&Secret>,
        type_: &str,
        data: impl IntoIterator<Item = (&'static str, Vec<u8>)>,
    ) -> Result<Written, ApplyError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.settings.namespace);
        let params = PostParams { field_manager: Some(manager()), ..Default::default() };
        let data = data.into_iter().map(|(key, bytes)| (key.to_owned(), ByteString(bytes)));
        let done = if let Some(read) = read {
            let mut secret = read.clone();
            secret.data.get_or_insert_default().extend(data);
            api.replace(name, &params, &secret).await
        } else {
            let secret = Secret {
                metadata: ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
                type_: Some(type_.to_owned()),
                data: Some(data.collect::<BTreeMap<_, _>>()),
                ..Default::default()
            };
            api.create(&params, &secret).await
        };
        outcome(done.map(drop), "write", "Secret", name)
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        }
    }
}

fn manager() -> String {
    FIELD_MANAGER.to_owned()
}

fn configuration(kind: Kind, metadata: &ObjectMeta, client: &WebhookClientConfig) -> Configuration {
    let bundle = client.ca_bundle.as_ref().and_then(|bundle| issue::authorities(&bundle.0));
    Configuration {
        kind,
        version: metadata.resource_version.clone().unwrap_or_default(),
        bundle: bundle.map(|bundle| bundle.into_iter().map(|authority| authority.der).collect()),
    }
}

/// What the Secret says. An issuing authority whose key does not work is a previous one: it may still be served.
fn authorities_of(secret: Option<&Secret>, now: SystemTime) -> Authorities {
    let (certificate, key) = (data(secret, CA_CERTIFICATE), data(secret, CA_KEY));
    let mut previous = issue::authorities(data(secret, CA_PREVIOUS)).unwrap_or_default();
    let mut issuing = issue::authorities(certificate).and_then(|found| found.into_iter().next());
    if let Some(broken) =
        issuing.take_if(|issuing| now < issuing.not_after && !issue::can_issue(issuing, certificate, key, now))
    {
        previous.push(broken);
    }
    Authorities { issuing, previous }
}

fn data<'a>(secret: Option<&'a Secret>, key: &str) -> &'a [u8] {
    secret.and_then(|secret| secret.data.as_ref()?.get(key)).map_or(&[], |bytes| &bytes.0)
}

/// The API server's own sentence, where there is one: the client's text is a page.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("{} (the chart makes both Secrets and the account's Role)", status.message)
        }
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}

fn failed(verb: &'static str, what: &str, source: kube::Error) -> ApplyError {
    ApplyError::Api { verb, what: what.to_owned(), source: Box::new(source) }
}

/// Tells a lost race, which is nothing to complain of, from a failure.
fn outcome(done: Result<(), kube::Error>, verb: &'static str, kind: &str, name: &str) -> Result<Written, ApplyError> {
    match done {
        Ok(()) => Ok(Written::Yes),
        // 409 is both another version and a name that was taken meanwhile; 404, that it was deleted meanwhile.
        Err(kube::Error::Api(status)) if status.code == 409 || (status.code == 404 && verb == "patch") => {
            Ok(Written::Conflict)
        }
        Err(source) => Err(failed(verb, &format!("{kind} {name}"), source)),
    }
}
