//! What a Secret may hold, and what it may not.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use migrationlink_operator::api::ConditionType;
use migrationlink_simulator::ApiKeys;
use serde_json::json;

use crate::support::{World, is_sound, org_id, spec, trouble};

type Content = Vec<(&'static str, &'static [u8])>;

const PUBLIC: &[u8] = b"abcdefgh";
const PRIVATE: &[u8] = b"canary-private";
const TOKEN: &[u8] = b"canary-token";

#[tokio::test]
async fn a_secret_that_cannot_be_used_names_the_key_and_never_its_content() {
    let rows: Vec<(&str, Content, &str)> = vec![
        (
            "no-public-key",
            vec![("privateKey", PRIVATE), ("linkToken", TOKEN)],
            "its key publicKey is missing",
        ),
        (
            "no-private-key",
            vec![("publicKey", PUBLIC), ("linkToken", TOKEN)],
            "its key privateKey is missing",
        ),
        ("no-token", vec![("publicKey", PUBLIC), ("privateKey", PRIVATE)], "its key linkToken is missing"),
        ("nothing", vec![], "its keys publicKey, privateKey, linkToken are missing"),
        ("other-keys", vec![("apiKey", b"canary")], "its keys publicKey, privateKey, linkToken are missing"),
        (
            "empty-token",
            vec![("publicKey", PUBLIC), ("privateKey", PRIVATE), ("linkToken", b"")],
            "its key linkToken is empty",
        ),
        (
            "blank-key",
            vec![("publicKey", PUBLIC), ("privateKey", b" \n"), ("linkToken", TOKEN)],
            "its key privateKey is empty",
        ),
        (
            "no-text",
            vec![("publicKey", PUBLIC), ("privateKey", PRIVATE), ("linkToken", b"canary\xff\xfe")],
            "its key linkToken is not UTF-8 text",
        ),
        (
            "two-lines",
            vec![("publicKey", b"canary\nX-Header: canary"), ("privateKey", PRIVATE), ("linkToken", TOKEN)],
            "its key publicKey has a line break",
        ),
        (
            "old-form",
            vec![("user", PUBLIC), ("publicApiKey", PRIVATE), ("linkToken", TOKEN)],
            "publicApiKey is the private key",
        ),
        (
            "half-a-pair",
            vec![("publicApiKey", PUBLIC), ("linkToken", TOKEN)],
            "its key privateApiKey is missing",
        ),
        (
            "mixed-pairs",
            vec![("publicKey", PUBLIC), ("privateApiKey", PRIVATE), ("linkToken", TOKEN)],
            "its key publicApiKey is missing",
        ),
        (
            "service-account",
            vec![
                ("publicKey", PUBLIC),
                ("privateKey", PRIVATE),
                ("linkToken", TOKEN),
                ("clientId", b"canary"),
            ],
            "clientId",
        ),
    ];
    let world = World::new().await;
    let operator = world.operator().await;
    for (n, (name, content, _)) in rows.iter().enumerate() {
        create(&world, n, name, content).await;
    }
    for (name, _, says) in &rows {
        let pages = world.diary.has_been(name, &["InvalidSecret"]).await;
        let status = &pages[0].status;
        let (ready, beside) = trouble(status);
        assert_eq!(
            (ready.status.as_str(), beside.type_.as_str()),
            ("False", ConditionType::Stalled.as_str())
        );
        for phrase in [says, *name, "publicKey, privateKey and linkToken"] {
            assert!(ready.message.contains(phrase), "{name}: {phrase:?} is not in {:?}", ready.message);
        }
        assert_eq!((status.attempts, &status.next_attempt_time), (None, &None), "woken by the change");
        assert_eq!((&status.state, &status.link), (&None, &None));
    }
    assert!(world.cloud.simulator.journal().is_empty());
    assert_eq!(operator.requests().count("get", "secrets"), rows.len());

    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mended = json!({
        "data": {"clientId": null, "user": null, "publicApiKey": null, "privateApiKey": null},
        "stringData": {"publicKey": text(PUBLIC), "privateKey": text(PRIVATE), "linkToken": text(TOKEN)},
    });
    for (name, ..) in &rows {
        secrets(&world).patch(name, &PatchParams::default(), &Patch::Merge(&mended)).await.unwrap();
    }
    for (name, ..) in &rows {
        world.diary.has_been(name, &["InvalidSecret", "Synced"]).await.iter().for_each(is_sound);
        world.announced(name, &["InvalidSecret", "Synced"]).await;
    }
    let names: Vec<_> = rows.iter().map(|(name, ..)| *name).collect();
    world.tells_no_secret(&operator, &names).await;
}

#[tokio::test]
async fn both_names_of_the_keys_and_white_space_around_them_are_taken() {
    let rows: Vec<(&str, Content)> = vec![
        ("vendor-names", vec![("publicApiKey", PUBLIC), ("privateApiKey", PRIVATE), ("linkToken", TOKEN)]),
        (
            "from-files",
            vec![
                ("publicKey", b"abcdefgh\n"),
                ("privateKey", b"canary-private\r\n"),
                ("linkToken", b" canary-token\n"),
            ],
        ),
        (
            "both-pairs",
            vec![
                ("publicKey", PUBLIC),
                ("privateKey", PRIVATE),
                ("publicApiKey", b"another"),
                ("privateApiKey", b"canary-other"),
                ("linkToken", TOKEN),
            ],
        ),
    ];
    let world = World::new().await;
    let _operator = world.operator().await;
    for (n, (name, content)) in rows.iter().enumerate() {
        create(&world, n, name, content).await;
    }
    for (n, (name, _)) in rows.iter().enumerate() {
        world.diary.has_been(name, &["Synced"]).await;
        assert_eq!(world.cloud.simulator.link_token(&org_id(n)).as_deref(), Some("canary-token"));
    }
}

async fn create(world: &World, n: usize, name: &str, content: &Content) {
    let keys = ApiKeys::new(String::from_utf8_lossy(PUBLIC), String::from_utf8_lossy(PRIVATE));
    world.cloud.simulator.add_organization(&org_id(n), [keys]);
    let data: BTreeMap<_, _> =
        content.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec()))).collect();
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let secret = Secret { metadata, data: Some(data), ..Secret::default() };
    secrets(world).create(&PostParams::default(), &secret).await.unwrap();
    world.tenant.create_link(name, spec(name, &org_id(n), &world.cloud.base_url())).await;
}

fn secrets(world: &World) -> Api<Secret> {
    Api::namespaced(world.tenant.client.clone(), &world.tenant.namespace)
}
