//! What the commands that serve a cluster share: flags, and the process around what they do.
//!
//! ```text
//! Process::run ── log, signals, admin port ──> the command ── draining ──> end
//! ```

mod args;
mod certificate;
mod configuration;
mod exports;
mod process;
mod registration;

pub(super) use args::{ClusterArgs, LimitArgs, Live, ProcessArgs, RegistrationArgs, duration};
pub(super) use certificate::{Certificate, CertificateArgs};
pub(super) use configuration::ConfigArgs;
pub(super) use exports::{export_caches, export_probes};
pub(super) use process::Process;
pub(super) use registration::watch_registration;
