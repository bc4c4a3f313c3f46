//! Tests against a real Kubernetes control plane: one binary, one module a subject. `README.md` beside this file says
//! how to run and to extend them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(missing_docs, unreachable_pub, reason = "nobody reads these as an interface")]

mod harness;
#[allow(dead_code, reason = "the other binary uses all of it")]
#[path = "../suite/reference.rs"]
mod reference;

mod audit;
mod behaviour;
mod both;
mod chart;
mod control_plane;
mod controller;
mod definitions;
mod deny_rules;
mod health;
mod operators;
mod orders;
mod pools;
mod probes;
mod reconcile_basics;
mod rights;
mod rotation;
mod serving;
mod standing;
mod strangers;
mod tenants;
