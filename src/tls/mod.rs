//! TLS and connections: where the certificate comes from, and a server loop whose timers and limits suit a webhook.
//!
//! ```text
//! TcpListener ── accept (cap, back-off) ── handshake (deadline) ── guard (slow heads) ── hyper ── axum::Router
//!                                             └── LiveCertificate: replaced while serving, for new handshakes
//! ```
//! Pairs come from files ([`files`], polled) or from one Secret ([`secret`], watched).

pub mod accept;
pub mod certificate;
pub mod development;
pub mod dial;
pub mod files;
pub mod secret;

pub(crate) mod der;
mod guard;
mod waiting;

#[cfg(test)]
pub(crate) mod tests;

pub use accept::{ConnectionCounters, ServeError, ServeSettings, serve, serve_plain};
pub use certificate::{CertificateCounters, CertificateError, LiveCertificate, LiveConfig, Pair, server_config};
pub use development::{DevCa, Issued};
pub use files::CertificateFiles;
