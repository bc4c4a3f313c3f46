//! What is known about a cluster, and where it comes from.

#[cfg(feature = "serve")]
pub(crate) mod backoff;
#[cfg(feature = "serve")]
pub mod probe;
#[cfg(feature = "serve")]
pub mod registered;
#[cfg(feature = "serve")]
pub mod secret;
pub mod snapshot;
#[cfg(feature = "serve")]
mod state;
#[cfg(feature = "serve")]
mod touched;
#[cfg(feature = "serve")]
pub mod watch;

#[cfg(feature = "serve")]
pub use probe::Look;
#[cfg(feature = "serve")]
pub use state::{State, now};
#[cfg(feature = "serve")]
pub use touched::Touched;
