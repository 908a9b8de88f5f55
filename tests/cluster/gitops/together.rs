//! A prune that takes the Secret with a link of the policy `Delete`.

use k8s_openapi::jiff::SignedDuration;
use migrationlink_operator::api::DeletionPolicy;

use crate::support::{Page, World, eventually, is_sound, org_id};

const GRACE: SignedDuration = SignedDuration::from_secs(12);

#[tokio::test]
async fn link_and_secret_deleted_at_once_are_told_in_message_event_and_counter() {
    let world = World::new().await;
    let operator = world.prepared().arg("--deletion-grace-period=12s").start().await;
    let names = ["released", "restored", "kept"];
    for (n, name) in names.into_iter().enumerate() {
        world.link_with(name, &org_id(n), |spec| spec.deletion_policy = DeletionPolicy::Delete).await;
        world.diary.has_been(name, &["Synced"]).await;
    }
    let metric = async |name: &str| {
        let metrics = operator.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<u32>().ok()).unwrap_or_else(|| panic!("no {name}:\n{metrics}"))
    };
    assert_eq!(metric("migrationlink_links_left_behind_total").await, 0);

    let mut args = vec!["delete".to_owned(), "--wait=false".to_owned()];
    args.extend(names.map(|name| format!("secret/{name}")));
    args.extend(names.map(|name| format!("migrationlink/{name}")));
    let deleted = world.tenant.kubectl(&args.iter().map(String::as_str).collect::<Vec<_>>(), "");
    assert!(deleted.success, "{deleted:?}");

    let is_blocked = |page: &Page| page.reason().as_deref() == Some("DeletionBlocked");
    let mut commands = Vec::new();
    for name in names {
        let page = world.diary.page(name, "it is held up", is_blocked).await;
        is_sound(&page);
        let conditions = page.status.conditions.expect("conditions");
        let stalled = conditions.iter().find(|condition| condition.type_ == "Stalled").expect("Stalled");
        assert_eq!(stalled.reason, "SecretNotFound");
        let command = format!(
            "kubectl patch migrationlink {name} -n {} --type merge -p '{{\"spec\":{{\"deletionPolicy\":\"Retain\"}}}}'",
            world.tenant.namespace
        );
        let release = format!("At {} that happens by itself.", stalled.last_transition_time.0 + GRACE);
        for phrase in
            [&*format!("Secret {name} is not there"), "(a Secret that is gone: restored)", &command, &release]
        {
            assert!(stalled.message.contains(phrase), "{phrase:?} is not in {:?}", stalled.message);
        }
        commands.push(command);
    }
    assert_eq!(metric("migrationlink_links{reason=\"DeletionBlocked\"}").await, 3);

    // Both ways out.
    world.secret("restored").await;
    assert!(world.tenant.control_plane.shell(&commands[2]).success);
    for name in names {
        world.tenant.gone(name).await;
    }
    let left: Vec<_> = (0..3).map(|n| world.cloud.simulator.link_token(&org_id(n)).is_some()).collect();
    assert_eq!(left, [true, false, true], "released and kept stay, restored is removed");
    for (name, last) in names.into_iter().zip([Some("LinkLeftBehind"), None, None]) {
        let expected: Vec<_> = [Some("DeletionBlocked"), last].into_iter().flatten().collect();
        eventually(&format!("warnings about {name}"), async || {
            let events = world.tenant.events(name).await;
            let warnings = events.iter().filter(|event| event.type_.as_deref() == Some("Warning"));
            let mut reasons: Vec<_> = warnings.filter_map(|event| event.reason.as_deref()).collect();
            // The Secret's end may have been seen before that of the link.
            reasons.retain(|reason| *reason != "SecretNotFound");
            if reasons == expected { Ok(()) } else { Err(format!("{events:?}")) }
        })
        .await;
    }
    assert_eq!(metric("migrationlink_links_left_behind_total").await, 1);
    world.tells_no_secret(&operator, &names).await;
}
