//! The harness: a control plane on this machine, and scalegate beside it.
//!
//! Tests are plain functions that block; what is asynchronous goes through [`block_on`].

#![allow(dead_code, reason = "a harness offers more than the tests of one day use")]

pub mod adapter;
pub mod assets;
pub mod balancer;
pub mod chart;
pub mod control_plane;
pub mod http;
pub mod identity;
pub mod installation;
pub mod load;
pub mod metrics;
pub mod nodes;
pub mod process;
pub mod scalegate;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;
use tokio::runtime::Runtime;

/// The runtime of clients and balancers. It lives as long as the process does.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // Another crate's test may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

/// Waits for a future on [`runtime`].
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// A path inside the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Multi-document YAML as values; empty documents are left out.
pub fn values(yaml: &str) -> Vec<Value> {
    let values: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    values.into_iter().filter(|value| !value.is_null()).collect()
}

/// A port of loopback that is free now and that no other caller gets. From below the range that the kernel takes for
/// outgoing connections, so that it is still free when a stopped process wants it back.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u32 = 12_000;
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Test processes that run beside each other begin at different places.
    let begin = std::process::id().wrapping_mul(7_919) % COUNT;
    let candidates = (0..COUNT).map(|step| FIRST + u16::try_from((begin + step) % COUNT).expect("below COUNT"));
    for port in candidates {
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("no port between {FIRST} and {} is free", u32::from(FIRST) + COUNT);
}

/// As [`free_port`], with the address.
pub fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}
