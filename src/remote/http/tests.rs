use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};

use http::{HeaderMap, Method};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::remote::Roots;

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

fn setup() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
}

/// A server on loopback, a thread that lives as long as the process: `handle` gets each connection.
fn listen(handle: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(|stream| handle(stream.unwrap())));
    address
}

/// Reads a request up to the end of its head and writes `response`; a failing write is the client's choice.
fn respond(stream: &mut dyn Connection, response: &[u8]) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        head.extend_from_slice(&byte);
    }
    let _ = stream.write_all(response);
    let _ = stream.flush();
    String::from_utf8(head).unwrap()
}

fn answering(response: &'static [u8]) -> String {
    let address = listen(move |mut stream| {
        respond(&mut stream, response);
    });
    format!("http://{address}/a?b=c")
}

struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new(name: &str) -> Self {
        setup();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A TLS server with a certificate for `name`, valid until the year `until`.
    fn serve(&self, name: &str, until: i32) -> String {
        let config = self.config(name, until);
        let address = listen(move |stream| {
            let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            respond(&mut tls, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        });
        format!("https://localhost:{}/", address.port())
    }

    /// A TLS server that keeps its connections, and the number of them.
    fn serve_for_long(&self) -> (String, Arc<AtomicUsize>) {
        let config = self.config("localhost", 4000);
        let connections = Arc::<AtomicUsize>::default();
        let count = connections.clone();
        let address = listen(move |stream| {
            count.fetch_add(1, Ordering::SeqCst);
            let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            std::thread::spawn(move || {
                while !respond(&mut tls, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").is_empty() {}
            });
        });
        (format!("https://localhost:{}/", address.port()), connections)
    }

    fn roots(&self) -> Roots {
        Roots::from_pem(self.pem.as_bytes()).unwrap()
    }

    fn config(&self, name: &str, until: i32) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

fn transport(options: &HttpOptions) -> HttpTransport {
    setup();
    HttpTransport::new(options).unwrap()
}

/// A transport that trusts one root for sure, whatever the machine has.
fn trusting(ca: &Ca) -> HttpTransport {
    transport(&HttpOptions { extra_roots: vec![ca.pem.clone().into_bytes()], ..HttpOptions::default() })
}

async fn send(transport: &HttpTransport, url: &str) -> Result<Response, TransportError> {
    send_trusting(None, transport, url).await
}

async fn send_trusting(
    roots: Option<Roots>,
    transport: &HttpTransport,
    url: &str,
) -> Result<Response, TransportError> {
    let url = url.parse().unwrap();
    transport.send(Request { method: Method::GET, url, headers: HeaderMap::new(), body: None, roots }).await
}

async fn error(transport: &HttpTransport, url: &str) -> TransportError {
    send(transport, url).await.err().unwrap()
}

fn connect(problem: ConnectProblem) -> TransportError {
    TransportError::Connect { proxy: None, problem }
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn certificates_are_trusted_through_an_extra_root_and_told_apart_otherwise() {
    let ca = Ca::new("a");
    let transport = trusting(&ca);
    assert_eq!(send(&transport, &ca.serve("localhost", 4000)).await.ok().unwrap().status, StatusCode::OK);
    for (url, expected) in [
        (Ca::new("b").serve("localhost", 4000), CertificateProblem::UnknownIssuer),
        (Ca::new("a").serve("localhost", 4000), CertificateProblem::UnknownIssuer),
        (ca.serve("om.example.com", 4000), CertificateProblem::WrongName),
        (ca.serve("localhost", 2000), CertificateProblem::Expired),
    ] {
        assert_eq!(error(&transport, &url).await, TransportError::CertificateNotTrusted(expected));
    }
}

#[tokio::test]
async fn roots_of_one_request_vouch_for_the_server_of_no_other() {
    let (operator, tenant) = (Ca::new("operator"), Ca::new("tenant"));
    let transport = trusting(&operator);
    let (url, connections) = tenant.serve_for_long();
    let untrusted = TransportError::CertificateNotTrusted(CertificateProblem::UnknownIssuer);
    for _ in 0..2 {
        let response = send_trusting(Some(tenant.roots()), &transport, &url).await.ok().unwrap();
        assert_eq!(response.status, StatusCode::OK);
        // The connection of those who trust the tenant's CA is open, and is not for them.
        for roots in [None, Some(Ca::new("other").roots()), Some(Ca::new("tenant").roots())] {
            assert_eq!(send_trusting(roots, &transport, &url).await.err().unwrap(), untrusted);
        }
    }
    // Equal roots did share it.
    assert_eq!(connections.load(Ordering::SeqCst), 1 + 2 * 3);

    let (url, _) = operator.serve_for_long();
    for roots in [None, Some(tenant.roots())] {
        let response = send_trusting(roots, &transport, &url).await.ok().unwrap();
        assert_eq!(response.status, StatusCode::OK, "the operator's own roots are always trusted");
    }
}

#[tokio::test]
async fn a_handshake_that_is_broken_off_is_told_from_no_connection() {
    let transport = trusting(&Ca::new("a"));
    let closing = listen(drop);
    assert_eq!(error(&transport, &format!("https://{closing}/")).await, TransportError::TlsBrokenOff);
    let plain = listen(|mut stream| {
        assert!(stream.read(&mut [0; 512]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    assert_eq!(error(&transport, &format!("https://{plain}/")).await, TransportError::TlsBrokenOff);
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://{}/", nobody());
        assert_eq!(error(&transport, &url).await, connect(ConnectProblem::Refused));
    }
    let unknown = error(&transport, "https://name.invalid/").await;
    // No answer from the resolver, where there is no network.
    let expected = [ConnectProblem::NameNotResolved, ConnectProblem::NoAnswer].map(connect);
    assert!(expected.contains(&unknown), "{unknown:?}");
}

/// The request was sent by then, and may have had its effect.
#[tokio::test]
async fn tls_that_breaks_after_the_request_is_a_broken_connection() {
    let ca = Ca::new("a");
    let config = ca.config("localhost", 4000);
    let address = listen(move |stream| {
        let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        assert!(tls.read(&mut [0; 512]).unwrap() > 0);
        tls.sock.write_all(b"this is no TLS record").unwrap();
    });
    let url = format!("https://localhost:{}/", address.port());
    assert_eq!(error(&trusting(&ca), &url).await, TransportError::Broken);
}

#[tokio::test]
async fn a_request_goes_out_as_it_is_and_a_status_survives_its_body() {
    let transport = trusting(&Ca::new("a"));
    let (sender, heads) = std::sync::mpsc::channel();
    let address = listen(move |mut stream| {
        sender
            .send(respond(&mut stream, b"HTTP/1.1 204 No Content\r\nConnection: close\r\nX-A: b\r\n\r\n"))
            .unwrap();
    });
    let url = format!("http://{address}/a%20b?c=d");
    let response = send(&transport, &url).await.ok().unwrap();
    assert!(matches!(response.body, Body::Complete(body) if body.is_empty()));
    assert_eq!(response.headers["x-a"], "b");
    let head = heads.recv().unwrap().to_lowercase();
    assert!(head.starts_with("get /a%20b?c=d http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("user-agent: {USER_AGENT}\r\n")), "{head}");
    assert!(!head.contains("accept-encoding") && !head.contains("cookie"), "{head}");

    let post = Request {
        method: Method::POST,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body: None,
        roots: None,
    };
    transport.send(post).await.ok().unwrap();
    assert!(heads.recv().unwrap().to_lowercase().contains("content-length: 0\r\n"));

    for (reply, status) in [
        (&b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{\"a"[..], 201),
        (b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\nzz", 500),
    ] {
        let response = send(&transport, &answering(reply)).await.ok().unwrap();
        assert_eq!(response.status, status);
        assert!(matches!(response.body, Body::Broken));
    }
    assert_eq!(error(&transport, &answering(b"")).await, TransportError::Broken);
    assert_eq!(error(&transport, &answering(b"SSH-2.0-OpenSSH\r\n\r\n")).await, TransportError::Broken);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    static REQUESTS: AtomicUsize = AtomicUsize::new(0);
    let target = listen(|_| {
        REQUESTS.fetch_add(1, Ordering::SeqCst);
    });
    let address = listen(move |mut stream| {
        let reply = format!("HTTP/1.1 302 Found\r\nLocation: http://{target}/\r\nContent-Length: 0\r\n\r\n");
        respond(&mut stream, reply.as_bytes());
    });
    let response = send(&trusting(&Ca::new("a")), &format!("http://{address}/")).await.ok().unwrap();
    assert_eq!((response.status, REQUESTS.load(Ordering::SeqCst)), (StatusCode::FOUND, 0));
}

#[tokio::test]
async fn an_endless_body_is_cut_and_its_connection_closed() {
    let (sender, written) = std::sync::mpsc::channel();
    let address = listen(move |mut stream| {
        respond(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n");
        let mut total = 0;
        while stream.write_all(&[b'x'; 4096]).is_ok() {
            total += 4096;
        }
        sender.send(total).unwrap();
    });
    let response = send(&trusting(&Ca::new("a")), &format!("http://{address}/")).await.ok().unwrap();
    assert!(matches!(response.body, Body::TooLarge));
    // The writer noticed: it is not still writing.
    let written = tokio::task::spawn_blocking(move || written.recv_timeout(Duration::from_secs(10)));
    assert!(written.await.unwrap().unwrap() > 0);

    let reply: &'static [u8] = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![b'x'; MAX_BODY]].concat().leak();
    let response = send(&trusting(&Ca::new("a")), &answering(reply)).await.ok().unwrap();
    assert!(matches!(response.body, Body::Complete(body) if body.len() == MAX_BODY));
}

#[tokio::test]
async fn a_slow_body_does_not_take_the_status_with_it() {
    let address = listen(|mut stream| {
        respond(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{");
        std::thread::sleep(Duration::from_secs(5));
    });
    let transport = HttpTransport { body_timeout: Duration::from_millis(50), ..trusting(&Ca::new("a")) };
    let response = send(&transport, &format!("http://{address}/")).await.ok().unwrap();
    assert!(matches!(response.body, Body::TimedOut));
}

#[tokio::test]
async fn a_proxy_is_used_left_out_and_named() {
    let ca = Ca::new("a");
    let server = ca.serve("localhost", 4000);
    let with = |proxy: String, no_proxy: Option<&str>| {
        transport(&HttpOptions {
            extra_roots: vec![ca.pem.clone().into_bytes()],
            proxy: ProxySettings {
                all: Some(proxy),
                no_proxy: no_proxy.map(str::to_owned),
                ..ProxySettings::default()
            },
            ..HttpOptions::default()
        })
    };
    let named = |address: SocketAddr, problem| TransportError::Connect {
        proxy: Some(format!("http://{address}")),
        problem,
    };
    let dead = nobody();
    let through = with(format!("http://user:hunter2@{dead}"), None);
    for url in [server.as_str(), "http://om.example.com/"] {
        assert_eq!(error(&through, url).await, named(dead, ConnectProblem::Refused));
        let with_roots = send_trusting(Some(ca.roots()), &through, url).await.err();
        assert_eq!(with_roots, Some(named(dead, ConnectProblem::Refused)));
    }
    let around = with(format!("http://{dead}"), Some("localhost"));
    assert_eq!(send(&around, &server).await.ok().unwrap().status, StatusCode::OK);

    for reply in
        [&b"HTTP/1.1 407 Authenticate\r\nContent-Length: 0\r\n\r\n"[..], b"HTTP/1.1 403 No\r\n\r\n", b""]
    {
        let refusing = listen(move |mut stream| {
            respond(&mut stream, reply);
        });
        let through = with(refusing.to_string(), None);
        assert_eq!(error(&through, &server).await, named(refusing, ConnectProblem::Other));
    }
    let asking = listen(|mut stream| {
        respond(&mut stream, b"HTTP/1.1 407 Authenticate\r\nContent-Length: 0\r\n\r\n");
    });
    let plain = error(&with(asking.to_string(), None), "http://om.example.com/").await;
    assert_eq!(plain, named(asking, ConnectProblem::Other));

    // A real tunnel: user info goes to the proxy, the certificate is still checked.
    let target = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
    let (sender, heads) = std::sync::mpsc::channel();
    let tunnel = listen(move |mut stream| {
        sender.send(respond(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n")).unwrap();
        let mut inner = TcpStream::connect(&target).unwrap();
        let (mut from, mut to) = (stream.try_clone().unwrap(), inner.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let _ = std::io::copy(&mut inner, &mut stream);
    });
    let through = with(format!("http://user:hunter2@{tunnel}"), None);
    assert_eq!(send(&through, &server).await.ok().unwrap().status, StatusCode::OK);
    let head = heads.recv().unwrap();
    assert!(head.starts_with("CONNECT localhost:") && head.contains("Basic dXNlcjpodW50ZXIy"), "{head}");
}

#[tokio::test]
async fn bad_options_are_refused() {
    setup();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in ["", "no certificate", broken] {
        let options = HttpOptions { extra_roots: vec![pem.into()], ..HttpOptions::default() };
        let error = HttpTransport::new(&options).err().unwrap();
        // What is a certificate only on the outside is found out when TLS is set up.
        assert!(matches!(error, SetupError::Certificate | SetupError::Tls), "{pem}: {error}");
    }
}
