//! The `scalegate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "serve")]
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("scalegate: another TLS provider is installed already");
        return ExitCode::from(scalegate::cli::EXIT_USAGE);
    }
    scalegate::cli::run()
}
