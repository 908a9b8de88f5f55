//! A remote that wants to hurt, and tenants that do: nobody else notices, and nothing is told or sent that should not be.
//!
//! What the simulator cannot do is done by a [`server::Server`], which sends any bytes and keeps those that it gets. Beside each attack
//! the checks of a neighbour are measured against those that nobody disturbed.

mod certificates;
mod challenges;
mod crowd;
mod exchange;
mod loose;
mod measure;
mod pages;
mod redirects;
mod server;
mod tenant;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use serde_json::json;

use crate::support::{Operator, OperatorBuilder, World, is_sound, keys, org_id, token};
use measure::{Beside, is_sound_log, is_told_plainly};
use server::{Asked, Manner, Reply, Server};

/// So much more memory than before an attack may take at any time. A body or a head that is not cut off has no end.
const MOST_MIB: usize = 16;

/// What a server does, and what has to come of it. Its name is that of the link and of its Secret.
struct Attack {
    name: &'static str,
    manner: Manner,
    /// The reasons that the link has until its end.
    path: &'static [&'static str],
    /// Found in the last message.
    says: &'static str,
    sent: Sent,
    /// HTTPS instead of HTTP.
    tls: Option<ServerConfig>,
}

/// The reasons that a link has, and what is found in the last message.
type Outcome = (&'static [&'static str], &'static str);

/// What of the credentials the server may have got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// Nothing.
    Nothing,
    /// The answer to a Digest challenge, and with it the token.
    Digest,
}

impl Attack {
    /// From the first request on; no credentials.
    fn at_once(
        name: &'static str,
        (path, says): Outcome,
        manner: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self { name, manner: Arc::new(manner), path, says, sent: Sent::Nothing, tls: None }
    }

    /// Once the credentials are there, that is instead of the answer to the POST.
    fn then(
        name: &'static str,
        outcome: Outcome,
        manner: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let manner = move |asked: &Asked| match asked.authorization() {
            None => challenge(&asked.number.to_string()),
            Some(_) => manner(asked),
        };
        Self { sent: Sent::Digest, ..Self::at_once(name, outcome, manner) }
    }

    async fn server(&self) -> Server {
        let manner = self.manner.clone();
        match &self.tls {
            None => Server::start(move |asked| manner(asked)).await,
            Some(config) => Server::start_tls(config.clone(), move |asked| manner(asked)).await,
        }
    }
}

/// A sound challenge, with a cookie beside it.
fn challenge(nonce: &str) -> Reply {
    let challenge = format!(
        "WWW-Authenticate: Digest realm=\"MMS Public API\", domain=\"\", nonce=\"{nonce}\", algorithm=SHA-256, qop=\"auth\", \
         stale=false\r\nSet-Cookie: session=canary; Path=/\r\n"
    );
    answer("401 Unauthorized", &challenge, "")
}

/// A whole response.
fn answer(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    Reply::Bytes([head.as_bytes(), body.as_bytes()].concat())
}

/// What the API answers to a POST or GET when all is well.
fn synced() -> Reply {
    answer("200 OK", "Content-Type: application/json\r\n", &json!({"status": "SYNCED"}).to_string())
}

/// Attacks one after the other, each at an origin of its own and with a link and keys of its own.
struct Round<'a> {
    /// Of the log, which has everything.
    format: &'static str,
    attacks: Vec<Attack>,
    /// Servers that the operator may send credentials to as well.
    beside: &'a [&'a Server],
    /// PEM of roots that it trusts.
    roots: Option<String>,
}

impl Round<'_> {
    fn of(format: &'static str, attacks: Vec<Attack>) -> Self {
        Self { format, attacks, beside: &[], roots: None }
    }

    /// Nobody is hurt: the neighbour is measured beside each attack.
    async fn run(self) {
        let world = World::new().await;
        let mut prepared = prepared(&world, self.format);
        if let Some(roots) = &self.roots {
            let file = world.tenant.control_plane.dir().join(format!("{}.pem", world.tenant.namespace));
            std::fs::write(&file, roots).expect("a file");
            prepared = prepared.arg(format!("--ca-file={}", file.display()));
        }
        let mut servers = Vec::new();
        for attack in &self.attacks {
            servers.push(attack.server().await);
        }
        for server in servers.iter().chain(self.beside.iter().copied()) {
            prepared = prepared.arg(format!("--allowed-origin={}", server.origin()));
        }
        let operator = prepared.start().await;
        let mut measured = Beside::new(&world.tenant, &world.cloud, &operator).await;
        for (n, (attack, server)) in self.attacks.iter().zip(&servers).enumerate() {
            world.link(attack.name, &org_id(n), &server.base_url()).await;
            measured.is_as_quick(attack.name, 3).await;
            comes_to(&world, attack).await;
        }
        for (n, (attack, server)) in self.attacks.iter().zip(&servers).enumerate() {
            got_no_more_than(attack.sent, server, attack.name, &org_id(n));
        }
        measured.is_unharmed(MOST_MIB).await;
        let names: Vec<_> = self.attacks.iter().map(|attack| attack.name).collect();
        tells_nothing(&world, &operator, &names, self.format).await;
    }
}

/// The operator of a test here: everything is logged, and no rate holds a call back.
fn prepared<'a>(world: &'a World, format: &str) -> OperatorBuilder<'a> {
    world.prepared().arg("--log-level=trace").arg(format!("--log-format={format}")).arg("--api-rate=0")
}

/// Waits until the link has had these reasons, and sees that a person is told the right thing.
async fn comes_to(world: &World, attack: &Attack) {
    let pages = world.diary.has_been(attack.name, attack.path).await;
    pages.iter().for_each(is_sound);
    let last = &pages.last().expect("a page").status;
    let ready = last.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let message = &ready.expect("Ready").message;
    assert!(message.contains(attack.says), "{}: {:?} is not in {message:?}", attack.name, attack.says);
}

/// Nothing that came, and no secret, is told to anybody.
async fn tells_nothing(world: &World, operator: &Operator<'_>, names: &[&str], format: &str) {
    world.tells_no_secret(operator, names).await;
    is_told_plainly(world, names).await;
    is_sound_log(&operator.log(), format);
}

/// Looks through every byte that a server got.
fn got_no_more_than(sent: Sent, server: &Server, name: &str, org_id: &str) {
    let (text, keys, token) = (server.text(), keys(name), token(name));
    assert!(server.connections() > 0, "{name}: nobody came");
    let basic = STANDARD.encode(format!("{}:{}", keys.public_key, keys.private_key));
    for never in [keys.private_key.as_str(), &basic, "Basic ", "NTLM ", "Negotiate ", "Bearer ", "ookie:"] {
        assert!(!text.contains(never), "{name}: {never} in {text}");
    }
    let path = format!("/api/public/v1.0/orgs/{org_id}/liveExport/migrationLink");
    let mut tokens = 0;
    for asked in server.asked() {
        let (method, target) = asked.target();
        let right = [("POST", path.clone()), ("GET", format!("{path}/status"))];
        assert!(right.contains(&(method, target.to_owned())), "{name}: {}", asked.head);
        let host = asked.header("host").unwrap_or_default();
        assert!(server.origin().ends_with(&format!("//{host}")), "{name}: {}", asked.head);
        let digest = asked.authorization().is_some_and(|value| value.starts_with("Digest "));
        if digest && method == "POST" {
            let body = json!({"linkToken": token}).to_string();
            assert_eq!(String::from_utf8_lossy(&asked.body), body, "{name}");
            tokens += 1;
        } else {
            assert_eq!(asked.authorization().is_some(), digest, "{name}: {}", asked.head);
            assert!(asked.body.is_empty(), "{name}: {asked:?}");
        }
    }
    assert_eq!(
        text.matches(&token).count(),
        tokens,
        "{name}: the token comes with an answer to Digest, and nowhere else"
    );
    let digests = text.to_lowercase().matches("authorization:").count();
    match sent {
        Sent::Nothing => assert_eq!((digests, tokens), (0, 0), "{name}: {text}"),
        // What is looked for is there.
        Sent::Digest => assert!(digests >= tokens && tokens > 0, "{name}: {text}"),
    }
}
