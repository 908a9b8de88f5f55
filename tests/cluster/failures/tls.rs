//! Certificates that are not to be trusted, and handshakes that break off.

use std::fs;

use migrationlink_simulator::{Answer, Behaviour, Server, ServerCertificate};
use tokio::net::TcpListener;

use super::Case;
use crate::support::{Cloud, World, is_sound, keys, org_id};

#[tokio::test]
async fn a_certificate_that_is_not_trusted_gets_no_credentials() {
    let world = World::new().await;
    let simulator = &world.cloud.simulator;
    let good = ServerCertificate::default();
    let elsewhere = vec!["om.example.com".to_owned()];
    let certificates = [
        ServerCertificate { unknown_ca: true, ..good.clone() },
        ServerCertificate { names: elsewhere, ..good.clone() },
        ServerCertificate { expired: true, ..good },
    ];
    let untrusted = |name, says: [&'static str; 2]| Case::stalled(name, "TlsVerificationFailed", &says);
    let cases = [
        untrusted("unknown-ca", ["its issuer is not known", "--ca-file"]),
        untrusted("wrong-name", ["for another host name", "spec.baseUrl"]),
        untrusted("expired", ["expired", "Renew the server's certificate"]),
    ];
    let broken = Cloud::start_tls().await;
    let broken_off =
        Case::passing("broken-off", "EndpointUnavailable", &["broke off the TLS handshake", "speaks TLS"]);
    let no_tls =
        Case::passing("no-tls", "EndpointUnavailable", &["broke off the TLS handshake", "speaks TLS"]);

    let ca = world.tenant.control_plane.dir().join(format!("{}.pem", world.tenant.namespace));
    let roots = [simulator, &broken.simulator].map(|simulator| simulator.ca_pem().unwrap());
    fs::write(&ca, roots.concat()).unwrap();
    let plain = world.cloud.origin().replace("http://", "https://");
    let mut operator = world
        .tenant
        .operator()
        .arg(format!("--ca-file={}", ca.display()))
        .arg(format!("--allowed-origin={plain}"))
        .arg(format!("--allowed-origin={}", broken.origin()));
    let mut servers: Vec<Server> = Vec::new();
    for certificate in &certificates {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = simulator.serve_tls_with(listener, certificate).unwrap();
        operator = operator.arg(format!("--allowed-origin=https://{}", server.address()));
        servers.push(server);
    }
    let operator = operator.start().await;

    for (n, (case, server)) in cases.iter().zip(&servers).enumerate() {
        simulator.add_organization(&org_id(n), [keys(case.name)]);
        let base_url = format!("https://{}/api/public/v1.0", server.address());
        world.link(case.name, &org_id(n), &base_url).await;
    }
    broken.simulator.add_organization(&org_id(3), [keys("broken-off")]);
    broken.simulator.script(Behaviour::new(Answer::BreakTlsHandshake).times(1));
    world.link("broken-off", &org_id(3), &broken.base_url()).await;
    world.link("no-tls", &org_id(4), &format!("{plain}/api/public/v1.0")).await;

    let pages = world.diary.has_been("broken-off", &["EndpointUnavailable", "Synced"]).await;
    broken_off.check(&pages);
    let pages = world.diary.has_been("no-tls", &["EndpointUnavailable"]).await;
    no_tls.check(&pages[..1]);
    for case in &cases {
        let pages = world.diary.has_been(case.name, &["TlsVerificationFailed"]).await;
        pages.iter().for_each(is_sound);
        case.check(&pages);
    }
    assert!(simulator.journal().is_empty(), "nothing was sent: {:#?}", simulator.journal());

    for (case, server) in cases.iter().zip(servers) {
        let address = server.address();
        server.stop().await;
        let server = simulator.serve_tls(TcpListener::bind(address).await.unwrap()).unwrap();
        world.ask(case.name).await;
        world.diary.has_been(case.name, &["TlsVerificationFailed", "Synced"]).await;
        world.announced(case.name, &["TlsVerificationFailed", "Synced"]).await;
        drop(server);
    }
    let names: Vec<_> = cases.iter().map(|case| case.name).chain(["broken-off", "no-tls"]).collect();
    world.tells_no_secret(&operator, &names).await;
}
