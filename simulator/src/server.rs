//! Sockets: listening, TLS, connections that are reset, and the end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::exchange::ConnectionNumber;
use crate::reply::ConnectionReset;
use crate::simulator::Simulator;

/// How long answers that are under way may take once the server is to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(1);

/// A listening server. Dropping it ends it and its connections at once.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What a connection needs besides its stream.
struct Connection {
    router: Router,
    /// Its place among the connections of this listener, from 0.
    number: u64,
    stop: watch::Receiver<bool>,
}

impl Server {
    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more connections, closes the idle ones, waits up to a second for answers under way, and ends.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // An error would say that the task was aborted: it has ended then, too.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves a router over plain HTTP.
pub(crate) fn plain(router: Router, listener: TcpListener) -> io::Result<Server> {
    listen(router, listener, |stream, connection| async move {
        serve(stream, |stream| stream, connection).await;
    })
}

/// Serves the simulator's public API over HTTPS.
pub(crate) fn tls(
    simulator: Simulator,
    listener: TcpListener,
    config: Arc<ServerConfig>,
) -> io::Result<Server> {
    let acceptor = TlsAcceptor::from(config);
    listen(simulator.router(), listener, move |stream, connection| {
        let (acceptor, simulator) = (acceptor.clone(), simulator.clone());
        async move {
            if simulator.state().script.breaks_tls_handshake() {
                return;
            }
            match acceptor.accept(stream).await {
                Ok(stream) => serve(stream, |stream| stream.get_ref().0, connection).await,
                Err(error) => tracing::debug!(%error, "TLS handshake"),
            }
        }
    })
}

/// Accepts connections and runs `handle` for each, until the server is stopped or dropped.
fn listen<H, F>(router: Router, listener: TcpListener, handle: H) -> io::Result<Server>
where
    H: Fn(TcpStream, Connection) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let address = listener.local_addr()?;
    let (stop, mut stopped) = watch::channel(false);
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        let mut number = 0;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                _ = stopped.changed() => break,
            };
            let Ok((stream, _)) = accepted else {
                // Too many open files, most likely: some will be closed.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            // Without it answers may be slower, nothing else.
            let _ = stream.set_nodelay(true);
            let connection = Connection { router: router.clone(), number, stop: stopped.clone() };
            connections.spawn(handle(stream, connection));
            number += 1;
        }
        drop(listener);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        // What has not ended by the deadline is dropped with its connection.
        let _ = tokio::time::timeout(STOP_DEADLINE, all_ended).await;
    });
    Ok(Server { address, stop, task })
}

/// Serves one connection to its end, or resets it when a response says so.
async fn serve<S>(stream: S, tcp: fn(&S) -> &TcpStream, connection: Connection)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Connection { router, number, mut stop } = connection;
    let reset = Notify::new();
    let service = service_fn(|request: Request<Incoming>| {
        let (router, reset) = (router.clone(), &reset);
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectionNumber(number));
            let response = router.oneshot(request).await;
            if response
                .as_ref()
                .is_ok_and(|response| response.extensions().get::<ConnectionReset>().is_some())
            {
                reset.notify_one();
                return std::future::pending::<Result<_, Infallible>>().await;
            }
            response
        }
    });
    let mut served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    loop {
        tokio::select! {
            ended = &mut served => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection");
                }
                return;
            }
            () = reset.notified() => break,
            Ok(()) = stop.changed() => std::pin::Pin::new(&mut served).graceful_shutdown(),
        }
    }
    let stream = served.into_parts().io.into_inner();
    if let Err(error) = tcp(&stream).set_zero_linger() {
        tracing::warn!(%error, "closed instead of reset");
    }
}
