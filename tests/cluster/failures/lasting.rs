//! What passes by itself, but has not for half an hour: that needs a person.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use migrationlink_operator::api::{ConditionType, Conditions};
use tokio::net::TcpSocket;

use crate::support::{Page, World, is_sound, keys, org_id, trouble};

#[tokio::test]
async fn what_has_been_reconciling_for_half_an_hour_is_stalled_with_the_same_reason_and_still_tried() {
    let world = World::new().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let away = format!("http://{}", socket.local_addr().unwrap());
    let operator = world.tenant.operator().arg(format!("--allowed-origin={away}")).start().await;
    world.cloud.simulator.add_organization(&org_id(0), [keys("link")]);
    world.link("link", &org_id(0), &format!("{away}/api/public/v1.0")).await;
    world.diary.has_been("link", &["EndpointUnavailable"]).await;

    // So long a test does not wait.
    let mut status = world.tenant.link("link").await.status.expect("a status");
    let conditions = status.conditions.as_mut().expect("conditions");
    for condition in conditions.iter_mut().filter(|condition| condition.type_ == "Reconciling") {
        condition.last_transition_time = Time(Timestamp::now() - SignedDuration::from_mins(31));
    }
    world.tenant.write_status("link", &status).await;
    let stalled =
        |page: &Page| page.status.conditions.as_ref().is_some_and(|all| all.is_true(ConditionType::Stalled));
    let page = world.diary.page("link", "it is stalled", stalled).await;
    let (ready, beside) = trouble(&page.status);
    assert_eq!((beside.type_.as_str(), ready.reason.as_str()), ("Stalled", "EndpointUnavailable"));
    assert!(page.status.next_attempt_time.is_some(), "it is never given up: {page:?}");

    let server = world.cloud.simulator.serve_plain(socket.listen(16).unwrap()).unwrap();
    world.ask("link").await;
    let pages = world.diary.has_been("link", &["EndpointUnavailable", "Synced"]).await;
    is_sound(pages.last().expect("a page"));
    world.tells_no_secret(&operator, &["link"]).await;
    drop(server);
}
