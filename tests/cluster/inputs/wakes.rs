//! Secrets that come, change and go: a link hears of its own at once, or at the next check where it may not watch.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::support::{World, eventually, is_sound, keys, org_id, spec, token, trouble};

/// How long is looked for what must not happen.
const A_WHILE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_missing_secret_is_waited_for_without_asking() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.cloud.simulator.add_organization(&org_id(0), [keys("link")]);
    world.tenant.create_link("link", spec("link", &org_id(0), &world.cloud.base_url())).await;
    let pages = world.diary.has_been("link", &["SecretNotFound"]).await;
    let (ready, beside) = trouble(&pages[0].status);
    assert_eq!(beside.type_, "Reconciling");
    assert!(
        ready.message.contains("Secret link is not there. Create it in this namespace"),
        "{}",
        ready.message
    );
    assert_eq!((pages[0].status.attempts, &pages[0].status.next_attempt_time), (None, &None));
    sleep(A_WHILE).await;
    assert_eq!(operator.requests().count("get", "secrets"), 1);
    assert!(world.cloud.simulator.journal().is_empty());

    world.secret("link").await;
    world.diary.has_been("link", &["SecretNotFound", "Synced"]).await;
    assert_eq!(operator.requests().count("get", "secrets"), 2);

    world.tenant.delete_secret("link").await;
    let pages = world.diary.has_been("link", &["SecretNotFound", "Synced", "SecretNotFound"]).await;
    let gone = &pages.last().unwrap().status;
    assert_eq!(gone.state.as_deref(), Some("SYNCED"), "the API has said nothing else");
    world.secret("link").await;
    let path = ["SecretNotFound", "Synced", "SecretNotFound", "Synced"];
    world.diary.has_been("link", &path).await.iter().for_each(is_sound);
    let calls = world.cloud.calls();
    assert_eq!((calls.posts, calls.polls), (1, 1), "the token is the same: only the state is asked for");
}

#[tokio::test]
async fn links_that_share_a_secret_are_all_woken_and_others_are_not() {
    let world = World::new().await;
    let operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    let links = ["one", "two", "three"];
    for (n, name) in links.into_iter().enumerate() {
        simulator.add_organization(&org_id(n), [keys("shared")]);
        world.tenant.create_link(name, spec("shared", &org_id(n), &world.cloud.base_url())).await;
    }
    simulator.add_organization(&org_id(9), [keys("alone")]);
    world.link("alone", &org_id(9), &world.cloud.base_url()).await;
    for name in links {
        world.diary.has_been(name, &["SecretNotFound"]).await;
    }
    world.secret("shared").await;
    for name in links {
        world.diary.has_been(name, &["SecretNotFound", "Synced"]).await;
    }
    world.diary.has_been("alone", &["Synced"]).await;
    let before = (world.requests(&org_id(9)), world.diary.pages("alone"));
    let requests = operator.requests();

    world.tenant.edit_secret("shared", &[("linkToken", &token("rotated"))]).await;
    for (n, name) in links.into_iter().enumerate() {
        eventually(&format!("{name} has the new token"), async || {
            if simulator.link_token(&org_id(n)) == Some(token("rotated")) {
                Ok(())
            } else {
                Err(world.diary.last(name))
            }
        })
        .await;
    }
    eventually("each is announced and recorded", async || {
        let since = operator.requests().since(&requests);
        if since.count("patch", "migrationlinks/status") == 2 * 3 {
            Ok(())
        } else {
            Err(format!("{since:?}"))
        }
    })
    .await;
    assert_eq!(operator.requests().since(&requests).count("get", "secrets"), 3);
    assert_eq!(world.requests(&org_id(9)), before.0);
    assert_eq!(world.diary.pages("alone").len(), before.1.len());
}

#[tokio::test]
async fn another_secret_is_taken_at_once() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    simulator.add_organization(&org_id(0), [keys("right")]);
    world.secret("wrong").await;
    world.secret("right").await;
    world.tenant.create_link("link", spec("wrong", &org_id(0), &world.cloud.base_url())).await;
    world.diary.has_been("link", &["Unauthorized"]).await;
    world.tenant.edit_link("link", json!({"spec": {"secretRef": {"name": "right"}}})).await;
    let pages = world.diary.has_been("link", &["Unauthorized", "Synced"]).await;
    let inputs = pages.last().unwrap().status.inputs.as_ref().unwrap();
    assert_eq!(inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>(), ["right"]);
    assert_eq!(simulator.link_token(&org_id(0)), Some(token("right")));

    // The one before is none of its business any more.
    simulator.clear_journal();
    world.tenant.edit_secret("wrong", &[("linkToken", "canary")]).await;
    sleep(A_WHILE).await;
    assert!(simulator.journal().is_empty());
}

#[tokio::test]
async fn without_a_watch_a_secret_is_read_again_at_the_next_check() {
    let world = World::new().await;
    let operator = world
        .tenant
        .operator()
        .arg(format!("--allowed-origin={}", world.cloud.origin()))
        .arg("--secret-access=get")
        .without("list", "secrets")
        .without("watch", "secrets")
        .start()
        .await;
    let simulator = &world.cloud.simulator;
    simulator.add_organization(&org_id(0), [keys("link")]);
    simulator.add_organization(&org_id(1), [keys("later")]);
    world.link("link", &org_id(0), &world.cloud.base_url()).await;
    world.tenant.create_link("later", spec("later", &org_id(1), &world.cloud.base_url())).await;
    world.diary.has_been("link", &["Synced"]).await;

    // Nobody tells when it comes: it is looked for.
    let pages = world.diary.has_been("later", &["SecretNotFound"]).await;
    let status = &pages[0].status;
    assert_eq!((trouble(status).1.type_.as_str(), status.attempts), ("Reconciling", Some(1)));
    let since = trouble(status).0.last_transition_time.0.as_second();
    let next = status.next_attempt_time.as_ref().unwrap().0.as_second();
    assert!((54..=68).contains(&(next - since)), "{status:?}");
    world.secret("later").await;

    simulator.clear_journal();
    world.tenant.edit_secret("link", &[("linkToken", &token("rotated"))]).await;
    sleep(A_WHILE).await;
    assert!(simulator.journal().is_empty());
    world.ask("link").await;
    world.ask("later").await;
    eventually("the new token is sent", async || {
        if simulator.link_token(&org_id(0)) == Some(token("rotated")) {
            Ok(())
        } else {
            Err(world.diary.last("link"))
        }
    })
    .await;
    world.diary.has_been("later", &["SecretNotFound", "Synced"]).await;
    assert_eq!(world.diary.reasons("link"), ["Synced"]);
    let requests = operator.requests();
    assert_eq!(requests.count("list", "secrets") + requests.count("watch", "secrets"), 0);
    assert!(requests.0.iter().all(|request| request.code != 403), "{requests:?}");
}

#[tokio::test]
async fn a_secret_that_may_not_be_read_names_the_missing_right() {
    let world = World::new().await;
    let _operator = world
        .tenant
        .operator()
        .arg(format!("--allowed-origin={}", world.cloud.origin()))
        .without("get", "secrets")
        .start()
        .await;
    world.cloud.simulator.add_organization(&org_id(0), [keys("link")]);
    world.link("link", &org_id(0), &world.cloud.base_url()).await;
    let pages = world.diary.has_been("link", &["SecretAccessDenied"]).await;
    pages.iter().for_each(is_sound);
    let status = &pages[0].status;
    let (ready, beside) = trouble(status);
    assert_eq!((beside.type_.as_str(), status.attempts), ("Stalled", Some(1)));
    let place = format!("RoleBinding in namespace {}", world.tenant.namespace);
    for phrase in ["read Secret link", &place, "To try now: kubectl annotate migrationlink link"] {
        assert!(ready.message.contains(phrase), "{phrase:?} is not in {:?}", ready.message);
    }
    assert!(world.cloud.simulator.journal().is_empty());

    let rights = json!([
        {"op": "add", "path": "/rules/-", "value": {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}}
    ]);
    let args = ["patch", "role", "migrationlink-operator", "--type=json", "-p", &rights.to_string()];
    let patched = world.tenant.kubectl(&args, "");
    assert!(patched.success, "{}", patched.stderr);
    // The API server takes a moment to act on it.
    let mut wishes = 0;
    eventually("it is synced", async || {
        wishes += 1;
        world.tenant.annotate_link("link", "migrationlink.dev/reconcile-at", &format!("wish {wishes}")).await;
        sleep(Duration::from_millis(300)).await;
        match world.diary.reasons("link").last() {
            Some(last) if last == "Synced" => Ok(()),
            _ => Err(world.diary.last("link")),
        }
    })
    .await;
    assert_eq!(world.diary.reasons("link"), ["SecretAccessDenied", "Synced"]);
}
