//! scalegate makes autoscaling of GPU inference servers on Kubernetes work, and refuses autoscalers that cannot work.
//!
//! Data flows one way: bytes become objects, objects become facts, rules turn facts into findings, and one function
//! turns findings into a verdict. The webhook, the controller and the reviewer call the same functions of [`policy`]
//! over the same [`policy::view::ClusterView`].

#[cfg(feature = "serve")]
pub mod admission;
pub mod cli;
pub mod cluster;
pub mod config_file;
#[cfg(feature = "serve")]
pub mod controller;
#[cfg(feature = "serve")]
pub mod leader;
pub mod manifest;
pub mod policy;
#[cfg(feature = "serve")]
pub mod shutdown;
#[cfg(feature = "serve")]
pub mod telemetry;
#[cfg(feature = "serve")]
pub mod tls;
