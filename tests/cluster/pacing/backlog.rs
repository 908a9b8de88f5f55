//! A backlog of thousands, and people who change something meanwhile.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use migrationlink_operator::api::{MigrationLinkSpec, SecretReference};
use tokio::time::Instant;

use super::{
    PROMPT, THOUSANDS, all_ready, another, cloud, create_links, is_ready, operator, time_of_new, time_until,
};
use crate::support::{Cloud, ControlPlane, Tenant, eventually};

/// Links that nobody has looked at when the operator starts.
const BACKLOG: usize = 10_000;
/// Links that are SYNCED before, each with a Secret of its own.
const OLD: usize = 20;
/// So many changes of each kind have to be measured at least.
const SAMPLES: usize = 10;

#[tokio::test]
async fn behind_ten_thousand_links_a_new_one_and_an_edited_one_are_done_within_two_seconds() {
    let _alone = THOUSANDS.lock().await;
    let control_plane = ControlPlane::start();
    let (tenant, cloud) = (Tenant::on(&control_plane).await, cloud().await);
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    for n in 0..OLD {
        let name = format!("old-{n}");
        tenant.create_secret(&name, &Cloud::secret_keys("a-link-token")).await;
        let secret_ref = SecretReference { name: name.clone() };
        tenant.create_link(&name, MigrationLinkSpec { secret_ref, ..another(&cloud, n) }).await;
    }
    let mut first = operator(&tenant, &[&cloud]).start().await;
    all_ready(&tenant, Duration::from_secs(30)).await;
    assert_eq!(first.stop().await, Some(0));
    let begin = Instant::now();
    create_links(&tenant, (0..BACKLOG).map(|n| (format!("link-{n}"), another(&cloud, OLD + n)))).await;
    println!("{BACKLOG} links created in {:.1?}", begin.elapsed());

    cloud.simulator.configure(|config| config.latency = Duration::from_millis(20));
    cloud.simulator.clear_journal();
    let begin = Instant::now();
    let _operator = operator(&tenant, &[&cloud]).arg("--origin-concurrency=64").start().await;
    eventually("it works at full speed", async || match cloud.calls().posts {
        posts if posts >= 64 => Ok(()),
        posts => Err(format!("{posts}")),
    })
    .await;
    let (mut created, mut rotated, mut checked) = (Vec::new(), Vec::new(), Vec::new());
    let mut rounds = 0..;
    while cloud.calls().posts < BACKLOG
        && let Some(n) = rounds.next()
    {
        let spec = another(&cloud, OLD + BACKLOG + n);
        created.push(time_of_new(&tenant, &format!("new-{n}"), spec).await);
        let old = format!("old-{}", n % OLD);
        if n % 2 == 0 {
            rotated.push(time_of_rotation(&tenant, &old, &format!("token-{n}")).await);
        } else {
            checked.push(time_of_check(&tenant, &old, &n.to_string()).await);
        }
    }
    all_ready(&tenant, Duration::from_mins(1)).await;
    println!("worked off in {:.1?}", begin.elapsed());
    for (what, mut times) in [("created", created), ("rotated", rotated), ("asked for a check", checked)] {
        assert!(times.len() >= SAMPLES, "{what}: the backlog was over too soon");
        times.sort();
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{} {what} meanwhile: median {median:.2?}, at most {longest:.2?}", times.len());
        assert!(longest <= PROMPT, "{what}: {times:?}");
    }
}

/// How long it takes from a new token in the Secret until the link is SYNCED with it.
async fn time_of_rotation(tenant: &Tenant<'_>, name: &str, token: &str) -> Duration {
    let secrets: Api<Secret> = Api::namespaced(tenant.client.clone(), &tenant.namespace);
    let begin = Instant::now();
    tenant.edit_secret(name, &[("linkToken", token)]).await;
    let version = secrets.get(name).await.expect("the Secret").metadata.resource_version;
    let took = time_until(tenant, name, begin, |link| {
        let inputs = link.status.as_ref().and_then(|status| status.inputs.as_ref());
        is_ready(link) && inputs.is_some_and(|inputs| inputs[0].resource_version == version)
    });
    took.await
}

/// How long it takes from the wish for a check until it is done.
async fn time_of_check(tenant: &Tenant<'_>, name: &str, value: &str) -> Duration {
    let begin = Instant::now();
    tenant.annotate_link(name, "migrationlink.dev/reconcile-at", value).await;
    let took = time_until(tenant, name, begin, |link| {
        let status = link.status.as_ref();
        is_ready(link) && status.and_then(|status| status.last_handled_reconcile_at.as_deref()) == Some(value)
    });
    took.await
}
