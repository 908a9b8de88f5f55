//! The simulator as a program: an HTTPS (or plain HTTP) listener for the public API and one for the control API.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, ValueEnum, error::ErrorKind};
use migrationlink_simulator::{
    Algorithm, ApiKeys, Balancing, Config, Preset, ServerCertificate, Simulator, serve_control,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Cloud Manager's migration-link API in a process, for tests and demonstrations.
///
/// Prints its addresses, one a line: `listening URL`, `control URL`. Ends on SIGTERM and SIGINT.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address of the public API.
    #[arg(long, value_name = "ADDR:PORT", default_value_t = ANY_PORT)]
    listen: SocketAddr,
    /// Address of the control API, which is always plain HTTP.
    #[arg(long, value_name = "ADDR:PORT", default_value_t = ANY_PORT)]
    control: SocketAddr,
    /// Serve HTTPS, and write the certificate of the generated CA to ca.crt in this directory.
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// A name or IP address of the server's certificate; repeatable [default: localhost, 127.0.0.1, ::1].
    #[arg(long, value_name = "NAME", requires = "tls_dir")]
    tls_name: Vec<String>,
    /// The server whose digest authentication is simulated.
    #[arg(long, value_enum, default_value_t = PresetName::Jetty9)]
    preset: PresetName,
    /// The digest's hash, if not the preset's.
    #[arg(long, value_enum)]
    algorithm: Option<AlgorithmName>,
    /// How long a nonce is valid, if not as long as the preset's [such as: 500ms, 60s, 5m].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    nonce_age: Option<Duration>,
    /// How many backends there are that do not know each other's nonces; each connection goes to the next.
    #[arg(long, value_name = "N", default_value_t = 1)]
    backends: usize,
    /// An organization and its API keys; repeatable.
    #[arg(long, value_name = "ORGID:PUBLIC:PRIVATE", value_parser = organization)]
    organization: Vec<(String, ApiKeys)>,
    /// Time before every answer.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0ms")]
    latency: Duration,
    /// How many polls of a new link answer NOT_SYNCED.
    #[arg(long, value_name = "N", default_value_t = 0)]
    synced_after: u32,
    /// Listen on other addresses than loopback ones, too: whoever reaches the control API rules the simulator.
    #[arg(long)]
    allow_non_loopback: bool,
    /// What is logged to stderr, such as info or debug; never a key or a token.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
}

#[derive(Clone, Copy, ValueEnum)]
enum PresetName {
    Jetty9,
    Jetty12,
    Apache,
}

#[derive(Clone, Copy, ValueEnum)]
enum AlgorithmName {
    Md5,
    #[value(name = "sha-256")]
    Sha256,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    for address in [arguments.listen, arguments.control] {
        if !address.ip().is_loopback() && !arguments.allow_non_loopback {
            let message = format!("{address} is not a loopback address; --allow-non-loopback permits it");
            Arguments::command().error(ErrorKind::ValueValidation, message).exit();
        }
    }
    tracing_subscriber::fmt().with_max_level(arguments.log_level).with_writer(std::io::stderr).init();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // Before anything is printed: whoever reads the addresses may send the signal at once.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);

    let simulator = Simulator::new(config(&arguments));
    for (org_id, keys) in arguments.organization {
        simulator.add_organization(&org_id, [keys]);
    }
    let listener = bind(arguments.listen).await?;
    let control_listener = bind(arguments.control).await?;
    let (server, scheme) = match arguments.tls_dir {
        None => (simulator.serve_plain(listener)?, "http"),
        Some(directory) => {
            let file = directory.join("ca.crt");
            std::fs::create_dir_all(&directory)
                .and_then(|()| std::fs::write(&file, simulator.ca_pem().map_err(std::io::Error::other)?))
                .map_err(|error| format!("{}: {error}", file.display()))?;
            let mut certificate = ServerCertificate::default();
            if !arguments.tls_name.is_empty() {
                certificate.names = arguments.tls_name;
            }
            (simulator.serve_tls_with(listener, &certificate)?, "https")
        }
    };
    let control = serve_control(&simulator, control_listener)?;
    println!("listening {scheme}://{}", server.address());
    println!("control http://{}", control.address());

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    control.stop().await;
    server.stop().await;
    Ok(())
}

fn config(arguments: &Arguments) -> Config {
    let preset = match arguments.preset {
        PresetName::Jetty9 => Preset::Jetty9,
        PresetName::Jetty12 => Preset::Jetty12,
        PresetName::Apache => Preset::Apache,
    };
    let mut digest = preset.policy();
    match arguments.algorithm {
        None => {}
        Some(AlgorithmName::Md5) => digest.algorithm = Algorithm::Md5,
        Some(AlgorithmName::Sha256) => digest.algorithm = Algorithm::Sha256,
    }
    if let Some(age) = arguments.nonce_age {
        digest.max_nonce_age = age;
    }
    Config {
        digest,
        balancing: Balancing::ByConnection { backends: arguments.backends },
        latency: arguments.latency,
        synced_after: arguments.synced_after,
        ..Config::default()
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))
}

fn organization(text: &str) -> Result<(String, ApiKeys), String> {
    let mut parts = text.splitn(3, ':').filter(|part| !part.is_empty());
    match (parts.next(), parts.next(), parts.next()) {
        (Some(org_id), Some(public), Some(private)) => Ok((org_id.to_owned(), ApiKeys::new(public, private))),
        _ => Err("write ORGID:PUBLIC:PRIVATE".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| "write a number and ms, s or m, such as 20ms")?;
    match text.strip_prefix(digits) {
        Some("ms") => Ok(Duration::from_millis(number)),
        Some("s") => Ok(Duration::from_secs(number)),
        Some("m") => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err("its unit is none of ms, s and m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(duration("3s"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("5m"), Ok(Duration::from_mins(5)));
        for wrong in ["", "20", "s", "-1s", "1.5s", "1h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_organization_has_an_id_and_two_keys() {
        let (org_id, keys) = organization("5f:public:private:with:colons").unwrap();
        assert_eq!((org_id.as_str(), keys), ("5f", ApiKeys::new("public", "private:with:colons")));
        for wrong in ["5f", "5f:public", "5f::private", ":public:private"] {
            assert!(organization(wrong).is_err(), "{wrong}");
        }
    }
}
