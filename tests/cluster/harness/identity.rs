//! Who talks to the API server: the cluster's authority, client certificates, tokens, and kubeconfigs of them.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::{Client, Config};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use super::runtime;

/// The authority of one control plane: for its serving certificate, for its clients and for the front proxy.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct KeyedCertificate {
    pub certificate: String,
    pub key: String,
}

/// What a client shows.
#[derive(Clone)]
pub enum Identity {
    Certificate(KeyedCertificate),
    Token(String),
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "scalegate test cluster");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for a server of these names and addresses.
    pub fn server(&self, names: &[&str]) -> KeyedCertificate {
        let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        self.sign(params, "server", &[], ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a user of these groups.
    pub fn client(&self, user: &str, groups: &[&str]) -> KeyedCertificate {
        let params = CertificateParams::new(Vec::new()).unwrap();
        self.sign(params, user, groups, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        name: &str,
        groups: &[&str],
        usage: ExtendedKeyUsagePurpose,
    ) -> KeyedCertificate {
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.not_before = (SystemTime::now() - Duration::from_secs(3_600)).into();
        params.not_after = (SystemTime::now() + Duration::from_secs(86_400)).into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        KeyedCertificate { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// A client of the API server at `port`.
pub fn client(port: u16, authority: &Authority, identity: &Identity) -> Client {
    let mut config = Config::new(format!("https://127.0.0.1:{port}").parse().unwrap());
    config.root_cert = Some(vec![authority.issuer.der().to_vec()]);
    match identity {
        Identity::Certificate(KeyedCertificate { certificate, key }) => {
            config.auth_info.client_certificate_data = Some(STANDARD.encode(certificate));
            config.auth_info.client_key_data = Some(STANDARD.encode(key).into());
        }
        Identity::Token(token) => config.auth_info.token = Some(token.clone().into()),
    }
    // Its worker lives on the runtime that is entered here.
    let _entered = runtime().enter();
    Client::try_from(config).unwrap()
}

/// A kubeconfig as text; JSON is YAML too.
pub fn kubeconfig(port: u16, authority: &Authority, identity: &Identity) -> String {
    let user = match identity {
        Identity::Certificate(KeyedCertificate { certificate, key }) => json!({
            "client-certificate-data": STANDARD.encode(certificate),
            "client-key-data": STANDARD.encode(key),
        }),
        Identity::Token(token) => json!({"token": token}),
    };
    let cluster = json!({
        "server": format!("https://127.0.0.1:{port}"),
        "certificate-authority-data": STANDARD.encode(authority.pem()),
    });
    let context = json!({"cluster": "test", "user": "test", "namespace": "default"});
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": context}],
    })
    .to_string()
}
