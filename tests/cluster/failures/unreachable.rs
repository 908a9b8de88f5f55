//! Nobody there, or nobody who answers.

use std::time::Duration;

use migrationlink_simulator::Answer;
use tokio::net::TcpSocket;
use tokio::time::sleep;

use super::Case;
use crate::support::{World, is_sound, keys, org_id, token};

/// The longest test here: a call may take 30 s.
#[tokio::test]
async fn a_server_that_is_away_or_silent_is_tried_again() {
    let world = World::new().await;
    // A port that is taken, and where nobody listens yet.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let away = format!("http://{}", socket.local_addr().unwrap());
    let _operator = world
        .tenant
        .operator()
        .arg(format!("--allowed-origin={}", world.cloud.origin()))
        .arg(format!("--allowed-origin={away}"))
        .start()
        .await;
    let silent =
        |name| Case::passing(name, "EndpointUnavailable", &["did not answer in time", "tries again"]);
    let silent = [
        silent("no-challenge").challenged(Answer::Hang),
        silent("no-answer").refused(Answer::Hang).perhaps_sent(),
        silent("no-answer-after-the-effect").accepted(Answer::Hang).perhaps_sent(),
    ];
    for (n, case) in silent.iter().enumerate() {
        case.begin(&world, &org_id(n)).await;
    }

    let refused =
        Case::passing("refused", "EndpointUnavailable", &["connection was refused", "DNS, network policies"]);
    world.cloud.simulator.add_organization(&org_id(9), [keys("refused")]);
    world.link("refused", &org_id(9), &format!("{away}/api/public/v1.0")).await;
    let pages = world.diary.has_been("refused", &["EndpointUnavailable"]).await;
    refused.check(&pages[..1]);
    let server = world.cloud.simulator.serve_plain(socket.listen(16).unwrap()).unwrap();
    world.diary.has_been("refused", &["EndpointUnavailable", "Synced"]).await;
    world.announced("refused", &["EndpointUnavailable", "Synced"]).await;
    drop(server);

    sleep(Duration::from_secs(25)).await;
    for (n, case) in silent.iter().enumerate() {
        let pages = world.diary.has_been(case.name, &["EndpointUnavailable", "Synced"]).await;
        pages.iter().for_each(is_sound);
        case.check(&pages);
        assert_eq!(pages.last().expect("Synced").status.link.as_ref().expect("accepted").sent, None);
        assert_eq!(world.cloud.simulator.link_token(&org_id(n)), Some(token(case.name)));
    }
}
