//! `scalegate certs`: development certificates.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use super::EXIT_OK;
use crate::tls::DevCa;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scalegate certs
      certs/dev/{ca.crt,tls.crt,tls.key} for localhost
  scalegate certs --dir /tmp/c scalegate.scalegate.svc
      for a Service of that name")]
pub(super) struct CertsArgs {
    /// DNS names and IP addresses of the server.
    #[arg(default_values = ["localhost", "127.0.0.1", "scalegate.scalegate-system.svc"])]
    names: Vec<String>,
    /// Folder to write into; it is made when it is not there.
    #[arg(long, default_value = "certs/dev")]
    dir: PathBuf,
    /// Days that the certificates are valid.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=825))]
    days: u16,
    /// Overwrite files that are there.
    #[arg(long)]
    force: bool,
}

/// Writes a certificate authority and a server certificate. The authority's key is thrown away.
pub(super) fn run(args: &CertsArgs) -> anyhow::Result<u8> {
    let validity = Duration::from_secs(u64::from(args.days) * 24 * 60 * 60);
    let ca = DevCa::generate("scalegate development CA", validity).context("cannot make the authority")?;
    let names: Vec<&str> = args.names.iter().map(String::as_str).collect();
    let issued = ca.issue(&names).with_context(|| format!("cannot issue a certificate for {}", names.join(", ")))?;
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot make the folder {}", args.dir.display()))?;
    let files = [
        ("ca.crt", ca.certificate_pem(), 0o644),
        ("tls.crt", issued.chain_pem, 0o644),
        ("tls.key", issued.key_pem, 0o600),
    ];
    if !args.force {
        for (name, ..) in &files {
            let path = args.dir.join(name);
            if path.exists() {
                bail!("{} is there already; --force overwrites it", path.display());
            }
        }
    }
    let mut out = io::stdout().lock();
    for (name, text, mode) in &files {
        let path = args.dir.join(name);
        write(&path, text, *mode).with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(EXIT_OK)
}

/// Writes a file that never exists with wider rights than `mode`.
fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)?.write_all(text.as_bytes())
}
