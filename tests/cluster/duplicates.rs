//! One organization has one link: of several resources for it one holds it, and the others say so and wait.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::ListParams;
use migrationlink_operator::api::{ConditionType, Conditions, DeletionPolicy, MigrationLink};
use migrationlink_simulator::{Answer, Behaviour, ExistingLink, Phase};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{
    Cloud, ControlPlane, Diary, Front, ORG_ID, Page, Tenant, World, eventually, is_sound, keys, link_spec,
    org_id, spec, token, trouble,
};

#[tokio::test]
async fn the_second_link_of_an_organization_names_the_first_and_goes_on_when_it_is_gone() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    world.link_with("first", &org_id(0), |_| {}).await;
    world.diary.has_been("first", &["Synced"]).await;
    simulator.clear_journal();
    another(&world, "second", &org_id(0)).await;
    let pages = world.diary.has_been("second", &["DuplicateOrganization"]).await;
    pages.iter().for_each(is_sound);
    let status = &pages[0].status;
    let (ready, beside) = trouble(status);
    assert_eq!(beside.type_, "Stalled");
    assert!(ready.message.starts_with("MigrationLink first in this namespace holds"), "{}", ready.message);
    assert!(ready.message.ends_with("goes on when the other is gone."), "{}", ready.message);
    assert_eq!((&status.link, &status.state, &status.inputs), (&None, &None, &None));
    assert_eq!((status.attempts, &status.next_attempt_time), (None, &None));
    world.ask("second").await;
    let acknowledged = |page: &Page| page.status.last_handled_reconcile_at.is_some();
    world.diary.page("second", "the wish is acknowledged", acknowledged).await;
    // Who is left alone holds it all the same.
    world.tenant.edit_link("first", json!({"spec": {"suspend": true}})).await;
    world.announced("first", &["Synced", "Suspended"]).await;
    world.tenant.annotate_link("second", "migrationlink.dev/reconcile-at", "again").await;
    let again = |page: &Page| page.status.last_handled_reconcile_at.as_deref() == Some("again");
    world.diary.page("second", "the wish is acknowledged", again).await;
    assert_eq!(simulator.journal(), [], "nothing is asked");

    world.tenant.delete_link("first").await;
    let pages = world.diary.has_been("second", &["DuplicateOrganization", "Synced"]).await;
    pages.iter().for_each(is_sound);
    assert_eq!(simulator.link_token(&org_id(0)), Some(token("second")));
    world.announced("second", &["DuplicateOrganization", "Synced"]).await;
    assert_eq!(world.diary.reasons("first"), ["Synced"]);
}

#[tokio::test]
async fn a_holder_that_is_being_deleted_holds_until_it_is_gone() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    world.link_with("first", &org_id(0), |spec| spec.deletion_policy = DeletionPolicy::Delete).await;
    world.diary.has_been("first", &["Synced"]).await;
    another(&world, "second", &org_id(0)).await;
    world.diary.has_been("second", &["DuplicateOrganization"]).await;
    let upgrading = Behaviour::new(Answer::Upgrading).on_method("DELETE").in_phase(Phase::Authenticated);
    simulator.script(upgrading.times(2));
    world.tenant.delete_link("first").await;
    world.tenant.gone("first").await;
    world.diary.has_been("second", &["DuplicateOrganization", "Synced"]).await;
    // One after the other: what the second one sent was not removed.
    assert_eq!(world.methods(&org_id(0)), ["POST", "DELETE", "DELETE", "DELETE", "POST"]);
    assert_eq!(simulator.link_token(&org_id(0)), Some(token("second")));
}

/// The one that waits was deleted: what the other holds is none of its business.
#[tokio::test]
async fn a_duplicate_is_deleted_without_a_call() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.link_with("first", &org_id(0), |_| {}).await;
    world.diary.has_been("first", &["Synced"]).await;
    let mut duplicate = spec("second", &org_id(0), &world.cloud.base_url());
    duplicate.deletion_policy = DeletionPolicy::Delete;
    world.secret("second").await;
    world.tenant.create_link("second", duplicate).await;
    world.diary.has_been("second", &["DuplicateOrganization"]).await;
    let (requests, calls) = (operator.requests(), world.requests(&org_id(0)));
    world.tenant.delete_link("second").await;
    world.tenant.gone("second").await;
    assert_eq!(operator.requests().since(&requests).count("get", "secrets"), 0);
    assert_eq!(world.requests(&org_id(0)), calls);
    assert_eq!(world.cloud.simulator.link_token(&org_id(0)), Some(token("first")));
}

/// Two that both hold it, as after a restored backup or by an operator of before: the earliest stays.
#[tokio::test]
async fn of_two_that_hold_it_the_one_that_has_it_for_longer_keeps_it() {
    let world = World::new().await;
    let mut first = world.operator().await;
    world.link_with("older", &org_id(0), |_| {}).await;
    world.link_with("newer", &org_id(1), |_| {}).await;
    for name in ["older", "newer"] {
        world.diary.has_been(name, &["Synced"]).await;
    }
    assert_eq!(first.stop().await, Some(0));
    // What the newer one has accepted is written into a third, for the older one's organization.
    another(&world, "restored", &org_id(0)).await;
    let mut status = world.tenant.link("newer").await.status.expect("a status");
    let held_since = Time(Timestamp::now() + SignedDuration::from_secs(60));
    status.link.as_mut().expect("a record").held_since = Some(held_since);
    world.tenant.write_status("restored", &status).await;
    world.cloud.simulator.clear_journal();

    let _second = world.operator().await;
    let duplicate = |page: &Page| page.reason().as_deref() == Some("DuplicateOrganization");
    let page = world.diary.page("restored", "it does not hold it", duplicate).await;
    assert_eq!(page.status.link, None);
    assert_eq!(world.diary.reasons("older"), ["Synced"]);
    assert!(world.methods(&org_id(0)).iter().all(|method| method == "GET"));
}

/// The copy that worked before gave the organization to one of two links, and the watch has not told this one yet.
#[tokio::test]
async fn who_takes_over_reads_the_links_of_an_organization_before_a_post() {
    let world = World::new().await;
    let front = Front::start(world.tenant.control_plane).await;
    let mut first = world.operator().await;
    world.cloud.simulator.add_organization(&org_id(0), ["holder", "second"].map(keys));
    for name in ["holder", "second"] {
        world.tenant.create_link(name, spec(name, &org_id(0), &world.cloud.base_url())).await;
        world.diary.has_been(name, &["SecretNotFound"]).await;
    }
    let waiting = world.prepared().behind(&front.url()).arg("--sync-interval=24h").start().await;
    front.hold_watch();
    world.secret("holder").await;
    world.diary.has_been("holder", &["SecretNotFound", "Synced"]).await;
    let (before, requests) = (waiting.requests(), world.requests(&org_id(0)));
    assert_eq!(first.stop().await, Some(0));
    waiting.wait_until_it_leads().await;
    // The watch of the Secrets goes on: to this copy both links look as if no token was ever sent.
    world.secret("second").await;
    eventually("each link is read", async || {
        // More than once where the one that ends has written to it in the meantime, which is a conflict.
        let asked = waiting.requests().since(&before);
        let read = |name: &str| {
            asked.0.iter().any(|request| {
                request.resource == "migrationlinks" && request.verb == "get" && request.name == name
            })
        };
        if read("holder") && read("second") { Ok(()) } else { Err(format!("{asked:?}")) }
    })
    .await;
    world.diary.has_been("second", &["SecretNotFound", "DuplicateOrganization"]).await;
    assert_eq!(world.requests(&org_id(0)), requests, "nothing is sent");
    front.release();
}

/// A storm: all at once, and every answer takes its time.
#[tokio::test]
async fn of_twenty_links_for_one_organization_one_is_sent_and_never_two_at_a_time() {
    let world = World::new().await;
    let simulator = &world.cloud.simulator;
    simulator.configure(|config| {
        config.latency = Duration::from_millis(300);
        config.existing_link = ExistingLink::Conflict;
    });
    // So that there is time for others to get in between, the first one is not even taken.
    let upgrading = Behaviour::new(Answer::Upgrading).on_method("POST").in_phase(Phase::Authenticated);
    simulator.script(upgrading.times(3));
    simulator.add_organization(&org_id(0), [keys("shared")]);
    world.secret("shared").await;
    let _operator = world.operator().await;
    let names: Vec<_> = (0..20).map(|number| format!("link-{number}")).collect();
    join_all(names.iter().map(|name| async {
        world.tenant.create_link(name, spec("shared", &org_id(0), &world.cloud.base_url())).await
    }))
    .await;
    let settled = async {
        eventually("one holds it and nineteen do not", async || {
            let links = world.tenant.links().list(&ListParams::default()).await.expect("links").items;
            let reasons: Vec<_> = links.iter().filter_map(reason).collect();
            let of = |wanted: &str| reasons.iter().filter(|reason| *reason == wanted).count();
            if (of("Synced"), of("DuplicateOrganization")) == (1, 19) {
                Ok(())
            } else {
                Err(format!("{reasons:?}"))
            }
        })
        .await;
    };
    let mut most = 0;
    let watching = async {
        loop {
            let journal = simulator.journal();
            let open = journal.iter().filter(|entry| entry.method == "POST" && entry.status.is_none());
            most = most.max(open.count());
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = settled => {}
        () = watching => unreachable!("it watches for ever"),
    }
    assert_eq!(most, 1, "POSTs at the same time");
    let sent = simulator.journal().into_iter().filter(|entry| entry.link_token.is_some());
    let answers: Vec<_> = sent.filter_map(|entry| entry.status).collect();
    assert_eq!(answers, [405, 405, 405, 201]);

    // The next one takes it when the holder goes, and again only one.
    simulator.configure(|config| config.latency = Duration::ZERO);
    let holder = holder(&world).await;
    simulator.unlink_behind_the_back(&org_id(0));
    simulator.clear_journal();
    world.tenant.delete_link(&holder).await;
    eventually("another one holds it", async || {
        let links = world.tenant.links().list(&ListParams::default()).await.expect("links").items;
        let reasons: Vec<_> = links.iter().filter_map(reason).collect();
        let of = |wanted: &str| reasons.iter().filter(|reason| *reason == wanted).count();
        if (of("Synced"), of("DuplicateOrganization")) == (1, 18) {
            Ok(())
        } else {
            Err(format!("{reasons:?}"))
        }
    })
    .await;
    assert_eq!(world.methods(&org_id(0)), ["POST"]);
}

/// Over namespaces a cluster-wide operator says that it is held, and not by whom.
#[tokio::test]
async fn what_another_namespace_holds_is_not_named() {
    let control_plane = ControlPlane::start();
    let (mine, theirs) = (Tenant::on(&control_plane).await, Tenant::on(&control_plane).await);
    let cloud = Cloud::start().await;
    let origin = format!("--allowed-origin={}", cloud.origin());
    let _operator = mine.operator().cluster_wide().arg(origin).start().await;
    let diary = Diary::begin(&mine).await;
    for (tenant, token) in [(&theirs, "their-token"), (&mine, "my-token")] {
        tenant.create_secret("keys", &Cloud::secret_keys(token)).await;
    }
    theirs.create_link("hidden", link_spec(&cloud.base_url())).await;
    theirs.wait_for_ready("hidden", "True", "Synced").await;
    cloud.simulator.clear_journal();
    mine.create_link("link", link_spec(&cloud.base_url())).await;
    let pages = diary.has_been("link", &["DuplicateOrganization"]).await;
    let message = &trouble(&pages[0].status).0.message;
    assert!(message.starts_with("A MigrationLink in another namespace holds"), "{message}");
    let events = format!("{:?}", mine.events("link").await);
    for shown in [&diary.text(), &events] {
        assert!(!shown.contains("hidden") && !shown.contains(&theirs.namespace), "{shown}");
    }
    assert_eq!(cloud.simulator.journal(), []);
    theirs.delete_link("hidden").await;
    diary.has_been("link", &["DuplicateOrganization", "Synced"]).await;
    assert_eq!(cloud.simulator.link_token(ORG_ID).as_deref(), Some("my-token"));
}

/// Creates another link for an organization that has one, with a token of its own and keys that the organization knows.
async fn another(world: &World, name: &str, org_id: &str) {
    world.cloud.simulator.set_keys(org_id, ["first", "older", name].map(keys));
    world.secret(name).await;
    world.tenant.create_link(name, spec(name, org_id, &world.cloud.base_url())).await;
}

async fn holder(world: &World) -> String {
    let links = world.tenant.links().list(&ListParams::default()).await.expect("links").items;
    let holder = links.into_iter().find(|link| reason(link).as_deref() == Some("Synced"));
    holder.and_then(|link| link.metadata.name).expect("a holder")
}

fn reason(link: &MigrationLink) -> Option<String> {
    let conditions = link.status.as_ref()?.conditions.as_ref()?;
    Some(conditions.of(ConditionType::Ready)?.reason.clone())
}
