//! The program: command line, logs, runtime, exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use migrationlink_operator::api;
use migrationlink_operator::config::{self, Config, Invocation};
use migrationlink_operator::telemetry;
use tokio::signal::unix::{SignalKind, signal};

/// Why the program ends with a failure.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the runtime cannot be started: {0}")]
    Runtime(#[source] io::Error),
    #[error("signals cannot be received: {0}")]
    Signals(#[source] io::Error),
}

fn main() -> ExitCode {
    let invocation = match config::parse(std::env::args_os().skip(1), |name| std::env::var_os(name)) {
        Ok(invocation) => invocation,
        Err(error) => {
            // Nothing is left to say it with if this fails.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match invocation {
        Invocation::Run(config) => run(&config),
        Invocation::Crd => print_crd(),
    }
}

fn print_crd() -> ExitCode {
    let printed = api::crd_yaml()
        .map_err(io::Error::other)
        .and_then(|crd| io::stdout().lock().write_all(crd.as_bytes()));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config) -> ExitCode {
    // Both fail only when one is installed already. kube and reqwest share this provider and look for it when the
    // first client is made.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let _ = telemetry::init(config.log_format, config.log_level.clone());
    // One thread: what there is to do is waiting, and a second thread only costs CPU and memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(RunError::Runtime).and_then(|runtime| runtime.block_on(operate())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "ends");
            ExitCode::FAILURE
        }
    }
}

async fn operate() -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starts");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stops");
    Ok(())
}
