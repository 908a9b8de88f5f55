//! Digest authentication with servers of all kinds, and nonces that are lost: never a verdict on the keys.

use migrationlink_simulator::{AcceptedForm, Balancing, DigestPolicy, LinkAnswer, Preset, QopDirective};

use crate::support::{Calls, Cloud, World, is_sound, keys, org_id, spec};

#[tokio::test]
async fn it_syncs_with_every_kind_of_digest_server_and_survives_its_restart() {
    let jetty = |qop, accepted_form| DigestPolicy { qop, accepted_form, ..Preset::Jetty9.policy() };
    // With the answers that are refused before it is known how the challenge is meant.
    let servers = [
        ("jetty-9", Preset::Jetty9.policy(), 0),
        ("jetty-12", Preset::Jetty12.policy(), 0),
        ("apache", Preset::Apache.policy(), 0),
        ("without-qop", jetty(QopDirective::Absent, AcceptedForm::WithoutQop), 0),
        ("qop-misspelt", jetty(QopDirective::Op, AcceptedForm::WithQop), 0),
        ("qop-misspelt-and-unknown", jetty(QopDirective::Op, AcceptedForm::WithoutQop), 1),
    ];
    let world = World::new().await;
    let mut clouds = Vec::new();
    let mut operator = world.tenant.operator();
    for (n, (name, policy, ..)) in servers.iter().enumerate() {
        let cloud = Cloud::start().await;
        cloud.simulator.add_organization(&org_id(n), [keys(name)]);
        cloud.simulator.configure(|config| {
            config.digest = policy.clone();
            // So that a poll follows.
            config.link_answer = LinkAnswer::NoBody(201);
        });
        operator = operator.arg(format!("--allowed-origin={}", cloud.origin()));
        world.link(name, &org_id(n), &cloud.base_url()).await;
        clouds.push(cloud);
    }
    let operator = operator.start().await;
    for ((name, _, refused), cloud) in servers.iter().zip(&clouds) {
        world.diary.has_been(name, &["NotSynced", "Synced"]).await;
        let expected = Calls { challenges: 1, posts: 1, polls: 1, others: 0, refused: *refused };
        assert_eq!(cloud.calls(), expected, "{name}: {:#?}", cloud.simulator.journal());

        cloud.simulator.forget_nonces();
        cloud.simulator.clear_journal();
        world.ask(name).await;
    }
    for ((name, ..), cloud) in servers.iter().zip(&clouds) {
        acknowledged(&world, name, "now").await;
        assert_eq!(world.diary.reasons(name), ["NotSynced", "Synced"], "{name}");
        world.diary.pages(name).iter().for_each(is_sound);
        let calls = cloud.calls();
        assert!(calls.polls == 1 && calls.refused <= 1, "{name}: {calls:?}");
    }
    let names: Vec<_> = servers.iter().map(|(name, ..)| *name).collect();
    world.tells_no_secret(&operator, &names).await;
}

#[tokio::test]
async fn backends_that_do_not_know_each_others_nonces_say_nothing_about_the_keys() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    let balance = |balancing| simulator.configure(|config| config.balancing = balancing);
    simulator.add_organization(&org_id(0), [keys("link")]);
    world.secret("link").await;

    balance(Balancing::ByConnection { backends: 2 });
    world.tenant.create_link("link", spec("link", &org_id(0), &world.cloud.base_url())).await;
    world.diary.has_been("link", &["Synced"]).await;

    // A kept nonce meets the wrong one each time.
    balance(Balancing::Alternate { backends: 2, every: 2 });
    for wish in ["once", "twice", "thrice"] {
        world.tenant.annotate_link("link", "migrationlink.dev/reconcile-at", wish).await;
        acknowledged(&world, "link", wish).await;
    }
    assert_eq!(world.diary.reasons("link"), ["Synced"]);

    // A challenge and its answer never meet.
    balance(Balancing::Alternate { backends: 2, every: 1 });
    simulator.forget_nonces();
    simulator.clear_journal();
    world.tenant.annotate_link("link", "migrationlink.dev/reconcile-at", "for the fourth time").await;
    let pages = world.diary.has_been("link", &["Synced", "UnexpectedResponse"]).await;
    pages.iter().for_each(is_sound);
    assert!(world.cloud.calls().refused <= 2 * 3, "{:#?}", simulator.journal());
    balance(Balancing::Single);
    world.diary.has_been("link", &["Synced", "UnexpectedResponse", "Synced"]).await;
}

async fn acknowledged(world: &World, name: &str, wish: &str) {
    world
        .tenant
        .wait_for(name, "the wish is acknowledged", |link| {
            let handled = link.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_deref());
            handled == Some(wish)
        })
        .await;
}
