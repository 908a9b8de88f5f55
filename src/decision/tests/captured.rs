//! What GitOps tools are tested with: a resource for every reason and every other state that tells, as the real decisions leave it.
//!
//! The files in `tests/gitops/captured` are what this says. `MIGRATIONLINK_CAPTURE=1 cargo test --lib captured` writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::case::{Case, Content, DAY, HOUR, MINUTE, accepted, at, link, published, state, synced};
use super::story::{Story, story};
use crate::api::{
    ADOPT_EXISTING, CaReference, InputKind, MigrationLink, PAUSED, RECONCILE_AT, RELINK_AT, Reason,
};
use crate::controller::explain;
use crate::decision::{Call, Fetched, Outcome, read};
use crate::remote::{
    CertificateProblem, ConnectProblem, Failure, FailureClass, Organization, UnexpectedKind,
};

/// The resources by the names of their files.
type Captured = BTreeMap<&'static str, Case>;

/// A failed call, in the controller's own words.
fn failed(class: FailureClass, http_status: Option<u16>, code: &str) -> Outcome {
    let base_url = "https://cloud.mongodb.com/api/public/v1.0".parse().unwrap();
    let organization = Organization { base_url, org_id: "5f0d1e2a3b4c5d6e7f801234".into(), roots: None };
    let failure = Failure {
        class,
        http_status,
        error_code: (!code.is_empty()).then(|| code.to_owned()),
        retry_after: None,
        maybe_effective: false,
        shared: false,
    };
    Outcome::Failed(explain(&organization, &failure))
}

fn unreachable() -> Outcome {
    failed(FailureClass::Connect { proxy: None, problem: ConnectProblem::Refused }, None, "")
}

fn forbidden() -> Outcome {
    failed(FailureClass::Forbidden, Some(403), "FEATURE_UNSUPPORTED")
}

/// What the API answers a first POST, and what it is called then.
fn refusals() -> Vec<(&'static str, Outcome)> {
    let not_trusted = FailureClass::CertificateNotTrusted { detail: CertificateProblem::UnknownIssuer };
    let address = FailureClass::AccessListDenied { address: Some([203, 0, 113, 7].into()) };
    let page = FailureClass::UnexpectedResponse(UnexpectedKind::NotJson);
    vec![
        ("EndpointUnavailable", unreachable()),
        ("TlsVerificationFailed", failed(not_trusted, None, "")),
        ("RateLimited", failed(FailureClass::RateLimited, Some(429), "RATE_LIMITED")),
        (
            "ServiceUpgrading",
            failed(FailureClass::Upgrading, Some(405), "WRITES_NOT_ALLOWED_DURING_APP_UPGRADES"),
        ),
        ("Unauthorized", failed(FailureClass::Unauthorized, Some(401), "USER_UNAUTHORIZED")),
        ("AccessListDenied", failed(address, Some(403), "IP_ADDRESS_NOT_ON_ACCESS_LIST")),
        ("Forbidden", forbidden()),
        ("OrganizationNotFound", failed(FailureClass::OrganizationNotFound, Some(404), "ORG_NOT_FOUND")),
        ("TokenRejected", failed(FailureClass::TokenRejected, Some(400), "INVALID_ATTRIBUTE")),
        ("LinkExists", failed(FailureClass::LinkExists, Some(409), "LINK_EXISTS")),
        ("RequestRejected", failed(FailureClass::RequestRejected, Some(410), "VERSION_GONE")),
        ("UnexpectedResponse", failed(page, Some(200), "")),
    ]
}

/// A link whose `caRef` names what was read so.
fn with_ca(fetched: Fetched) -> Case {
    let mut case = link();
    let ca = CaReference { kind: InputKind::ConfigMap, name: "om-ca".into(), key: None };
    case.link.spec.ca_ref = Some(ca);
    let data = ["publicKey", "privateKey", "linkToken"].map(|key| (key.to_owned(), b"x".to_vec()));
    let keys = Fetched::Found { uid: "5ec7e7".into(), resource_version: "1".into(), data: data.into() };
    let references = case.link.references();
    let objects: Vec<_> = references.into_iter().zip([keys, fetched]).collect();
    case.inputs = Some(read(&case.link, &objects, |_| true).0);
    case.link.status = published(case.step());
    case
}

/// What is left once everything that can be done now is done.
fn passed(case: Case) -> Case {
    story(case).told().case
}

/// The same after an hour of failures.
fn after_an_hour(case: Case, link: Outcome, poll: Outcome) -> Case {
    let mut told = story(case).answers(link, poll).told();
    told.until(HOUR);
    told.case
}

/// A link whose checks fail from the first one on, until this is said of it.
fn unanswered(conditions: &str) -> Case {
    let mut told = story(synced()).told();
    told.next();
    told.poll = unreachable();
    until_it_reads(told, conditions)
}

fn until_it_reads(mut told: Story, conditions: &str) -> Case {
    while told.case.conditions() != conditions {
        assert!(told.case.now < at(DAY), "{} and not {conditions}", told.case.conditions());
        told.next();
    }
    told.case
}

/// A deletion of the link and its resource, where the API answers so.
fn deletion(change: impl FnOnce(Case) -> Case, answer: Outcome) -> Case {
    let deleted = change(synced().delete()).deleting().now(5 * MINUTE);
    story(deleted).unlinking(answer).told().case
}

fn every_state() -> Captured {
    let mut all: Captured = refusals()
        .into_iter()
        .map(|(name, outcome)| (name, story(link()).answers(outcome, state("SYNCED")).told().case))
        .collect();
    let empty = Fetched::Found { uid: "ca".into(), resource_version: "1".into(), data: [].into() };
    all.extend(vec![
        ("Synced", passed(link())),
        ("NotSynced", story(link()).answers(accepted("NOT_SYNCED"), state("NOT_SYNCED")).told().case),
        ("LinkLost", synced().now(HOUR).after(Call::Poll, Outcome::NoLink)),
        ("SecretNotFound", passed(link().no_secret())),
        ("InvalidSecret", passed(link().secret(Content::Bad))),
        ("SecretAccessDenied", passed(link().secret(Content::Denied))),
        ("CANotFound", with_ca(Fetched::Missing)),
        ("InvalidCA", with_ca(empty)),
        ("EndpointNotAllowed", passed(link().base_url("https://om.example.com/api/public/v1.0"))),
        ("InvalidSpec", passed(link().base_url("https://user@om.example.com"))),
        ("DuplicateOrganization", passed(link().held_by_another())),
        ("Suspended", passed(link().suspend())),
    ]);
    all.extend(vec![
        ("Applied", link()),
        ("Announced", {
            // With the policy Delete something is written before the first call, and nothing may read as done by it.
            let mut announced = link().delete().has_read();
            let crate::decision::Step::Announce(status) = announced.step() else { panic!("not announced") };
            announced.link.status = *status;
            announced
        }),
        ("Synced-edited", passed(link()).edited()),
        ("Unauthorized-edited", {
            let refused = failed(FailureClass::Unauthorized, Some(401), "USER_UNAUTHORIZED");
            story(link()).failing(&refused).told().case.edited()
        }),
        ("Suspended-synced", passed(synced().suspend())),
        ("Suspended-paused", {
            let refused = story(link()).failing(&forbidden()).told().case;
            passed(refused.paused())
        }),
        ("NotSynced-deadline", after_an_hour(link(), accepted("NOT_SYNCED"), state("NOT_SYNCED"))),
        ("EndpointUnavailable-deadline", after_an_hour(link(), unreachable(), unreachable())),
        ("SecretNotFound-deadline", after_an_hour(link().no_secret(), accepted("SYNCED"), state("SYNCED"))),
        (
            "EndpointUnavailable-unknown",
            unanswered("Ready=Unknown EndpointUnavailable, Reconciling=True EndpointUnavailable"),
        ),
        (
            "EndpointUnavailable-unknown-deadline",
            unanswered("Ready=Unknown EndpointUnavailable, Stalled=True EndpointUnavailable"),
        ),
        (
            "LinkLost-reported",
            until_it_reads(
                story(synced().report()).answers(accepted("SYNCED"), Outcome::NoLink).told(),
                "Ready=False LinkLost, Stalled=True LinkLost",
            ),
        ),
        ("Deleting", passed(synced().delete()).deleting()),
        ("DeletionBlocked-secret", deletion(Case::no_secret, Outcome::Unlinked)),
        ("DeletionBlocked-refused", deletion(|case| case, forbidden())),
        ("DeletionBlocked-passing", deletion(|case| case, unreachable())),
        ("LiveExportRunning", {
            let projects = vec!["5f0d1e2a3b4c5d6e7f80aaaa".to_owned()];
            deletion(
                |case| case,
                failed(FailureClass::LiveExportRunning { projects }, Some(409), "LIVE_EXPORT_RUNNING"),
            )
        }),
    ]);
    all
}

/// The resource as the API server gives it.
fn resource(case: &Case) -> Value {
    let link = &case.link;
    let mut annotations = Map::new();
    for (key, value) in [(RECONCILE_AT, &link.reconcile_at), (RELINK_AT, &link.relink_at)] {
        annotations.extend(value.iter().map(|value| (key.to_owned(), json!(value))));
    }
    for (key, set) in [(PAUSED, link.paused), (ADOPT_EXISTING, link.adopt)] {
        annotations.extend(set.then(|| (key.to_owned(), json!("true"))));
    }
    let mut all = serde_json::to_value(MigrationLink::new(&link.name, link.spec.clone())).unwrap();
    let metadata = all["metadata"].as_object_mut().unwrap();
    metadata.insert("namespace".into(), json!(link.namespace));
    metadata.insert("uid".into(), json!(link.uid));
    metadata.insert("generation".into(), json!(link.generation));
    metadata.insert("creationTimestamp".into(), json!(link.created));
    if !annotations.is_empty() {
        metadata.insert("annotations".into(), annotations.into());
    }
    if !link.finalizers.is_empty() {
        metadata.insert("finalizers".into(), json!(link.finalizers));
    }
    if link.deleting {
        metadata.insert("deletionTimestamp".into(), json!(case.now));
        metadata.insert("deletionGracePeriodSeconds".into(), json!(0));
    }
    all["status"] = serde_json::to_value(&link.status).unwrap();
    all
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "gitops", "captured"].iter().collect()
}

#[test]
fn the_captured_resources_are_what_is_decided() {
    let writes = std::env::var_os("MIGRATIONLINK_CAPTURE").is_some();
    let mut files: BTreeMap<String, String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect();
    for (name, case) in every_state() {
        let decided = format!("{:#}\n", resource(&case));
        let file = format!("{name}.json");
        if writes {
            fs::write(folder().join(&file), &decided).unwrap();
        } else {
            let hint = "MIGRATIONLINK_CAPTURE=1 cargo test --lib captured";
            assert_eq!(files.get(&file), Some(&decided), "{file} is not what is decided: run {hint}");
        }
        files.remove(&file);
    }
    assert_eq!(files.into_keys().collect::<Vec<_>>(), Vec::<String>::new(), "nothing decides so any more");
}

#[test]
fn every_reason_is_captured_under_its_name() {
    let mut captured = BTreeSet::new();
    for (name, case) in every_state() {
        let conditions = case.link.status.conditions.clone().unwrap_or_default();
        let said =
            conditions.iter().rev().find(|condition| ["Ready", "Suspended"].contains(&&*condition.type_));
        let reason: Option<Reason> = said.map(|condition| condition.reason.parse().unwrap());
        captured.extend(reason);
        if let Some(named) = name.split('-').next().and_then(|word| word.parse::<Reason>().ok()) {
            assert_eq!(reason, Some(named), "{name}: {conditions:?}");
        }
    }
    assert_eq!(captured, Reason::ALL.into_iter().collect());
}
