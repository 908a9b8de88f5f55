//! Answers that are endless, slow, far too large, not HTTP, or that lead elsewhere.

use std::fmt::Write;
use std::time::Duration;

use tokio::time::Instant;

use super::measure::Beside;
use super::server::{Asked, Reply, Server};
use super::{
    Attack, MOST_MIB, Outcome, Round, Sent, answer, challenge, comes_to, got_no_more_than, prepared, synced,
    tells_nothing,
};
use crate::support::{World, org_id};

const BROKE: Outcome = (&["EndpointUnavailable"], "broke before the answer was complete");
const NO_ANSWER: Outcome = (&["EndpointUnavailable"], "did not answer in time");
const NOT_JSON: Outcome = (&["UnexpectedResponse"], "the answer is not JSON");
const TOO_LARGE: Outcome = (&["NotSynced", "UnexpectedResponse"], "larger than 64 KiB");
const SYNCED: Outcome = (&["Synced"], "SYNCED");

/// 10 MB of headers.
fn many_headers(begin: &str) -> Reply {
    let mut bytes = format!("HTTP/1.1 {begin}\r\n");
    for n in 0..10_000 {
        let _ = write!(bytes, "X-Canary-{n}: {}\r\n", "canary ".repeat(142));
    }
    Reply::Bytes((bytes + "Content-Length: 0\r\n\r\n").into_bytes())
}

/// To the POST, so that a poll follows, and then something else to the poll.
fn polled(asked: &Asked, reply: impl Fn() -> Reply) -> Reply {
    if asked.target().0 == "POST" { answer("201 Created", "", "") } else { reply() }
}

#[tokio::test]
async fn answers_without_end_or_measure_take_nothing_from_anybody() {
    const CHUNK: &[u8] = b"10\r\ncanary canary xx\r\n";
    const HEADERS: &[u8] = b"X-Canary: canary\r\n";
    const INTERIM: &[u8] = b"HTTP/1.1 103 Early Hints\r\n\r\n";
    let endless = |status: &str| {
        let head = format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n");
        Reply::Endless(head.into_bytes(), CHUNK)
    };
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n";
    let nested = |open: &str| answer("200 OK", "", &open.repeat(60 * 1024 / open.len()));
    Round::of(
        "text",
        vec![
            Attack::then("endless-to-the-post", NOT_JSON, move |_| endless("200 OK")),
            Attack::then("endless-to-the-poll", TOO_LARGE, move |asked| polled(asked, || endless("200 OK"))),
            Attack::then("endless-error", (&["EndpointUnavailable"], "an error of its own"), move |_| {
                endless("500 No")
            }),
            Attack::then("endless-with-length", TOO_LARGE, move |asked| {
                polled(asked, || Reply::Endless(length.into(), CHUNK))
            }),
            // The challenge in its head is good, so that what comes behind does not matter.
            Attack {
                sent: Sent::Digest,
                ..Attack::at_once("endless-challenge", SYNCED, |asked| match asked.authorization() {
                    Some(_) => synced(),
                    None => match challenge("n") {
                        Reply::Bytes(head) => {
                            let head = String::from_utf8(head).expect("text");
                            let head = head.replace("Content-Length: 0", "Content-Length: 999999999999");
                            Reply::Endless(head.into_bytes(), CHUNK)
                        }
                        other => other,
                    },
                })
            },
            Attack::at_once("headers-of-10-mb", BROKE, |_| many_headers("401 Unauthorized")),
            Attack::then("headers-of-10-mb-to-the-post", BROKE, |_| many_headers("200 OK")),
            Attack::at_once("one-header-of-10-mb", BROKE, |_| {
                let value = "canary".repeat(10_000_000 / 6);
                Reply::Bytes(format!("HTTP/1.1 200 OK\r\nX-Canary: {value}\r\n\r\n").into_bytes())
            }),
            Attack::at_once("endless-headers", BROKE, |_| {
                Reply::Endless(b"HTTP/1.1 401 Unauthorized\r\n".to_vec(), HEADERS)
            }),
            Attack::at_once("endless-line", BROKE, |_| Reply::Endless(b"HTTP/1.1 401 ".to_vec(), b"canary")),
            // One at a time; by the megabyte they do hold others up (docs/reliability.md).
            Attack::at_once("endless-interim-answers", NO_ANSWER, |_| {
                Reply::Endless(INTERIM.to_vec(), INTERIM)
            }),
            Attack::then("deep-array", NOT_JSON, move |_| nested("[")),
            Attack::then("deep-object", NOT_JSON, move |_| nested(r#"{"parameters":["#)),
        ],
    )
    .run()
    .await;
}

#[tokio::test]
async fn answers_that_are_not_http_or_hold_control_characters_are_told_in_plain_words() {
    let said = |body: &'static str| move |asked: &Asked| polled(asked, || answer("200 OK", "", body));
    let header = |line: &'static [u8]| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n";
        move |_: &Asked| Reply::Bytes([head, line, b"\r\n\r\n{\"status\": \"SYNCED\"}"].concat())
    };
    Round::of(
        "json",
        vec![
            Attack::then("escape-in-a-header", BROKE, header(b"X-Canary: \x1b[2J\x1b]0;canary\x07")),
            Attack::then("nul-in-a-header", BROKE, header(b"X-Canary: canary\0canary")),
            Attack::then("line-break-in-a-header", BROKE, header(b"X-Canary: canary\rX-Other: canary")),
            Attack::then("folded-header", BROKE, header(b"X-Canary: canary\r\n canary")),
            Attack::then("no-header-name", BROKE, header(b"X Canary: canary")),
            Attack::then("two-lengths", BROKE, header(b"Content-Length: 7")),
            // Not UTF-8 is allowed in a header (RFC 9110 5.5), and nobody reads this one.
            Attack::then("no-utf8-in-a-header", SYNCED, header(b"X-Canary: canary\xff\xfe\xc3")),
            Attack::at_once(
                "no-utf8-in-a-challenge",
                (&["UnexpectedResponse"], "other credentials than Digest"),
                |_| {
                    let head: [&[u8]; 3] = [
                        b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nWWW-Authenticate: Digest realm=\"canary",
                        b"\xff\xfe",
                        b"\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"\r\n\r\n",
                    ];
                    Reply::Bytes(head.concat())
                },
            ),
            Attack::at_once("no-http", BROKE, |_| Reply::Bytes(b"220 canary ESMTP\r\n\x1b[31m\r\n".to_vec())),
            Attack::at_once("nothing", BROKE, |_| Reply::Bytes(Vec::new())),
            Attack::at_once("escape-in-the-reason", BROKE, |_| {
                Reply::Bytes(b"HTTP/1.1 401 \x1b[31mcanary\r\n\r\n".to_vec())
            }),
            Attack::then(
                "control-characters-in-the-state",
                (&["NotSynced", "UnexpectedResponse"], "has no status"),
                said(r#"{"status": "SYNCED\u001b[2J\r\ncanary\u0000\u202e"}"#),
            ),
            Attack::then("control-characters-in-the-code", (&["Forbidden"], "(HTTP 403)"), |_| {
                let body = r#"{"errorCode": "A\nlevel=ERROR canary\u001b[31m", "detail": "canary\u202e"}"#;
                answer("403 Forbidden", "", body)
            }),
            Attack::then("retry-after-for-ever", (&["RateLimited"], "(HTTP 429)"), |_| {
                answer("429 No", "Retry-After: 99999999999999999999999999\r\n", "canary")
            }),
        ],
    )
    .run()
    .await;
}

/// What takes long takes it at the same time: 64 connections where nobody answers, bytes now and then, a status line that never comes.
#[tokio::test]
async fn who_is_slow_or_silent_on_64_connections_delays_nobody() {
    const LINKS: usize = 64;
    const EARLY: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </canary>; rel=preload\r\n\r\n";
    let world = World::new().await;
    let slow = [
        Attack::at_once("drips-its-head", NO_ANSWER, |_| {
            Reply::Drip(b"HTTP/1.1 401 Unauthorized\r\nX-Canary: ".to_vec(), b"c")
        }),
        Attack::then("drips-its-head-to-the-post", NO_ANSWER, |_| {
            Reply::Drip(b"HTTP/1.1 200 OK\r\nX-Canary: ".to_vec(), b"c")
        }),
        // A 2xx is an acceptance; its body is waited for no longer than 10 s, and the poll's neither.
        Attack::then(
            "drips-its-body",
            (&["NotSynced", "EndpointUnavailable"], "did not answer in time"),
            |_| {
                Reply::Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 64000\r\n\r\n{\"status\": \"".to_vec(), b"c")
            },
        ),
        Attack::at_once("never-comes-to-the-point", NO_ANSWER, |_| Reply::Drip(EARLY.to_vec(), EARLY)),
    ];
    let mute = [
        Server::start(|_| Reply::Silence).await,
        // Each of them is in the handshake for 5 s.
        Server::start_mute_tls().await,
    ];
    let mut prepared = prepared(&world, "json")
        .arg(format!("--origin-concurrency={LINKS}"))
        .arg(format!("--concurrency={}", 3 * LINKS));
    let mut servers = Vec::new();
    for attack in &slow {
        servers.push(attack.server().await);
    }
    for server in servers.iter().chain(&mute) {
        prepared = prepared.arg(format!("--allowed-origin={}", server.origin()));
    }
    let operator = prepared.start().await;
    let mut measured = Beside::new(&world.tenant, &world.cloud, &operator).await;
    let begin = Instant::now();
    for (n, (attack, server)) in slow.iter().zip(&servers).enumerate() {
        world.link(attack.name, &org_id(n), &server.base_url()).await;
        measured.is_as_quick(attack.name, 5).await;
    }
    let name = |server: usize, n: usize| format!("mute-{server}-{n}");
    for (which, server) in mute.iter().enumerate() {
        for n in 0..LINKS {
            world.link(&name(which, n), &org_id(100 + which * LINKS + n), &server.base_url()).await;
        }
    }
    // The longest of them take 30 s.
    measured.is_as_quick_until("all of them at once", begin + Duration::from_secs(32)).await;
    for attack in &slow {
        comes_to(&world, attack).await;
    }
    for (which, server) in mute.iter().enumerate() {
        println!("{} connections at once at {}", server.most_open(), server.origin());
        for n in 0..LINKS {
            world.diary.has_been(&name(which, n), &["EndpointUnavailable"]).await;
        }
        assert!(!server.text().contains("uthorization"), "{}", server.text());
    }
    assert_eq!(mute[0].most_open(), LINKS);
    // The first of them may have given up before the last was there.
    assert!(mute[1].most_open() >= LINKS / 4);
    for (n, (attack, server)) in slow.iter().zip(&servers).enumerate() {
        got_no_more_than(attack.sent, server, attack.name, &org_id(n));
    }
    measured.is_unharmed(2 * MOST_MIB).await;
    let names: Vec<_> = slow.iter().map(|attack| attack.name).collect();
    tells_nothing(&world, &operator, &names, "json").await;
}
