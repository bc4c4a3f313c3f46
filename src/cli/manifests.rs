//! `scalegate manifests`: the webhook configurations, for those who install without the chart.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use super::EXIT_OK;
use crate::admission::registration::{Installation, webhook_configurations};

/// The longest a webhook may take (kubernetes/api admissionregistration/v1).
const TIMEOUT_MOST: i64 = 30;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scalegate manifests | kubectl apply --server-side -f -
  scalegate manifests --ca-file certs/dev/ca.crt --namespace ops
  scalegate manifests --fail-closed --exclude-namespace gpu-operator
  scalegate manifests --annotation \\
      cert-manager.io/inject-ca-from=scalegate-system/scalegate")]
pub(super) struct ManifestsArgs {
    /// Name of both configurations.
    #[arg(long, default_value_t = Installation::default().name, value_name = "NAME")]
    name: String,
    /// Namespace of the webhook's Service.
    #[arg(short, long, default_value_t = Installation::default().namespace, value_name = "NAMESPACE")]
    namespace: String,
    /// Name of the webhook's Service.
    #[arg(long, default_value_t = Installation::default().service, value_name = "NAME")]
    service: String,
    /// Port of the Service.
    #[arg(long, default_value_t = Installation::default().port, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Refuse what is validated while no webhook answers; our own namespace is then left out.
    #[arg(long)]
    fail_closed: bool,
    /// Seconds that the API server waits for an answer.
    #[arg(long, default_value_t = Installation::default().timeout_seconds, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(1..=TIMEOUT_MOST))]
    timeout: u32,
    /// The certificate authorities to trust, PEM. Without it the field is left to who fills it in.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A namespace whose objects are never sent; may be given several times.
    #[arg(long, value_name = "NAMESPACE")]
    exclude_namespace: Vec<String>,
    /// A label of both configurations; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// An annotation of both configurations; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    annotation: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// Prints both configurations as YAML documents.
pub(super) fn run(args: &ManifestsArgs) -> anyhow::Result<u8> {
    let installation = Installation {
        name: args.name.clone(),
        namespace: args.namespace.clone(),
        service: args.service.clone(),
        port: args.port,
        fail_closed: args.fail_closed,
        timeout_seconds: args.timeout,
        ca_bundle: args.ca_file.as_deref().map(ca_bundle).transpose()?,
        exclude_namespaces: args.exclude_namespace.clone(),
        labels: args.label.iter().cloned().collect::<BTreeMap<_, _>>(),
        annotations: args.annotation.iter().cloned().collect::<BTreeMap<_, _>>(),
    };
    let (mutating, validating) = webhook_configurations(&installation);
    let mut out = io::BufWriter::new(io::stdout().lock());
    for configuration in [mutating, validating] {
        writeln!(out, "---")?;
        writeln!(out, "{}", serde_saphyr::to_string(&configuration).map_err(io::Error::other)?.trim_end())?;
    }
    out.flush()?;
    Ok(EXIT_OK)
}

/// The file's certificates as a caBundle. What is no certificate is refused, so that no key lands in a configuration that
/// everybody may read.
fn ca_bundle(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--ca-file: cannot read {}", path.display()))?;
    let labels: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN ")).collect();
    if labels.is_empty() || labels.iter().any(|label| *label != "CERTIFICATE-----") {
        bail!("--ca-file: {} must hold PEM certificates and nothing else", path.display());
    }
    Ok(STANDARD.encode(text))
}
