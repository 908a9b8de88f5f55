//! What passes by itself: tried again after the back-off, or when the server wants it.

use migrationlink_simulator::{Answer, Behaviour, RetryAfter};

use super::Case;
use super::case::{error, raw};
use crate::support::{World, is_sound, org_id, token};

#[tokio::test]
async fn the_servers_troubles_pass_by_themselves() {
    let unavailable = |name| Case::passing(name, "EndpointUnavailable", &["error of its own", "tries again"]);
    let limited =
        |name| Case::passing(name, "RateLimited", &["limits the requests", "an API key of its own"]);
    let wish = |status, retry_after| Answer::Error {
        status,
        error_code: "SERVICE_UNAVAILABLE".into(),
        detail: String::new(),
        parameters: Vec::new(),
        retry_after: Some(retry_after),
    };
    let broke = |name| Case::passing(name, "EndpointUnavailable", &["broke before", "tries again"]);
    passes(vec![
        unavailable("http-500").refused(error(500, "UNEXPECTED_ERROR")).perhaps_sent(),
        unavailable("http-503-often").refused(error(503, "SERVICE_UNAVAILABLE")).in_a_row(3).perhaps_sent(),
        unavailable("http-503-page").refused(Answer::Html { status: 503 }).perhaps_sent(),
        unavailable("http-503-at-the-challenge").challenged(Answer::Html { status: 503 }),
        unavailable("http-503-with-a-wish")
            .refused(wish(503, RetryAfter::Seconds(4)))
            .waits(4..=4)
            .perhaps_sent(),
        unavailable("http-408").refused(raw(408, "")),
        unavailable("http-425").refused(raw(425, "")),
        unavailable("http-500-to-a-poll").polled(error(500, "UNEXPECTED_ERROR")),
        broke("reset").refused(Answer::Reset).perhaps_sent(),
        broke("reset-after-the-effect").accepted(Answer::Reset).perhaps_sent(),
        broke("cut-off").polled(Answer::TruncatedBody),
        limited("http-429").refused(Answer::RateLimited { retry_after: None }),
        limited("http-429-at-the-challenge").challenged(Answer::RateLimited { retry_after: None }),
        limited("http-429-seconds")
            .refused(Answer::RateLimited { retry_after: Some(RetryAfter::Seconds(5)) })
            .waits(5..=5),
        // A date has no fractions of a second.
        limited("http-429-date")
            .refused(Answer::RateLimited { retry_after: Some(RetryAfter::DateIn(6)) })
            .waits(5..=6),
        limited("http-429-unreadable")
            .refused(Answer::RateLimited { retry_after: Some(RetryAfter::Text("soon".into())) }),
        limited("http-400-limited").refused(error(400, "INVITATIONS_RATE_LIMITED_IP")),
        Case::passing("upgrade", "ServiceUpgrading", &["no changes while it is upgraded", "tries again"])
            .refused(Answer::Upgrading),
    ])
    .await;
}

#[tokio::test]
async fn answers_that_are_not_of_this_api_are_tried_again() {
    let odd = |name, oddity| {
        let says = ["does not answer as the Cloud Manager API does", oddity, "login page"];
        Case::passing(name, "UnexpectedResponse", &says)
    };
    let json = "the answer is not JSON";
    let redirects = |status| Answer::Redirect { status, location: "https://example.com/canary".into() };
    let basic = Answer::Raw {
        status: 401,
        headers: [("WWW-Authenticate".to_owned(), "Basic realm=\"canary\"".to_owned())].into(),
        body: String::new(),
    };
    let stale = Behaviour::new(Answer::Unauthorized { stale: true }).on_method("POST");
    passes(vec![
        odd("endless", "larger than 64 KiB").polled(Answer::EndlessBody { status: 200 }),
        odd("page", json).polled(Answer::Html { status: 200 }),
        // A login's page comes with a 200; nobody knows what became of the token.
        odd("page-to-the-post", json).accepted(Answer::Html { status: 200 }).perhaps_sent(),
        odd("endless-to-the-post", json).accepted(Answer::EndlessBody { status: 201 }).perhaps_sent(),
        odd("page-of-a-proxy", json).refused(Answer::Html { status: 404 }),
        odd("page-forbidden", json).refused(Answer::Html { status: 403 }),
        odd("empty", json).polled(raw(200, "")),
        odd("no-status", "has no status").polled(raw(200, r#"{"sourceOrgId": "canary"}"#)),
        odd("status-is-a-number", "has no status").polled(raw(200, r#"{"status": 7}"#)),
        odd("redirect-of-the-post", "credentials do not follow").refused(redirects(307)).perhaps_sent(),
        odd("redirect-of-the-challenge", "credentials do not follow").challenged(redirects(302)),
        odd("redirect-of-the-poll", "credentials do not follow").polled(redirects(301)),
        odd("open-door", "asks for no credentials").challenged(raw(200, "{}")),
        odd("basic", "other credentials than Digest").challenged(basic),
        // Every send of one call: what would go on for ever is given up after three.
        Case { times: 1, ..odd("stale-for-ever", "nonces stale").once(stale).in_a_row(4) },
    ])
    .await;
}

/// Creates all the links, and sees each through its failure to SYNCED. Each has an origin of its own: failures of several
/// in a row at one would hold back its calls.
async fn passes(cases: Vec<Case>) {
    let world = World::new().await;
    let mut clouds = Vec::new();
    let mut operator = world.tenant.operator();
    for _ in &cases {
        let cloud = world.cloud.at_another_origin().await;
        operator = operator.arg(format!("--allowed-origin={}", cloud.origin()));
        clouds.push(cloud);
    }
    let operator = operator.start().await;
    for (n, (case, cloud)) in cases.iter().zip(&clouds).enumerate() {
        case.begin_at(&world, &org_id(n), &cloud.base_url()).await;
    }
    for (n, case) in cases.iter().enumerate() {
        let path = [case.path(), vec!["Synced"]].concat();
        let pages = world.diary.has_been(case.name, &path).await;
        pages.iter().for_each(is_sound);
        case.check(&pages);
        let now = &pages.last().expect("Synced").status;
        assert_eq!(now.state.as_deref(), Some("SYNCED"));
        assert_eq!((now.attempts, &now.next_attempt_time), (None, &None));
        assert_eq!(now.link.as_ref().expect("accepted").sent, None, "{}", case.name);
        assert_eq!(world.cloud.simulator.link_token(&org_id(n)), Some(token(case.name)));
        world.announced(case.name, &path).await;
    }
    let names: Vec<_> = cases.iter().map(|case| case.name).collect();
    world.tells_no_secret(&operator, &names).await;

    // The wait is kept: what came after a failure came no sooner than half the back-off.
    if let Some(n) = cases.iter().position(|case| case.times > 1) {
        let journal = world.cloud.simulator.journal();
        let posts: Vec<_> = journal
            .iter()
            .filter(|entry| entry.org_id == Some(org_id(n)) && entry.link_token.is_some())
            .map(|entry| entry.at.as_secs_f64())
            .collect();
        let waits: Vec<_> = posts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(waits.len() == 3 && waits[0] >= 1.0 && waits[1] >= 2.0 && waits[2] >= 4.0, "{waits:?}");
    }
}
