//! The operator that was there before, under its own chart: upgraded to this one, and rolled back to.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use migrationlink_operator::api::{DeletionPolicy, MigrationLinkSpec};
use serde_json::{Value, json};

use crate::install::{bare, served};
use crate::installed::installed;
use crate::support::{Calls, Cloud, Ledger, Operator, Tenant, link_spec};
use crate::tools::{CHART, NAMESPACE, RELEASE, ROOT, helm_does};
use crate::upgrade::kept;

/// A folder with the program and its chart.
fn previous() -> PathBuf {
    let script = format!("{ROOT}/tests/deploy/previous");
    let output = Command::new(script).stderr(Stdio::inherit()).output().expect("tests/deploy/previous runs");
    assert!(output.status.success(), "tests/deploy/previous fails");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}

/// What the Deployment starts in the place of the process that was there: this build, or another program.
async fn replaced<'a>(
    tenant: &'a Tenant<'a>,
    before: Option<Operator<'a>>,
    program: Option<&Path>,
) -> Operator<'a> {
    if let Some(mut before) = before {
        assert_eq!(before.stop().await, Some(0));
    }
    let operator = installed(tenant, NAMESPACE, RELEASE).await;
    let operator = match program {
        Some(program) => operator.program(program.to_owned()),
        None => operator,
    };
    let operator = operator.start().await;
    operator.wait_until_it_leads().await;
    operator
}

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
    let folder = previous();
    let (program, chart) = (folder.join("migrationlink-operator"), folder.join("chart"));
    let (program, chart) = (program.as_path(), chart.to_str().expect("UTF-8"));
    let control_plane = bare();
    let cloud = Cloud::start().await;
    // So that no regular check falls into the test: after a restart they are spread over the interval.
    let values = json!({"allowedOrigins": [cloud.origin()], "syncInterval": "24h"});
    helm_does(&control_plane, &["install", RELEASE, chart, "-n", NAMESPACE, "--create-namespace"], &values);
    served(&control_plane).await;
    let tenant = Tenant::on(&control_plane).await;
    let operator = replaced(&tenant, None, Some(program)).await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_secret("others", &Cloud::secret_keys("another-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    let removed = "5f0d1e2a3b4c5d6e7f805678";
    cloud.add_organization(removed);
    let mut spec = MigrationLinkSpec {
        org_id: removed.to_owned(),
        deletion_policy: DeletionPolicy::Delete,
        ..link_spec(&cloud.base_url())
    };
    spec.secret_ref.name = "others".to_owned();
    tenant.create_link("removed-with-it", spec).await;
    for name in ["link", "removed-with-it"] {
        tenant.wait_for_ready(name, "True", "Synced").await;
    }

    let before = kept(&control_plane);
    cloud.simulator.clear_journal();
    helm_does(&control_plane, &["upgrade", RELEASE, CHART, "-n", NAMESPACE], &values);
    let operator = replaced(&tenant, Some(operator), None).await;
    assert_eq!(cloud.calls(), Calls::default());
    Ledger::open(&operator, &cloud).expect_nothing().await;
    assert_eq!(kept(&control_plane), before);
    rotates(&tenant, &cloud, "a-newer-token").await;

    let before = kept(&control_plane);
    cloud.simulator.clear_journal();
    helm_does(&control_plane, &["rollback", RELEASE, "1", "-n", NAMESPACE], &Value::Null);
    let operator = replaced(&tenant, Some(operator), Some(program)).await;
    assert_eq!(cloud.calls(), Calls::default());
    Ledger::open(&operator, &cloud).expect_nothing().await;
    assert_eq!(kept(&control_plane), before);
    rotates(&tenant, &cloud, "the-newest-token").await;
    tenant.delete_link("removed-with-it").await;
    tenant.gone("removed-with-it").await;
    assert_eq!(cloud.calls().others, 1, "the DELETE");
    drop(operator);
}
