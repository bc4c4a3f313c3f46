//! What writes to the cluster. One process at a time does ([`crate::leader`]), and none of it relies on that.

pub mod ca_rotation;
mod event;
pub mod health;
pub mod reconcile;
