//! What happens on connections, seen by a client that speaks raw HTTP/1.1.

// clippy.toml allows them in test functions, not in their helpers.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::io::ErrorKind;
use std::time::Duration;

use migrationlink_simulator::{Answer, Balancing, Behaviour, Config, Server, Simulator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

const REQUEST: &str =
    "GET /api/public/v1.0/orgs/5f/liveExport/migrationLink/status HTTP/1.1\r\nHost: x\r\n\r\n";

async fn start(config: Config) -> (Simulator, Server) {
    let simulator = Simulator::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = simulator.serve_plain(listener).unwrap();
    (simulator, server)
}

async fn send(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    stream
}

/// Reads to the end of a challenge's body.
async fn read_challenge(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    while !text.ends_with('}') {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.unwrap();
        assert_ne!(length, 0, "the connection ended after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    text
}

#[tokio::test]
async fn a_reset_is_a_tcp_reset() {
    let (simulator, server) = start(Config::default()).await;
    simulator.script(Behaviour::new(Answer::Reset).times(1));
    let mut stream = send(&server).await;
    let error = stream.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(read_challenge(&mut send(&server).await).await.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn a_hang_keeps_the_connection_open() {
    let (simulator, server) = start(Config::default()).await;
    simulator.script(Behaviour::new(Answer::Hang).times(1));
    let mut stream = send(&server).await;
    assert!(timeout(Duration::from_millis(200), stream.read(&mut [0; 10])).await.is_err());
    assert_eq!(simulator.journal()[0].status, None);
}

#[tokio::test]
async fn an_endless_body_goes_on_for_as_long_as_it_is_read() {
    let (simulator, server) = start(Config::default()).await;
    simulator.script(Behaviour::new(Answer::EndlessBody { status: 200 }));
    let mut stream = send(&server).await;
    let mut buffer = vec![0; 5_000_000];
    stream.read_exact(&mut buffer).await.unwrap();
    assert!(buffer.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_truncated_body_ends_the_connection() {
    let (simulator, server) = start(Config::default()).await;
    simulator.script(Behaviour::new(Answer::TruncatedBody));
    let mut text = String::new();
    send(&server).await.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(body.len(), length.parse::<usize>().unwrap() / 2);
}

#[tokio::test]
async fn each_connection_has_its_backend() {
    let (simulator, server) =
        start(Config { balancing: Balancing::ByConnection { backends: 2 }, ..Config::default() }).await;
    let (mut one, mut two) = (send(&server).await, send(&server).await);
    read_challenge(&mut one).await;
    read_challenge(&mut two).await;
    one.write_all(REQUEST.as_bytes()).await.unwrap();
    read_challenge(&mut one).await;
    let mut backends: Vec<_> = simulator.journal().iter().map(|entry| entry.backend).collect();
    // The first two requests may arrive in any order.
    backends[..2].sort_unstable();
    assert_eq!(backends, [0, 1, 0]);
}

#[tokio::test]
async fn stopping_waits_for_answers_and_closes_idle_connections() {
    let (_, server) = start(Config { latency: Duration::from_millis(200), ..Config::default() }).await;
    let address = server.address();
    let mut idle = send(&server).await;
    read_challenge(&mut idle).await;
    let mut busy = send(&server).await;
    sleep(Duration::from_millis(50)).await;
    let (answer, ()) = tokio::join!(read_challenge(&mut busy), server.stop());
    assert!(answer.starts_with("HTTP/1.1 401"));
    assert_eq!(idle.read(&mut [0; 10]).await.unwrap(), 0);
    assert!(TcpStream::connect(address).await.is_err());
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let (simulator, server) = start(Config::default()).await;
    simulator.script(Behaviour::new(Answer::Hang));
    let _hanging = send(&server).await;
    sleep(Duration::from_millis(50)).await;
    let begin = Instant::now();
    server.stop().await;
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&begin.elapsed()));
}

#[tokio::test]
async fn dropping_ends_everything_at_once() {
    let (simulator, server) = start(Config::default()).await;
    simulator.script(Behaviour::new(Answer::Hang));
    let mut hanging = send(&server).await;
    sleep(Duration::from_millis(50)).await;
    drop(server);
    assert!(matches!(hanging.read(&mut [0; 10]).await, Ok(0) | Err(_)));
}
