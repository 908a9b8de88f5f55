//! Servers that ask for credentials in ways that would give them away.

use std::fmt::Write;

use super::measure::Beside;
use super::server::{Asked, Reply, Server};
use super::{
    Attack, MOST_MIB, Outcome, Round, Sent, answer, comes_to, got_no_more_than, prepared, synced,
    tells_nothing,
};
use crate::support::{Page, World, is_sound, org_id};

const NOT_DIGEST: Outcome = (&["UnexpectedResponse"], "it asks for other credentials than Digest");
const STALE: Outcome = (&["UnexpectedResponse"], "it calls each of its nonces stale");
const WEAKER: &str = "it asks for a weaker digest than before";
const SYNCED: Outcome = (&["Synced"], "SYNCED");

fn asks(challenges: &[&str]) -> Reply {
    let headers = challenges.iter().map(|challenge| format!("WWW-Authenticate: {challenge}\r\n"));
    answer("401 Unauthorized", &headers.collect::<String>(), "")
}

fn digest(algorithm: &str, nonce: usize, more: &str) -> String {
    format!(
        "Digest realm=\"MMS Public API\", nonce=\"nonce-{nonce}\", algorithm={algorithm}, qop=\"auth\"{more}"
    )
}

#[tokio::test]
async fn basic_and_ntlm_are_never_answered_and_digest_beside_them_is() {
    let only = |name, challenges: &'static [&'static str]| {
        Attack::at_once(name, NOT_DIGEST, move |_| asks(challenges))
    };
    let beside = |name, challenges: fn(String) -> Vec<String>| Attack {
        sent: Sent::Digest,
        ..Attack::at_once(name, SYNCED, move |asked| {
            if asked.authorization().is_some() {
                return synced();
            }
            let challenges = challenges(digest("SHA-256", asked.number, ""));
            asks(&challenges.iter().map(String::as_str).collect::<Vec<_>>())
        })
    };
    let basic = || r#"Basic realm="MMS Public API", charset="UTF-8""#.to_owned();
    Round::of(
        "text",
        vec![
            only("basic", &[r#"Basic realm="MMS Public API""#]),
            only("ntlm", &["NTLM"]),
            only("ntlm-with-a-challenge", &["NTLM TlRMTVNTUAACAAAADAAMADgAAAAFgokC"]),
            only("negotiate", &["Negotiate", "NTLM", r#"Basic realm="r""#]),
            only("bearer", &[r#"Bearer realm="r", scope="all""#]),
            only("digest-in-name-only", &[r#"Basic realm="Digest realm=x, nonce=y""#, "Digest"]),
            // With its body as part of the hash, which nobody supports, and with a hash of nobody's.
            only(
                "other-digests",
                &[
                    r#"Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth-int""#,
                    r#"Digest realm="r", nonce="n", algorithm=PLAIN, qop="auth""#,
                ],
            ),
            beside("basic-before", |digest| vec![basic_before(&digest)]),
            beside("basic-and-ntlm-around", |digest| vec!["NTLM".to_owned(), digest, basic_header()]),
            beside("basic-behind", |digest| vec![format!("{digest}, {}", basic_header())]),
            Attack::then("basic-after-digest", (&["Unauthorized"], "refuses the API key"), move |_| {
                asks(&[&basic()])
            }),
        ],
    )
    .run()
    .await;
}

fn basic_header() -> String {
    r#"Basic realm="MMS Public API""#.to_owned()
}

fn basic_before(digest: &str) -> String {
    format!("{}, {digest}", basic_header())
}

/// A realm and a nonce come back in the answer, quoted as they have to be: they cannot end a value and begin another.
#[tokio::test]
async fn a_challenge_cannot_write_into_the_answer_or_make_it_large() {
    let inject = r#"Digest realm="a\", uri=\"/canary\", x=\"", nonce="n\\\", response=\"canary", algorithm=SHA-256, qop="auth", opaque="\"\\""#;
    let accept = |challenges: fn() -> Vec<String>| {
        move |asked: &Asked| match asked.authorization() {
            Some(_) => synced(),
            None => asks(&challenges().iter().map(String::as_str).collect::<Vec<_>>()),
        }
    };
    let quoted = |asked: &Asked| match asked.authorization() {
        None => asks(&[inject]),
        Some(answered) => {
            let unquoted = outside_quotes(answered);
            let sound = unquoted.matches("uri=").count() == 1 && unquoted.matches("response=").count() == 1;
            if sound { synced() } else { answer("403 No", "", r#"{"errorCode": "INJECTED"}"#) }
        }
    };
    let many = || {
        let filler = "f".repeat(1900);
        (0..60).map(|n| format!(r#"{}, opaque="{filler}""#, digest("SHA-256", n, ""))).collect()
    };
    let large =
        || vec![format!(r#"Digest realm="r", nonce="{}", algorithm=SHA-256, qop="auth""#, "n".repeat(9000))];
    Round::of(
        "json",
        vec![
            Attack { sent: Sent::Digest, ..Attack::at_once("quotes", SYNCED, quoted) },
            Attack { sent: Sent::Digest, ..Attack::at_once("sixty-challenges", SYNCED, accept(many)) },
            Attack::at_once("nonce-of-9000-bytes", NOT_DIGEST, accept(large)),
        ],
    )
    .run()
    .await;
}

/// The text without what stands in quotes.
fn outside_quotes(text: &str) -> String {
    let (mut outside, mut quoted, mut characters) = (String::new(), false, text.chars());
    while let Some(c) = characters.next() {
        match c {
            '\\' if quoted => drop(characters.next()),
            '"' => quoted = !quoted,
            c if !quoted => outside.push(c),
            _ => {}
        }
    }
    outside
}

/// One call sends its request three times, and one without credentials before; then it waits.
#[tokio::test]
async fn new_nonces_without_end_cost_four_requests_an_attempt() {
    let flood = |name, more: fn(usize) -> String| Attack {
        sent: Sent::Digest,
        ..Attack::at_once(name, STALE, move |asked| {
            let mut challenge = digest("SHA-256", asked.number, "");
            let _ = write!(challenge, "{}", more(asked.number));
            asks(&[&challenge])
        })
    };
    let realms = Attack {
        sent: Sent::Digest,
        ..Attack::at_once("another-realm-each-time", STALE, |asked| {
            asks(&[&digest("SHA-256", asked.number, "").replace("MMS", &asked.number.to_string())])
        })
    };
    let floods = [flood("stale-for-ever", |_| ", stale=true".to_owned()), realms];
    let refused = Attack {
        sent: Sent::Digest,
        ..Attack::at_once("another-nonce-each-time", (&["Unauthorized"], "refuses the API key"), |asked| {
            asks(&[&digest("SHA-256", asked.number, ", stale=false")])
        })
    };
    let world = World::new().await;
    let attacks: Vec<_> = floods.into_iter().chain([refused]).collect();
    let mut servers = Vec::new();
    let mut prepared = prepared(&world, "text");
    for attack in &attacks {
        let server = attack.server().await;
        prepared = prepared.arg(format!("--allowed-origin={}", server.origin()));
        servers.push(server);
    }
    let operator = prepared.start().await;
    let mut measured = Beside::new(&world.tenant, &world.cloud, &operator).await;
    for (n, (attack, server)) in attacks.iter().zip(&servers).enumerate() {
        world.link(attack.name, &org_id(n), &server.base_url()).await;
        measured.is_as_quick(attack.name, 5).await;
        comes_to(&world, attack).await;
    }
    // Four attempts, 7 s at least after the first: a call that goes on would have sent thousands by then.
    for (attack, server) in attacks.iter().zip(&servers).take(2) {
        let fourth = |page: &Page| page.status.attempts >= Some(4);
        let page = world.diary.page(attack.name, "four attempts", fourth).await;
        let (asked, attempts) = (server.asked().len(), page.status.attempts.expect("attempts"));
        println!("{}: {asked} requests in {attempts} attempts", attack.name);
        assert!(asked >= 4, "{asked}");
        assert_eq!(asked, 4 * usize::try_from(attempts).expect("a few"), "{}", attack.name);
    }
    assert_eq!(servers[2].asked().len(), 2, "one challenge, and one answer");
    for (n, (attack, server)) in attacks.iter().zip(&servers).enumerate() {
        got_no_more_than(attack.sent, server, attack.name, &org_id(n));
    }
    measured.is_unharmed(MOST_MIB).await;
    let names: Vec<_> = attacks.iter().map(|attack| attack.name).collect();
    tells_nothing(&world, &operator, &names, "text").await;
}

/// A hash that a server has asked for is the least that it gets from then on, within a call and from one to the next.
#[tokio::test]
async fn who_has_asked_for_sha256_gets_no_md5() {
    let within = Server::start(|asked| match asked.number {
        0 => asks(&[&digest("SHA-256", 0, "")]),
        n => asks(&[&digest("MD5", n, ", stale=true"), r#"Basic realm="canary""#]),
    })
    .await;
    let later = Server::start(|asked| match asked.authorization() {
        None if asked.number == 0 => asks(&[&digest("SHA-256", 0, "")]),
        Some(_) if asked.number == 1 => synced(),
        _ => asks(&[&digest("MD5", asked.number, "")]),
    })
    .await;
    let both = Server::start(|asked| match asked.authorization() {
        None => asks(&[&digest("MD5", asked.number, ""), &digest("SHA-256", asked.number, "")]),
        Some(_) => synced(),
    })
    .await;
    let world = World::new().await;
    let mut prepared = prepared(&world, "json");
    for server in [&within, &later, &both] {
        prepared = prepared.arg(format!("--allowed-origin={}", server.origin()));
    }
    let operator = prepared.start().await;
    let mut measured = Beside::new(&world.tenant, &world.cloud, &operator).await;
    let names = ["within", "later", "both"];
    for (n, (name, server)) in names.iter().zip([&within, &later, &both]).enumerate() {
        world.link(name, &org_id(n), &server.base_url()).await;
        measured.is_as_quick(name, 5).await;
    }
    world.diary.has_been("both", &["Synced"]).await;
    world.diary.has_been("later", &["Synced"]).await;
    world.ask("later").await;
    for (name, path) in
        [("within", &["UnexpectedResponse"][..]), ("later", &["Synced", "UnexpectedResponse"])]
    {
        let pages = world.diary.has_been(name, path).await;
        pages.iter().for_each(is_sound);
        // Tried again, it gets no more.
        let page = world.diary.page(name, "a second attempt", |page| page.status.attempts >= Some(2)).await;
        let conditions = page.status.conditions.unwrap_or_default();
        assert!(conditions.iter().any(|condition| condition.message.contains(WEAKER)), "{conditions:?}");
    }
    for (n, (name, server)) in names.iter().zip([&within, &later, &both]).enumerate() {
        got_no_more_than(Sent::Digest, server, name, &org_id(n));
        let answers: Vec<_> =
            server.asked().iter().filter_map(|asked| asked.authorization().map(str::to_owned)).collect();
        assert!(answers.iter().all(|answer| answer.contains("algorithm=SHA-256")), "{answers:?}");
    }
    measured.is_unharmed(MOST_MIB).await;
    tells_nothing(&world, &operator, &names, "json").await;
}
