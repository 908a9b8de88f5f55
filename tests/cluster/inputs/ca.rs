//! Root certificates of a link's own.

use std::time::Duration;

use migrationlink_operator::api::{CaReference, DeletionPolicy, InputKind, MigrationLinkSpec};
use migrationlink_simulator::{Config, Simulator};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{
    Calls, Cloud, Diary, EVENT, Ledger, Page, READ_SECRET, Tenant, WRITE_STATUS, World, is_sound, org_id,
    trouble,
};

/// One read of a `ConfigMap`.
const READ_CONFIG_MAP: (&str, usize) = ("get configmaps", 1);

fn ca(kind: InputKind, name: &str, key: Option<&str>) -> CaReference {
    CaReference { kind, name: name.to_owned(), key: key.map(str::to_owned) }
}

fn in_config_map(spec: &mut MigrationLinkSpec) {
    spec.ca_ref = Some(ca(InputKind::ConfigMap, "ca", None));
}

/// A world whose Cloud Manager has a certificate of its own CA.
async fn world() -> World {
    let tenant = Tenant::new().await;
    let diary = Diary::begin(&tenant).await;
    World { tenant, cloud: Cloud::start_tls().await, diary }
}

fn pem(world: &World) -> String {
    world.cloud.simulator.ca_pem().expect("a CA")
}

/// A CA that has signed nothing here.
fn another_pem() -> String {
    Simulator::new(Config::default()).ca_pem().expect("a CA")
}

#[tokio::test]
async fn a_ca_vouches_for_the_link_that_names_it_and_for_no_other() {
    let world = world().await;
    let operator = world.prepared().arg("--sync-interval=24h").start().await;
    world.tenant.create_config_map("ca", &[("ca.crt", &pem(&world))]).await;
    let in_secret = [("ca.crt", "canary"), ("root.pem", &pem(&world))];
    world.tenant.create_secret("ca", &in_secret).await;
    let ledger = Ledger::open(&operator, &world.cloud);
    world.link_with("config-map", &org_id(0), in_config_map).await;
    world.diary.has_been("config-map", &["Synced"]).await;
    let calls = Calls { challenges: 1, posts: 1, ..Calls::default() };
    ledger.expect(&[READ_SECRET, READ_CONFIG_MAP, WRITE_STATUS, EVENT], calls).await;
    world
        .link_with("secret", &org_id(1), |spec| {
            spec.ca_ref = Some(ca(InputKind::Secret, "ca", Some("root.pem")));
        })
        .await;
    let pages = world.diary.has_been("secret", &["Synced"]).await;
    let inputs = pages[0].status.inputs.as_ref().expect("inputs");
    assert_eq!(inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>(), ["secret", "ca"]);

    world.link_with("without", &org_id(2), |_| {}).await;
    let pages = world.diary.has_been("without", &["TlsVerificationFailed"]).await;
    pages.iter().for_each(is_sound);
    let (ready, beside) = trouble(&pages[0].status);
    assert_eq!(beside.type_, "Stalled");
    for phrase in ["its issuer is not known", "spec.caRef", "--ca-file"] {
        assert!(ready.message.contains(phrase), "{phrase:?} is not in {:?}", ready.message);
    }
    assert_eq!(world.methods(&org_id(2)), Vec::<String>::new());
    for name in ["config-map", "secret"] {
        world.ask(name).await;
        world.tenant.wait_for_ready(name, "True", "Synced").await;
    }
    assert_eq!(world.diary.reasons("without"), ["TlsVerificationFailed"], "nobody else's CA is taken");
    world.tenant.edit_link("without", json!({"spec": {"caRef": {"kind": "ConfigMap", "name": "ca"}}})).await;
    world.diary.has_been("without", &["TlsVerificationFailed", "Synced"]).await;
    world.tells_no_secret(&operator, &["config-map", "secret", "without"]).await;
}

/// The server is trusted by the operator's own roots, and the link's are others.
#[tokio::test]
async fn a_ca_is_added_to_the_roots_that_there_are() {
    let world = world().await;
    let file = world.tenant.control_plane.dir().join(format!("{}.pem", world.tenant.namespace));
    std::fs::write(&file, pem(&world)).expect("a file");
    let _operator = world.prepared().arg(format!("--ca-file={}", file.display())).start().await;
    world.tenant.create_config_map("ca", &[("ca.crt", &another_pem())]).await;
    world.link_with("link", &org_id(0), in_config_map).await;
    world.diary.has_been("link", &["Synced"]).await;
}

#[tokio::test]
async fn a_ca_that_changes_is_picked_up_at_once() {
    let world = world().await;
    let _operator = world.prepared().arg("--sync-interval=24h").start().await;
    world.tenant.create_config_map("ca", &[("ca.crt", &another_pem())]).await;
    world.link_with("link", &org_id(0), in_config_map).await;
    world.diary.has_been("link", &["TlsVerificationFailed"]).await;
    // What is not used of it is of no interest.
    let attempts = world.diary.pages("link").len();
    world.tenant.edit_config_map("ca", &[("note", "of no interest")]).await;
    let noted = |page: &Page| page.status.inputs != world.diary.pages("link")[0].status.inputs;
    let page = world.diary.page("link", "the note is noted", noted).await;
    assert_eq!((page.status.attempts, attempts), (Some(1), 1));

    world.tenant.edit_config_map("ca", &[("ca.crt", &(another_pem() + &pem(&world)))]).await;
    world.diary.has_been("link", &["TlsVerificationFailed", "Synced"]).await.iter().for_each(is_sound);
    // The other way round: what vouched does no longer.
    world.tenant.edit_config_map("ca", &[("ca.crt", &another_pem())]).await;
    world.ask("link").await;
    let path = ["TlsVerificationFailed", "Synced", "TlsVerificationFailed"];
    world.diary.has_been("link", &path).await;
    assert_eq!(world.methods(&org_id(0)), ["POST"]);
}

/// Name of the link, kind of the object, what it holds (None: it is not there), and what is found in the message.
type Row = (&'static str, InputKind, Option<(&'static str, String)>, &'static str);

#[tokio::test]
async fn a_ca_that_cannot_be_had_is_named_with_its_key() {
    let world = world().await;
    let operator = world.operator().await;
    let broken = {
        // Damaged inside: the form is right.
        let pem = pem(&world);
        let (begin, rest) = pem.split_at(pem.find('\n').expect("lines") + 1);
        format!("{begin}MIIB{}", rest.get(64..).expect("a certificate"))
    };
    let rows: Vec<Row> = vec![
        ("no-map", InputKind::ConfigMap, None, "ConfigMap no-map-ca, which spec.caRef names, is not there."),
        ("no-secret", InputKind::Secret, None, "Secret no-secret-ca, which spec.caRef names, is not there."),
        ("no-key", InputKind::ConfigMap, Some(("root.pem", pem(&world))), "its key ca.crt is missing"),
        ("no-pem", InputKind::ConfigMap, Some(("ca.crt", "canary".into())), "no certificate in PEM form"),
        ("empty", InputKind::Secret, Some(("ca.crt", String::new())), "no certificate in PEM form"),
        ("broken", InputKind::Secret, Some(("ca.crt", broken)), "or one that cannot be read"),
    ];
    for (n, (name, kind, content, _)) in rows.iter().enumerate() {
        let object = format!("{name}-ca");
        match (kind, content) {
            (_, None) => {}
            (InputKind::Secret, Some((key, text))) => {
                world.tenant.create_secret(&object, &[(key, text)]).await;
            }
            (_, Some((key, text))) => world.tenant.create_config_map(&object, &[(key, text)]).await,
        }
        world.link_with(name, &org_id(n), |spec| spec.ca_ref = Some(ca(*kind, &object, None))).await;
    }
    let reason = |content: &Option<_>| if content.is_some() { "InvalidCA" } else { "CANotFound" };
    for (name, _, content, says) in &rows {
        let pages = world.diary.has_been(name, &[reason(content)]).await;
        pages.iter().for_each(is_sound);
        let status = &pages[0].status;
        let (ready, beside) = trouble(status);
        let expected = if content.is_some() { "Stalled" } else { "Reconciling" };
        assert_eq!(beside.type_, expected, "{name}");
        for phrase in [*says, &format!("{name}-ca"), "ca.crt"] {
            assert!(ready.message.contains(phrase), "{name}: {phrase:?} is not in {:?}", ready.message);
        }
    }
    assert_eq!(world.cloud.simulator.journal(), []);
    // By now the ConfigMaps are watched: nothing is tried before they change.
    let requests = operator.requests();
    sleep(Duration::from_secs(2)).await;
    let asked = operator.requests().since(&requests).counts();
    assert!(asked.is_empty(), "{asked:?}");

    for (name, kind, content, _) in &rows {
        let (object, mended) = (format!("{name}-ca"), pem(&world));
        let mended = [("ca.crt", mended.as_str())];
        match (kind, content) {
            (InputKind::Secret, None) => world.tenant.create_secret(&object, &mended).await,
            (InputKind::Secret, Some(_)) => world.tenant.edit_secret(&object, &mended).await,
            (_, None) => world.tenant.create_config_map(&object, &mended).await,
            (_, Some(_)) => world.tenant.edit_config_map(&object, &mended).await,
        }
    }
    for (name, _, content, _) in &rows {
        world.diary.has_been(name, &[reason(content), "Synced"]).await;
        world.announced(name, &[reason(content), "Synced"]).await;
    }
    let names: Vec<_> = rows.iter().map(|(name, ..)| *name).collect();
    world.tells_no_secret(&operator, &names).await;
}

/// Without it nobody would be trusted with the removal either.
#[tokio::test]
async fn a_ca_that_is_gone_holds_up_a_deletion_until_it_is_back() {
    let world = world().await;
    let _operator = world.operator().await;
    world.tenant.create_config_map("ca", &[("ca.crt", &pem(&world))]).await;
    world
        .link_with("link", &org_id(0), |spec| {
            in_config_map(spec);
            spec.deletion_policy = DeletionPolicy::Delete;
        })
        .await;
    world.diary.has_been("link", &["Synced"]).await;
    let deleted = world.tenant.kubectl(&["delete", "configmap", "ca"], "");
    assert!(deleted.success, "{deleted:?}");
    let pages = world.diary.has_been("link", &["Synced", "CANotFound"]).await;
    assert_eq!(pages[1].status.state.as_deref(), Some("SYNCED"), "the API has said nothing else");
    world.tenant.delete_link("link").await;
    let pages = world.diary.has_been("link", &["Synced", "CANotFound", "DeletionBlocked"]).await;
    let conditions = pages.last().and_then(|page| page.status.conditions.as_ref()).expect("conditions");
    let stalled = conditions.iter().find(|condition| condition.type_ == "Stalled").expect("Stalled");
    assert_eq!(stalled.reason, "CANotFound");
    assert!(stalled.message.contains("that happens by itself."), "{}", stalled.message);
    world.tenant.create_config_map("ca", &[("ca.crt", &pem(&world))]).await;
    world.tenant.gone("link").await;
    assert_eq!(world.cloud.simulator.link_token(&org_id(0)), None);
}
