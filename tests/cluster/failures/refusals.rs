//! What a person must mend: tried at a slow pace, and at once when asked or when the Secret has changed.

use std::collections::BTreeSet;

use migrationlink_simulator::{Answer, ApiKeys, ExistingLink};

use super::Case;
use super::case::{error, raw};
use crate::support::{World, is_sound, org_id, token};

/// Something done at the Cloud Manager for this organization.
type Act = fn(&World, &str);

/// A refusal, and how a person mends it.
struct Row {
    case: Case,
    /// What is wrong at the Cloud Manager, beside what the case scripts.
    cause: Option<Act>,
    mend: Mend,
}

enum Mend {
    /// At the Cloud Manager, if it is not well by now; then asks for a check.
    There(Option<Act>),
    /// With the right keys in the Secret.
    Keys,
    /// With another token in the Secret.
    Token,
}

#[tokio::test]
async fn what_a_person_must_mend_is_tried_at_once_when_it_is_mended() {
    let rows = rows();
    let world = World::new().await;
    let tokens = rows.iter().flat_map(|row| [token(row.case.name), new_token(row.case.name)]);
    let tokens: BTreeSet<_> = tokens.filter(|valid| *valid != token("used-token")).collect();
    world.cloud.simulator.configure(|config| {
        config.valid_tokens = Some(tokens);
        config.existing_link = ExistingLink::Conflict;
    });
    let operator = world.operator().await;
    for (n, Row { case, cause, .. }) in rows.iter().enumerate() {
        case.prepare(&world, &org_id(n));
        cause.inspect(|cause| cause(&world, &org_id(n)));
        world.link(case.name, &org_id(n), &world.cloud.base_url()).await;
    }

    let mut requests = Vec::new();
    for (n, Row { case, .. }) in rows.iter().enumerate() {
        let pages = world.diary.has_been(case.name, &case.path()).await;
        pages.iter().for_each(is_sound);
        case.check(&pages);
        requests.push(world.requests(&org_id(n)));
    }
    // A wrong key costs a challenge and one answer: nobody is locked out.
    assert_eq!(requests[..2], [2, 2]);

    for (n, Row { case, mend, .. }) in rows.iter().enumerate() {
        assert_eq!(world.requests(&org_id(n)), requests[n], "{}: nothing is sent before its time", case.name);
        mend.mend(&world, case.name, &org_id(n)).await;
    }
    for (n, Row { case, mend, .. }) in rows.iter().enumerate() {
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
    let names: Vec<_> = rows.iter().map(|row| row.case.name).collect();
    world.tells_no_secret(&operator, &names).await;
}

fn rows() -> Vec<Row> {
    let unauthorized = |name| {
        Case::stalled(
            name,
            "Unauthorized",
            &["refuses the API key", "role Organization Owner", "private key"],
        )
    };
    let listed = |name, who| {
        Case::stalled(name, "AccessListDenied", &[who, "access list of organization 5f0d1e2a", "Add "])
    };
    let forbidden = |name, code| Case::stalled(name, "Forbidden", &[code, "role Organization Owner"]);
    let unknown = |name, code| Case::stalled(name, "OrganizationNotFound", &[code, "spec.orgId"]);
    let rejected = |name, code| Case::stalled(name, "RequestRejected", &[code, "liveExport/migrationLink"]);
    let token_rejected =
        |name, code| Case::stalled(name, "TokenRejected", &[code, "Make a new link token in Atlas"]);
    let exists = |name| {
        let mut case = Case::stalled(name, "LinkExists", &["already has a link", "Remove that link"]);
        // Instead of the command that tries again: that alone would not help.
        case.says.pop();
        case.says.push(format!("take it over: kubectl annotate migrationlink {name} -n "));
        case
    };
    let address = Answer::NotOnAccessList { address: "203.0.113.7".into() };
    let enveloped = raw(200, r#"{"status": 403, "content": {"errorCode": "IP_ADDRESS_NOT_ON_ACCESS_LIST"}}"#);
    let others: Act = |world, org_id| {
        world.cloud.simulator.set_keys(org_id, [ApiKeys::new("key-of-others", "canary-of-others")]);
    };
    let another: Act = |world, org_id| {
        world.cloud.simulator.set_keys(org_id, [ApiKeys::new("key-wrong-private-key", "canary-right")]);
    };
    let by_hand: Act = |world, org_id| {
        world.cloud.simulator.link_behind_the_back(org_id, "by-hand");
    };
    let removed: Act = |world, org_id| {
        world.cloud.simulator.unlink_behind_the_back(org_id);
    };
    let mut rows = vec![
        Row { case: unauthorized("wrong-private-key"), cause: Some(another), mend: Mend::Keys },
        Row { case: unauthorized("unknown-key"), cause: Some(others), mend: Mend::Keys },
        Row {
            case: token_rejected("used-token", "HTTP 400 INVALID_ATTRIBUTE"),
            cause: None,
            mend: Mend::Token,
        },
        Row {
            case: token_rejected("http-422", "HTTP 422 VALIDATION_ERROR")
                .refused(error(422, "VALIDATION_ERROR")),
            cause: None,
            mend: Mend::Token,
        },
        Row { case: exists("linked-by-hand"), cause: Some(by_hand), mend: Mend::There(Some(removed)) },
    ];
    // What is answered once, and mended by then.
    let answered = [
        unauthorized("no-owner").refused(error(401, "NOT_ORG_ADMIN")),
        listed("address", "The address 203.0.113.7 is not").refused(address),
        listed("whitelist", "The operator's address is not").refused(error(403, "ORG_REQUIRES_WHITELIST")),
        listed("envelope", "egress address").refused(enveloped),
        forbidden("plan", "HTTP 403 FEATURE_UNSUPPORTED").refused(error(403, "FEATURE_UNSUPPORTED")),
        forbidden("payment", "HTTP 402 ACCOUNT_SUSPENDED").refused(error(402, "ACCOUNT_SUSPENDED")),
        unknown("atlas", "HTTP 404 EXPECTED_NON_ATLAS_ORG").refused(error(404, "EXPECTED_NON_ATLAS_ORG")),
        unknown("no-such-org", "HTTP 404 ORG_NOT_FOUND").refused(error(404, "ORG_NOT_FOUND")),
        unknown("no-route", "HTTP 404 RESOURCE_NOT_FOUND").refused(error(404, "RESOURCE_NOT_FOUND")),
        unknown("some-404", "HTTP 404 UNEXPECTED_ERROR").refused(error(404, "UNEXPECTED_ERROR")),
        unknown("gone-at-the-poll", "HTTP 404 ORG_NOT_FOUND").polled(error(404, "ORG_NOT_FOUND")),
        rejected("http-410", "HTTP 410 VERSION_GONE").refused(error(410, "VERSION_GONE")),
        rejected("method", "HTTP 405 METHOD_NOT_ALLOWED").refused(error(405, "METHOD_NOT_ALLOWED")),
        rejected("conflict-at-the-poll", "HTTP 409 UNEXPECTED_ERROR").polled(error(409, "UNEXPECTED_ERROR")),
        rejected("bad-poll", "HTTP 400 VALIDATION_ERROR").polled(error(400, "VALIDATION_ERROR")),
    ];
    rows.extend(answered.map(|case| Row { case, cause: None, mend: Mend::There(None) }));
    rows
}

impl Mend {
    async fn mend(&self, world: &World, name: &str, org_id: &str) {
        match self {
            Self::There(act) => {
                act.inspect(|act| act(world, org_id));
                world.ask(name).await;
            }
            Self::Keys => {
                let right = ApiKeys::new(format!("key-right-{name}"), "canary-right");
                world.cloud.simulator.set_keys(org_id, [right.clone()]);
                let keys = [("publicKey", right.public_key.as_str()), ("privateKey", &right.private_key)];
                world.tenant.edit_secret(name, &keys).await;
            }
            Self::Token => world.tenant.edit_secret(name, &[("linkToken", &new_token(name))]).await,
        }
    }
}

fn new_token(name: &str) -> String {
    token(&format!("new-{name}"))
}
