//! `scalegate serve`, and what the commands that serve a cluster share: flags, what is known, and the process around.
//!
//! ```text
//! Process::run ── log, signals, admin port ──> the command ── draining ──> end
//!                       Known ── view, Configuration, watches, probes ──> webhook, controller, or both
//! ```

mod args;
pub(super) mod both;
mod certificate;
mod configuration;
mod exports;
mod known;
mod process;
mod registration;

pub(super) use args::{ClusterArgs, LimitArgs, Live, ProcessArgs, RegistrationArgs, duration};
pub(super) use certificate::{Certificate, CertificateArgs};
pub(super) use configuration::ConfigArgs;
pub(super) use known::{Known, Watched};
pub(super) use process::Process;
pub(super) use registration::watch_registration;
