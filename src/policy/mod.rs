//! What is decided. Pure: no tokio, no kube client, no clock, no environment, no files.
//!
//! ```text
//! bytes -> objects -> facts -> rules -> findings -> decision
//!              \-> view ---^        settings -> render, inject
//! ```
#![forbid(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod chain;
pub mod configuration;
pub mod decision;
pub mod engine;
pub mod facts;
pub mod finding;
pub mod health;
pub mod inject;
pub mod judge;
pub mod objects;
pub mod placement;
pub mod presence;
pub mod reconcile;
pub mod render;
pub mod rules;
pub mod settings;
pub mod view;
pub mod workload;
