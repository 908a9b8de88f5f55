//! Servers that lead elsewhere.

use super::server::{Asked, Server};
use super::{Attack, Outcome, Round, answer, challenge};

const REDIRECTS: Outcome = (&["UnexpectedResponse"], "it redirects, and credentials do not follow");
const SYNCED: Outcome = (&["Synced"], "SYNCED");

/// Where it leads to is allowed, and credentials for it are there: it makes no difference.
#[tokio::test]
async fn nobody_follows_a_redirect() {
    let elsewhere = Server::start(|_| challenge("n")).await;
    let to = |status: &'static str| {
        let location =
            format!("Location: {}/canary\r\nRefresh: 0;url=http://canary.test\r\n", elsewhere.base_url());
        move |_: &Asked| answer(status, &location, "")
    };
    let attacks = vec![
        Attack::at_once("http-301", REDIRECTS, to("301 Moved")),
        Attack::at_once("http-302", REDIRECTS, to("302 Found")),
        Attack::at_once("http-308", REDIRECTS, to("308 Moved")),
        Attack::then("http-303-to-the-post", REDIRECTS, to("303 Other")),
        Attack::then("http-307-to-the-post", REDIRECTS, to("307 Moved")),
        Attack::then("http-308-to-the-post", REDIRECTS, to("308 Moved")),
        Attack::then("http-200-with-a-location", SYNCED, {
            let location = format!("Location: {}\r\n", elsewhere.base_url());
            move |_| answer("200 OK", &location, r#"{"status": "SYNCED"}"#)
        }),
    ];
    Round { beside: &[&elsewhere], ..Round::of("text", attacks) }.run().await;
    assert_eq!(elsewhere.connections(), 0, "{}", elsewhere.text());
}
