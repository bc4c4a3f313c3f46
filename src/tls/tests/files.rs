//! Files that change while the server runs, laid out as the kubelet mounts a Secret.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use rustls_pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::{Client, DevCa, YEAR, client_config, patient, soon, until};
use crate::tls::files::FilesError;
use crate::tls::{CertificateCounters, CertificateFiles, Issued, LiveCertificate, serve};

/// A folder as the kubelet makes it: each file a link into `..data`, which is a link to the folder of one version.
struct Mount {
    folder: tempfile::TempDir,
    versions: u32,
}

impl Mount {
    fn new(content: &[(&str, &str)]) -> Self {
        let mut mount = Self { folder: tempfile::tempdir().expect("a folder"), versions: 0 };
        mount.swap(content);
        for (name, _) in content {
            symlink(Path::new("..data").join(name), mount.path(name)).expect("a link");
        }
        mount
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new version takes the place of the old one in one rename, and the old one is deleted.
    fn swap(&mut self, content: &[(&str, &str)]) {
        let old = fs::read_link(self.path("..data")).ok();
        self.versions += 1;
        let version = format!("..version_{}", self.versions);
        fs::create_dir(self.path(&version)).expect("a folder");
        for (name, text) in content {
            fs::write(self.path(&version).join(name), text).expect("a file");
        }
        symlink(&version, self.path("..data_tmp")).expect("a link");
        fs::rename(self.path("..data_tmp"), self.path("..data")).expect("a swap");
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.path().join(old)).expect("the old folder");
        }
    }

    fn files(&self, client_ca: bool) -> CertificateFiles {
        CertificateFiles {
            chain: self.path("tls.crt"),
            key: self.path("tls.key"),
            client_ca: client_ca.then(|| self.path("ca.crt")),
        }
    }
}

fn authority() -> DevCa {
    DevCa::generate("files", YEAR).expect("a CA")
}

fn issue(ca: &DevCa) -> Issued {
    ca.issue(&["localhost"]).expect("a certificate")
}

fn content<'a>(issued: &'a Issued, client_ca: &'a str) -> [(&'static str, &'a str); 3] {
    [("tls.crt", &issued.chain_pem), ("tls.key", &issued.key_pem), ("ca.crt", client_ca)]
}

/// A server on a mount that is looked at every few milliseconds.
struct Followed {
    address: std::net::SocketAddr,
    live: Arc<LiveCertificate>,
    counters: Arc<CertificateCounters>,
    tasks: [JoinHandle<()>; 2],
}

impl Followed {
    async fn start(files: CertificateFiles) -> Self {
        let loaded = files.load().expect("good files");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (live, tls) = (Arc::clone(&loaded.live), loaded.tls.clone());
        let counters = Arc::<CertificateCounters>::default();
        let router = Router::new().fallback(|| async { "here" });
        let serving = tokio::spawn(async move {
            serve(listener, tls, router, patient(), std::future::pending::<()>()).await.expect("served");
        });
        let following = tokio::spawn(files.follow(loaded, Duration::from_millis(3), Arc::clone(&counters)));
        Self { address, live, counters, tasks: [serving, following] }
    }

    /// Whether a client that trusts `ca` gets an answer over a new connection.
    async fn answers(&self, ca: &DevCa, identity: Option<&Issued>) -> bool {
        let identity = identity.map(|issued| (issued.chain_pem.as_str(), issued.key_pem.as_str()));
        let config = client_config(ca, rustls::ALL_VERSIONS, &[b"http/1.1"], identity);
        let stream = soon(TcpStream::connect(self.address)).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        let Ok(stream) = soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await else { return false };
        let mut client = Client { stream, unread: Vec::new() };
        // Under TLS 1.3 a client hears of a refused certificate only after its own handshake is done.
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut client.stream, request).await.is_ok()
            && client.answer().await.is_some_and(|answer| answer.status == 200)
    }

    async fn until_more(&self, of: impl Fn(&CertificateCounters) -> &AtomicU64, than: u64) {
        until(|| of(&self.counters).load(Ordering::Relaxed) > than).await;
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[tokio::test]
async fn each_of_three_swaps_of_a_mount_reaches_new_connections() {
    let mut ca = authority();
    let mut mount = Mount::new(&content(&issue(&ca), ""));
    let followed = Followed::start(mount.files(false)).await;
    assert!(followed.answers(&ca, None).await);
    for swaps in 0..3 {
        let next = authority();
        mount.swap(&content(&issue(&next), ""));
        followed.until_more(|counters| &counters.replaced, swaps).await;
        assert!(followed.answers(&next, None).await);
        assert!(!followed.answers(&ca, None).await);
        ca = next;
    }
    assert_eq!(followed.counters.refused.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn half_written_mixed_and_missing_files_leave_the_old_pair() {
    let ca = authority();
    let (first, next) = (issue(&ca), issue(&ca));
    let folder = tempfile::tempdir().expect("a folder");
    let (chain, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    fs::write(&chain, &first.chain_pem).expect("a file");
    fs::write(&key, &first.key_pem).expect("a file");
    let followed = Followed::start(CertificateFiles { chain: chain.clone(), key: key.clone(), client_ca: None }).await;
    let leaf = followed.live.current().expect("a pair").leaf().to_vec();
    let ended = DevCa::generate("ended", Duration::from_secs(0)).expect("a CA").issue(&["localhost"]).expect("one");
    let broken: [(&str, &str); 4] = [
        (&next.chain_pem[..next.chain_pem.len() / 3], &first.key_pem),
        (&next.chain_pem, &first.key_pem),
        ("", ""),
        (&ended.chain_pem, &ended.key_pem),
    ];
    for (chain_text, key_text) in broken {
        let refused = followed.counters.refused.load(Ordering::Relaxed);
        fs::write(&chain, chain_text).expect("a file");
        fs::write(&key, key_text).expect("a file");
        // Two more, because the first may have seen the state between the two writes.
        followed.until_more(|counters| &counters.refused, refused + 1).await;
        assert_eq!(followed.live.current().expect("a pair").leaf(), leaf);
        assert!(followed.answers(&ca, None).await);
    }
    fs::remove_file(&key).expect("removed");
    let refused = followed.counters.refused.load(Ordering::Relaxed);
    followed.until_more(|counters| &counters.refused, refused + 1).await;
    assert!(followed.answers(&ca, None).await);
    fs::write(&chain, &next.chain_pem).expect("a file");
    fs::write(&key, &next.key_pem).expect("a file");
    followed.until_more(|counters| &counters.replaced, 0).await;
    assert_ne!(followed.live.current().expect("a pair").leaf(), leaf);
}

#[tokio::test]
async fn a_new_client_authority_lets_its_clients_in_and_locks_the_old_ones_out() {
    let (server, old, new) = (authority(), authority(), authority());
    let issued = issue(&server);
    let (old_client, new_client) = (issue(&old), issue(&new));
    let (old_pem, new_pem) = (old.certificate_pem(), new.certificate_pem());
    let mut mount = Mount::new(&content(&issued, &old_pem));
    let followed = Followed::start(mount.files(true)).await;
    assert!(followed.answers(&server, Some(&old_client)).await);
    assert!(!followed.answers(&server, Some(&new_client)).await && !followed.answers(&server, None).await);
    mount.swap(&content(&issued, &new_pem));
    followed.until_more(|counters| &counters.replaced, 0).await;
    assert!(followed.answers(&server, Some(&new_client)).await);
    assert!(!followed.answers(&server, Some(&old_client)).await && !followed.answers(&server, None).await);
    // What is no authority leaves the present one: it never means that everybody may come.
    mount.swap(&content(&issued, ""));
    followed.until_more(|counters| &counters.refused, 0).await;
    assert!(!followed.answers(&server, None).await && followed.answers(&server, Some(&new_client)).await);
}

#[tokio::test]
async fn without_a_certificate_handshakes_are_refused_until_one_is_there() {
    let ca = authority();
    let live = LiveCertificate::none_yet();
    let tls = crate::tls::server_config(Arc::clone(&live), None).expect("settings");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let serving = tokio::spawn(async move {
        let router = Router::new().fallback(|| async { "here" });
        serve(listener, tls, router, patient(), std::future::pending::<()>()).await.expect("served");
    });
    let idle = tokio::spawn(std::future::ready(()));
    let followed = Followed { address, live: Arc::clone(&live), counters: Arc::default(), tasks: [serving, idle] };
    assert!(!followed.answers(&ca, None).await && !live.is_there());
    live.replace(super::pair(&ca, &["localhost"]));
    assert!(followed.answers(&ca, None).await && live.is_there());
}

#[test]
fn an_error_names_the_file_and_nothing_of_its_content() {
    let ca = authority();
    let (one, two) = (issue(&ca), issue(&ca));
    let mount = Mount::new(&[("tls.crt", &one.chain_pem), ("tls.key", &two.key_pem)]);
    let error = mount.files(false).load().expect_err("not a pair");
    assert!(matches!(error, FilesError::Pair { .. }));
    let text = error.to_string();
    assert!(text.contains("tls.crt") && text.contains("tls.key") && !text.contains("MI"), "{text}");
    let error = mount.files(true).load().expect_err("no client CA").to_string();
    assert!(error.contains("ca.crt"), "{error}");
}
