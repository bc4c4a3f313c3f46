//! Admission reviews over HTTP: two routes, and everything between the bytes of a review and the bytes of its answer.
//! No rule lives here: what to say is decided behind [`Decide`].
//!
//! ```text
//! routes ── limits ── body ── wire::Review::parse ──> Decide ──> Verdict ── answer (patch checked, texts cut) ──> 200
//!    └── anything that is no review: refuse, 4xx with a reason
//! ```
//!
//! [`oracle`] is the other side of the wire: the API server's rules for taking an answer, for tests and `scalegate try`.

pub mod answer;
pub mod counters;
pub mod finding_counts;
pub mod json_guard;
pub mod limits;
pub mod oracle;
pub mod registration;
pub mod routes;
pub mod service;
pub mod wire;

mod body;
mod refuse;
mod text;

#[cfg(test)]
mod tests;

pub use counters::Counters;
pub use finding_counts::FindingCounts;
pub use limits::Limits;
pub use routes::{router, router_counting};
pub use wire::{BadRequest, GroupVersionKind, GroupVersionResource, Operation, Phase, Request, Review};

/// What to answer. Texts may be of any length and hold anything: the answer is cut to what the API server takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The object may be stored.
    Allow {
        /// A JSON Patch (RFC 6902) as JSON text, against the object as it was sent. Only read when mutating.
        patch: Option<Vec<u8>>,
        /// Shown to the user by kubectl.
        warnings: Vec<String>,
        /// Key and value; a key is a plain qualified name without `/`.
        audit: Vec<(String, String)>,
    },
    /// The object must not be stored.
    Deny {
        /// 403 for a policy, 422 for an object that is invalid.
        code: u16,
        /// `Forbidden` or `Invalid`.
        reason: &'static str,
        /// All there is to say: of several denying webhooks the user sees one message only.
        message: String,
        /// Shown to the user by kubectl, also with a denial.
        warnings: Vec<String>,
        /// As with `Allow`.
        audit: Vec<(String, String)>,
    },
}

impl Verdict {
    /// Allows and says nothing.
    pub fn silent() -> Self {
        Self::Allow { patch: None, warnings: Vec::new(), audit: Vec::new() }
    }
}

/// Decides about requests. Called on a thread that may block; a panic costs the one request a 500.
pub trait Decide: Send + Sync + 'static {
    /// The mutating call: may answer with a patch.
    fn mutate(&self, request: &Request<'_>) -> Verdict;
    /// The validating call: a patch in its verdict is not sent.
    fn validate(&self, request: &Request<'_>) -> Verdict;
}
