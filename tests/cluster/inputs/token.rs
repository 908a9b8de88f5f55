//! The link token from a Secret of its own.

use std::time::Duration;

use migrationlink_operator::api::{KeyReference, MigrationLinkSpec};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{
    ANNOUNCE_AND_WRITE, Calls, EVENT, Ledger, READ_SECRET, WRITE_STATUS, World, eventually, is_sound, keys,
    org_id, spec, token, trouble,
};

/// How long is looked for what must not happen.
const A_WHILE: Duration = Duration::from_secs(2);
/// Both Secrets are read.
const READ_SECRETS: (&str, usize) = ("get secrets", 2);

/// The token is in another Secret, under this key; `linkToken` if absent.
fn token_in(name: &str, key: Option<&str>) -> KeyReference {
    KeyReference { name: name.to_owned(), key: key.map(str::to_owned) }
}

/// Creates a link whose Secret has the API keys only, and that of the token is of this name.
async fn link(world: &World, name: &str, n: usize, token: KeyReference) {
    let keys = keys(name);
    world.cloud.simulator.add_organization(&org_id(n), [keys.clone()]);
    let content = [("publicKey", keys.public_key.as_str()), ("privateKey", &keys.private_key)];
    world.tenant.create_secret(name, &content).await;
    let spec = spec(name, &org_id(n), &world.cloud.base_url());
    world.tenant.create_link(name, MigrationLinkSpec { link_token_secret_ref: Some(token), ..spec }).await;
}

#[tokio::test]
async fn both_secrets_are_read_and_a_change_of_either_is_noticed() {
    let world = World::new().await;
    let operator = world.prepared().arg("--sync-interval=24h").start().await;
    let simulator = &world.cloud.simulator;
    simulator.configure(|config| config.digest.max_nonce_age = Duration::from_hours(1));
    let ledger = Ledger::open(&operator, &world.cloud);
    world.tenant.create_secret("atlas", &[("token", &token("first"))]).await;
    link(&world, "link", 0, token_in("atlas", Some("token"))).await;
    let pages = world.diary.has_been("link", &["Synced"]).await;
    let calls = Calls { challenges: 1, posts: 1, ..Calls::default() };
    ledger.expect(&[READ_SECRETS, WRITE_STATUS, EVENT], calls).await;
    assert_eq!(simulator.link_token(&org_id(0)), Some(token("first")));
    let inputs = pages[0].status.inputs.as_ref().expect("inputs");
    assert_eq!(inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>(), ["link", "atlas"]);
    assert!(inputs.iter().all(|input| input.uid.is_some() && input.content.is_some()));

    let ledger = Ledger::open(&operator, &world.cloud);
    world.tenant.edit_secret("atlas", &[("token", &token("next"))]).await;
    ledger.expect(&[READ_SECRETS, ANNOUNCE_AND_WRITE], Calls { posts: 1, ..Calls::default() }).await;
    assert_eq!(simulator.link_token(&org_id(0)), Some(token("next")));

    // What is not used is of no interest: another key there, a token beside the API keys.
    let ledger = Ledger::open(&operator, &world.cloud);
    world.tenant.edit_secret("atlas", &[("linkToken", "canary-of-others")]).await;
    ledger.expect(&[READ_SECRETS, WRITE_STATUS], Calls::default()).await;
    let ledger = Ledger::open(&operator, &world.cloud);
    world.tenant.edit_secret("link", &[("linkToken", "canary-of-others")]).await;
    ledger.expect(&[READ_SECRETS, WRITE_STATUS], Calls::default()).await;

    let ledger = Ledger::open(&operator, &world.cloud);
    let rotated = migrationlink_simulator::ApiKeys::new("key-rotated", "canary-rotated");
    simulator.set_keys(&org_id(0), [rotated.clone()]);
    let content = [("publicKey", rotated.public_key.as_str()), ("privateKey", &rotated.private_key)];
    world.tenant.edit_secret("link", &content).await;
    let calls = Calls { challenges: 1, polls: 1, ..Calls::default() };
    ledger.expect(&[READ_SECRETS, WRITE_STATUS], calls).await;
    assert_eq!(world.diary.reasons("link"), ["Synced"]);
    world.tells_no_secret(&operator, &["link"]).await;
}

/// One Secret with everything, whose token has a name of its own, is read once.
#[tokio::test]
async fn keys_and_token_may_be_in_one_secret_under_another_name() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.cloud.simulator.add_organization(&org_id(0), [keys("link")]);
    world.secret("link").await;
    world.tenant.edit_secret("link", &[("atlasToken", &token("atlas"))]).await;
    let mut spec = spec("link", &org_id(0), &world.cloud.base_url());
    spec.link_token_secret_ref = Some(token_in("link", Some("atlasToken")));
    let ledger = Ledger::open(&operator, &world.cloud);
    world.tenant.create_link("link", spec).await;
    let calls = Calls { challenges: 1, posts: 1, ..Calls::default() };
    ledger.expect(&[READ_SECRET, WRITE_STATUS, EVENT], calls).await;
    assert_eq!(world.cloud.simulator.link_token(&org_id(0)), Some(token("atlas")));
}

/// Name of the link, key of the reference, content of the Secret, reason, and what is found in the message.
type Row = (
    &'static str,
    Option<&'static str>,
    Option<[(&'static str, &'static str); 1]>,
    &'static str,
    &'static str,
);

#[tokio::test]
async fn a_token_that_cannot_be_had_is_named_with_its_secret_and_its_key() {
    let world = World::new().await;
    let operator = world.operator().await;
    let rows: [Row; 4] = [
        ("missing", None, None, "SecretNotFound", "Secret missing-token is not there."),
        ("no-key", None, Some([("token", "canary")]), "InvalidSecret", "its key linkToken is missing"),
        (
            "other-key",
            Some("atlas"),
            Some([("linkToken", "canary")]),
            "InvalidSecret",
            "its key atlas is missing",
        ),
        ("empty", None, Some([("linkToken", " \n")]), "InvalidSecret", "its key linkToken is empty"),
    ];
    let secret_of = |name: &str| format!("{name}-token");
    for (n, (name, key, content, ..)) in rows.iter().enumerate() {
        if let Some(content) = content {
            world.tenant.create_secret(&secret_of(name), content).await;
        }
        link(&world, name, n, token_in(&secret_of(name), *key)).await;
    }
    for (name, key, _, reason, says) in &rows {
        let pages = world.diary.has_been(name, &[reason]).await;
        pages.iter().for_each(is_sound);
        let status = &pages[0].status;
        let (ready, _) = trouble(status);
        let wanted = format!("the link token under the key {}", key.unwrap_or("linkToken"));
        for phrase in [*says, &secret_of(name), &wanted] {
            assert!(ready.message.contains(phrase), "{name}: {phrase:?} is not in {:?}", ready.message);
        }
        assert_eq!((status.attempts, &status.next_attempt_time), (None, &None), "woken by the change");
    }
    assert_eq!(world.cloud.simulator.journal(), []);
    for (n, (name, key, content, reason, _)) in rows.iter().enumerate() {
        let token = token(name);
        let mended = [(key.unwrap_or("linkToken"), token.as_str())];
        if content.is_some() {
            world.tenant.edit_secret(&secret_of(name), &mended).await;
        } else {
            world.tenant.create_secret(&secret_of(name), &mended).await;
        }
        world.diary.has_been(name, &[reason, "Synced"]).await;
        assert_eq!(world.cloud.simulator.link_token(&org_id(n)), Some(token));
    }

    // Gone again: the other one is there and is not to blame.
    world.tenant.delete_secret("missing-token").await;
    let pages = world.diary.has_been("missing", &["SecretNotFound", "Synced", "SecretNotFound"]).await;
    let status = &pages.last().expect("a page").status;
    assert!(trouble(status).0.message.starts_with("Secret missing-token is not there."));
    let present: Vec<_> =
        status.inputs.iter().flatten().map(|input| (input.name.as_str(), input.uid.is_some())).collect();
    assert_eq!(present, [("missing", true), ("missing-token", false)]);
    let names: Vec<_> = rows.iter().map(|(name, ..)| *name).collect();
    world.tells_no_secret(&operator, &names).await;
}

/// The token moves into a Secret of its own: while it is the same one nothing is sent.
#[tokio::test]
async fn a_token_that_only_moves_is_not_sent_again() {
    let world = World::new().await;
    let _operator = world.operator().await;
    world.link_with("link", &org_id(0), |_| {}).await;
    world.diary.has_been("link", &["Synced"]).await;
    world.cloud.simulator.clear_journal();
    world.tenant.create_secret("atlas", &[("linkToken", &token("link"))]).await;
    world.tenant.edit_link("link", json!({"spec": {"linkTokenSecretRef": {"name": "atlas"}}})).await;
    world.tenant.wait_for_ready("link", "True", "Synced").await;
    sleep(A_WHILE).await;
    assert_eq!(world.cloud.simulator.journal(), []);
    // From now on that one counts.
    world.tenant.edit_secret("link", &[("linkToken", "canary-of-others")]).await;
    world.tenant.edit_secret("atlas", &[("linkToken", &token("next"))]).await;
    eventually("the new token is sent", async || {
        let found = world.cloud.simulator.link_token(&org_id(0));
        if found == Some(token("next")) { Ok(()) } else { Err(world.diary.last("link")) }
    })
    .await;
    assert_eq!(world.methods(&org_id(0)), ["POST"]);
}
