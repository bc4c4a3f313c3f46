//! A pair from the Secret that the controller writes: it arrives by watch, without a mount's delay of a minute or more.

use std::sync::Arc;
use std::time::SystemTime;

use kube::Client;

use super::certificate::{CertificateCounters, LiveCertificate, Pair};
use crate::cluster::secret::{self, TlsSecret};

/// Serves the pair of the Secret `name` in `namespace` from the moment it arrives, and each later one. What cannot be
/// used (no pair, not valid now, the Secret deleted) leaves the present pair, is counted and logged. Never ends.
pub async fn follow(
    client: Client,
    namespace: &str,
    name: &str,
    live: Arc<LiveCertificate>,
    counters: Arc<CertificateCounters>,
) {
    secret::watch(client, namespace, name, |arrived| take(name, arrived, &live, &counters, SystemTime::now())).await;
}

/// One state of the Secret. The same pair again is nothing new.
fn take(name: &str, arrived: &TlsSecret, live: &LiveCertificate, counters: &CertificateCounters, now: SystemTime) {
    if arrived.is_empty() {
        tracing::info!(secret = name, "the Secret holds no certificate yet");
        return;
    }
    match Pair::from_pem(&arrived.chain, &arrived.key).and_then(|pair| pair.valid_at(now)) {
        Ok(pair) if live.current().is_some_and(|current| current.leaf() == pair.leaf()) => {}
        Ok(pair) => {
            live.replace(pair);
            counters.replaced();
            tracing::info!(secret = name, "a new certificate is served");
        }
        Err(error) => {
            counters.refused();
            tracing::warn!(secret = name, %error, "the Secret's certificate is not used; what was served before stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::DevCa;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    #[test]
    fn a_broken_or_expired_secret_leaves_the_old_pair_and_a_good_one_replaces_it() {
        let live = LiveCertificate::none_yet();
        let counters = CertificateCounters::default();
        let now = SystemTime::now();
        take("s", &TlsSecret::default(), &live, &counters, now);
        assert!(!live.is_there() && counters.refused.load(Ordering::Relaxed) == 0);
        let ca = DevCa::generate("t", Duration::from_secs(600)).unwrap();
        let issue = || {
            let issued = ca.issue(&["a"]).unwrap();
            TlsSecret { chain: issued.chain_pem.into_bytes(), key: issued.key_pem.into_bytes() }
        };
        let (first, second) = (issue(), issue());
        take("s", &first, &live, &counters, now);
        take("s", &first, &live, &counters, now);
        assert!(live.is_there());
        assert_eq!(counters.replaced.load(Ordering::Relaxed), 1);
        let leaf = live.current().unwrap().leaf().to_vec();
        let mixed = TlsSecret { chain: second.chain.clone(), key: first.key };
        take("s", &mixed, &live, &counters, now);
        take("s", &second, &live, &counters, now + Duration::from_secs(700));
        assert_eq!((counters.refused.load(Ordering::Relaxed), live.current().unwrap().leaf() == leaf), (2, true));
        take("s", &second, &live, &counters, now);
        assert_eq!(counters.replaced.load(Ordering::Relaxed), 2);
        assert!(live.current().unwrap().leaf() != leaf);
    }
}
