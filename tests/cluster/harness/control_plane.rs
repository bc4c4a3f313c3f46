//! etcd and kube-apiserver on loopback, with what tests ask of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};

use super::assets::{self, Binary};
use super::identity::{self, Authority, Identity};
use super::metrics::Metrics;
use super::process::{self, Process, Ran};
use super::{block_on, free_port, http};

/// A start takes some 5 s on two idle cores.
const START: Duration = Duration::from_secs(120);

/// After this a stop counts as hanging.
const STOP: Duration = Duration::from_secs(60);

/// Nobody listens there (RFC 5737); without an address the API server looks for a default route.
const ADVERTISED: &str = "192.0.2.1";

/// What differs between control planes.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More flags of kube-apiserver, such as `--feature-gates=X=true`.
    pub apiserver_flags: Vec<String>,
    /// An audit policy, YAML; [`ControlPlane::audit_log`] then has its events.
    pub audit_policy: Option<String>,
}

/// A control plane. What it started ends when it is dropped, and when the test process ends in any way.
pub struct ControlPlane {
    folder: PathBuf,
    options: Options,
    authority: Authority,
    admin: Identity,
    port: u16,
    etcd_ports: [u16; 2],
    // Before etcd: fields are dropped in this order.
    workers: Mutex<Vec<Process>>,
    apiserver: Mutex<Option<Process>>,
    etcd: Mutex<Option<Process>>,
}

impl ControlPlane {
    /// The control plane that the tests of this binary share: etcd and the API server, no controllers. A test that
    /// registers webhooks there confines them to a namespace of its own; one that needs nodes or controllers, or
    /// restarts things, starts its own by [`ControlPlane::start`]. Nothing when there are no binaries; the reason is
    /// printed.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<ControlPlane>> = OnceLock::new();
        if !assets::have(&[Binary::Etcd, Binary::ApiServer, Binary::Kubectl]) {
            return None;
        }
        SHARED.get_or_init(|| Self::start(Options::default())).as_ref()
    }

    /// A control plane of its own. Nothing when there are no binaries; the reason is printed.
    pub fn start(options: Options) -> Option<Self> {
        if !assets::have(&[Binary::Etcd, Binary::ApiServer, Binary::Kubectl]) {
            return None;
        }
        let authority = Authority::new();
        let admin = Identity::Certificate(authority.client("harness", &["system:masters"]));
        let control_plane = Self {
            folder: process::folder("control-plane"),
            options,
            authority,
            admin,
            port: free_port(),
            etcd_ports: [free_port(), free_port()],
            workers: Mutex::default(),
            apiserver: Mutex::default(),
            etcd: Mutex::default(),
        };
        control_plane.write_files();
        control_plane.start_etcd();
        control_plane.start_apiserver();
        Some(control_plane)
    }

    // --- the parts ---

    /// Starts etcd over the data it had, and waits until it serves.
    pub fn start_etcd(&self) {
        let mut slot = lock(&self.etcd);
        assert!(slot.is_none(), "etcd runs already");
        let [client, peer] = self.etcd_ports.map(|port| format!("http://127.0.0.1:{port}"));
        let mut command = command(Binary::Etcd);
        command.arg("--data-dir").arg(self.path("etcd"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        // The data need not outlive the machine, and flushing it is most of what etcd waits for.
        command.args(["--unsafe-no-fsync", "--log-level=warn"]);
        let mut etcd = Process::spawn("etcd", &self.path("etcd.log"), command);
        let address = ([127, 0, 0, 1], self.etcd_ports[0]).into();
        etcd.until("serves /health", START, || http::is_ok(address, "/health").then_some(()));
        *slot = Some(etcd);
    }

    /// Stops etcd; `TERM` or `KILL`. Its data stay.
    pub fn stop_etcd(&self, signal: &str) {
        stop(&self.etcd, signal);
    }

    /// Starts the API server at the port it had, and waits until it is ready.
    pub fn start_apiserver(&self) {
        let mut slot = lock(&self.apiserver);
        assert!(slot.is_none(), "the API server runs already");
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.path(name).display());
        let mut command = command(Binary::ApiServer);
        command.args([
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_ports[0]),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--advertise-address={ADVERTISED}"),
            // Nobody reaches the API server through the Service `kubernetes` here.
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            file("client-ca-file", "ca.crt"),
            file("tls-cert-file", "apiserver.crt"),
            file("tls-private-key-file", "apiserver.key"),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            file("service-account-signing-key-file", "service-account.key"),
            file("service-account-key-file", "service-account.pub"),
            // Aggregated APIs. Requests for them go to the Service itself, so that an ExternalName resolves.
            file("requestheader-client-ca-file", "ca.crt"),
            "--requestheader-allowed-names=front-proxy".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            file("proxy-client-cert-file", "front-proxy.crt"),
            file("proxy-client-key-file", "front-proxy.key"),
        ]);
        if self.options.audit_policy.is_some() {
            command.args([file("audit-policy-file", "audit-policy.yaml"), file("audit-log-path", "audit.log")]);
        }
        command.args(&self.options.apiserver_flags);
        let mut apiserver = Process::spawn("kube-apiserver", &self.path("apiserver.log"), command);
        let client = self.client();
        apiserver.until("serves /readyz", START, || block_on(text_of(&client, "/readyz")).ok());
        *slot = Some(apiserver);
    }

    /// Stops the API server; `TERM` or `KILL`.
    pub fn stop_apiserver(&self, signal: &str) {
        stop(&self.apiserver, signal);
    }

    /// What the API server printed.
    pub fn apiserver_log(&self) -> String {
        lock(&self.apiserver).as_ref().map(Process::log).unwrap_or_default()
    }

    /// Starts kube-controller-manager, which looks at HorizontalPodAutoscalers every 2 s.
    pub fn controller_manager(&self) {
        let mut command = command(Binary::ControllerManager);
        let kubeconfig = self.kubeconfig_of(&self.admin);
        for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            command.arg(format!("--{flag}={}", kubeconfig.display()));
        }
        command.args([
            "--horizontal-pod-autoscaler-sync-period=2s",
            "--leader-elect=false",
            "--use-service-account-credentials",
            "--bind-address=127.0.0.1",
        ]);
        command.arg(format!("--secure-port={}", free_port()));
        command.arg(format!("--root-ca-file={}", self.path("ca.crt").display()));
        command.arg(format!("--service-account-private-key-file={}", self.path("service-account.key").display()));
        self.add_worker("kube-controller-manager", command);
    }

    /// Starts kube-scheduler.
    pub fn scheduler(&self) {
        let mut command = command(Binary::Scheduler);
        let kubeconfig = self.kubeconfig_of(&self.admin);
        for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            command.arg(format!("--{flag}={}", kubeconfig.display()));
        }
        command.args(["--leader-elect=false", "--bind-address=127.0.0.1"]);
        command.arg(format!("--secure-port={}", free_port()));
        self.add_worker("kube-scheduler", command);
    }

    /// Runs something beside the API server until the control plane ends.
    pub fn add_worker(&self, name: &str, command: Command) {
        let worker = Process::spawn(name, &self.path(&format!("{name}.log")), command);
        lock(&self.workers).push(worker);
    }

    // --- who asks ---

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        identity::client(self.port, &self.authority, &self.admin)
    }

    /// A client of a user with these groups; RBAC gives it what the test granted.
    pub fn client_for(&self, user: &str, groups: &[&str]) -> Client {
        identity::client(self.port, &self.authority, &self.user(user, groups))
    }

    /// A client of a service account, by a token that the API server issued for an hour.
    pub fn service_account_client(&self, namespace: &str, name: &str) -> Client {
        identity::client(self.port, &self.authority, &self.service_account(namespace, name))
    }

    /// The identity of a user with these groups.
    pub fn user(&self, user: &str, groups: &[&str]) -> Identity {
        Identity::Certificate(self.authority.client(user, groups))
    }

    /// The identity of a service account that is there.
    pub fn service_account(&self, namespace: &str, name: &str) -> Identity {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3_600},
        });
        let request = ::http::Request::post(path).header("Content-Type", "application/json");
        let request = request.body(body.to_string().into_bytes()).expect("a path");
        let answer: Value = block_on(self.client().request(request)).expect("a token");
        Identity::Token(answer["status"]["token"].as_str().expect("a token").to_owned())
    }

    /// A new file with the kubeconfig of an identity.
    pub fn kubeconfig_of(&self, identity: &Identity) -> PathBuf {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let path = self.path(&format!("kubeconfig-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::write(&path, identity::kubeconfig(self.port, &self.authority, identity)).expect("a kubeconfig");
        path
    }

    /// The kubeconfig of the harness, which may do everything.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    // --- what is asked ---

    /// Runs kubectl as the harness.
    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        self.kubectl_stdin(arguments, "")
    }

    /// Runs kubectl as the harness with that text as its standard input (`-f -`).
    pub fn kubectl_stdin(&self, arguments: &[&str], text: &str) -> Ran {
        self.kubectl_as(&self.kubeconfig_path(), arguments, text)
    }

    /// Runs kubectl with another kubeconfig.
    pub fn kubectl_as(&self, kubeconfig: &Path, arguments: &[&str], text: &str) -> Ran {
        let mut command = command(Binary::Kubectl);
        command.arg("--kubeconfig").arg(kubeconfig).arg("--cache-dir").arg(self.path("kubectl-cache"));
        command.args(arguments).env("HOME", &self.folder).env_remove("KUBECONFIG");
        Ran::of(command, text)
    }

    /// Makes a namespace with a name that nobody else has, which begins with `topic`.
    pub fn namespace(&self, topic: &str) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{topic}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&["create", "namespace", &name]).ok();
        name
    }

    /// The body of a GET, such as of `/version`.
    ///
    /// # Errors
    /// When the API server does not answer, or with an error.
    pub fn get(&self, path: &str) -> kube::Result<String> {
        block_on(text_of(&self.client(), path))
    }

    /// The numbers that the API server keeps about itself.
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.get("/metrics").expect("the API server's metrics"))
    }

    /// The audit events so far, when the options have a policy.
    pub fn audit_log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("audit.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Where the API server serves.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The authority that signed the API server's certificate, PEM.
    pub fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// A folder for files of this control plane.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Certificates, keys and the harness' kubeconfig. The folder is readable to its owner alone.
    fn write_files(&self) {
        let write = |name: &str, text: &str| fs::write(self.path(name), text).expect("a file");
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"];
        let server = self.authority.server(&names);
        let front_proxy = self.authority.client("front-proxy", &[]);
        let service_accounts = rcgen::KeyPair::generate().expect("a key");
        write("ca.crt", &self.authority.pem());
        write("apiserver.crt", &server.certificate);
        write("apiserver.key", &server.key);
        write("front-proxy.crt", &front_proxy.certificate);
        write("front-proxy.key", &front_proxy.key);
        write("service-account.key", &service_accounts.serialize_pem());
        write("service-account.pub", &service_accounts.public_key_pem());
        write("kubeconfig", &identity::kubeconfig(self.port, &self.authority, &self.admin));
        if let Some(policy) = &self.options.audit_policy {
            write("audit-policy.yaml", policy);
        }
    }
}

/// A command that runs one of the binaries.
///
/// # Panics
/// When it cannot be had; tests that need more than the API server ask [`assets::have`] first.
pub fn command(binary: Binary) -> Command {
    Command::new(assets::find(binary).unwrap_or_else(|missing| panic!("{missing}")))
}

async fn text_of(client: &Client, path: &str) -> kube::Result<String> {
    client.request_text(::http::Request::get(path).body(Vec::new()).expect("a path")).await
}

fn stop(slot: &Mutex<Option<Process>>, signal: &str) {
    let mut process = lock(slot).take().expect("it runs");
    process.signal(signal);
    process.wait(STOP);
}

/// A test that failed while it held the lock must not fail the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
