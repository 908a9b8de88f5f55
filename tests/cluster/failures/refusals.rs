//! What a person must mend: tried at a slow pace, and at once when asked or when the Secret has changed.

use std::collections::BTreeSet;

use migrationlink_simulator::{Answer, ApiKeys, ExistingLink};

use super::Case;
use super::case::{error, raw};
use crate::support::{World, is_sound, org_id, token};

/// How a person mends it.
enum Mend {
    /// At the Cloud Manager; then asks for a check.
    There(fn(&World, &str)),
    /// With the right key in the Secret.
    Keys,
    /// With another token in the Secret.
    Token,
}

#[tokio::test]
async fn what_a_person_must_mend_is_tried_at_once_when_it_is_mended() {
    let passed = |_: &World, _: &str| {};
    let replace_keys: fn(&World, &str) = |world, org_id| {
        world.cloud.simulator.set_keys(org_id, [ApiKeys::new("key-of-others", "canary-of-others")]);
    };
    let forget: fn(&World, &str) = |world, org_id| {
        world.cloud.simulator.unlink_behind_the_back(org_id);
    };
    let nothing: fn(&World, &str) = passed;
    let unauthorized = |name| {
        Case::stalled(
            name,
            "Unauthorized",
            &["refuses the API key", "role Organization Owner", "private key"],
        )
    };
    let listed =
        |name| Case::stalled(name, "AccessListDenied", &["API access list of organization 5f0d1e2a"]);
    let forbidden = |name, code| Case::stalled(name, "Forbidden", &[code, "role Organization Owner"]);
    let unknown = |name, code| Case::stalled(name, "OrganizationNotFound", &[code, "spec.orgId"]);
    let token_rejected =
        |name, code| Case::stalled(name, "TokenRejected", &[code, "Make a new link token in Atlas"]);
    let exists = |name| Case::stalled(name, "LinkExists", &["already has a link", "Remove that link"]);
    let rejected = |name, code| Case::stalled(name, "RequestRejected", &[code, "liveExport/migrationLink"]);
    let denied = Answer::NotOnAccessList { address: "203.0.113.7".into() };
    let enveloped = raw(200, r#"{"status": 403, "content": {"errorCode": "IP_ADDRESS_NOT_ON_ACCESS_LIST"}}"#);
    let rows: Vec<(Case, fn(&World, &str), Mend)> = vec![
        (
            unauthorized("wrong-private-key"),
            |world, org_id| {
                world
                    .cloud
                    .simulator
                    .set_keys(org_id, [ApiKeys::new("key-wrong-private-key", "canary-right")]);
            },
            Mend::Keys,
        ),
        (unauthorized("unknown-key"), replace_keys, Mend::Keys),
        (unauthorized("no-owner").refused(error(401, "NOT_ORG_ADMIN")), nothing, Mend::There(passed)),
        (listed("address").refused(denied), nothing, Mend::There(passed)),
        (listed("whitelist").refused(error(403, "ORG_REQUIRES_WHITELIST")), nothing, Mend::There(passed)),
        (listed("envelope").refused(enveloped), nothing, Mend::There(passed)),
        (
            forbidden("plan", "HTTP 403 FEATURE_UNSUPPORTED").refused(error(403, "FEATURE_UNSUPPORTED")),
            nothing,
            Mend::There(passed),
        ),
        (
            forbidden("payment", "HTTP 402 NO_PAYMENT_INFORMATION_FOUND")
                .refused(error(402, "NO_PAYMENT_INFORMATION_FOUND")),
            nothing,
            Mend::There(passed),
        ),
        (
            unknown("atlas", "HTTP 404 EXPECTED_NON_ATLAS_ORG").refused(error(404, "EXPECTED_NON_ATLAS_ORG")),
            nothing,
            Mend::There(passed),
        ),
        (
            unknown("no-such-org", "HTTP 404 ORG_NOT_FOUND").refused(error(404, "ORG_NOT_FOUND")),
            nothing,
            Mend::There(passed),
        ),
        (
            unknown("no-route", "HTTP 404 RESOURCE_NOT_FOUND").refused(error(404, "RESOURCE_NOT_FOUND")),
            nothing,
            Mend::There(passed),
        ),
        (
            unknown("some-404", "HTTP 404 UNEXPECTED_ERROR").refused(error(404, "UNEXPECTED_ERROR")),
            nothing,
            Mend::There(passed),
        ),
        (
            unknown("gone-at-the-poll", "ORG_NOT_FOUND").polled(error(404, "ORG_NOT_FOUND")),
            nothing,
            Mend::There(passed),
        ),
        (token_rejected("used-token", "HTTP 400 INVALID_ATTRIBUTE"), nothing, Mend::Token),
        (
            token_rejected("http-422", "HTTP 422 UNEXPECTED_ERROR").refused(error(422, "UNEXPECTED_ERROR")),
            nothing,
            Mend::Token,
        ),
        (
            exists("linked-by-hand"),
            |world, org_id| {
                world.cloud.simulator.link_behind_the_back(org_id, "by-hand");
            },
            Mend::There(forget),
        ),
        (
            rejected("version-gone", "HTTP 410 VERSION_GONE").refused(error(410, "VERSION_GONE")),
            nothing,
            Mend::There(passed),
        ),
        (
            rejected("method", "HTTP 405 METHOD_NOT_ALLOWED").refused(error(405, "METHOD_NOT_ALLOWED")),
            nothing,
            Mend::There(passed),
        ),
        (
            rejected("conflict-at-the-poll", "HTTP 409 UNEXPECTED_ERROR")
                .polled(error(409, "UNEXPECTED_ERROR")),
            nothing,
            Mend::There(passed),
        ),
    ];

    let world = World::new().await;
    let tokens: BTreeSet<_> = rows
        .iter()
        .map(|(case, ..)| case.name)
        .filter(|name| *name != "used-token")
        .flat_map(|name| [token(name), new_token(name)])
        .chain([new_token("used-token")])
        .collect();
    world.cloud.simulator.configure(|config| {
        config.valid_tokens = Some(tokens);
        config.existing_link = ExistingLink::Conflict;
    });
    let operator = world.operator().await;
    for (n, (case, cause, _)) in rows.iter().enumerate() {
        let org_id = org_id(n);
        case.prepare(&world, &org_id);
        cause(&world, &org_id);
        world.link(case.name, &org_id, &world.cloud.base_url()).await;
    }

    let mut requests = Vec::new();
    for (n, (case, ..)) in rows.iter().enumerate() {
        let pages = world.diary.has_been(case.name, &case.path()).await;
        pages.iter().for_each(is_sound);
        case.check(&pages);
        requests.push(world.requests(&org_id(n)));
    }
    let address = world.diary.last("address");
    assert!(address.contains("The address 203.0.113.7 is not"), "{address}");
    // A wrong key costs a challenge and one answer: nobody is locked out.
    assert_eq!(requests[..2], [2, 2]);

    for (n, (case, _, mend)) in rows.iter().enumerate() {
        assert_eq!(world.requests(&org_id(n)), requests[n], "{}: nothing is sent before its time", case.name);
        match mend {
            Mend::There(mend) => {
                mend(&world, &org_id(n));
                world.ask(case.name).await;
            }
            Mend::Keys => {
                let right = ApiKeys::new(format!("key-right-{n}"), "canary-right");
                world.cloud.simulator.set_keys(&org_id(n), [right.clone()]);
                let content = [("publicKey", right.public_key.as_str()), ("privateKey", &right.private_key)];
                world.tenant.edit_secret(case.name, &content).await;
            }
            Mend::Token => {
                world.tenant.edit_secret(case.name, &[("linkToken", &new_token(case.name))]).await;
            }
        }
    }
    for (n, (case, _, mend)) in rows.iter().enumerate() {
        let path = [case.path(), vec!["Synced"]].concat();
        let pages = world.diary.has_been(case.name, &path).await;
        let now = &pages.last().expect("Synced").status;
        assert_eq!((now.attempts, &now.next_attempt_time), (None, &None));
        let (token, handled) = match mend {
            Mend::There(_) => (token(case.name), Some("now")),
            Mend::Keys => (token(case.name), None),
            Mend::Token => (new_token(case.name), None),
        };
        assert_eq!(world.cloud.simulator.link_token(&org_id(n)), Some(token), "{}", case.name);
        assert_eq!(now.last_handled_reconcile_at.as_deref(), handled);
        world.announced(case.name, &path).await;
    }
    let names: Vec<_> = rows.iter().map(|(case, ..)| case.name).collect();
    world.tells_no_secret(&operator, &names).await;
}

fn new_token(name: &str) -> String {
    token(&format!("new-{name}"))
}
