//! A server that answers with whatever bytes a test wants, and keeps every byte that it is sent: what an HTTP library would not send.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// What a server does with a request, by the request.
pub type Manner = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// How many came before it.
    pub number: usize,
    /// Request line and headers.
    pub head: String,
    /// As long as its Content-Length says.
    pub body: Vec<u8>,
}

/// What is done then. After it the connection is closed.
pub enum Reply {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, and then others again and again, as fast as they are taken.
    Endless(Vec<u8>, &'static [u8]),
    /// These bytes, and then these few now and then.
    Drip(Vec<u8>, &'static [u8]),
    /// Nothing, for as long as the other end waits.
    Silence,
}

/// A running server at a loopback port. It ends when this is dropped.
pub struct Server {
    scheme: &'static str,
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    bytes: Mutex<Vec<u8>>,
    asked: Mutex<Vec<Asked>>,
}

impl Asked {
    /// The value of a header; None if it is not there.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        lines.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then(|| value.trim()))
    }

    /// What it brings to prove who it is.
    pub fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }

    /// Method and path.
    pub fn target(&self) -> (&str, &str) {
        let mut words = self.head.split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }
}

impl Server {
    /// Plain HTTP.
    pub async fn start(manner: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen("http", None, Arc::new(manner)).await
    }

    /// HTTPS.
    pub async fn start_tls(
        config: ServerConfig,
        manner: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen("https", Some(TlsAcceptor::from(Arc::new(config))), Arc::new(manner)).await
    }

    /// Says nothing to what is meant for HTTPS: not even the handshake begins.
    pub async fn start_mute_tls() -> Self {
        Self::listen("https", None, Arc::new(|_: &Asked| Reply::Silence)).await
    }

    async fn listen(scheme: &'static str, tls: Option<TlsAcceptor>, manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::<Seen>::default();
        let kept = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, manner, tls) = (kept.clone(), manner.clone(), tls.clone());
                tokio::spawn(async move {
                    seen.connections.fetch_add(1, Ordering::Relaxed);
                    let open = seen.open.fetch_add(1, Ordering::Relaxed) + 1;
                    seen.most_open.fetch_max(open, Ordering::Relaxed);
                    // A connection that breaks is what is expected here.
                    let _: io::Result<()> = match tls {
                        None => serve(stream, &seen, &manner).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &seen, &manner).await,
                            Err(error) => Err(error),
                        },
                    };
                    seen.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { scheme, address, seen, task }
    }

    /// What the operator's `--allowed-origin` takes.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// What a link's `spec.baseUrl` takes.
    pub fn base_url(&self) -> String {
        format!("{}/api/public/v1.0", self.origin())
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.seen.asked).clone()
    }

    /// Every byte that came, decrypted, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.seen.bytes)).into_owned()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// The most connections at the same time.
    pub fn most_open(&self) -> usize {
        self.seen.most_open.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: &Seen,
    manner: &Manner,
) -> io::Result<()> {
    let asked = read(&mut stream, seen).await?;
    match manner(&asked) {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await?,
        Reply::Endless(begin, again) => {
            stream.write_all(&begin).await?;
            loop {
                stream.write_all(again).await?;
            }
        }
        Reply::Drip(begin, few) => {
            stream.write_all(&begin).await?;
            loop {
                sleep(Duration::from_millis(300)).await;
                stream.write_all(few).await?;
                stream.flush().await?;
            }
        }
        Reply::Silence => while receive(&mut stream, seen, &mut Vec::new()).await? > 0 {},
    }
    stream.shutdown().await
}

/// Reads one request.
async fn read(stream: &mut (impl AsyncRead + Unpin), seen: &Seen) -> io::Result<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if receive(stream, seen, &mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut asked = Asked { number: 0, head, body: bytes[end..].to_vec() };
    let length = asked.header("content-length").map_or(0, |length| length.parse().expect("a number"));
    while asked.body.len() < length && receive(stream, seen, &mut asked.body).await? > 0 {}
    let mut all = lock(&seen.asked);
    asked.number = all.len();
    all.push(asked.clone());
    Ok(asked)
}

async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    seen: &Seen,
    into: &mut Vec<u8>,
) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer).await?;
    lock(&seen.bytes).extend_from_slice(&buffer[..length]);
    into.extend_from_slice(&buffer[..length]);
    Ok(length)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
