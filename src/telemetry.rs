//! Logs: one line per event to standard error, with a hard cap on what other crates may say.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write, stderr};
use std::str::FromStr;

use clap::ValueEnum;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt, registry};

/// Form of the log lines.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people; coloured on a terminal.
    Text,
}

/// What is logged: a level, and levels for single modules, `info,migrationlink_operator::remote=debug`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFilter(Targets);

/// A text that is no [`LogFilter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write off, error, warn, info, debug or trace, or MODULE=LEVEL, several with commas: info,kube_runtime=debug"
)]
pub struct InvalidLogFilter;

impl FromStr for LogFilter {
    type Err = InvalidLogFilter;

    // `Targets` has a parser, which takes a misspelt level for the name of a module and then logs nothing else.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut targets = Targets::new();
        for part in text.split(',').map(str::trim) {
            let (target, level) = part.split_once('=').map_or((None, part), |(t, level)| (Some(t), level));
            // An empty text would be parsed, too.
            if level.is_empty() || target == Some("") {
                return Err(InvalidLogFilter);
            }
            let level: LevelFilter = level.parse().map_err(|_| InvalidLogFilter)?;
            targets = match target {
                None => targets.with_default(level),
                Some(target) => targets.with_target(target, level),
            };
        }
        Ok(Self(targets))
    }
}

/// Starts logging, for the whole process.
///
/// # Errors
/// Logging had been started before.
pub fn init(format: LogFormat, filter: LogFilter) -> Result<(), SetGlobalDefaultError> {
    tracing::subscriber::set_global_default(subscriber(format, caps(), filter, stderr))
}

/// The most that other crates may log, whatever `--log-level` says, so that no key, token or header gets into a log.
///
/// - `kube_client::client` itself is off: it logs, at WARN, the whole body of an answer that it cannot decode, which
///   may be a Secret, and at DEBUG and TRACE the text of error answers and response headers. Whoever called gets the
///   error. Its submodules log method, URL, status code and transport errors.
/// - What is named below with DEBUG has been read: addresses, host names, back-off times, errors.
/// - Everything else, what a later version of a crate adds included, stays at INFO.
/// - `log` records (rustls: handshakes; reqwest: proxies) never arrive, as nothing here bridges `log` to `tracing`,
///   and hyper logs nothing in a normal build.
fn caps() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("migrationlink_operator", LevelFilter::TRACE)
        .with_target("kube_client::client", LevelFilter::OFF)
        .with_target("kube_client::client::", LevelFilter::DEBUG)
        .with_target("kube_runtime", LevelFilter::DEBUG)
        .with_target("hyper_util", LevelFilter::DEBUG)
}

fn subscriber(
    format: LogFormat,
    caps: Targets,
    filter: LogFilter,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    let colours = format == LogFormat::Text && stderr().is_terminal();
    let lines = fmt::layer().with_writer(OneLine { writer, colours });
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => lines.with_ansi(colours).boxed(),
    };
    registry().with(caps).with(filter.0).with(lines)
}

/// Keeps each event on a line of its own: what a tenant or a server wrote may get into a message, and must not begin another line,
/// move a cursor or turn the direction of writing.
struct OneLine<W> {
    writer: W,
    /// The escapes that colour the line are its own; tracing-subscriber takes out all others.
    colours: bool,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine { writer: self.writer.make_writer(), colours: self.colours }
    }
}

/// Each event comes as one piece.
impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
        let mut escaped = String::with_capacity(event.len());
        for c in line.chars() {
            if is_foreign(c) && !(self.colours && c == '\u{1b}') {
                // The form that is good in JSON as well.
                write!(escaped, "\\u{:04x}", u32::from(c)).map_err(io::Error::other)?;
            } else {
                escaped.push(c);
            }
        }
        escaped.push('\n');
        self.writer.write_all(escaped.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn is_foreign(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::{Arc, Mutex};

    use k8s_openapi::api::core::v1::Secret;
    use kube::api::WatchParams;
    use secrecy::SecretString;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const CANARY: &str = "canary-in-the-coal-mine";

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Buffer {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Buffer {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn logged(caps: Targets, format: LogFormat, filter: &str, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let subscriber = subscriber(format, caps, filter.parse().unwrap(), buffer.clone());
        tracing::subscriber::with_default(subscriber, log);
        buffer.text()
    }

    #[test]
    fn levels_and_modules_are_read_and_a_misspelt_level_is_refused() {
        for text in ["info", "OFF", "warn,kube_runtime=debug", "migrationlink_operator::remote=trace, error"]
        {
            assert!(text.parse::<LogFilter>().is_ok(), "{text}");
        }
        for text in ["", "inof", "info,", "kube_runtime=loud", "=info", "kube_runtime=", "kube=runtime=info"]
        {
            assert_eq!(text.parse::<LogFilter>(), Err(InvalidLogFilter), "{text}");
        }
    }

    #[test]
    fn a_line_holds_time_level_target_message_and_fields() {
        let log = || tracing::info!(link = "payments/payments", "synced");
        let line = logged(caps(), LogFormat::Json, "info", log);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        for (key, value) in [
            ("level", "INFO"),
            ("target", "migrationlink_operator::telemetry::tests"),
            ("message", "synced"),
            ("link", "payments/payments"),
        ] {
            assert_eq!(line[key], value);
        }
        assert!(line["timestamp"].is_string());
        let line = logged(caps(), LogFormat::Text, "info", log);
        assert!(line.ends_with("synced link=\"payments/payments\"\n"), "{line}");
        assert!(!line.contains('\u{1b}'), "no colours where standard error is no terminal: {line:?}");
    }

    #[test]
    fn nothing_in_an_event_begins_another_line_or_moves_a_cursor() {
        let foreign = "x\r\n2026 ERROR forged\u{1b}[2J\u{7f}\u{9b}31m\u{202e}\u{2028}\0";
        let log = || {
            tracing::warn!(link = foreign, other = %foreign, "{foreign}");
            tracing::warn!("next");
        };
        for format in [LogFormat::Json, LogFormat::Text] {
            let text = logged(caps(), format, "info", log);
            let lines: Vec<_> = text.split('\n').collect();
            assert_eq!(lines.len(), 3, "{text:?}");
            assert!(lines[1].contains("next") && lines[2].is_empty(), "{text:?}");
            assert!(!lines[0].chars().any(is_foreign), "{text:?}");
        }
        let line = logged(caps(), LogFormat::Json, "info", log);
        let line: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        assert_eq!(line["message"], foreign, "it is escaped, and nothing is lost");
    }

    #[test]
    fn other_crates_stay_below_their_caps_and_below_what_was_asked() {
        let log = || {
            tracing::warn!(target: "kube_client::client", "no 1");
            tracing::debug!(target: "kube_client::client::builder", "yes 1");
            tracing::trace!(target: "kube_client::client::builder", "no 2");
            tracing::debug!(target: "kube_runtime::watcher", "yes 2");
            tracing::trace!(target: "hyper_util::client::legacy::pool", "no 3");
            tracing::debug!(target: "another_crate", "no 4");
            tracing::info!(target: "another_crate", "yes 3");
            tracing::trace!("yes 4");
        };
        for filter in ["trace", "trace,kube_client::client=trace,another_crate=trace"] {
            let text = logged(caps(), LogFormat::Text, filter, log);
            assert!(!text.contains("no "), "{text}");
            assert_eq!(text.matches("yes ").count(), 4, "{text}");
        }
        let text = logged(caps(), LogFormat::Text, "warn", log);
        assert_eq!(text, "");
    }

    /// Answers every request on one socket with this body and status line.
    async fn serve(status: &'static str, body: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 8192]).await;
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\nx-echo: {CANARY}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        format!("http://{address}")
    }

    /// What both HTTP clients log, everything asked for, while secrets pass through them in all directions.
    async fn traffic(caps: Targets) -> String {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let buffer = Buffer::default();
        let subscriber = subscriber(LogFormat::Text, caps, "trace".parse().unwrap(), buffer.clone());
        let _guard = tracing::subscriber::set_default(subscriber);
        for (status, body) in [
            (
                "200 OK",
                format!(r#"{{"kind":"Secret","metadata":{{"name":"s"}},"data":{{"linkToken":"{CANARY}"}}}}"#),
            ),
            ("200 OK", format!(r#"{{"kind":"Secret","data":["{CANARY}"]}}"#)),
            ("500 Internal Server Error", CANARY.to_owned()),
        ] {
            let url = serve(status, body).await;
            let mut config = kube::Config::new(url.parse().unwrap());
            config.auth_info.token = Some(SecretString::from(CANARY));
            let client = kube::Client::try_from(config).unwrap();
            let _ = kube::Api::<Secret>::namespaced(client.clone(), "default").get("s").await;
            let _ =
                kube::Api::<Secret>::namespaced(client, "default").watch(&WatchParams::default(), "0").await;
            let request = reqwest::Client::new().post(&url).header("authorization", CANARY).body(CANARY);
            let _ = request.send().await.unwrap().bytes().await;
        }
        tracing::info!("done");
        buffer.text()
    }

    #[tokio::test]
    async fn no_secret_that_passes_through_the_http_clients_is_logged() {
        let uncapped = traffic(Targets::new().with_default(LevelFilter::TRACE)).await;
        assert!(uncapped.contains(CANARY), "the caps are needed, and this test can fail");
        let text = traffic(caps()).await;
        assert!(!text.contains(CANARY), "{text}");
        assert!(text.contains("requesting") && text.contains("done"), "{text}");
    }
}
