//! Which chain an endpoint of the Service serves, seen as the API server sees it: by a handshake.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::issue::roots;
use super::plan::Endpoint;
use crate::tls::certificate::ALPN;

/// From the first packet to the finished handshake. The API server gives its own dial as long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes at once.
const AT_ONCE: usize = 16;

/// Where an endpoint listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Address and port.
    pub at: SocketAddr,
    /// Whether its pod is on its way out. Such a one counts while it answers, because it is still called then.
    pub leaving: bool,
}

/// The addresses of a Service, of the port called `port` or the only one there is. Ready or not: a pod that is not ready
/// now may be in a moment.
pub fn addresses(slices: &[EndpointSlice], port: &str) -> Vec<Address> {
    let mut found = Vec::new();
    for slice in slices {
        let ports = slice.ports.as_deref().unwrap_or_default();
        let named = ports.iter().find(|candidate| candidate.name.as_deref() == Some(port));
        let chosen = named.or(if let [only] = ports { Some(only) } else { None });
        let Some(number) = chosen.and_then(|chosen| u16::try_from(chosen.port?).ok()) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let leaving = endpoint.conditions.as_ref().and_then(|conditions| conditions.terminating) == Some(true);
            let parsed = endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
            found.extend(parsed.map(|ip| Address { at: SocketAddr::new(ip, number), leaving }));
        }
    }
    found
}

/// Dials every address. Each shows whether it serves a chain of `authority` for `name`; those that are on their way out
/// and do not answer are left out.
pub async fn dial(addresses: &[Address], authority: &[u8], name: &str) -> Vec<Endpoint> {
    let (Some(roots), Ok(name)) = (roots(authority), ServerName::try_from(name.to_owned())) else {
        return vec![Endpoint::NotYet; addresses.len().max(1)];
    };
    let Ok(builder) = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
    else {
        return vec![Endpoint::NotYet; addresses.len().max(1)];
    };
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would show the chain of an earlier handshake.
    config.resumption = rustls::client::Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(config));
    futures::stream::iter(addresses)
        .map(|address| {
            let (connector, name) = (connector.clone(), name.clone());
            async move {
                let stream = match timeout(PATIENCE, TcpStream::connect(address.at)).await {
                    Ok(Ok(stream)) => stream,
                    _ if address.leaving => return None,
                    _ => {
                        tracing::debug!(address = %address.at, "endpoint does not answer");
                        return Some(Endpoint::NotYet);
                    }
                };
                match timeout(PATIENCE, connector.connect(name, stream)).await {
                    Ok(Ok(_)) => Some(Endpoint::New),
                    Ok(Err(error)) => {
                        tracing::debug!(address = %address.at, %error, "endpoint does not serve the new chain");
                        Some(Endpoint::NotYet)
                    }
                    Err(_) => Some(Endpoint::NotYet),
                }
            }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_the_endpoints_those_of_the_named_port_count_ready_or_not() {
        let slice = |ports: serde_json::Value| -> EndpointSlice {
            serde_json::from_value(json!({
                "addressType": "IPv4", "metadata": {}, "ports": ports,
                "endpoints": [
                    { "addresses": ["10.0.0.1"], "conditions": { "ready": true } },
                    { "addresses": ["10.0.0.2"], "conditions": { "ready": false } },
                    { "addresses": ["10.0.0.3"], "conditions": { "ready": false, "terminating": true } },
                    { "addresses": ["no address"], "conditions": {} },
                ],
            }))
            .unwrap()
        };
        let two = json!([{ "name": "metrics", "port": 8080 }, { "name": "webhook", "port": 9443 }]);
        let found = addresses(&[slice(two)], "webhook");
        let shown: Vec<String> = found.iter().map(|address| format!("{} {}", address.at, address.leaving)).collect();
        assert_eq!(shown, ["10.0.0.1:9443 false", "10.0.0.2:9443 false", "10.0.0.3:9443 true"]);
        assert_eq!(addresses(&[slice(json!([{ "port": 443 }]))], "webhook").len(), 3);
        let other = json!([{ "name": "a", "port": 1 }, { "name": "b", "port": 2 }]);
        assert_eq!(addresses(&[slice(other)], "webhook"), []);
    }

    #[tokio::test]
    async fn an_endpoint_that_is_gone_counts_unless_it_was_leaving() {
        let now = std::time::SystemTime::now();
        let made = super::super::issue::make_authority(now, Duration::from_secs(60)).unwrap();
        let der = super::super::issue::authorities(made.chain_pem.as_bytes()).unwrap().remove(0).der;
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let seen = |leaving| {
            let der = der.clone();
            async move { dial(&[Address { at: free, leaving }], &der, "a.b.svc").await }
        };
        assert_eq!(seen(false).await, [Endpoint::NotYet]);
        assert_eq!(seen(true).await, []);
    }
}
