//! The operator that was there before, under its own chart: upgraded to this one, and rolled back to.

use std::process::Command;

use migrationlink_operator::api::{DeletionPolicy, MigrationLinkSpec};
use serde_json::{Value, json};

use crate::install::{bare, link, served};
use crate::installed::installed;
use crate::support::{Calls, Cloud, Tenant, link_spec};
use crate::tools::{CHART, NAMESPACE, RELEASE, ROOT, helm_does, printed_path};
use crate::upgrade::{kept, restarted};

/// Both act on what the other has written.
async fn rotates(tenant: &Tenant<'_>, cloud: &Cloud, token: &str) {
    let posts = cloud.calls().posts;
    let before = tenant.link("link").await.status.expect("a status");
    tenant.edit_secret("keys", &Cloud::secret_keys(token)).await;
    tenant
        .wait_for("link", "the new token is accepted", |link| {
            let now = link.status.as_ref();
            now.is_some_and(|now| now.inputs != before.inputs)
        })
        .await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    assert_eq!(cloud.calls().posts, posts + 1);
}

#[tokio::test]
async fn the_previous_operator_is_upgraded_and_rolled_back_to_and_each_goes_on_where_the_other_was() {
    let folder = printed_path(&mut Command::new(format!("{ROOT}/tests/deploy/previous")));
    let (program, chart) = (folder.join("migrationlink-operator"), folder.join("chart"));
    let chart = chart.to_str().expect("UTF-8");
    let control_plane = bare();
    let cloud = Cloud::start().await;
    // So that no regular check falls into the test: after a restart they are spread over the interval.
    let values = json!({"allowedOrigins": [cloud.origin()], "syncInterval": "24h"});
    helm_does(&control_plane, &["install", RELEASE, chart, "-n", NAMESPACE, "--create-namespace"], &values);
    served(&control_plane).await;
    let tenant = Tenant::on(&control_plane).await;
    let previous = async || installed(&tenant, NAMESPACE, RELEASE).await.program(program.clone());
    let mut operator = previous().await.start().await;
    link(&tenant, &cloud).await;
    tenant.create_secret("others", &Cloud::secret_keys("another-link-token")).await;
    let removed = "5f0d1e2a3b4c5d6e7f805678";
    cloud.add_organization(removed);
    let mut spec = MigrationLinkSpec {
        org_id: removed.to_owned(),
        deletion_policy: DeletionPolicy::Delete,
        ..link_spec(&cloud.base_url())
    };
    spec.secret_ref.name = "others".to_owned();
    tenant.create_link("removed-with-it", spec).await;
    tenant.wait_for_ready("removed-with-it", "True", "Synced").await;

    let before = kept(&control_plane);
    cloud.simulator.clear_journal();
    helm_does(&control_plane, &["upgrade", RELEASE, CHART, "-n", NAMESPACE], &values);
    assert_eq!(cloud.calls(), Calls::default());
    restarted(&mut operator, installed(&tenant, NAMESPACE, RELEASE).await, &cloud).await;
    assert_eq!(kept(&control_plane), before);
    rotates(&tenant, &cloud, "a-newer-token").await;

    let before = kept(&control_plane);
    cloud.simulator.clear_journal();
    helm_does(&control_plane, &["rollback", RELEASE, "1", "-n", NAMESPACE], &Value::Null);
    assert_eq!(cloud.calls(), Calls::default());
    restarted(&mut operator, previous().await, &cloud).await;
    assert_eq!(kept(&control_plane), before);
    rotates(&tenant, &cloud, "the-newest-token").await;
    tenant.delete_link("removed-with-it").await;
    tenant.gone("removed-with-it").await;
    assert_eq!(cloud.calls().others, 1, "the DELETE");
}
