//! The server over real loopback connections. Deadlines under test are short and those that must not fire are long, so
//! that a slow machine changes how long a test takes and not what it says.

mod certificate;
mod connections;
mod ending;
#[cfg(unix)]
mod files;
mod hostile;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ConnectionCounters, DevCa, LiveCertificate, Pair, ServeError, ServeSettings, serve, server_config};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Nothing in a test takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(30);

/// Fails instead of hanging.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(HANGS, future).await.expect("nothing in this test may take so long")
}

/// Waits until `condition` holds.
pub async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A server that runs, and what is needed to talk to it and to end it.
pub struct Server {
    pub address: SocketAddr,
    pub ca: DevCa,
    pub live: Arc<LiveCertificate>,
    pub counters: Arc<ConnectionCounters>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
}

/// Settings for tests: nothing fires by itself and the end is at once.
pub fn patient() -> ServeSettings {
    ServeSettings { quiet_period: Duration::ZERO, drain_timeout: HANGS, ..ServeSettings::default() }
}

pub fn pair(ca: &DevCa, names: &[&str]) -> Pair {
    let issued = ca.issue(names).expect("good names");
    Pair::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).expect("a pair")
}

impl Server {
    pub async fn start(router: Router, settings: ServeSettings) -> Self {
        Self::start_with(router, settings, |_| None).await
    }

    /// `client_ca` may ask for client certificates of an authority, given the server's own.
    pub async fn start_with(
        router: Router,
        settings: ServeSettings,
        client_ca: impl Fn(&DevCa) -> Option<String>,
    ) -> Self {
        let ca = DevCa::generate("scalegate test", YEAR).expect("a CA");
        let live = LiveCertificate::new(pair(&ca, &["localhost", "127.0.0.1"]));
        let client_ca = client_ca(&ca);
        let tls = server_config(Arc::clone(&live), client_ca.as_ref().map(String::as_bytes)).expect("settings");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel();
        let counters = Arc::clone(&settings.counters);
        let task = tokio::spawn(serve(listener, tls, router, settings, stopped));
        Self { address, ca, live, counters, stop: Some(stop), task }
    }

    /// Begins the end.
    pub fn stop(&mut self) {
        self.stop.take().expect("only once").send(()).expect("the server runs");
    }

    /// Waits for the end.
    pub async fn ended(self) {
        soon(self.task).await.expect("no panic").expect("served");
    }

    pub async fn tcp(&self) -> TcpStream {
        soon(TcpStream::connect(self.address)).await.expect("a connection")
    }

    /// A client as the API server is one: HTTP/1.1, checks the name against the certificate.
    pub async fn client(&self) -> Client<TlsStream<TcpStream>> {
        self.handshake(client_config(&self.ca, rustls::ALL_VERSIONS, &[b"http/1.1"], None)).await.expect("a handshake")
    }

    pub async fn handshake(&self, config: ClientConfig) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = soon(TlsConnector::from(Arc::new(config)).connect(name, self.tcp().await)).await?;
        Ok(Client { stream, unread: Vec::new() })
    }

    pub fn count(&self, of: impl Fn(&ConnectionCounters) -> &AtomicU64) -> u64 {
        of(&self.counters).load(Ordering::Relaxed)
    }
}

pub fn client_config(
    ca: &DevCa,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
    identity: Option<(&str, &str)>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca.certificate_der().to_vec())).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().expect("a chain");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("an identity")
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// An HTTP client that writes what it is told and reads answers one by one.
pub struct Client<S> {
    pub stream: S,
    unread: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn closes(&self) -> bool {
        self.head.to_ascii_lowercase().contains("\r\nconnection: close")
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(async {
            self.stream.write_all(bytes.as_ref()).await.expect("the server reads");
            self.stream.flush().await.expect("the server reads");
        })
        .await;
    }

    pub async fn post(&mut self, path: &str, body: &[u8]) -> Answer {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        self.send([head.as_bytes(), body].concat()).await;
        self.answer().await.expect("an answer")
    }

    /// The next answer; nothing when the connection ended first.
    pub async fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.unread.drain(..end + 4).collect()).expect("heads are ASCII");
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned))
            .map_or(0, |text| text.trim().parse().expect("a length"));
        while self.unread.len() < length {
            self.more().await?;
        }
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Some(Answer { status, head, body: self.unread.drain(..length).collect() })
    }

    async fn more(&mut self) -> Option<()> {
        let mut buffer = vec![0; 16_384];
        match soon(self.stream.read(&mut buffer)).await {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                Some(())
            }
        }
    }

    /// Waits for the end of the connection; true when nothing more came before it.
    pub async fn ends_without_answer(&mut self) -> bool {
        while self.more().await.is_some() {}
        self.unread.is_empty()
    }
}
