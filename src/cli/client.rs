//! The API server's part in `scalegate try`: one long-lived connection, HTTP/1.1, reviews by POST.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::admission::Phase;
use crate::admission::oracle::{self, Accepted};
use crate::policy::objects::TypeMeta;

/// The name that the throw-away certificate is for.
pub(super) const SERVER_NAME: &str = "localhost";

/// A connection to the webhook.
pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    sent: u64,
}

/// What to ask about.
pub(super) struct Question<'a> {
    pub(super) of: &'a TypeMeta,
    pub(super) namespace: Option<&'a str>,
    pub(super) object: &'a Value,
}

// === impl Client ===

impl Client {
    /// Connects, trusting that one authority.
    pub(super) async fn connect(address: SocketAddr, ca: &[u8]) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(ca.to_vec())).context("cannot use the throw-away authority")?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // As the API server does: HTTP/2 would not balance over replicas.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect(address).await?;
        let stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(SERVER_NAME)?, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, sent: 0 })
    }

    /// Sends one review of a CREATE and reads the answer as the API server reads it.
    ///
    /// # Errors
    /// When the connection fails, or the API server would not take the answer.
    pub(super) async fn review(&mut self, phase: Phase, question: &Question<'_>) -> anyhow::Result<Accepted> {
        self.sent += 1;
        let uid = format!("00000000-0000-4000-8000-{:012x}", self.sent);
        let body = serde_json::to_vec(&envelope(&uid, question))?;
        let path = match phase {
            Phase::Mutating => "/mutate?timeout=10s",
            Phase::Validating => "/validate?timeout=10s",
        };
        let request = http::Request::post(path)
            .header(http::header::HOST, SERVER_NAME)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(Bytes::from(body)))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await.context("the webhook did not answer")?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(oracle::judge(phase, &uid, question.object, status, &body)?)
    }
}

fn envelope(uid: &str, question: &Question<'_>) -> Value {
    let Question { of, namespace, object } = question;
    let kind = json!({ "group": of.group(), "version": of.version(), "kind": of.kind });
    let resource = json!({ "group": of.group(), "version": of.version(), "resource": plural(&of.kind) });
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": object["metadata"]["name"].as_str().unwrap_or_default(),
            "namespace": namespace.unwrap_or_default(),
            "operation": "CREATE",
            "userInfo": { "username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"] },
            "object": object,
            "oldObject": null,
            "dryRun": false,
            "options": { "apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions", "fieldManager": "kubectl-create" },
        },
    })
}

/// The resource of the kinds that are sent: all of them take a plain `s`.
fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}
