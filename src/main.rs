//! The program: command line, logs, runtime, exit code.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use migrationlink_operator::admin::{self, AdminError};
use migrationlink_operator::config::{self, CheckConfig, Config, Invocation, Output};
use migrationlink_operator::controller::{
    self, ClientError, Cluster, Controller, EndedEarly, Pacer, Pacing, Parts, Store, Surroundings,
};
use migrationlink_operator::decision::{Origins, SecretAccess, Settings};
use migrationlink_operator::leader::{self, Claim, Elector};
use migrationlink_operator::metrics::Metrics;
use migrationlink_operator::remote::{
    Client, HttpOptions, HttpTransport, ProxySettings, SetupError, USER_AGENT,
};
use migrationlink_operator::{api, check, telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Why the program ends with a failure.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the runtime cannot be started: {0}")]
    Runtime(#[source] io::Error),
    #[error("signals cannot be received: {0}")]
    Signals(#[source] io::Error),
    #[error("--ca-file {path}: cannot be read: {source}")]
    CaFile { path: PathBuf, source: io::Error },
    #[error("--ca-file {path}: it holds no certificate in PEM form, or one that cannot be read")]
    CaContent { path: PathBuf },
    #[error("the client for the remote API cannot be made: {0}")]
    Remote(#[source] SetupError),
    #[error(transparent)]
    Kubernetes(#[from] ClientError),
    #[error(
        "--lease-namespace is needed: the kubeconfig's context has no namespace for the lease that keeps two copies from \
         working at the same time. If there is never more than one, --leader-elect=false does without it"
    )]
    LeaseNamespace,
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    EndedEarly(#[from] EndedEarly),
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
        Invocation::Crd => print(api::crd_yaml().map_err(io::Error::other)),
        Invocation::Check(config) => check(&config),
    }
}

fn check(config: &CheckConfig) -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let report = match on_one_thread(check::run(config)) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let printed = print(match config.output {
        Output::Text => Ok(report.to_text()),
        Output::Json => report.to_json().map_err(io::Error::other),
    });
    if report.is_ok() { printed } else { ExitCode::FAILURE }
}

fn print(text: io::Result<String>) -> ExitCode {
    match text.and_then(|text| io::stdout().lock().write_all(text.as_bytes())) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough: crd | head.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
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
    match on_one_thread(operate(config)).and_then(|ended| ended) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "ends");
            ExitCode::FAILURE
        }
    }
}

/// One thread: what there is to do is waiting, and a second thread only costs CPU and memory.
fn on_one_thread<T>(future: impl Future<Output = T>) -> Result<T, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(RunError::Runtime)?;
    let ended = runtime.block_on(future);
    // A name that is being resolved is not waited for.
    runtime.shutdown_background();
    Ok(ended)
}

async fn operate(config: &Config) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starts");
    let store = Arc::new(Store::default());
    let pacer = Pacer::new(pacing(config));
    let metrics = Arc::new(Metrics::new(store.clone(), pacer.clone()));
    let transport = HttpTransport::new(&HttpOptions {
        extra_roots: extra_roots(config)?,
        user_agent: USER_AGENT.to_owned(),
        proxy: ProxySettings::from_env(),
    })
    .map_err(|error| match (error, &config.ca_file) {
        (SetupError::Certificate, Some(path)) => RunError::CaContent { path: path.clone() },
        (error, _) => RunError::Remote(error),
    })?;
    let servers = admin::bind(config.health_probe_bind_address, config.metrics_bind_address).await?;
    let cluster = controller::cluster().await?;
    let (elector, claim) = candidate(config, &cluster, &metrics)?;
    let controller = Controller::new(Parts {
        client: cluster.client()?,
        remote: Client::new(Arc::new(transport), metrics.clone()),
        store,
        pacer,
        metrics: metrics.clone(),
        claim,
        settings: settings(config),
        secret_access: match config.secret_access {
            config::SecretAccess::Watch => SecretAccess::Watch,
            config::SecretAccess::Get => SecretAccess::Get,
        },
        namespaces: config.watch_namespaces.clone(),
        concurrency: usize::from(config.concurrency),
        surroundings: Surroundings::default(),
    });
    let (stop, stopped) = watch::channel(false);
    let until_stopped = || {
        let mut stopped = stopped.clone();
        async move {
            // An error means that the sender is gone, and that is a stop as well.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    };
    let pages = servers.serve(Arc::new(controller.health()), metrics, until_stopped());
    let work = async {
        let ended = match elector {
            Some(elector) => controller.run_elected(elector, until_stopped()).await,
            None => controller.run(until_stopped()).await,
        };
        stop.send_replace(true);
        ended
    };
    let signals = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = until_stopped() => return,
        }
        tracing::info!("stops");
        stop.send_replace(true);
    };
    let (ended, (), ()) = tokio::join!(work, pages, signals);
    Ok(ended?)
}

/// The candidate for the lease, if there is an election, and the claim to write.
fn candidate(
    config: &Config,
    cluster: &Cluster,
    metrics: &Arc<Metrics>,
) -> Result<(Option<Elector>, Claim), RunError> {
    if !config.leader_elect {
        metrics.leader(true);
        return Ok((None, Claim::always()));
    }
    let namespace = config.lease_namespace.as_ref().or(cluster.namespace.as_ref());
    let (elector, claim) = Elector::new(leader::Options {
        client: cluster.lease_client()?,
        namespace: namespace.ok_or(RunError::LeaseNamespace)?.clone(),
        name: config.lease_name.clone(),
        duration: config.lease_duration,
        identity: leader::identity(),
        metrics: metrics.clone(),
    });
    Ok((Some(elector), claim))
}

fn extra_roots(config: &Config) -> Result<Vec<Vec<u8>>, RunError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| RunError::CaFile { path: path.clone(), source })
    };
    config.ca_file.iter().map(read).collect()
}

fn pacing(config: &Config) -> Pacing {
    Pacing {
        concurrency: usize::from(config.concurrency),
        origin_concurrency: usize::from(config.origin_concurrency),
        api_rate: config.api_rate,
        origin_rate: config.origin_rate,
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        allowed_origins: Origins(config.allowed_origins.clone()),
        sync_interval: config.sync_interval,
        deletion_grace_period: match config.deletion_grace_period {
            config::GracePeriod::For(time) => Some(time),
            config::GracePeriod::Never => None,
        },
        started_at: Timestamp::now(),
    }
}
