//! What is known about a cluster, and where it comes from.

pub mod snapshot;
