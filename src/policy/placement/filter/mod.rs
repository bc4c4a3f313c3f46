//! The scheduler's filters: node selector and affinity, taints, requests.

mod requests;
mod selector;
mod taints;

pub use requests::{Lack, fits};
pub use selector::selects;
pub(super) use selector::{Match, matched, matched_by, mismatch, requirement};
pub use taints::tolerates;
