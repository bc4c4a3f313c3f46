//! Certificates in files, as cert-manager and the kubelet mount them.
//!
//! The files are read every so often and compared. Watching them with inotify does not work: the kubelet renames the
//! `..data` link to a new folder and deletes the old one, and a watch on the old files hears nothing after the first time.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use tokio::time::{MissedTickBehavior, interval};

use super::certificate::{CertificateCounters, CertificateError, LiveCertificate, LiveConfig, Pair, server_config};

/// How often files are read unless told otherwise. A kubelet takes up to two minutes to bring a Secret into a mount, so
/// reading more often gains nothing.
pub const POLL: Duration = Duration::from_secs(30);

/// How often a read is tried again when the folder was swapped meanwhile.
const READS: usize = 3;

/// Where chain, key and client authority are, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub chain: PathBuf,
    /// The leaf's key.
    pub key: PathBuf,
    /// The authority whose clients alone are served, if any.
    pub client_ca: Option<PathBuf>,
}

/// Why files cannot be used. Names the file; no text holds any part of its content.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("cannot read {path}: {why}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// Chain and key do not make a pair.
    #[error("cannot use the chain {chain} with the key {key}: {why}", chain = chain.display(), key = key.display())]
    Pair {
        /// The chain's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        why: CertificateError,
    },
    /// The client authority is none.
    #[error("cannot use the client CA {path}: {why}", path = path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// Why.
        why: CertificateError,
    },
}

/// What files held when they were read.
#[derive(Debug)]
pub struct Loaded {
    /// The pair that handshakes get. Hand it to whoever tells when it ends.
    pub live: Arc<LiveCertificate>,
    /// The settings, for [`serve`](super::serve).
    pub tls: LiveConfig,
    content: Content,
}

/// The bytes of all files.
#[derive(Clone, PartialEq, Eq)]
struct Content {
    chain: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Content")
    }
}

impl CertificateFiles {
    /// Reads the files once, for the start. A pair that expired is taken (a server with it can still be found and
    /// mended by new files); [`CertificateFiles::follow`] takes none.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(&self) -> Result<Loaded, FilesError> {
        let content = self.read()?;
        let live = LiveCertificate::new(self.pair(&content)?);
        let tls = LiveConfig::new(self.config(Arc::clone(&live), &content)?);
        Ok(Loaded { live, tls, content })
    }

    /// Reads the files every `every` and replaces what `loaded` serves when they changed and can be used. Otherwise the
    /// old ones stay, `counters` has one more refusal, and each distinct problem is logged once. Never ends.
    pub async fn follow(self, mut loaded: Loaded, every: Duration, counters: Arc<CertificateCounters>) {
        let mut tick = interval(every.max(Duration::from_millis(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut logged = BTreeSet::new();
        loop {
            tick.tick().await;
            // Files may stand on a slow disk.
            let files = self.clone();
            let (back, outcome) = match tokio::task::spawn_blocking(move || {
                let outcome = files.look(&mut loaded, SystemTime::now());
                (loaded, outcome)
            })
            .await
            {
                Ok(done) => done,
                // Only when the runtime ends or the task panicked; without what it held there is nothing to go on with.
                Err(error) => {
                    tracing::error!(%error, "certificate files are not followed any more");
                    return;
                }
            };
            loaded = back;
            match outcome {
                Ok(false) => {}
                Ok(true) => {
                    counters.replaced();
                    logged.clear();
                    tracing::info!(chain = %self.chain.display(), "certificate files changed and are served");
                }
                Err(error) => {
                    counters.refused();
                    let text = error.to_string();
                    if logged.len() < 16 && logged.insert(text.clone()) {
                        tracing::warn!(error = text, "certificate files are not used; the old ones stay");
                    }
                }
            }
        }
    }

    /// Reads once and replaces if need be. Says whether it did.
    fn look(&self, loaded: &mut Loaded, now: SystemTime) -> Result<bool, FilesError> {
        let content = self.read()?;
        if content == loaded.content {
            return Ok(false);
        }
        // All is checked before anything is replaced.
        let pair = if (&content.chain, &content.key) == (&loaded.content.chain, &loaded.content.key) {
            None
        } else {
            Some(self.pair(&content)?.valid_at(now).map_err(|why| self.pair_error(why))?)
        };
        if content.client_ca != loaded.content.client_ca {
            loaded.tls.replace(self.config(Arc::clone(&loaded.live), &content)?);
        }
        if let Some(pair) = pair {
            loaded.live.replace(pair);
        }
        loaded.content = content;
        Ok(true)
    }

    fn pair(&self, content: &Content) -> Result<Pair, FilesError> {
        Pair::from_pem(&content.chain, &content.key).map_err(|why| self.pair_error(why))
    }

    fn pair_error(&self, why: CertificateError) -> FilesError {
        FilesError::Pair { chain: self.chain.clone(), key: self.key.clone(), why }
    }

    fn config(&self, live: Arc<LiveCertificate>, content: &Content) -> Result<Arc<ServerConfig>, FilesError> {
        server_config(live, content.client_ca.as_deref())
            .map_err(|why| FilesError::ClientCa { path: self.client_ca.clone().unwrap_or_default(), why })
    }

    /// Reads all files, those of one folder through one resolution of its links. Tried again when the folder went away
    /// meanwhile, as the kubelet's swap makes it.
    fn read(&self) -> Result<Content, FilesError> {
        let mut tries = 1;
        loop {
            match self.read_once() {
                Err(_) if tries < READS => tries += 1,
                done => return done,
            }
        }
    }

    fn read_once(&self) -> Result<Content, FilesError> {
        let resolved = fs::canonicalize(&self.chain).map_err(|why| unreadable(&self.chain, why))?;
        let folder = resolved.parent().filter(|_| resolved.file_name() == self.chain.file_name());
        let read = |path: &Path| {
            let beside = folder.filter(|_| path.parent() == self.chain.parent());
            let real = beside.zip(path.file_name()).map(|(folder, name): (&Path, &OsStr)| folder.join(name));
            // A single file may be a link of its own to elsewhere.
            let real = real.filter(|real| real.exists());
            fs::read(real.as_deref().unwrap_or(path)).map_err(|why| unreadable(path, why))
        };
        Ok(Content {
            chain: read(&self.chain)?,
            key: read(&self.key)?,
            client_ca: self.client_ca.as_deref().map(read).transpose()?,
        })
    }
}

fn unreadable(path: &Path, why: io::Error) -> FilesError {
    FilesError::Read { path: path.to_owned(), why }
}
