//! One handshake as the API server makes it: to find out, before anybody calls, whether calls would come through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::certificate::ALPN;

/// What the API server itself waits for a handshake (Go's default transport).
const DEADLINE: Duration = Duration::from_secs(10);

/// Why the API server could not call.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The bundle holds no authority.
    #[error("the caBundle is not PEM with a certificate authority in it")]
    Bundle,
    /// The name cannot be in a certificate.
    #[error("{0:?} is no DNS name")]
    Name(String),
    /// Nobody listens, or the certificate is not trusted or names another server.
    #[error("{0}")]
    Handshake(std::io::Error),
    /// Nothing came back.
    #[error("no handshake within {} s", DEADLINE.as_secs())]
    Late,
}

/// Connects to `address`, asks for `server_name`, trusts the authorities of `ca_bundle` (PEM) alone, and hangs up.
///
/// Speaks TLS 1.3, in which the server's certificate is judged before a client has to show one: so this also says the
/// truth about a port that asks for client certificates.
///
/// # Errors
/// When the API server with the same bundle would fail.
pub async fn dial(address: SocketAddr, server_name: &str, ca_bundle: &[u8]) -> Result<(), DialError> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(ca_bundle) {
        // One that does not read is passed over, as the API server does it.
        let _ = authority.map(|authority| roots.add(authority));
    }
    if roots.is_empty() {
        return Err(DialError::Bundle);
    }
    let name = ServerName::try_from(server_name.to_owned()).map_err(|_| DialError::Name(server_name.to_owned()))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| DialError::Handshake(std::io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    timeout(DEADLINE, connecting).await.map_err(|_| DialError::Late)?.map_err(DialError::Handshake).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::tests::{Server, patient};
    use crate::tls::{DevCa, ServeSettings};

    const YEAR: Duration = Duration::from_secs(365 * 86_400);

    #[tokio::test]
    async fn it_tells_a_bundle_that_holds_from_one_that_does_not() {
        let server = Server::start(axum::Router::new(), patient()).await;
        let ours = server.ca.certificate_pem();
        let other = DevCa::generate("other", YEAR).unwrap().certificate_pem();
        assert!(dial(server.address, "localhost", ours.as_bytes()).await.is_ok());
        assert!(dial(server.address, "localhost", format!("{other}{ours}").as_bytes()).await.is_ok(), "an overlap");
        for (name, bundle) in [("localhost", other.as_str()), ("scalegate.other.svc", &ours)] {
            let error = dial(server.address, name, bundle.as_bytes()).await.unwrap_err();
            assert!(matches!(error, DialError::Handshake(_)), "{name}: {error}");
        }
        assert!(matches!(dial(server.address, "localhost", b"x").await, Err(DialError::Bundle)));
        assert!(matches!(dial(server.address, "a b", ours.as_bytes()).await, Err(DialError::Name(_))));
    }

    #[tokio::test]
    async fn a_port_that_asks_for_client_certificates_can_still_be_judged() {
        let settings = ServeSettings { quiet_period: Duration::ZERO, ..ServeSettings::default() };
        let server = Server::start_with(axum::Router::new(), settings, |ca| Some(ca.certificate_pem())).await;
        assert!(dial(server.address, "localhost", server.ca.certificate_pem().as_bytes()).await.is_ok());
    }
}
