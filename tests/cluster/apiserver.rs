//! An API server without the CRD, one that is not there, and one that goes away for a while.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use kube::config::Kubeconfig;
use migrationlink_operator::api::MigrationLinkSpec;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::support::{Calls, Cloud, ControlPlane, Operator, Tenant, eventually, link_spec};

const CRD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/migrationlinks.yaml");

async fn wait_for_log(operator: &Operator<'_>, sentence: &str) {
    eventually(&format!("the log says {sentence:?}"), async || {
        let log = operator.log();
        if log.contains(sentence) { Ok(()) } else { Err(log) }
    })
    .await;
}

async fn create_link(tenant: &Tenant<'_>, cloud: &Cloud, name: &str, org_id: &str) {
    cloud.add_organization(org_id);
    let spec = MigrationLinkSpec { org_id: org_id.to_owned(), ..link_spec(&cloud.base_url()) };
    tenant.create_link(name, spec).await;
}

#[tokio::test]
async fn a_missing_crd_is_waited_for() {
    let control_plane = ControlPlane::start();
    let deleted = control_plane.kubectl(&["delete", "-f", CRD], "");
    assert!(deleted.success, "{deleted:?}");
    let (tenant, cloud) = (Tenant::on(&control_plane).await, Cloud::start().await);
    let mut operator = tenant.operator().arg(format!("--allowed-origin={}", cloud.origin())).spawn().await;
    wait_for_log(&operator, "the CustomResourceDefinition is not installed: kubectl apply -f").await;
    let (code, text) = operator.probe("/readyz").await;
    assert_eq!(code, 503);
    assert!(text.contains("waiting for the first list of migrationlinks in namespace"), "{text}");
    assert_eq!(operator.probe("/livez").await.0, 200);

    let applied = control_plane.kubectl(&["apply", "-f", CRD], "");
    assert!(applied.success, "{applied:?}");
    operator.wait_until_ready().await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    create_link(&tenant, &cloud, "link", "5f0d1e2a3b4c5d6e7f800001").await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    // Said once, not with every attempt.
    assert_eq!(operator.log().matches("CustomResourceDefinition is not installed").count(), 1);
}

/// A kubeconfig of the administrator that leads to another address of the same API server.
fn kubeconfig_for(control_plane: &ControlPlane, name: &str, address: SocketAddr) -> String {
    let mut kubeconfig: Kubeconfig = control_plane.kubeconfig();
    let cluster = kubeconfig.clusters[0].cluster.as_mut().expect("a cluster");
    cluster.server = Some(format!("https://{address}"));
    let path = control_plane.dir().join(format!("kubeconfig-{name}"));
    fs::write(&path, serde_json::to_string(&kubeconfig).expect("JSON is YAML")).expect("a kubeconfig");
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[tokio::test]
async fn an_api_server_that_is_not_there_is_waited_for_and_the_operator_can_be_stopped() {
    let tenant = Tenant::new().await;
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let kubeconfig = kubeconfig_for(tenant.control_plane, "nobody", nobody);
    let mut operator = tenant.operator().env("KUBECONFIG", &kubeconfig).spawn().await;
    wait_for_log(&operator, "the API server cannot be reached; trying again").await;
    assert_eq!(operator.probe("/readyz").await.0, 503);
    assert_eq!(operator.probe("/livez").await.0, 200);
    assert_eq!(operator.stop().await, Some(0));
}

/// Passes connections on to the API server, until it is dropped.
struct Way {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Way {
    async fn open(address: SocketAddr, to: SocketAddr) -> Self {
        let listener = eventually("the port is free", async || {
            TcpListener::bind(address).await.map_err(|error| error.to_string())
        })
        .await;
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            // Aborted with the task.
            let mut connections = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut to = TcpStream::connect(to).await?;
                    copy_bidirectional(&mut from, &mut to).await
                });
            }
        });
        Self { address, task }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn an_outage_of_the_api_server_loses_nothing_and_repeats_nothing() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    let server = tenant.control_plane.kubeconfig().clusters[0].cluster.clone().expect("a cluster").server;
    let server = server.as_deref().and_then(|server| server.strip_prefix("https://")).expect("an address");
    let server: SocketAddr = server.parse().expect("an address");
    let way = Way::open(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), server).await;
    let address = way.address;
    let kubeconfig = kubeconfig_for(tenant.control_plane, &tenant.namespace, address);
    let operator = tenant
        .operator()
        .arg(format!("--allowed-origin={}", cloud.origin()))
        .arg("--sync-interval=24h")
        .arg(format!("--lease-namespace={}", tenant.namespace))
        // Long enough to outlast the outage. One that lasts longer ends the operator.
        .arg("--lease-duration=5m")
        .env("KUBECONFIG", &kubeconfig)
        .start()
        .await;
    let (old, new) = ("5f0d1e2a3b4c5d6e7f800001", "5f0d1e2a3b4c5d6e7f800002");
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    create_link(&tenant, &cloud, "old", old).await;
    tenant.wait_for_ready("old", "True", "Synced").await;
    cloud.simulator.clear_journal();

    drop(way);
    wait_for_log(&operator, "the API server cannot be reached; trying again").await;
    tenant.edit_secret("keys", &[("linkToken", "another-link-token")]).await;
    create_link(&tenant, &cloud, "new", new).await;
    assert_eq!(operator.probe("/livez").await.0, 200);
    assert_eq!(cloud.calls(), Calls::default());

    let _way = Way::open(address, server).await;
    tenant.wait_for_ready("new", "True", "Synced").await;
    eventually("the rotated token is sent", async || {
        let token = cloud.simulator.link_token(old);
        if token.as_deref() == Some("another-link-token") {
            Ok(())
        } else {
            Err(format!("{:?}", cloud.calls()))
        }
    })
    .await;
    assert_eq!(cloud.calls().posts, 2);
    wait_for_log(&operator, "works").await;
}
