//! Where the control plane's binaries come from: `KUBEBUILDER_ASSETS`, else a build of `tests/control-plane/` into the
//! user's cache. The metrics adapter of `tests/adapter/` and the demo's Prometheus are always built.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::process::note;

/// Set, it names a folder of binaries, as `setup-envtest use -p path` prints it.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// A program of the control plane, or one that talks to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binary {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Kubectl,
    Kwok,
    Helm,
    /// The metrics adapter of the tests.
    Adapter,
    /// The Prometheus of the demo. No test needs it.
    Prometheus,
}

impl Binary {
    /// What tests need.
    pub const ALL: [Self; 8] = [
        Self::Etcd,
        Self::Kubectl,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kwok,
        Self::Helm,
        Self::Adapter,
    ];

    /// Its file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Kwok => "kwok",
            Self::Helm => "helm",
            Self::Adapter => "adapter",
            Self::Prometheus => "prometheus",
        }
    }

    /// Its Go package.
    fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::ApiServer => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::ControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Scheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Kwok => "sigs.k8s.io/kwok/cmd/kwok",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
            Self::Adapter => "./",
            Self::Prometheus => "github.com/prometheus/prometheus/cmd/prometheus",
        }
    }

    /// The folder of the module that pins it.
    fn module(self) -> PathBuf {
        let folder = match self {
            Self::Helm => "tests/control-plane/helm",
            Self::Adapter => "tests/adapter",
            Self::Prometheus => "tests/demo/prometheus",
            _ => "tests/control-plane",
        };
        Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
    }

    /// Whether only our own build will do: nobody else's `adapter` serves, and the Prometheus of a distribution may be one
    /// without discovery in Kubernetes.
    fn is_always_built(self) -> bool {
        matches!(self, Self::Adapter | Self::Prometheus)
    }

    /// The folder of the cache in which it is built: a new one whenever what it is built from changes.
    fn cache(self) -> PathBuf {
        let pinned = |module: PathBuf| ["go.mod", "go.sum"].map(|file| module.join(file));
        let (topic, files): (_, Vec<PathBuf>) = match self {
            Self::Adapter => ("adapter", sources(&self.module())),
            Self::Prometheus => ("prometheus", pinned(self.module()).into()),
            _ => {
                let modules = [Self::ApiServer, Self::Helm].map(Self::module);
                ("control-plane", modules.into_iter().flat_map(pinned).collect())
            }
        };
        cache().join(topic).join(fingerprint(&files))
    }
}

/// What the module in that folder is built from, tests left out, in the order of the names.
fn sources(module: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(module).unwrap_or_else(|error| panic!("{}: {error}", module.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "go.mod" || name == "go.sum" || (name.ends_with(".go") && !name.ends_with("_test.go"))
    });
    files.sort();
    files
}

/// Where that binary is. It is built when it is nowhere, which takes minutes the first time.
///
/// # Errors
/// When it is not there and there is no Go to build it with.
///
/// # Panics
/// When the build fails.
pub fn find(binary: Binary) -> Result<PathBuf, String> {
    static FOUND: Mutex<BTreeMap<Binary, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = found.get(&binary) {
        return Ok(path.clone());
    }
    let path = look(binary)?;
    found.insert(binary, path.clone());
    Ok(path)
}

/// Whether these can be used. When they cannot, says loudly that a test is skipped; with `CI` set, that is a failure.
///
/// # Panics
/// When they cannot be used and `CI` is set.
pub fn have(binaries: &[Binary]) -> bool {
    let Some(missing) = binaries.iter().find_map(|binary| find(*binary).err()) else { return true };
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(
        std::env::var_os("CI").is_none_or(|value| value.is_empty()),
        "CI is set, so {test} may not be skipped: {missing}"
    );
    note(&format!("SKIPPED {test}: {missing}"));
    false
}

fn look(binary: Binary) -> Result<PathBuf, String> {
    let name = binary.name();
    let assets = std::env::var_os(ASSETS).filter(|folder| !folder.is_empty() && !binary.is_always_built());
    if let Some(folder) = assets {
        let folder = PathBuf::from(folder);
        let on_path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(folder).chain(std::env::split_paths(&on_path));
        if let Some(path) = folders.map(|folder| folder.join(name)).find(|path| path.is_file()) {
            return Ok(path);
        }
    }
    let cache = binary.cache();
    let path = cache.join(name);
    if path.is_file() {
        return Ok(path);
    }
    let go = Command::new("go").arg("version").stdin(Stdio::null()).output();
    if !go.is_ok_and(|output| output.status.success()) {
        return Err(format!(
            "there is no {name}. Install Go 1.26 or later, which builds it once into {} (`make control-plane`), or set \
             {ASSETS} to a folder with etcd, kube-apiserver and kubectl (`setup-envtest use -p path`)",
            cache.display()
        ));
    }
    fs::create_dir_all(&cache).expect("the cache's folder");
    // Another test process may be building the same; whoever comes second finds it done.
    let lock = File::create(cache.join("lock")).expect("the cache's lock");
    lock.lock().expect("the cache's lock");
    if !path.is_file() {
        build(binary, &cache);
    }
    Ok(path)
}

/// Builds under a name that nobody looks for, and renames it when it is whole.
fn build(binary: Binary, cache: &Path) {
    let name = binary.name();
    let start = Instant::now();
    note(&format!("building {name} with Go into {} (once; minutes when nothing is cached)", cache.display()));
    let unfinished = cache.join(format!(".{name}.unfinished"));
    let mut go = Command::new("go");
    go.arg("-C").arg(binary.module());
    let flags = if binary.is_always_built() { "-s -w".to_owned() } else { linker_flags() };
    // Of the many discoveries of Prometheus, the one in Kubernetes.
    let tags = if binary == Binary::Prometheus { "remove_all_sd,enable_kubernetes_sd" } else { "" };
    go.args(["build", "-trimpath", "-tags", tags, "-ldflags", &flags, "-o"]).arg(&unfinished).arg(binary.package());
    go.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly").stdin(Stdio::null());
    let status = go.status().expect("go starts");
    assert!(status.success(), "go could not build {name} in {}: {status}", binary.module().display());
    fs::rename(&unfinished, cache.join(name)).expect("the binary moves into the cache");
    note(&format!("built {name} in {} s", start.elapsed().as_secs()));
}

/// Without its version, a binary calls itself `v0.0.0-master`, and clients that read the server's version misbehave.
fn linker_flags() -> String {
    let version = kubernetes_version();
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let package = "k8s.io/component-base/version";
    format!("-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}")
}

/// The version of Kubernetes that `tests/control-plane/go.mod` pins, such as `v1.37.2`.
pub fn kubernetes_version() -> String {
    let text = fs::read_to_string(Binary::ApiServer.module().join("go.mod")).expect("go.mod");
    let version = text.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "require");
        (words.next() == Some("k8s.io/kubernetes")).then(|| words.next()).flatten()
    });
    version.expect("go.mod requires k8s.io/kubernetes").to_owned()
}

/// `~/.cache/scalegate/`.
pub fn cache() -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(".cache");
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    base.unwrap_or_else(home).join("scalegate")
}

/// A name that changes with the content of these files.
fn fingerprint(files: &[PathBuf]) -> String {
    // FNV-1a: nobody forges these.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for file in files {
        for byte in fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// `make control-plane` runs this to have the builds behind it.
#[test]
fn every_binary_of_the_control_plane_is_there() {
    if have(&Binary::ALL) {
        let folders: Vec<String> = Binary::ALL.map(|binary| find(binary).unwrap().display().to_string()).to_vec();
        note(&format!("the control plane is complete:\n  {}", folders.join("\n  ")));
    }
}
