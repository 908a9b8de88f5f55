//! Tenants whose manifests, annotations and Secrets try to be more than values.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DynamicObject, ObjectMeta, PostParams};
use migrationlink_operator::api::{CaReference, InputKind, MigrationLink, RECONCILE_AT, RELINK_AT};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use super::measure::Beside;
use super::server::{Asked, Server};
use super::{MOST_MIB, challenge, prepared, synced, tells_nothing};
use crate::support::{Operator, World, org_id, spec};

/// What a Secret and a `ConfigMap` may hold at most.
const MIB: usize = 1024 * 1024;

/// A server that accepts whatever comes with an answer to Digest.
async fn accepting() -> Server {
    Server::start(|asked| match asked.authorization() {
        None => challenge(&asked.number.to_string()),
        Some(_) => synced(),
    })
    .await
}

async fn operator<'a>(world: &'a World, server: &Server, format: &str) -> Operator<'a> {
    prepared(world, format).arg(format!("--allowed-origin={}", server.origin())).start().await
}

async fn secret(world: &World, name: &str, content: &[(&str, &[u8])]) {
    let content = content.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec())));
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let secret = Secret { metadata, data: Some(content.collect()), ..Secret::default() };
    let secrets: Api<Secret> = Api::namespaced(world.tenant.client.clone(), &world.tenant.namespace);
    secrets.create(&PostParams::default(), &secret).await.expect("a Secret");
}

/// Name, public key, private key, token, and why it is refused; None: it is sent as it is.
type Row = (&'static str, String, &'static str, String, Option<&'static str>);

fn rows() -> Vec<Row> {
    let control = Some("has a line break or another control character inside");
    let long = Some("is longer than 8192 bytes");
    let row = |name, public: &str, private, token: &str, refused| {
        (name, public.to_owned(), private, token.to_owned(), refused)
    };
    vec![
        row("quotes", r#"canary", uri="/canary", x=""#, "canary-private", r"canary\", None),
        row("colon", "canary:MMS Public API:canary", "canary-private", "canary", None),
        row(
            "letters",
            "canary-schlüssel-\u{2028}\u{202e}",
            "canary-privat-\u{fe0f}é",
            "canary-\u{2028}é",
            None,
        ),
        row("json", "canary-key", "canary-private", r#"canary","linkToken":"other","x":{"y":["#, None),
        row("markup", "canary-%0d%0a%2f..%00", "canary-private", "<!--canary-->%0d%0a${x}`{{y}}'", None),
        row("line-break", "canary\r\nX-Canary: canary", "canary-private", "canary", control),
        row("line-break-in-the-private-key", "canary-key", "canary\r\nX-Canary: canary", "canary", control),
        row("line-break-in-the-token", "canary-key", "canary-private", "canary\r\n\r\nGET /canary", control),
        row("nul", "canary-key\0canary", "canary-private", "canary", control),
        row("nul-in-the-token", "canary-key", "canary-private", "canary\0canary", control),
        row("escape", "canary-key", "canary-private", "canary\u{1b}]0;canary\u{7}", control),
        row("next-line", "canary-key\u{85}canary", "canary-private", "canary", control),
        row("long", "canary-key", "canary-private", &"canary".repeat(8192 / 6 + 1), long),
        row("large", "canary-key", "canary-private", &"canary".repeat((MIB - 100) / 6), long),
        row("large-key", &"c".repeat(MIB - 100), "canary-private", "canary", long),
    ]
}

/// Sent is what the Secret says, as one value each; or nothing is.
#[tokio::test]
async fn the_bytes_of_a_secret_are_a_value_wherever_they_go_or_are_refused() {
    let (world, server, rows) = (World::new().await, accepting().await, rows());
    let operator = operator(&world, &server, "text").await;
    let mut measured = Beside::new(&world.tenant, &world.cloud, &operator).await;
    for (n, (name, public, private, token, _)) in rows.iter().enumerate() {
        let content = [
            ("publicKey", public.as_bytes()),
            ("privateKey", private.as_bytes()),
            ("linkToken", token.as_bytes()),
        ];
        secret(&world, name, &content).await;
        world.tenant.create_link(name, spec(name, &org_id(n), &server.base_url())).await;
    }
    // Good keys beside something large that nobody asked for.
    let filler = vec![b'x'; MIB - 200];
    let content: [(&str, &[u8]); 4] = [
        ("publicKey", b"key-beside"),
        ("privateKey", b"canary"),
        ("linkToken", b"canary-beside"),
        ("filler", &filler),
    ];
    secret(&world, "beside", &content).await;
    world.tenant.create_link("beside", spec("beside", &org_id(rows.len()), &server.base_url())).await;
    measured.is_as_quick("hostile Secrets", 10).await;
    world.diary.has_been("beside", &["Synced"]).await;

    for (n, (name, public, private, token, refused)) in rows.iter().enumerate() {
        let of_link: Vec<Asked> =
            server.asked().into_iter().filter(|asked| asked.target().1.contains(&org_id(n))).collect();
        if let Some(refused) = refused {
            let pages = world.diary.has_been(name, &["InvalidSecret"]).await;
            let conditions = pages[0].status.conditions.clone().unwrap_or_default();
            assert!(conditions.iter().all(|condition| condition.message.contains(refused)), "{conditions:?}");
            assert!(of_link.is_empty(), "{name}: {of_link:?}");
            continue;
        }
        world.diary.has_been(name, &["Synced"]).await;
        let of_link: Vec<Asked> =
            server.asked().into_iter().filter(|asked| asked.target().1.contains(&org_id(n))).collect();
        let [challenged, answered] = &of_link[..] else { panic!("{name}: {of_link:?}") };
        assert_eq!((challenged.authorization(), challenged.body.len()), (None, 0));
        assert_eq!(username(answered.authorization().expect("an answer")), *public, "{name}");
        assert_eq!(answered.head.matches("\r\n").count(), answered.head.matches('\n').count(), "{name}");
        assert_eq!(answered.head.to_lowercase().matches("\nx-").count(), 0, "{name}: {}", answered.head);
        assert!(!answered.head.contains(private), "{name}");
        assert_eq!(answered.body, json!({"linkToken": token}).to_string().into_bytes(), "{name}");
    }
    assert_eq!(server.asked().iter().filter(|asked| asked.target().1.contains("/canary")).count(), 0);
    measured.is_unharmed(2 * MOST_MIB).await;
    let names: Vec<_> = rows.iter().map(|row| row.0).chain(["beside"]).collect();
    tells_nothing(&world, &operator, &names, "text").await;
}

/// The user name of an answer, as a server reads it: quoted, or extended (RFC 8187).
fn username(authorization: &str) -> String {
    let text = authorization.strip_prefix("Digest ").expect("Digest");
    if let Some(extended) = text.strip_prefix("username*=UTF-8''") {
        let (value, _) = extended.split_once(", ").expect("more follows");
        let mut bytes = Vec::new();
        let mut parts = value.split('%');
        bytes.extend(parts.next().unwrap_or_default().bytes());
        for part in parts {
            let (code, rest) = part.split_at(2);
            bytes.push(u8::from_str_radix(code, 16).expect("two hexadecimal digits"));
            bytes.extend(rest.bytes());
        }
        return String::from_utf8(bytes).expect("UTF-8");
    }
    let mut characters = text.strip_prefix("username=\"").expect("a user name").chars();
    let mut name = String::new();
    loop {
        match characters.next().expect("a closing quote") {
            '\\' => name.extend(characters.next()),
            '"' => break,
            c => name.push(c),
        }
    }
    assert!(characters.as_str().starts_with(", realm="), "{authorization}");
    name
}

/// A Secret or `ConfigMap` of 1 MiB takes several times that while it is read, and all the links that wait for it are woken at once.
#[tokio::test]
async fn inputs_of_a_mebibyte_that_many_links_name_take_little_memory() {
    const LINKS: usize = 24;
    let (world, server) = (World::new().await, accepting().await);
    let operator = operator(&world, &server, "json").await;
    let certificates = certificates(400);
    let pem = |size: usize| {
        let mut pem = String::new();
        for certificate in certificates.iter().cycle() {
            if pem.len() + certificate.len() > size {
                break;
            }
            pem += certificate;
        }
        pem
    };
    world.secret("keys").await;
    let mut measured = Beside::new(&world.tenant, &world.cloud, &operator).await;
    // What is named, how, what it holds, and the reasons of its links.
    let (secret_ref, secret_ca, map_ca) = (None, Some(InputKind::Secret), Some(InputKind::ConfigMap));
    let large = [("publicKey", "k"), ("privateKey", "canary"), ("linkToken", &"c".repeat(MIB - 100))];
    let large = large.map(|(key, value)| (key, value.to_owned())).to_vec();
    let ca = |content: String| vec![("ca.crt", content)];
    let kinds = [
        ("large-token", secret_ref, large, ["SecretNotFound", "InvalidSecret"]),
        ("no-certificates", secret_ca, ca("canary".repeat(MIB / 6)), ["CANotFound", "InvalidCA"]),
        ("many-certificates", map_ca, ca(pem(MIB - 100)), ["CANotFound", "InvalidCA"]),
        // As many as may be: all of them are trusted.
        ("certificates", map_ca, ca(pem(250 * 1024)), ["CANotFound", "Synced"]),
    ];
    for (number, (object, how, content, reasons)) in kinds.iter().enumerate() {
        let names: Vec<_> = (0..LINKS).map(|n| format!("{object}-{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            let secret = if how.is_none() { object } else { "keys" };
            let mut spec = spec(secret, &org_id(number * LINKS + n), &server.base_url());
            spec.ca_ref = how.map(|kind| CaReference { kind, name: (*object).to_owned(), key: None });
            world.tenant.create_link(name, spec).await;
        }
        for name in &names {
            world.diary.has_been(name, &reasons[..1]).await;
        }
        let content: Vec<_> = content.iter().map(|(key, value)| (*key, value.as_str())).collect();
        match how {
            Some(InputKind::ConfigMap) => world.tenant.create_config_map(object, &content).await,
            _ => world.tenant.create_secret(object, &content).await,
        }
        measured.is_as_quick(&format!("{LINKS} links read {object}"), 10).await;
        for name in &names {
            world.diary.has_been(name, reasons).await;
        }
        let names: Vec<_> = names.iter().map(String::as_str).take(2).collect();
        tells_nothing(&world, &operator, &names, "json").await;
    }
    measured.is_unharmed(4 * MOST_MIB).await;
}

/// Different ones, in PEM form.
fn certificates(count: usize) -> Vec<String> {
    let key = KeyPair::generate().expect("a key");
    let certificate = |n: usize| {
        let params = CertificateParams::new(vec![format!("{n}.example.com")]).expect("parameters");
        params.self_signed(&key).expect("a certificate").pem()
    };
    (0..count).map(certificate).collect()
}

#[tokio::test]
async fn an_annotation_is_no_more_than_a_mark_in_json() {
    annotations("json").await;
}

#[tokio::test]
async fn an_annotation_is_no_more_than_a_mark_in_text() {
    annotations("text").await;
}

async fn annotations(format: &str) {
    let (world, server) = (World::new().await, accepting().await);
    let operator = operator(&world, &server, format).await;
    let mut measured = Beside::new(&world.tenant, &world.cloud, &operator).await;
    world.link("link", &org_id(0), &server.base_url()).await;
    world.diary.has_been("link", &["Synced"]).await;
    let values = [
        "x\n2026-01-01T00:00:00.000000Z ERROR migrationlink_operator: forged-line\r\n".to_owned(),
        "\u{1b}[2J\u{1b}]0;forged-title\u{7}\u{9b}31m".to_owned(),
        r#""}, "level": "ERROR", "message": "forged-line"#.to_owned(),
        "\u{202e}forged\u{2066}\u{2028}\u{0}\u{7f}".to_owned(),
        "{} {0:?} %s ${forged} $(forged)".to_owned(),
        "forged".repeat(100 * 1024 / 6),
    ];
    for (n, value) in values.iter().enumerate() {
        for annotation in [RECONCILE_AT, RELINK_AT] {
            let before = mark(&world.tenant.link("link").await, annotation);
            world.tenant.annotate_link("link", annotation, value).await;
            let what = format!("{n}: {annotation}");
            let acknowledged = |link: &MigrationLink| {
                let now = mark(link, annotation);
                // One that is too long, or no plain text, is stored as a hash.
                if value.len() <= 128 && value.chars().all(|c| (' '..='~').contains(&c)) {
                    now.as_ref() == Some(value)
                } else {
                    now != before && now.is_some_and(|now| now.starts_with("sha256:"))
                }
            };
            world.tenant.wait_for("link", &what, acknowledged).await;
        }
        measured.is_as_quick(&format!("annotation {n}"), 3).await;
    }
    for almost in ["true\n", " true", "TRUE", "true\u{0}"] {
        world.tenant.annotate_link("link", "migrationlink.dev/paused", almost).await;
        let before = mark(&world.tenant.link("link").await, RECONCILE_AT);
        world.tenant.annotate_link("link", RECONCILE_AT, almost).await;
        let done = |link: &MigrationLink| mark(link, RECONCILE_AT) != before;
        world.tenant.wait_for("link", "it is not paused", done).await;
    }
    assert_eq!(world.diary.reasons("link"), ["Synced"]);
    measured.is_unharmed(MOST_MIB).await;
    tells_nothing(&world, &operator, &["link"], format).await;
    assert!(!operator.log().contains("forged") && !operator.metrics().await.contains("forged"));
    let events = format!("{:?}", world.tenant.events("link").await);
    assert!(events.contains("Synced") && !events.contains("forged"), "{events}");
}

/// The value of the annotation that was last acted on.
fn mark(link: &MigrationLink, annotation: &str) -> Option<String> {
    let status = link.status.clone().unwrap_or_default();
    if annotation == RECONCILE_AT { status.last_handled_reconcile_at } else { status.last_handled_relink_at }
}

/// A name goes into URLs, logs and metrics. The API server lets in only what can do no harm there; `crd` has the same for the spec.
#[tokio::test]
async fn a_name_is_no_path_and_no_line() {
    let world = World::new().await;
    let tried = async |name: &str, namespace: Option<&str>| {
        let link: serde_json::Result<DynamicObject> = serde_json::from_value(json!({
            "apiVersion": "migrationlink.dev/v1alpha1", "kind": "MigrationLink",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec("keys", &org_id(0), "http://127.0.0.1:1"),
        }));
        let link = link.expect("an object");
        let only_try = PostParams { dry_run: true, ..PostParams::default() };
        match world.tenant.raw_links().create(&only_try, &link).await {
            Ok(_) => None,
            Err(kube::Error::Api(status)) => Some(status.code),
            Err(error) => panic!("{name:?}: {error}"),
        }
    };
    assert_eq!(tried("payments.eu-1", None).await, None);
    for name in [
        "../keys",
        "..",
        ".",
        "a/b",
        "a%2fb",
        "%2e%2e",
        "a\nb",
        "a\r\nb",
        "a\0b",
        "a\u{1b}[31m",
        "a\u{202e}b",
        "é",
        "A",
        "a b",
        "a?watch=true",
        "a#b",
        "a:b",
        "-a",
        "a-",
        &"a".repeat(254),
    ] {
        assert_eq!(tried(name, None).await, Some(422), "{name:?}");
    }
    for namespace in ["kube-system", "../kube-system"] {
        assert_eq!(tried("link", Some(namespace)).await, Some(400), "{namespace}");
    }
}
