//! Leader election on a Lease. What is written must not rely on it: for a moment there may be two leaders.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How long a Lease holds after its last renewal, and how long before that it is renewed, seconds. A leader that dies is
/// followed after the first; nothing that we write is in such a hurry.
const DURATION: u64 = 30;
const GRACE: u64 = 10;

/// How long the Lease may take to be released at the end.
const RELEASE: Duration = Duration::from_secs(5);

/// The first pause and the longest while the Lease cannot be used: at the start, and later, when it would end meanwhile.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);
const RENEW_MOST: Duration = Duration::from_secs(GRACE);

/// Takes part in an election until [`Election::release`].
#[derive(Debug)]
pub struct Election {
    leading: watch::Receiver<bool>,
    task: JoinHandle<Result<(), LeaseManagerError>>,
}

/// Who takes part: the pod's name, else the host's, which is the pod's name too unless somebody set it otherwise.
pub fn identity() -> String {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.trim().is_empty());
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    let name = set("POD_NAME").or_else(|| set("HOSTNAME")).or_else(host).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| format!("scalegate-{}", std::process::id()))
}

impl Election {
    /// Takes part as `identity` in the election by the Lease `lease` in `namespace`, which is made when it is not there.
    /// Waits, with longer and longer pauses, while the API server does not let the Lease be read.
    pub async fn join(client: Client, namespace: &str, lease: &str, identity: &str) -> Self {
        let mut pause = RETRY_FIRST;
        let mut last = String::new();
        let manager = loop {
            // A field manager may have 128 characters.
            let manager: String = format!("scalegate-lease-{identity}").chars().take(128).collect();
            let built = LeaseManagerBuilder::new(client.clone(), lease)
                .with_namespace(namespace)
                .with_identity(identity)
                .with_duration(DURATION)
                .with_grace(GRACE)
                .with_field_manager(manager)
                .build()
                .await;
            match built {
                Ok(manager) => break manager,
                Err(error) => {
                    let text = said(&error);
                    if text != last {
                        tracing::warn!(lease, namespace, error = text, "cannot use the Lease; trying again");
                        last = text;
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MOST);
                }
            }
        };
        let (told, leading) = watch::channel(false);
        Self { leading, task: tokio::spawn(take_part(manager, told, lease.to_owned())) }
    }

    /// Whether this process leads.
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// Resolves when the election ended by itself, which it never should: whoever sees this ends the process, so that
    /// another one leads.
    pub async fn failed(&mut self) -> String {
        match (&mut self.task).await {
            Ok(Ok(())) => "the election ended".to_owned(),
            Ok(Err(error)) => said(&error),
            Err(error) => error.to_string(),
        }
    }

    /// Leaves the election and gives the Lease back: who comes then leads at once, and who waits already looks again when
    /// the Lease would have ended. Every receiver of [`Election::leading`] has to be dropped before.
    pub async fn release(self) {
        let Self { leading, task } = self;
        drop(leading);
        match timeout(RELEASE, task).await {
            Ok(Ok(Ok(()))) => tracing::info!("the Lease is released"),
            Ok(Ok(Err(error))) => tracing::warn!(error = said(&error), "cannot release the Lease; it ends by itself"),
            _ => tracing::warn!("the Lease is not released in time; it ends by itself"),
        }
    }
}

/// Takes the Lease when it is free and keeps it, until nobody listens to `told` any more. A failure is said once, not at
/// each try.
async fn take_part(manager: LeaseManager, told: watch::Sender<bool>, lease: String) -> Result<(), LeaseManagerError> {
    let (mut pause, mut last, mut failed) = (RETRY_FIRST, String::new(), Instant::now());
    loop {
        let changed = tokio::select! {
            biased;
            () = told.closed() => return manager.release().await,
            changed = manager.changed() => changed,
        };
        let error = match changed {
            Ok(leads) => {
                told.send_replace(leads);
                continue;
            }
            Err(error) => said(&error),
        };
        // It only returns with news, so that it worked again is told by its silence.
        if failed.elapsed() > RETRY_MOST {
            (pause, last) = (RETRY_FIRST, String::new());
        }
        failed = Instant::now();
        if error != last {
            tracing::warn!(lease, error, "cannot read or renew the Lease; trying again");
            last = error;
        }
        tokio::select! {
            () = told.closed() => return manager.release().await,
            () = sleep(pause) => pause = (pause * 2).min(RENEW_MOST),
        }
    }
}

/// The API server's own sentence, where there is one: the client's text is a page.
fn said(error: &LeaseManagerError) -> String {
    match error {
        LeaseManagerError::KubeError(kube::Error::Api(status)) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}
