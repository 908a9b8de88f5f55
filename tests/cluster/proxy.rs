//! The proxies in the operator's environment are for the remote API and for nothing else, are named where they fail, and their user
//! info is never shown.

use std::net::{Ipv4Addr, SocketAddr};

use migrationlink_operator::api::{ConditionType, Conditions, MigrationLink};
use tokio::net::TcpSocket;

use crate::support::{Cloud, Manner, ORG_ID, Operator, Proxy, Tenant, eventually, link_spec};

const TOKEN: &str = "a-link-token";
/// User info of a proxy, and how it travels.
const USER_INFO: (&str, &str) = ("somebody:hunter2", "c29tZWJvZHk6aHVudGVyMg==");

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named_and_the_api_server_is_reached_without_it() {
    let (_closed, address) = closed();
    for (variable, cloud) in [
        ("HTTPS_PROXY", Cloud::start_tls().await),
        ("HTTP_PROXY", Cloud::start().await),
        ("ALL_PROXY", Cloud::start().await),
    ] {
        let tenant = Tenant::new().await;
        let proxy = format!("http://{}@{address}", USER_INFO.0);
        let operator = start(&tenant, &cloud, &[(variable, &proxy)]).await;
        link(&tenant, &cloud.base_url()).await;
        let link = tenant.wait_for_ready("link", "False", "EndpointUnavailable").await;
        let message = ready_message(&link);
        assert!(message.contains(&format!("through the proxy http://{address}: ")), "{message}");
        assert!(message.contains("NO_PROXY"), "{message}");
        nowhere_shown(&tenant, &operator).await;
        assert_eq!(cloud.simulator.journal(), []);
    }
}

#[tokio::test]
async fn what_no_proxy_names_goes_without_the_proxy() {
    let (_closed, address) = closed();
    let proxy = format!("http://{address}");
    for (cloud, env) in [
        (Cloud::start_tls().await, [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", "127.0.0.1")]),
        (
            Cloud::start_tls().await,
            [("https_proxy", proxy.as_str()), ("no_proxy", "example.com,127.0.0.0/8")],
        ),
        (Cloud::start().await, [("HTTP_PROXY", proxy.as_str()), ("NO_PROXY", "127.0.0.1")]),
        // A proxy for the other scheme.
        (Cloud::start().await, [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", "")]),
    ] {
        let tenant = Tenant::new().await;
        let _operator = start(&tenant, &cloud, &env).await;
        link(&tenant, &cloud.base_url()).await;
        tenant.wait_for_ready("link", "True", "Synced").await;
    }
}

#[tokio::test]
async fn through_a_proxy_that_works_only_tls_passes() {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start_tls().await;
    let proxy = Proxy::start(Manner::Tunnel).await;
    let url = format!("http://{}@{}", USER_INFO.0, proxy.address());
    let operator = start(&tenant, &cloud, &[("HTTPS_PROXY", &url)]).await;
    link(&tenant, &cloud.base_url()).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    assert_eq!(cloud.simulator.link_token(ORG_ID).as_deref(), Some(TOKEN));

    let remote = cloud.origin().replace("https://", "");
    for head in proxy.heads() {
        assert!(head.starts_with(&format!("CONNECT {remote} HTTP/1.1\r\n")), "{head}");
        let head = head.to_lowercase();
        assert!(
            head.contains(&format!("proxy-authorization: basic {}", USER_INFO.1.to_lowercase())),
            "{head}"
        );
        assert!(!head.contains("\r\nauthorization:"), "{head}");
    }
    let sent = proxy.sent();
    assert_eq!(sent.first(), Some(&0x16), "the record of a TLS handshake");
    let text = String::from_utf8_lossy(&sent);
    for plain in [TOKEN, ORG_ID, "HTTP/1.1", "Digest", "linkToken"] {
        assert!(!text.contains(plain), "{plain} is readable on the way");
    }
    nowhere_shown(&tenant, &operator).await;
}

/// The simulator stands for the proxy: it gets requests for a host that has no address.
#[tokio::test]
async fn requests_to_an_http_origin_are_given_to_its_proxy() {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let origin = "http://om.invalid:8080";
    let allowed = format!("--allowed-origin={origin}");
    let _operator = tenant.operator().arg(allowed).env("HTTP_PROXY", &cloud.origin()).start().await;
    link(&tenant, &format!("{origin}/api/public/v1.0")).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    assert_eq!(cloud.calls().posts, 1);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    for status in [403, 407, 502] {
        let tenant = Tenant::new().await;
        let cloud = Cloud::start_tls().await;
        let proxy = Proxy::start(Manner::Refuse(status)).await;
        let url = format!("http://{}@{}", USER_INFO.0, proxy.address());
        let operator = start(&tenant, &cloud, &[("HTTPS_PROXY", &url)]).await;
        link(&tenant, &cloud.base_url()).await;
        let link = tenant.wait_for_ready("link", "False", "EndpointUnavailable").await;
        let message = ready_message(&link);
        assert!(message.contains(&format!("through the proxy http://{}: ", proxy.address())), "{message}");
        assert_eq!(cloud.simulator.journal(), []);
        nowhere_shown(&tenant, &operator).await;
    }
}

/// The kubeconfig's own proxy is for the API server alone, the environment's for the remote API alone.
#[tokio::test]
async fn the_proxy_of_the_kubeconfig_leads_to_the_api_server() {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start_tls().await;
    let (to_cluster, to_remote) = (Proxy::start(Manner::Tunnel).await, Proxy::start(Manner::Tunnel).await);
    let _operator = tenant
        .operator()
        .arg(format!("--allowed-origin={}", cloud.origin()))
        .arg(ca_file(&tenant, &cloud))
        .cluster_proxy(&format!("http://{}", to_cluster.address()))
        .env("HTTPS_PROXY", &format!("http://{}", to_remote.address()))
        // It would take both past the proxies if it were heeded for the API server, and it names neither.
        .env("NO_PROXY", "example.com")
        .start()
        .await;
    link(&tenant, &cloud.base_url()).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    let cluster = tenant.control_plane.kubeconfig().clusters[0].cluster.clone().expect("a cluster");
    for (proxy, server) in [(&to_cluster, cluster.server.expect("an address")), (&to_remote, cloud.origin())]
    {
        let target = format!("CONNECT {} ", server.replace("https://", ""));
        let heads = proxy.heads();
        assert!(
            !heads.is_empty() && heads.iter().all(|head| head.starts_with(&target)),
            "{target}: {heads:?}"
        );
    }
}

/// An operator that trusts this cloud, with these variables.
async fn start<'a>(tenant: &'a Tenant<'a>, cloud: &Cloud, env: &[(&str, &str)]) -> Operator<'a> {
    let mut operator =
        tenant.operator().arg(format!("--allowed-origin={}", cloud.origin())).arg("--log-level=trace");
    if cloud.origin().starts_with("https:") {
        operator = operator.arg(ca_file(tenant, cloud));
    }
    for (name, value) in env {
        operator = operator.env(name, value);
    }
    operator.start().await
}

fn ca_file(tenant: &Tenant<'_>, cloud: &Cloud) -> String {
    let path = tenant.control_plane.dir().join(format!("{}.pem", tenant.namespace));
    std::fs::write(&path, cloud.simulator.ca_pem().expect("a CA")).expect("a file");
    format!("--ca-file={}", path.display())
}

async fn link(tenant: &Tenant<'_>, base_url: &str) {
    tenant.create_secret("keys", &Cloud::secret_keys(TOKEN)).await;
    tenant.create_link("link", link_spec(base_url)).await;
}

fn ready_message(link: &MigrationLink) -> String {
    let conditions = link.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.and_then(|all| all.of(ConditionType::Ready)).expect("a condition").message.clone()
}

/// The proxy's user info is in nothing that anybody can read.
async fn nowhere_shown(tenant: &Tenant<'_>, operator: &Operator<'_>) {
    let (user, password) = USER_INFO.0.split_once(':').expect("user and password");
    let events = eventually("an event", async || match tenant.events("link").await {
        events if events.is_empty() => Err("none".to_owned()),
        events => Ok(format!("{events:?}")),
    })
    .await;
    let link = tenant.kubectl(&["get", "migrationlink", "link", "-o", "yaml"], "").stdout;
    assert!(link.contains("conditions:"), "{link}");
    for (place, text) in [
        ("log", operator.log()),
        ("link", link),
        ("events", events),
        ("metrics", operator.metrics().await),
        ("readyz", operator.probe("/readyz").await.1),
    ] {
        for hidden in [user, password, USER_INFO.1] {
            assert!(!text.contains(hidden), "{hidden} in the {place}: {text}");
        }
    }
}

/// An address where nobody listens, and nobody can as long as the socket is there.
fn closed() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}
