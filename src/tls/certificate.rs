//! The server's certificate: PEM in, checked as a pair, and replaceable while connections are served.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::der;

/// The one protocol that is offered: the API server's webhook client speaks HTTP/1.1 alone, and HTTP/2 servers have had
/// floods of their own (CVE-2023-44487).
pub const ALPN: &[u8] = b"http/1.1";

/// Why a certificate and key cannot be served. No text holds any part of a key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The chain's PEM does not read.
    #[error("the certificate chain is not PEM with certificates in it")]
    Chain,
    /// The key's PEM does not read.
    #[error("the private key is not PEM with a PKCS#8, PKCS#1 (RSA) or SEC1 (EC) key in it")]
    Key,
    /// A key of a kind that cannot sign here.
    #[error("the private key cannot be used")]
    UnusableKey(#[source] rustls::Error),
    /// The key is not the first certificate's.
    #[error("the private key does not belong to the first certificate of the chain")]
    Mismatch,
    /// The first certificate does not read as X.509.
    #[error("the first certificate of the chain is not X.509 version 3")]
    NotX509,
    /// The first certificate does not hold now.
    #[error("the first certificate of the chain is not valid now: it expired, or is not valid yet")]
    NotNow,
    /// The client authority's PEM does not read or holds nothing usable.
    #[error("the client CA is not PEM with a certificate authority in it")]
    ClientCa,
    /// TLS 1.2 and 1.3 are not both there.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// A certificate chain and the key that belongs to it.
#[derive(Clone)]
pub struct Pair {
    key: Arc<CertifiedKey>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("certificates", &self.key.cert.len())
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Pair {
    /// Reads a chain (leaf first) and its key, both PEM, and makes sure that they belong together. An expired pair is
    /// read all the same: to serve it or not is the caller's choice, with [`Pair::not_after`] at hand.
    ///
    /// # Errors
    /// Says which of the two cannot be used and why.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(|_| CertificateError::Chain)?;
        let leaf = chain.first().ok_or(CertificateError::Chain)?;
        let (not_before, not_after) = der::validity(leaf).ok_or(CertificateError::NotX509)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::Key)?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::Mismatch,
            rustls::Error::InvalidCertificate(_) => CertificateError::NotX509,
            other => CertificateError::UnusableKey(other),
        })?;
        Ok(Self { key: Arc::new(key), not_before, not_after })
    }

    /// From when the first certificate holds.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Until when the first certificate holds.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Refuses a pair that does not hold at `now`.
    ///
    /// # Errors
    /// When it expired or is not valid yet.
    pub fn valid_at(self, now: SystemTime) -> Result<Self, CertificateError> {
        if self.not_before <= now && now < self.not_after { Ok(self) } else { Err(CertificateError::NotNow) }
    }

    /// The first certificate, DER. Tells whether two pairs are the same.
    pub fn leaf(&self) -> &[u8] {
        self.key.cert.first().map_or(&[], |leaf| leaf)
    }
}

/// The pair that new handshakes get. Shared with the server's TLS settings, so replacing it needs no restart;
/// connections that stand keep the pair they began with. While there is none yet, handshakes are refused.
#[derive(Debug)]
pub struct LiveCertificate(ArcSwapOption<Pair>);

impl LiveCertificate {
    /// Begins with `pair`.
    pub fn new(pair: Pair) -> Arc<Self> {
        Arc::new(Self(ArcSwapOption::from_pointee(pair)))
    }

    /// Begins with none: handshakes are refused until the first [`LiveCertificate::replace`].
    pub fn none_yet() -> Arc<Self> {
        Arc::new(Self(ArcSwapOption::empty()))
    }

    /// Every handshake that begins from now on gets `pair`.
    pub fn replace(&self, pair: Pair) {
        self.0.store(Some(Arc::new(pair)));
    }

    /// The pair that a handshake would get now.
    pub fn current(&self) -> Option<Arc<Pair>> {
        self.0.load_full()
    }

    /// Whether handshakes succeed: a pair is there. Readiness asks for it.
    pub fn is_there(&self) -> bool {
        self.0.load().is_some()
    }

    /// Until when the present pair holds; the epoch while there is none, which is as far from valid as a metric can say.
    pub fn not_after(&self) -> SystemTime {
        self.0.load().as_ref().map_or(SystemTime::UNIX_EPOCH, |pair| pair.not_after)
    }
}

impl ResolvesServerCert for LiveCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref().map(|pair| Arc::clone(&pair.key))
    }
}

/// The TLS settings that new connections get. A client authority is part of the settings, so where that may change,
/// the settings are replaced as a whole.
#[derive(Clone, Debug)]
pub struct LiveConfig(Arc<ArcSwap<ServerConfig>>);

impl LiveConfig {
    /// Begins with `config`.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(ArcSwap::new(config)))
    }

    /// Every connection that is accepted from now on gets `config`. It forgets sessions of the old settings: a client
    /// that the new authority does not know cannot resume one.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }

    /// The settings that a new connection would get.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

impl From<Arc<ServerConfig>> for LiveConfig {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self::new(config)
    }
}

/// How often certificates were replaced and refused. Both only rise.
#[derive(Debug, Default)]
pub struct CertificateCounters {
    /// A new pair or client authority was taken.
    pub replaced: AtomicU64,
    /// What came could not be used, and the old one was kept.
    pub refused: AtomicU64,
}

impl CertificateCounters {
    pub(super) fn replaced(&self) {
        self.replaced.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// TLS settings over `certificate`: TLS 1.2 and 1.3, ALPN `http/1.1` alone. With `client_ca` (PEM, one or more
/// authorities) only clients with a certificate of it are served.
///
/// # Errors
/// When the client authority does not read, or the TLS library lacks what is asked.
pub fn server_config(
    certificate: Arc<LiveCertificate>,
    client_ca: Option<&[u8]>,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(CertificateError::Setup)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in CertificateDer::pem_slice_iter(pem) {
                let authority = authority.map_err(|_| CertificateError::ClientCa)?;
                roots.add(authority).map_err(|_| CertificateError::ClientCa)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|_| CertificateError::ClientCa)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(certificate);
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}
