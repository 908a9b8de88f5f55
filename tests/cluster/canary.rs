//! No secret comes out, whatever happens and however much is logged: not in the log, the status, the events, the metrics or the probes.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use migrationlink_simulator::{Answer, ApiKeys, Behaviour, LinkAnswer, Phase, RetryAfter};
use serde_json::json;

use crate::support::{Cloud, Manner, ORG_ID, Operator, Proxy, Tenant, eventually, link_spec};

// Of the forms that the real ones have, so that nothing else is done to them.
const PUBLIC_KEY: &str = "kanarypk";
const PRIVATE_KEY: &str = "c0a1b2c3-5b7a-4d55-9c39-ca9a41e50001";
const WRONG_KEY: &str = "c0a1b2c3-5b7a-4d55-9c39-ca9a41e50002";
const FIRST_TOKEN: &str = "ca9a41e5f0000000000000000000000000000000000000000000000000000001";
const NEXT_TOKEN: &str = "ca9a41e5f0000000000000000000000000000000000000000000000000000002";
const IN_A_BODY: &str = "ca9a41e5-said-by-the-server";

/// What somebody could read of the operator, by place.
type Shown = BTreeMap<String, String>;

#[tokio::test]
async fn no_secret_is_shown_with_everything_logged_as_json() {
    nothing_is_shown("json").await;
}

#[tokio::test]
async fn no_secret_is_shown_with_everything_logged_as_text() {
    nothing_is_shown("text").await;
}

async fn nothing_is_shown(format: &str) {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    // Between the two, so that it is known what the operator has sent.
    let address = cloud.origin().replace("http://", "").parse().expect("an address");
    let relay = Proxy::start(Manner::Relay(address)).await;
    let origin = format!("http://{}", relay.address());
    let mut operator = tenant
        .operator()
        .arg("--log-level=trace")
        .arg(format!("--log-format={format}"))
        .arg(format!("--allowed-origin={origin}"))
        .start()
        .await;
    let mut shown = Shown::new();
    story(&tenant, &cloud, &format!("{origin}/api/public/v1.0"), &operator, &mut shown).await;
    let bearer = operator.bearer_token();
    assert_eq!(operator.stop().await, Some(0));
    let log = operator.log();
    let called = log.lines().filter(|line| line.contains("DEBUG") && line.contains("called")).count();
    assert!(called >= 8, "everything is logged: {log}");
    shown.insert("log".to_owned(), log);

    let sent = String::from_utf8_lossy(&relay.sent()).into_owned();
    let secrets = secrets(&sent, &bearer);
    // The search finds what is there: all this was sent, and a secret that is put into the log is seen.
    for secret in [PUBLIC_KEY, FIRST_TOKEN, NEXT_TOKEN, "Digest username"] {
        assert_eq!(found(&[secret.to_owned()], &sent), [secret]);
    }
    for secret in &secrets {
        let planted = format!("{} {secret} {}", shown["log"], shown["metrics"]);
        assert!(found(&secrets, &planted).contains(secret));
    }
    for (place, text) in &shown {
        let found = found(&secrets, text);
        assert!(found.is_empty(), "{found:?} in {place}:\n{text}");
    }
}

/// Everything that goes wrong and then right, with a secret wherever a server or a person can put one.
async fn story(
    tenant: &Tenant<'_>,
    cloud: &Cloud,
    base_url: &str,
    operator: &Operator<'_>,
    shown: &mut Shown,
) {
    let simulator = &cloud.simulator;
    simulator.configure(|config| config.link_answer = LinkAnswer::SourceOrganization);
    simulator.set_keys(ORG_ID, [ApiKeys::new(PUBLIC_KEY, PRIVATE_KEY)]);

    // A Secret that is good but for the bytes behind its token.
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let data = BTreeMap::from([
        ("publicKey".to_owned(), bytes(PUBLIC_KEY)),
        ("privateKey".to_owned(), bytes(PRIVATE_KEY)),
        ("linkToken".to_owned(), ByteString([FIRST_TOKEN.as_bytes(), b"\xff\xfe"].concat())),
    ]);
    let metadata = ObjectMeta { name: Some("keys".to_owned()), ..ObjectMeta::default() };
    let secret = Secret { metadata, data: Some(data), ..Secret::default() };
    let secrets: Api<Secret> = Api::namespaced(tenant.client.clone(), &tenant.namespace);
    secrets.create(&PostParams::default(), &secret).await.expect("a Secret");
    tenant.create_link("link", link_spec(base_url)).await;
    reaches(tenant, shown, "False", "InvalidSecret").await;

    tenant.edit_secret("keys", &[("privateKey", WRONG_KEY), ("linkToken", FIRST_TOKEN)]).await;
    reaches(tenant, shown, "False", "Unauthorized").await;

    // What the server says of the token, in every field that it has, under each status.
    let said = |status: u16| {
        let detail = format!("{IN_A_BODY} {FIRST_TOKEN} {PRIVATE_KEY}");
        let body = json!({
            "error": status,
            "errorCode": detail,
            "detail": detail,
            "reason": detail,
            "parameters": [FIRST_TOKEN, PRIVATE_KEY],
            "badRequestDetail": {"fields": [{"field": FIRST_TOKEN}]},
        });
        raw(status, "application/json", &body.to_string())
    };
    let page = format!("<html><body>{IN_A_BODY} {FIRST_TOKEN}</body></html>");
    let limit = RetryAfter::Seconds(1);
    let redirect = format!("http://{FIRST_TOKEN}.example.com/{PRIVATE_KEY}");
    for (number, (answer, reason)) in [
        (said(400), "TokenRejected"),
        (said(403), "Forbidden"),
        (said(409), "LinkExists"),
        (said(500), "EndpointUnavailable"),
        (raw(502, "text/html", &page), "EndpointUnavailable"),
        (raw(404, "text/html", &page), "UnexpectedResponse"),
        (Answer::Redirect { status: 307, location: redirect }, "UnexpectedResponse"),
        (Answer::RateLimited { retry_after: Some(limit) }, "RateLimited"),
    ]
    .into_iter()
    .enumerate()
    {
        simulator.clear_scripts();
        simulator.script(Behaviour::new(answer).on_method("POST").in_phase(Phase::Authenticated));
        // The first of them comes with the right key, the others when they are asked for.
        if number == 0 {
            tenant.edit_secret("keys", &[("privateKey", PRIVATE_KEY)]).await;
        }
        let asked = number.to_string();
        tenant.annotate_link("link", "migrationlink.dev/reconcile-at", &asked).await;
        tenant
            .wait_for("link", &format!("{number}: {reason}"), |link| {
                let status = link.status.as_ref().expect("a status");
                let reasons = status.conditions.iter().flatten().map(|condition| condition.reason.as_str());
                status.last_handled_reconcile_at.as_ref() == Some(&asked)
                    && reasons.into_iter().any(|r| r == reason)
            })
            .await;
        reaches(tenant, shown, "False", reason).await;
    }
    // The rate limit passes by itself. What is accepted is answered with the token.
    simulator.clear_scripts();
    reaches(tenant, shown, "True", "Synced").await;
    assert_eq!(simulator.link_token(ORG_ID).as_deref(), Some(FIRST_TOKEN));
    tenant.edit_secret("keys", &[("linkToken", NEXT_TOKEN)]).await;
    eventually("the rotation", async || match simulator.link_token(ORG_ID) {
        Some(token) if token == NEXT_TOKEN => Ok(()),
        _ => Err("still the first token".to_owned()),
    })
    .await;
    reaches(tenant, shown, "True", "Synced").await;

    for reason in ["InvalidSecret", "Unauthorized", "TokenRejected", "RateLimited", "Synced"] {
        eventually(&format!("the event {reason}"), async || {
            let events = tenant.kubectl(&["get", "events.events.k8s.io", "-o", "yaml"], "").stdout;
            if events.contains(&format!("reason: {reason}\n")) { Ok(()) } else { Err(events) }
        })
        .await;
    }
    shown.insert(
        "events".to_owned(),
        tenant.kubectl(&["get", "events.events.k8s.io", "-o", "yaml"], "").stdout,
    );
    shown.insert("metrics".to_owned(), operator.metrics().await);
    for path in ["/livez", "/readyz"] {
        shown.insert(path.to_owned(), operator.probe(path).await.1);
    }
}

/// Waits for it, and keeps the resource as kubectl shows it.
async fn reaches(tenant: &Tenant<'_>, shown: &mut Shown, ready: &str, reason: &str) {
    tenant.wait_for_ready("link", ready, reason).await;
    let link =
        tenant.kubectl(&["get", "migrationlink", "link", "-o", "yaml", "--show-managed-fields"], "").stdout;
    assert!(link.contains(&format!("reason: {reason}\n")), "{link}");
    shown.insert(format!("the link at step {}, {reason}", shown.len()), link);
}

fn raw(status: u16, content_type: &str, body: &str) -> Answer {
    let headers = BTreeMap::from([("Content-Type".to_owned(), content_type.to_owned())]);
    Answer::Raw { status, headers, body: body.to_owned() }
}

/// All that must not be shown, as it is and in base64 wherever it may begin in a longer text.
fn secrets(sent: &str, bearer: &str) -> Vec<String> {
    let plain = [PUBLIC_KEY, PRIVATE_KEY, WRONG_KEY, FIRST_TOKEN, NEXT_TOKEN, IN_A_BODY];
    let mut secrets: Vec<_> = plain.map(str::to_owned).into();
    for secret in plain {
        // Of each the characters that do not depend on the bytes around.
        for (before, begin) in [("", 0), (" ", 2), ("  ", 3)] {
            let text = format!("{before}{secret}");
            secrets.push(STANDARD.encode(&text)[begin..text.len() * 8 / 6].to_owned());
        }
    }
    secrets.extend(
        ["Digest username", "username=\"", "Bearer ", "Authorization:", "authorization:"].map(str::to_owned),
    );
    let signature = bearer.rsplit('.').next().expect("a token of three parts");
    secrets.extend([bearer.to_owned(), signature.to_owned()]);
    // The digests that were sent, each good for as long as its nonce is.
    let responses: Vec<_> = sent
        .split("response=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned)
        .collect();
    assert!(responses.len() >= 8 && responses.iter().all(|digest| digest.len() >= 32), "{responses:?}");
    secrets.extend(responses);
    secrets
}

/// The secrets that are in this text, in upper or lower case.
fn found(secrets: &[String], text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    secrets.iter().filter(|secret| text.contains(&secret.to_lowercase())).cloned().collect()
}
