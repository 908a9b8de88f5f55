//! The command line: what can be set, by which flag or environment variable, and the sentence for what is wrong.

mod check;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use check::{CheckConfig, LinkName, Output};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::duration;
use crate::endpoint::{InvalidEndpoint, Origin};
use crate::rate::Rate;
use crate::telemetry::{LogFilter, LogFormat};

/// What the program was asked to do.
#[derive(Debug)]
pub enum Invocation {
    /// Run the operator.
    Run(Box<Config>),
    /// Print the CustomResourceDefinition.
    Crd,
    /// Say what the operator would do.
    Check(Box<CheckConfig>),
}

/// Links Cloud Manager and Ops Manager organizations with Atlas, as MigrationLink resources say
#[derive(Parser)]
#[command(
    name = "migrationlink-operator",
    version,
    no_binary_name = true,
    args_conflicts_with_subcommands = true,
    after_help = "The command line wins over the environment; an empty variable counts as not set. A variable of a \
                  repeatable flag holds a comma-separated list. Exit code: 0 after a clean stop, 1 on a failure, 2 \
                  on bad usage."
)]
struct Cli {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator: the default
    Run(Box<Config>),
    /// Print the CustomResourceDefinition
    Crd,
    /// Say what the operator would do with a link and why, without doing it
    Check(Box<CheckConfig>),
}

// The first paragraph of each field's comment is its help text.
/// Everything that can be set.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct Config {
    /// Scheme, host and port that credentials may be sent to; repeatable, no wildcards
    #[arg(
        long = "allowed-origin",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "https://cloud.mongodb.com",
        value_parser = origin
    )]
    pub allowed_origins: Vec<Origin>,

    /// Namespace to work in; repeatable, the whole cluster if none is given
    #[arg(long = "watch-namespace", value_name = "NS", value_delimiter = ',', value_parser = namespace)]
    pub watch_namespaces: Vec<String>,

    /// How a changed Secret is noticed: at once (needs list and watch), or at the next check (needs only get)
    #[arg(long, value_name = "HOW", default_value = "watch")]
    pub secret_access: SecretAccess,

    /// Links worked on at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,

    /// Links that call the same origin at the same time; at most half of what the other origins leave
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub origin_concurrency: u16,

    /// Calls with the same API key, in a second or minute; 0 for no limit
    #[arg(long, value_name = "RATE", default_value = "10/s")]
    pub api_rate: Rate,

    /// Calls to the same origin, in a second or minute; 0 for no limit
    #[arg(long, value_name = "RATE", default_value = "100/s")]
    pub origin_rate: Rate,

    /// Time between two checks of a link that is SYNCED, 1m to 24h
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = sync_interval)]
    pub sync_interval: Duration,

    /// How long a deletion with the policy Delete waits for a person to mend what blocks it; never = for ever
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = grace_period)]
    pub deletion_grace_period: GracePeriod,
    /// Whether of several copies only the one that holds a lease works; false only where there is never more than one
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub leader_elect: bool,

    /// Namespace of the lease; that of the pod or of the kubeconfig's context if none is given
    #[arg(long, value_name = "NS", value_parser = namespace)]
    pub lease_namespace: Option<String>,

    /// Name of the lease
    #[arg(long, value_name = "NAME", default_value = "migrationlink-operator", value_parser = lease_name)]
    pub lease_name: String,

    /// Time after which another copy takes over from one that says nothing, 5s to 5m; who cannot renew for two thirds of it ends
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,

    /// Where /livez and /readyz are served; 0 for nowhere
    #[arg(long, value_name = "[ADDR]:PORT", default_value = ":8081")]
    pub health_probe_bind_address: BindAddress,

    /// Where /metrics is served; 0 for nowhere
    #[arg(long, value_name = "[ADDR]:PORT", default_value = ":8080")]
    pub metrics_bind_address: BindAddress,

    /// Root certificates to trust beside the system's, for every link
    #[arg(long, value_name = "PEM")]
    pub ca_file: Option<PathBuf>,

    /// Form of the log lines, which go to standard error
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub log_format: LogFormat,

    /// off, error, warn, info, debug or trace; for a module alone, MODULE=LEVEL behind a comma
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogFilter,
}

/// How Secrets are read.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretAccess {
    /// Their metadata is watched, so that a change is acted on at once.
    Watch,
    /// They are only read when a link is worked on: RBAC needs no list and no watch.
    Get,
}

/// How long a deletion waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GracePeriod {
    /// So long.
    For(Duration),
    /// For ever.
    Never,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindAddress {
    /// `0`: nowhere.
    Off,
    /// `:PORT`: on every address of the machine, IPv6 and IPv4.
    Any(u16),
    /// `ADDR:PORT`.
    At(SocketAddr),
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidValue {
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
    #[error("there are no wildcards: give each origin by itself")]
    Wildcard,
    #[error(
        "a namespace has at most 63 characters, a-z, 0-9 and -, with a letter or digit at both ends: not this one"
    )]
    Namespace,
    #[error(
        "the name of a lease has at most 253 characters, a-z, 0-9, - and ., with a letter or digit at both ends and \
         beside each dot: not this one"
    )]
    LeaseName,
    #[error("write NAMESPACE/NAME of a MigrationLink in the cluster, or -f FILE for a manifest")]
    LinkName,
    #[error("write a duration such as 90s, 15m or 1h30m")]
    Duration,
    #[error("it must be from 1m to 24h")]
    SyncInterval,
    #[error("write a duration such as 90s, 10m or 24h, or never")]
    GracePeriod,
    #[error("it must be from 5s to 5m")]
    LeaseDuration,
}

/// A text that is no [`BindAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write ADDR:PORT with an IP address, :PORT for all addresses, or 0 for none")]
pub struct InvalidBindAddress;

/// Reads the command line (`args` without the program's name) and, for the flags that it does not give, the environment.
///
/// # Errors
/// What clap says, with the sentence to print and the exit code to end with; a call for help or the version is one, too.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Invocation, clap::Error> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let mut command = command();
    let matches = command.clone().try_get_matches_from(&args).map_err(without_password)?;
    let (given, after) = match matches.subcommand() {
        None => (&matches, 0),
        Some(("crd", _)) => return Ok(Invocation::Crd),
        Some((_, given)) => (given, 1),
    };
    let asked = matches.subcommand_name().and_then(|name| command.find_subcommand(name)).unwrap_or(&command);
    // clap's own reading of the environment takes an empty variable, which charts love to set, for a value, and
    // does not say in an error that the value came from a variable. So the variables become flags, and are parsed
    // again with the others: what is wrong now comes from the environment.
    let missing = asked.get_arguments().filter_map(|arg| {
        let flag = arg.get_long()?;
        let absent = given.value_source(arg.get_id().as_str()) != Some(ValueSource::CommandLine);
        absent.then(|| (flag.to_owned(), variable(flag)))
    });
    for (flag, variable) in missing.collect::<Vec<_>>() {
        let Some(value) = env(&variable).filter(|value| !value.is_empty()) else { continue };
        let Ok(value) = value.into_string() else {
            return Err(command.error(ErrorKind::InvalidUtf8, format!("{variable} is not UTF-8")));
        };
        args.insert(after, format!("--{flag}={value}").into());
    }
    let cli = command
        .try_get_matches_from_mut(args)
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|error| without_password(with_variable(error)))?;
    let mut config = match cli.command {
        Some(Command::Run(config)) => config,
        None => Box::new(cli.config),
        Some(Command::Crd) => return Ok(Invocation::Crd),
        Some(Command::Check(config)) => return Ok(Invocation::Check(config)),
    };
    config.watch_namespaces.sort();
    config.watch_namespaces.dedup();
    Ok(Invocation::Run(config))
}

/// The command with its help, which names each flag's variable.
fn command() -> clap::Command {
    fn with_variables(command: clap::Command) -> clap::Command {
        command.mut_args(|arg| {
            let (Some(flag), Some(help)) = (arg.get_long(), arg.get_help()) else { return arg };
            let help = format!("{help} [env: {}]", variable(flag));
            arg.help(help)
        })
    }
    with_variables(Cli::command())
        .mut_subcommand("run", with_variables)
        .mut_subcommand("check", with_variables)
}

/// The environment variable of a flag: `MIGRATIONLINK_SYNC_INTERVAL` of `sync-interval`.
fn variable(flag: &str) -> String {
    format!("MIGRATIONLINK_{}", flag.to_uppercase().replace('-', "_"))
}

/// Says in an error which variable the value came from.
fn with_variable(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg) {
        let flag = arg.trim_start_matches("--").split(' ').next().unwrap_or_default();
        let named = format!("{}, the variable of {arg}", variable(flag));
        error.insert(ContextKind::InvalidArg, ContextValue::String(named));
    }
    error
}

/// Keeps a password out of the message about a URL that holds one, because the message ends up in a log.
fn without_password(mut error: clap::Error) -> clap::Error {
    if matches!(error.get(ContextKind::InvalidValue), Some(ContextValue::String(value)) if value.contains('@'))
    {
        error.insert(ContextKind::InvalidValue, ContextValue::String("(not shown)".to_owned()));
    }
    error
}

fn origin(text: &str) -> Result<Origin, InvalidValue> {
    if text.contains('*') { Err(InvalidValue::Wildcard) } else { Ok(text.parse()?) }
}

fn namespace(text: &str) -> Result<String, InvalidValue> {
    if text.len() <= 63 && is_label(text) { Ok(text.to_owned()) } else { Err(InvalidValue::Namespace) }
}

/// A DNS subdomain. Kubernetes limits the whole of it, not its labels.
fn lease_name(text: &str) -> Result<String, InvalidValue> {
    let subdomain = text.len() <= 253 && text.split('.').all(is_label);
    if subdomain { Ok(text.to_owned()) } else { Err(InvalidValue::LeaseName) }
}

/// Whether it is a DNS label, whatever its length.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn sync_interval(text: &str) -> Result<Duration, InvalidValue> {
    let within = Duration::from_mins(1)..=Duration::from_hours(24);
    duration_within(text, &within, InvalidValue::SyncInterval)
}

fn lease_duration(text: &str) -> Result<Duration, InvalidValue> {
    let within = Duration::from_secs(5)..=Duration::from_mins(5);
    duration_within(text, &within, InvalidValue::LeaseDuration)
}

fn duration_within(
    text: &str,
    within: &RangeInclusive<Duration>,
    error: InvalidValue,
) -> Result<Duration, InvalidValue> {
    let duration = duration::parse(text).ok_or(InvalidValue::Duration)?;
    if within.contains(&duration) { Ok(duration) } else { Err(error) }
}

fn grace_period(text: &str) -> Result<GracePeriod, InvalidValue> {
    if text == "never" {
        return Ok(GracePeriod::Never);
    }
    duration::parse(text).map(GracePeriod::For).ok_or(InvalidValue::GracePeriod)
}

impl FromStr for BindAddress {
    type Err = InvalidBindAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" {
            return Ok(Self::Off);
        }
        match text.strip_prefix(':') {
            Some(port) => port.parse().map(Self::Any).map_err(|_| InvalidBindAddress),
            None => text.parse().map(Self::At).map_err(|_| InvalidBindAddress),
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("0"),
            Self::Any(port) => write!(f, ":{port}"),
            Self::At(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
