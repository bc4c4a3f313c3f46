//! What to do next, from what is there. Pure: every step can be the last one before a crash, and whoever comes after sees
//! the same picture and goes on.
//!
//! ```text
//! NewAuthority ─ Publish (old and new) ─ Settle ─ IssueLeaf ─ WaitForEndpoints ─ Retire (the old) ─ Publish ─ Rest
//! ```
//!
//! Two writers at once do no harm, because of the order in which a picture is taken: configurations first, then the
//! leaf, the authorities last, and each write asks for the version that was read. So a writer whose picture is old can
//! only succeed where nobody has gone further in the meantime.

use std::time::{Duration, SystemTime};

/// How many replaced authorities are kept at most. More than one is there only when rotations could not finish.
pub const MOST_PREVIOUS: usize = 8;

/// A certificate authority that is, or was, trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The certificate, DER: what tells authorities apart.
    pub der: Vec<u8>,
    /// Until when it holds.
    pub not_after: SystemTime,
}

/// The authorities as the controller's own Secret has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorities {
    /// The newest, which issues; nothing when it is missing or its key cannot be used.
    pub issuing: Option<Authority>,
    /// Those that replicas may still serve a certificate of, the newest last.
    pub previous: Vec<Authority>,
}

/// The leaf as the webhook's Secret has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Missing, broken, expired, or for other names: replicas have nothing of use, so there is nothing to wait for.
    Unusable,
    /// A certificate that works.
    Usable {
        /// The authority that it verifies against, DER; nothing when it is none that we know.
        issuer: Option<Vec<u8>>,
        /// Until when it holds.
        not_after: SystemTime,
    },
}

/// What one endpoint of the Service showed when it was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A chain of the issuing authority.
    New,
    /// Another chain, or no answer.
    NotYet,
}

/// Everything that a step is decided by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The present time.
    pub now: SystemTime,
    /// What each of our webhooks that is there has as its bundle: the authorities (DER), or nothing when it does not read.
    pub bundles: Vec<Option<Vec<Vec<u8>>>>,
    /// The webhook's certificate.
    pub leaf: Leaf,
    /// The authorities.
    pub authorities: Authorities,
    /// Whether every bundle has held what it should for long enough that each API server knows.
    pub settled: bool,
    /// What the endpoints showed; nothing when they have not been dialled for this picture.
    pub endpoints: Option<Vec<Endpoint>>,
}

/// How long things hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Of an authority.
    pub authority: Duration,
    /// Of a leaf. At most half of the authority's, so that no authority ends before its last leaf.
    pub leaf: Duration,
    /// How long before its end each is replaced; a third of its validity when nothing is given.
    pub renew_before: Option<Duration>,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make an authority. The present issuing one becomes a previous one; these are to be kept.
    NewAuthority {
        /// The previous ones that the new state has.
        previous: Vec<Authority>,
    },
    /// Write this to every bundle that differs.
    Publish {
        /// The authorities, DER, the newest first.
        bundle: Vec<Vec<u8>>,
    },
    /// Wait until every API server knows the bundles.
    Settle,
    /// Issue a leaf of the issuing authority.
    IssueLeaf,
    /// Dial the endpoints, and look again.
    Dial,
    /// Wait for endpoints that do not serve the issuing authority's chain yet.
    WaitForEndpoints,
    /// Forget the previous authorities but for these.
    Retire {
        /// Those to keep.
        keep: Vec<Authority>,
    },
    /// Nothing to do before this time.
    Rest {
        /// When the next certificate is due.
        until: SystemTime,
    },
}

impl Validity {
    /// When an authority that ends at `not_after` is replaced: early enough for every leaf that it issues.
    pub fn authority_due(&self, not_after: SystemTime) -> SystemTime {
        before(not_after, self.renew_before.unwrap_or(self.authority / 3).max(self.leaf))
    }

    /// When a leaf that ends at `not_after` is replaced.
    pub fn leaf_due(&self, not_after: SystemTime) -> SystemTime {
        before(not_after, self.renew_before.unwrap_or(self.leaf / 3))
    }

    /// Until when a leaf holds that `authority` issues at `now`.
    pub fn leaf_ends(&self, now: SystemTime, authority: &Authority) -> SystemTime {
        now.checked_add(self.leaf).map_or(authority.not_after, |end| end.min(authority.not_after))
    }
}

impl Authorities {
    /// What every bundle has to hold, the newest first.
    pub fn bundle(&self) -> Vec<Vec<u8>> {
        let previous = self.previous.iter().rev();
        self.issuing.iter().chain(previous).map(|authority| authority.der.clone()).collect()
    }
}

/// The next step. The picture's parts have to be read in the order that the module tells.
pub fn plan(picture: &Picture, validity: &Validity) -> Step {
    let Picture { now, authorities, leaf, .. } = picture;
    let holds = |authority: &&Authority| *now < authority.not_after;
    let Some(issuing) = authorities.issuing.as_ref().filter(|issuing| *now < validity.authority_due(issuing.not_after))
    else {
        let known = authorities.previous.iter().chain(&authorities.issuing).filter(holds);
        let mut previous: Vec<Authority> = known.cloned().collect();
        previous.drain(..previous.len().saturating_sub(MOST_PREVIOUS));
        return Step::NewAuthority { previous };
    };

    // Nobody checks successfully against an authority that expired.
    if authorities.previous.iter().any(|authority| !holds(&authority)) {
        return Step::Retire { keep: authorities.previous.iter().filter(holds).cloned().collect() };
    }

    let bundle = authorities.bundle();
    if picture.bundles.iter().any(|held| held.as_ref() != Some(&bundle)) {
        return Step::Publish { bundle };
    }

    let (issuer, leaf_ends) = match leaf {
        // Replicas have nothing that an API server would take, so an earlier new one can only be better.
        Leaf::Unusable => return Step::IssueLeaf,
        Leaf::Usable { issuer, not_after } => (issuer.as_ref(), *not_after),
    };
    let from_issuing = issuer == Some(&issuing.der);
    let from_known = issuer.is_some_and(|issuer| bundle.contains(issuer));
    if !from_issuing {
        // A leaf of nobody that the bundles hold fails already.
        return if picture.settled || !from_known { Step::IssueLeaf } else { Step::Settle };
    }
    let due = validity.leaf_due(leaf_ends);
    // A new one has to hold longer by so much that the next is not due at once.
    let gains = validity.leaf_due(validity.leaf_ends(*now, issuing)) > due;
    if *now >= due && gains {
        return Step::IssueLeaf;
    }

    if !authorities.previous.is_empty() {
        return match &picture.endpoints {
            None => Step::Dial,
            // Without any endpoint nothing is proven: keep both.
            Some(endpoints) if endpoints.is_empty() || endpoints.contains(&Endpoint::NotYet) => Step::WaitForEndpoints,
            Some(_) => Step::Retire { keep: Vec::new() },
        };
    }
    let authority_due = validity.authority_due(issuing.not_after);
    Step::Rest { until: if due > *now { authority_due.min(due) } else { authority_due } }
}

/// `time` less `by`; the epoch where that is before all time.
fn before(time: SystemTime, by: Duration) -> SystemTime {
    time.checked_sub(by).unwrap_or(SystemTime::UNIX_EPOCH)
}
