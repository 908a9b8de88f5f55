//! Stops, crashes and restarts: what is known outlives the process.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use migrationlink_operator::api::{MigrationLinkSpec, MigrationLinkStatus};
use migrationlink_simulator::{Answer, Behaviour, Phase};
use tokio::time::sleep;

use crate::support::{
    Calls, Cloud, EVENT, Ledger, ORG_ID, OperatorBuilder, READ_SECRET, Tenant, WRITE_STATUS, eventually,
    link_spec,
};

fn operator<'a>(tenant: &'a Tenant<'a>, cloud: &Cloud) -> OperatorBuilder<'a> {
    tenant.operator().arg(format!("--allowed-origin={}", cloud.origin())).arg("--sync-interval=24h")
}

/// The `number`th organization and the spec of its link.
fn another(cloud: &Cloud, number: usize) -> MigrationLinkSpec {
    let org_id = format!("{number:024x}");
    cloud.add_organization(&org_id);
    MigrationLinkSpec { org_id, ..link_spec(&cloud.base_url()) }
}

async fn status(tenant: &Tenant<'_>) -> MigrationLinkStatus {
    tenant.link("link").await.status.expect("a status")
}

fn next_attempt(status: &MigrationLinkStatus) -> Timestamp {
    status.next_attempt_time.as_ref().expect("a next attempt").0
}

#[tokio::test]
async fn after_a_restart_with_everything_synced_nothing_is_asked() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    let mut first = operator(&tenant, &cloud).start().await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    for number in 0..20 {
        tenant.create_link(&format!("link-{number}"), another(&cloud, number)).await;
    }
    for number in 0..20 {
        tenant.wait_for_ready(&format!("link-{number}"), "True", "Synced").await;
    }
    assert_eq!(first.stop().await, Some(0));

    // A check of a link may be due just now, once a day for each; not twice in a row.
    let mut asked = Vec::new();
    for _ in 0..2 {
        let before = first.requests();
        cloud.simulator.clear_journal();
        let mut second = operator(&tenant, &cloud).start().await;
        sleep(Duration::from_secs(4)).await;
        let found = (second.requests().since(&before).counts(), cloud.calls());
        if found.0.is_empty() && found.1 == Calls::default() {
            let ledger = Ledger::open(&second, &cloud);
            tenant.create_link("new", another(&cloud, 20)).await;
            tenant.wait_for_ready("new", "True", "Synced").await;
            let calls = Calls { challenges: 1, posts: 1, ..Calls::default() };
            ledger.expect(&[READ_SECRET, WRITE_STATUS, EVENT], calls).await;
            return;
        }
        asked.push(found);
        assert_eq!(second.stop().await, Some(0));
    }
    panic!("a restart is not free: {asked:?}");
}

#[tokio::test]
async fn a_link_that_is_not_synced_at_once_is_polled_at_growing_intervals_and_a_restart_keeps_them() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    cloud.simulator.configure(|config| config.digest.max_nonce_age = Duration::from_hours(1));
    cloud.simulator.set_synced_after(ORG_ID, 1);
    let began = Timestamp::now();
    let mut first = operator(&tenant, &cloud).start().await;
    let before = first.requests();
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    let link = tenant.wait_for_ready("link", "False", "NotSynced").await;
    assert_eq!(link.status.and_then(|status| status.state).as_deref(), Some("NOT_SYNCED"));
    tenant
        .wait_for("link", "it was polled", |link| {
            link.status.as_ref().and_then(|status| status.attempts) == Some(2)
        })
        .await;
    assert_eq!(first.stop().await, Some(0));
    let waiting = status(&tenant).await;
    let calls = cloud.calls();
    assert_eq!(calls, Calls { challenges: 1, posts: 1, polls: 1, ..Calls::default() });

    let second = operator(&tenant, &cloud).start().await;
    let link = tenant.wait_for_ready("link", "True", "Synced").await;
    // The new process has no nonce.
    eventually("the event of the second operator", async || {
        let asked = second.requests().since(&before).counts();
        let wanted = [("create events", 2), ("get secrets", 3), ("patch migrationlinks/status", 3)];
        let wanted = wanted.map(|(request, count)| (request.to_owned(), count)).into();
        if asked == wanted { Ok(()) } else { Err(format!("{asked:?}")) }
    })
    .await;
    assert_eq!(cloud.calls(), Calls { challenges: 2, posts: 1, polls: 2, ..Calls::default() });
    let last = cloud.simulator.journal().last().expect("the last poll").at;
    assert!(came_not_before(began, last, next_attempt(&waiting)), "{last:?} {waiting:?}");
    let status = link.status.expect("a status");
    assert_eq!((status.attempts, status.next_attempt_time), (None, None));
}

/// Whether a request of the simulator's journal came no earlier than that time. `began`: a time before the simulator was there
/// would make the request earlier than it was, so half a second is granted.
fn came_not_before(began: Timestamp, at: Duration, time: Timestamp) -> bool {
    began + at + Duration::from_millis(500) >= time
}

#[tokio::test]
async fn a_back_off_outlives_the_process() {
    let began = Timestamp::now();
    let cloud = Cloud::start().await;
    let tenant = Tenant::new().await;
    let unavailable = Answer::Error {
        status: 503,
        error_code: "UNEXPECTED_ERROR".to_owned(),
        detail: String::new(),
        parameters: Vec::new(),
        retry_after: None,
    };
    cloud.simulator.script(Behaviour::new(unavailable).in_phase(Phase::Authenticated));
    let mut first = operator(&tenant, &cloud).start().await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    tenant
        .wait_for("link", "it failed three times", |link| {
            link.status.as_ref().and_then(|status| status.attempts) >= Some(3)
        })
        .await;
    assert_eq!(first.stop().await, Some(0));
    let waiting = status(&tenant).await;
    cloud.simulator.clear_journal();

    let _second = operator(&tenant, &cloud).start().await;
    let after = tenant
        .wait_for("link", "it failed once more", |link| {
            link.status.as_ref().and_then(|status| status.attempts) > waiting.attempts
        })
        .await;
    let first_call = cloud.simulator.journal()[0].at;
    assert!(came_not_before(began, first_call, next_attempt(&waiting)), "{first_call:?} {waiting:?}");
    let after = after.status.expect("a status");
    assert_eq!(after.attempts, waiting.attempts.map(|attempts| attempts + 1));
    assert!(next_attempt(&after) > next_attempt(&waiting));
    cloud.simulator.clear_scripts();
    tenant.wait_for_ready("link", "True", "Synced").await;
}

/// Creates a link whose POST takes so long, and waits until it is under way.
async fn post_under_way(tenant: &Tenant<'_>, cloud: &Cloud, delay: Duration) {
    let slow = Behaviour::new(Answer::Normal).on_method("POST").in_phase(Phase::Authenticated).times(1);
    cloud.simulator.script(slow.after_effect().delayed(delay));
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    eventually("the POST is under way", async || match cloud.calls().posts {
        0 => Err(format!("{:?}", cloud.simulator.journal())),
        _ => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn who_is_told_to_stop_records_the_answer_that_is_under_way() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    let mut operator = operator(&tenant, &cloud).start().await;
    post_under_way(&tenant, &cloud, Duration::from_secs(2)).await;
    assert_eq!(operator.stop().await, Some(0));
    let status = status(&tenant).await;
    assert_eq!(status.state.as_deref(), Some("SYNCED"), "{status:?}");
    assert_eq!(cloud.calls(), Calls { challenges: 1, posts: 1, ..Calls::default() });
    let reasons: Vec<_> = tenant.events("link").await.into_iter().filter_map(|event| event.reason).collect();
    assert_eq!(reasons, ["Synced"]);
}

#[tokio::test]
async fn after_a_crash_in_a_post_the_same_token_is_sent_once_more() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    // The next one has to wait until the lease of the first expires.
    let operator = || operator(&tenant, &cloud).arg("--lease-duration=5s");
    let mut first = operator().start().await;
    post_under_way(&tenant, &cloud, Duration::from_secs(10)).await;
    first.kill().await;
    assert_eq!(status(&tenant).await.observed_generation, Some(-1));
    let _second = operator().start().await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    assert_eq!(cloud.calls(), Calls { challenges: 2, posts: 2, ..Calls::default() });
    assert_eq!(cloud.simulator.link_token(ORG_ID).as_deref(), Some("a-link-token"));
}
