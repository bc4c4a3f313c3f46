//! TLS and connections: where the certificate comes from, and a server loop whose timers and limits suit a webhook.
//!
//! ```text
//! TcpListener ── accept (cap, back-off) ── handshake (deadline) ── guard (slow heads) ── hyper ── axum::Router
//!                                             └── LiveCertificate: replaced while serving, for new handshakes
//! ```

pub mod accept;
pub mod certificate;
pub mod development;

mod der;
mod guard;
mod waiting;

#[cfg(test)]
pub(crate) mod tests;

pub use accept::{ConnectionCounters, ServeError, ServeSettings, serve};
pub use certificate::{CertificateError, LiveCertificate, Pair, server_config};
pub use development::{DevCa, Issued};
