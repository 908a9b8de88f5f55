//! The pages for kubelet and Prometheus: `/livez`, `/readyz` and `/metrics`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::config::BindAddress;
use crate::metrics::{self, Metrics};

/// A connection carries one request, and is closed after this time whatever it does.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);

/// Connections that a server has at a time. One more ends the oldest: whoever opens many and says nothing must not
/// keep the kubelet waiting.
const MAX_CONNECTIONS: usize = 64;

/// The longest head of a request, and hyper's least: it keeps 400 KiB of what a connection sends otherwise.
const MAX_HEAD: usize = 8 * 1024;

/// What the probes ask for.
pub trait Health: Send + Sync + 'static {
    /// Whether the process can still make progress.
    ///
    /// # Errors
    /// A sentence that says what is stuck. The kubelet restarts the container.
    fn live(&self) -> Result<(), String>;

    /// Whether it does its work.
    ///
    /// # Errors
    /// A sentence that says what it waits for.
    fn ready(&self) -> Result<(), String>;
}

/// Why the pages cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error("--{flag} {address}: cannot listen there: {source}")]
    Bind {
        /// The flag that gave the address.
        flag: &'static str,
        /// The address.
        address: BindAddress,
        /// What the system says.
        source: io::Error,
    },
}

/// The servers: their sockets are open, so connections wait, but nothing is answered before [`Servers::serve`].
#[derive(Debug)]
pub struct Servers(Vec<Server>);

#[derive(Debug)]
struct Server {
    listener: TcpListener,
    pages: Pages,
}

#[derive(Clone, Copy, Debug)]
struct Pages {
    probes: bool,
    metrics: bool,
}

/// Opens the sockets: one where both addresses are the same.
///
/// # Errors
/// An address cannot be listened on.
pub async fn bind(probes: BindAddress, metrics: BindAddress) -> Result<Servers, AdminError> {
    let both = probes == metrics;
    let mut servers = Vec::new();
    for (flag, address, pages) in [
        ("health-probe-bind-address", probes, Pages { probes: true, metrics: both }),
        ("metrics-bind-address", metrics, Pages { probes: false, metrics: !both }),
    ] {
        if !pages.probes && !pages.metrics {
            continue;
        }
        let bound = match address {
            BindAddress::Off => continue,
            BindAddress::At(address) => TcpListener::bind(address).await,
            BindAddress::Any(port) => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
                // A machine without IPv6. (With it, the socket takes IPv4 as well.)
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
                }
                bound => bound,
            },
        };
        let listener = bound.map_err(|source| AdminError::Bind { flag, address, source })?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, probes = pages.probes, metrics = pages.metrics, "listening");
        }
        servers.push(Server { listener, pages });
    }
    Ok(Servers(servers))
}

impl Servers {
    /// Answers until `shutdown` is done; connections that are open then are cut off.
    pub async fn serve(
        self,
        health: Arc<dyn Health>,
        metrics: Arc<Metrics>,
        shutdown: impl Future<Output = ()>,
    ) {
        let shutdown = shutdown.shared();
        join_all(self.0.into_iter().map(|server| {
            let answer = {
                let (health, metrics) = (Arc::clone(&health), Arc::clone(&metrics));
                move |request: &Request<Incoming>| respond(request, server.pages, &*health, &metrics)
            };
            accept(server.listener, answer, shutdown.clone())
        }))
        .await;
    }
}

async fn accept(
    listener: TcpListener,
    answer: impl Fn(&Request<Incoming>) -> Response<String> + Clone + Send + 'static,
    shutdown: impl Future<Output = ()>,
) {
    tokio::pin!(shutdown);
    let mut connections = JoinSet::new();
    let mut by_age = VecDeque::new();
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            Some(_) = connections.join_next() => by_age.retain(|open: &AbortHandle| !open.is_finished()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    by_age.push_back(connections.spawn(connection(stream, answer.clone())));
                    if by_age.len() > MAX_CONNECTIONS && let Some(oldest) = by_age.pop_front() {
                        oldest.abort();
                    }
                }
                Err(error) => {
                    // Out of file descriptors, for one: trying again at once would only burn CPU.
                    tracing::warn!(%error, "cannot accept a connection for the probes or metrics");
                    sleep(Duration::from_secs(1)).await;
                }
            },
        }
    }
}

async fn connection(stream: TcpStream, answer: impl Fn(&Request<Incoming>) -> Response<String>) {
    let service = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(&request))));
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(MAX_HEAD);
    let served = http.serve_connection(TokioIo::new(stream), service);
    // A client that breaks off or says nothing is nobody's problem.
    let _ = timeout(CONNECTION_DEADLINE, served).await;
}

fn respond(
    request: &Request<Incoming>,
    pages: Pages,
    health: &dyn Health,
    metrics: &Metrics,
) -> Response<String> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered".to_owned());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/livez" if pages.probes => probe(health.live()),
        "/readyz" if pages.probes => probe(health.ready()),
        "/metrics" if pages.metrics => match metrics.encode() {
            Ok(body) => response(StatusCode::OK, metrics::CONTENT_TYPE, body),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written".to_owned()),
        },
        _ => text(StatusCode::NOT_FOUND, "not found".to_owned()),
    }
}

fn probe(result: Result<(), String>) -> Response<String> {
    match result {
        Ok(()) => text(StatusCode::OK, "ok".to_owned()),
        Err(sentence) => text(StatusCode::SERVICE_UNAVAILABLE, sentence),
    }
}

fn text(status: StatusCode, mut body: String) -> Response<String> {
    body.push('\n');
    response(status, "text/plain; charset=utf-8", body)
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    const LOCAL: &str = "127.0.0.1:0";

    #[derive(Default)]
    struct Switch(AtomicBool);

    impl Health for Switch {
        fn live(&self) -> Result<(), String> {
            Ok(())
        }

        fn ready(&self) -> Result<(), String> {
            if self.0.load(Ordering::Relaxed) {
                Ok(())
            } else {
                Err("the first list is not in yet".to_owned())
            }
        }
    }

    struct Running {
        addresses: Vec<SocketAddr>,
        health: Arc<Switch>,
        stop: oneshot::Sender<()>,
        task: tokio::task::JoinHandle<()>,
    }

    async fn start(probes: &str, metrics: &str) -> Running {
        let servers = bind(probes.parse().unwrap(), metrics.parse().unwrap()).await.unwrap();
        let addresses = servers.0.iter().map(|server| server.listener.local_addr().unwrap()).collect();
        let health = Arc::new(Switch::default());
        let (stop, stopped) = oneshot::channel();
        let serve = servers.serve(
            Arc::clone(&health) as Arc<dyn Health>,
            Arc::new(Metrics::new((), ())),
            stopped.map(drop),
        );
        Running { addresses, health, stop, task: tokio::spawn(serve) }
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn probes_and_metrics_have_a_server_each() {
        // A port alone is on all addresses, those of IPv4 included.
        let running = start(LOCAL, ":0").await;
        let [probes, metrics] = *running.addresses else { panic!("{:?}", running.addresses) };
        let metrics = (Ipv4Addr::LOCALHOST, metrics.port()).into();
        let answer = ask(probes, "GET /livez?verbose").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        let answer = ask(probes, "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("the first list is not in yet\n"), "{answer}");
        running.health.0.store(true, Ordering::Relaxed);
        assert!(ask(probes, "GET /readyz").await.starts_with("HTTP/1.1 200 OK"));
        assert!(ask(probes, "GET /metrics").await.starts_with("HTTP/1.1 404 "));
        assert!(ask(probes, "POST /livez").await.starts_with("HTTP/1.1 405 "));
        assert!(ask(metrics, "GET /livez").await.starts_with("HTTP/1.1 404 "));
        let answer = ask(metrics, "GET /metrics").await;
        assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
        running.stop.send(()).unwrap();
        running.task.await.unwrap();
        assert!(TcpStream::connect(probes).await.is_err());
    }

    #[tokio::test]
    async fn one_address_is_one_server_and_0_is_none() {
        let running = start(LOCAL, LOCAL).await;
        let [address] = *running.addresses else { panic!("{:?}", running.addresses) };
        for path in ["/livez", "/metrics"] {
            assert!(ask(address, &format!("GET {path}")).await.starts_with("HTTP/1.1 200 OK"));
        }
        assert_eq!(start("0", LOCAL).await.addresses.len(), 1);
        let none = start("0", "0").await;
        assert_eq!(none.addresses, []);
        none.task.await.unwrap();
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_with_its_flag() {
        let taken = TcpListener::bind(LOCAL).await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(BindAddress::Off, BindAddress::At(address)).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("--metrics-bind-address {address}: cannot listen there: ")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn clients_that_say_nothing_make_nobody_wait() {
        let running = start(LOCAL, "0").await;
        let address = running.addresses[0];
        let mut silent = Vec::new();
        for _ in 0..2 * MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /livez HT").await.unwrap();
            silent.push(stream);
        }
        let asked = timeout(Duration::from_secs(5), ask(address, "GET /livez")).await;
        assert!(asked.unwrap().ends_with("ok\n"), "long before the silent ones have had their time");
    }

    #[tokio::test]
    async fn a_head_that_is_too_long_is_refused_and_others_are_answered() {
        let running = start(LOCAL, "0").await;
        let address = running.addresses[0];
        // A head that fits, and as many bytes of one that has no end.
        let head = "GET /livez HTTP/1.1\r\nhost: here\r\nx-long: ".to_owned();
        let longest = MAX_HEAD - head.len() - "\r\n\r\n".len();
        for (length, status) in [(longest / 2, "200 OK"), (longest + 4, "431 ")] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("{head}{}", "x".repeat(length)).as_bytes()).await.unwrap();
            if length < longest {
                stream.write_all(b"\r\n\r\n").await.unwrap();
            }
            let mut answer = String::new();
            let read = timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await;
            read.expect("it is answered at once").unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{length}: {answer}");
        }
        assert!(ask(address, "GET /livez").await.ends_with("ok\n"));
    }
}
