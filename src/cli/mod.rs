//! The command line: one file a subcommand.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

mod audit;
mod explain;
mod render;
mod report;
mod review;
mod world;

#[cfg(feature = "serve")]
mod certs;
#[cfg(feature = "serve")]
mod client;
#[cfg(feature = "serve")]
mod controller;
#[cfg(feature = "serve")]
mod manifests;
#[cfg(feature = "serve")]
mod progress;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "serve")]
mod snapshot;
#[cfg(feature = "serve")]
mod try_folder;
#[cfg(feature = "serve")]
mod uninstall;
#[cfg(feature = "serve")]
mod webhook;

pub use explain::markdown as rules_as_markdown;
pub use render::{Brought, bring};
pub use report::{Located, Place};
pub use review::review_world;
#[cfg(feature = "serve")]
pub use try_folder::{Answer, Bench};
pub use world::{Subject, World, WorldOptions, read_cluster, read_configuration};

/// Nothing was denied.
pub const EXIT_OK: u8 = 0;
/// Something was denied (or, with `--expect-denied`, was not).
pub const EXIT_DENIED: u8 = 1;
/// Arguments were wrong, or a path could not be read.
pub const EXIT_USAGE: u8 = 2;

/// Makes autoscaling of GPU inference servers on Kubernetes work, and refuses autoscalers that cannot work.
#[derive(Debug, Parser)]
#[command(name = "scalegate", version, max_term_width = 80)]
#[command(after_help = "Examples:
  scalegate review k8s/             what the cluster would say about a folder
  scalegate try deploy/walkthrough  the same over HTTPS, without a cluster
  scalegate audit                   what it would say about what is there
  scalegate render k8s/vllm.yaml    what the label would bring
  scalegate explain metric-exists   why a rule speaks, and what to do")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge manifests as the cluster would: files, folders, or `-` for standard input.
    Review(review::ReviewArgs),
    /// Start the real webhook on a loopback port, send every object to it over HTTPS, and show what comes back.
    #[cfg(feature = "serve")]
    Try(try_folder::TryArgs),
    /// Print the objects that the label of each workload would bring.
    Render(render::RenderArgs),
    /// Judge what is in a cluster, or show what its labels would bring differently.
    Audit(audit::AuditArgs),
    /// Write what is known of a cluster to a file, for `audit`, `review` and `webhook`.
    #[cfg(feature = "serve")]
    Snapshot(snapshot::SnapshotArgs),
    /// Explain a rule, or list all rules.
    Explain(explain::ExplainArgs),
    /// Make a development certificate authority and a server certificate.
    #[cfg(feature = "serve")]
    Certs(certs::CertsArgs),
    /// Serve the admission webhook.
    #[cfg(feature = "serve")]
    Webhook(Box<webhook::WebhookArgs>),
    /// Write what labels bring, and look after the webhook's certificates.
    #[cfg(feature = "serve")]
    Controller(controller::ControllerArgs),
    /// Serve the webhook and be the controller, in one process.
    #[cfg(feature = "serve")]
    Serve(Box<serve::both::ServeArgs>),
    /// Print the webhook configurations, for an installation without the chart.
    #[cfg(feature = "serve")]
    Manifests(manifests::ManifestsArgs),
    /// Take scalegate out of a cluster.
    #[cfg(feature = "serve")]
    Uninstall(uninstall::UninstallArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
}

/// What to read, shared by the commands that read manifests.
#[derive(Debug, Clone, Default, Args)]
pub struct InputArgs {
    /// Files and folders of manifests; `-` reads standard input.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Namespace of objects that name none. Without it, such an object may stand in any single namespace.
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// A snapshot of the cluster, or what `kubectl get -o yaml` printed; files override its objects.
    #[arg(long, value_name = "FILE")]
    pub cluster: Option<PathBuf>,
    /// The administrator's Configuration; without it, a `kind: Configuration` document counts for its folder and below.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  scalegate completions bash > /etc/bash_completion.d/scalegate")]
struct CompletionsArgs {
    /// The shell.
    shell: clap_complete::Shell,
}

// === impl Colour ===

impl Colour {
    /// Whether output to that stream is coloured.
    pub fn enabled(self, stream_is_terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => stream_is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    let Cli { command } = Cli::parse();
    let result = match command {
        Command::Review(args) => review::run(&args),
        #[cfg(feature = "serve")]
        Command::Try(args) => try_folder::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Audit(args) => audit::run(&args),
        #[cfg(feature = "serve")]
        Command::Snapshot(args) => snapshot::run(&args),
        Command::Explain(args) => explain::run(&args),
        #[cfg(feature = "serve")]
        Command::Certs(args) => certs::run(&args),
        #[cfg(feature = "serve")]
        Command::Webhook(args) => webhook::run(&args),
        #[cfg(feature = "serve")]
        Command::Controller(args) => controller::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::both::run(&args),
        #[cfg(feature = "serve")]
        Command::Manifests(args) => manifests::run(&args),
        #[cfg(feature = "serve")]
        Command::Uninstall(args) => uninstall::run(&args),
        Command::Completions(args) => {
            // Into memory first: the generator panics where its writer fails.
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "scalegate", &mut script);
            io::stdout().write_all(&script).map(|()| EXIT_OK).map_err(Into::into)
        }
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::from(EXIT_OK),
        Err(error) => {
            eprintln!("scalegate: {error:#}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Whether the reader of our output went away (`scalegate review . | head`), which is nobody's fault.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
