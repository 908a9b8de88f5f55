//! What may stand between the operator and a server: it passes everything on and keeps what the operator sent.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it does with a connection.
#[derive(Clone, Copy)]
pub enum Manner {
    /// A proxy for CONNECT.
    Tunnel,
    /// A proxy that answers this status to CONNECT.
    Refuse(u16),
    /// No proxy: each connection goes to this address.
    Relay(SocketAddr),
}

/// A running proxy. It ends when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    heads: Vec<String>,
    sent: Vec<u8>,
}

impl Proxy {
    /// Listens on a loopback port.
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::<Mutex<Seen>>::default();
        let kept = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A connection that breaks is the affair of its two ends.
                let seen = kept.clone();
                tokio::spawn(async move { serve(client, manner, &seen).await.unwrap_or_default() });
            }
        });
        Self { address, seen, task }
    }

    /// `ADDR:PORT`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The head of each CONNECT, in the order of arrival.
    pub fn heads(&self) -> Vec<String> {
        lock(&self.seen).heads.clone()
    }

    /// All that was sent through it towards a server.
    pub fn sent(&self) -> Vec<u8> {
        lock(&self.seen).sent.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut client: TcpStream, manner: Manner, seen: &Mutex<Seen>) -> io::Result<()> {
    let mut server = if let Manner::Relay(address) = manner {
        TcpStream::connect(address).await?
    } else {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let connect = head.starts_with("CONNECT ");
        lock(seen).heads.push(head);
        match manner {
            Manner::Refuse(status) => {
                let refusal = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
                return client.write_all(refusal.as_bytes()).await;
            }
            _ if !connect => return client.write_all(b"HTTP/1.1 405 Not CONNECT\r\n\r\n").await,
            _ => {}
        }
        let server = TcpStream::connect(target).await?;
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
        server
    };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let forth = async {
        let mut buffer = [0; 8 * 1024];
        loop {
            match from_client.read(&mut buffer).await? {
                0 => return Ok(()),
                length => {
                    lock(seen).sent.extend_from_slice(&buffer[..length]);
                    to_server.write_all(&buffer[..length]).await?;
                }
            }
        }
    };
    tokio::select! {
        ended = forth => ended,
        ended = copy(&mut from_server, &mut to_client) => ended.map(drop),
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
