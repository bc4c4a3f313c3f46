//! Polls the file. Polling sees every way in which a file changes: written in place, replaced by a rename, or through the
//! symlink `..data` that the kubelet swaps in a mounted ConfigMap (which watching the file itself misses).
//!
//! **An invalid file takes nothing down.** While the process runs, the Configuration before it stays. At the start there
//! is none before it; then the process lives, says what is wrong in log and `/readyz`, takes no admission request, and
//! begins when the file is mended. So a rolling update with a bad file stops at its first pod, the old pods serve on,
//! and no restart with its growing pauses stands between the mended file and a ready webhook.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{ConfigError, bytes, parse};
use crate::cluster::State;
use crate::policy::configuration::Configuration;

/// How the attempts to take a changed file ended.
#[derive(Debug, Default)]
pub struct Reloads {
    applied: AtomicU64,
    refused: AtomicU64,
    unreadable: AtomicU64,
}

impl Reloads {
    /// The label `result` and the count: `applied`, `refused` (invalid), `unreadable` (it vanished, or cannot be read).
    pub fn rows(&self) -> [(&'static str, u64); 3] {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [("applied", load(&self.applied)), ("refused", load(&self.refused)), ("unreadable", load(&self.unreadable))]
    }
}

/// What the last poll found, so that it is said and counted once.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    File(Vec<u8>),
    /// With the error's text.
    Unreadable(String),
}

/// Follows one file.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    state: Arc<State>,
    reloads: Arc<Reloads>,
    seen: Mutex<Seen>,
    has_one: AtomicBool,
}

impl Follower {
    /// Follows `path` for `state`; nothing is read before the first [`Follower::poll`].
    pub fn new(path: &Path, state: Arc<State>) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            state,
            reloads: Arc::default(),
            seen: Mutex::new(Seen::Nothing),
            has_one: AtomicBool::new(false),
        })
    }

    /// How the attempts ended.
    pub fn reloads(&self) -> Arc<Reloads> {
        Arc::clone(&self.reloads)
    }

    /// Whether a valid Configuration was ever read: until then nothing may be decided.
    pub fn has_one(&self) -> bool {
        self.has_one.load(Ordering::Relaxed)
    }

    /// Looks once. Reads files: not for a thread of the asynchronous runtime.
    pub fn poll(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = match bytes(&self.path) {
            Ok(bytes) => Seen::File(bytes),
            Err(ConfigError::Unreadable(_, error)) => Seen::Unreadable(error.to_string()),
            // Reading bytes finds nothing invalid.
            Err(ConfigError::Invalid(..)) => return,
        };
        if *seen == now {
            return;
        }
        match &now {
            Seen::File(bytes) => match parse(&self.path, bytes) {
                Ok(configuration) => self.take(configuration),
                Err(error) => self.refuse(&error),
            },
            Seen::Unreadable(error) => {
                count(&self.reloads.unreadable);
                tracing::error!(path = %self.path.display(), error, kept = self.has_one(),
                    "cannot read the configuration; the one before stays");
            }
            Seen::Nothing => {}
        }
        *seen = now;
    }

    fn take(&self, configuration: Configuration) {
        // A file that vanished and came back, or changed in a comment alone, wakes nobody.
        let first = !self.has_one.load(Ordering::Relaxed);
        if first || *self.state.configuration() != configuration {
            self.state.configure(configuration);
        }
        // After the Configuration is in place: whoever sees this decides by it.
        self.has_one.store(true, Ordering::Release);
        count(&self.reloads.applied);
        tracing::info!(path = %self.path.display(), "configuration applied");
    }

    fn refuse(&self, error: &ConfigError) {
        count(&self.reloads.refused);
        if let ConfigError::Invalid(_, problems) = error {
            for problem in problems {
                tracing::error!(
                    path = %self.path.display(),
                    line = problem.line,
                    column = problem.column,
                    field = problem.field,
                    problem = problem.message,
                    hint = problem.hint.as_deref().unwrap_or_default(),
                    "configuration refused"
                );
            }
        }
        if self.has_one() {
            tracing::warn!("the configuration before stays in force");
        } else {
            tracing::warn!("there is no configuration before; nothing is served until this one is mended");
        }
    }

    /// Looks every `interval` until `cancel`.
    pub async fn follow(self: Arc<Self>, interval: Duration, cancel: CancellationToken) {
        loop {
            let follower = Arc::clone(&self);
            // A panic in it has been logged; the next look starts afresh.
            let _ = tokio::task::spawn_blocking(move || follower.poll()).await;
            tokio::select! { () = cancel.cancelled() => return, () = tokio::time::sleep(interval) => {} }
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::view::ClusterView;
    use std::fs;
    use std::os::unix::fs::symlink;

    const HEAD: &str = "apiVersion: scalegate.dev/v1alpha1\nkind: Configuration\n";

    fn follower(path: &Path) -> Arc<Follower> {
        Follower::new(path, State::new(ClusterView::default(), Configuration::default()))
    }

    fn max(follower: &Follower) -> i64 {
        follower.state.configuration().max_replicas
    }

    fn counts(follower: &Follower) -> [u64; 3] {
        follower.reloads().rows().map(|(_, count)| count)
    }

    #[test]
    fn a_valid_file_is_taken_and_an_invalid_one_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        fs::write(&path, format!("{HEAD}maxReplicas: 7\n")).unwrap();
        let follower = follower(&path);
        follower.poll();
        assert!(follower.has_one());
        assert_eq!((max(&follower), counts(&follower)), (7, [1, 0, 0]));
        for bad in ["maxReplicas: many\nunheard: of\n", "maxReplicas: 9\n---\nkind: Configuration\n", "a: [\n"] {
            fs::write(&path, format!("{HEAD}{bad}")).unwrap();
            follower.poll();
            follower.poll();
            assert_eq!(max(&follower), 7, "{bad}");
        }
        fs::write(&path, "").unwrap();
        follower.poll();
        assert_eq!((max(&follower), counts(&follower)), (7, [1, 4, 0]));
        fs::write(&path, format!("{HEAD}maxReplicas: 8\n")).unwrap();
        follower.poll();
        assert_eq!((max(&follower), counts(&follower)), (8, [2, 4, 0]));
    }

    #[test]
    fn a_file_that_vanishes_leaves_its_configuration_and_one_that_comes_later_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        let follower = follower(&path);
        follower.poll();
        follower.poll();
        assert!(!follower.has_one());
        assert_eq!(counts(&follower), [0, 0, 1]);
        fs::write(&path, format!("{HEAD}maxReplicas: 7\n")).unwrap();
        follower.poll();
        assert!(follower.has_one());
        fs::remove_file(&path).unwrap();
        follower.poll();
        assert!(follower.has_one());
        assert_eq!((max(&follower), counts(&follower)), (7, [1, 0, 2]));
    }

    #[test]
    fn what_is_invalid_from_the_start_is_no_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        fs::write(&path, "kind: ConfigMap\n").unwrap();
        let follower = follower(&path);
        follower.poll();
        assert!(!follower.has_one());
        assert_eq!(counts(&follower), [0, 1, 0]);
    }

    #[test]
    fn the_kubelets_symlink_swap_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let put = |version: &str, max: u32| {
            let data = folder.path().join(version);
            fs::create_dir(&data).unwrap();
            fs::write(data.join("config.yaml"), format!("{HEAD}maxReplicas: {max}\n")).unwrap();
            // As the kubelet does it: a new link beside the old one, then a rename over it.
            symlink(version, folder.path().join("..data_tmp")).unwrap();
            fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
        };
        put("..1", 3);
        let path = folder.path().join("config.yaml");
        symlink("..data/config.yaml", &path).unwrap();
        let follower = follower(&path);
        follower.poll();
        assert_eq!(max(&follower), 3);
        put("..2", 4);
        fs::remove_dir_all(folder.path().join("..1")).unwrap();
        follower.poll();
        assert_eq!((max(&follower), counts(&follower)), (4, [2, 0, 0]));
    }

    #[test]
    fn a_file_that_no_configmap_can_hold_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        fs::write(&path, format!("{HEAD}#{}\n", "x".repeat(1 << 20))).unwrap();
        let follower = follower(&path);
        follower.poll();
        assert_eq!(counts(&follower), [0, 0, 1]);
    }
}
