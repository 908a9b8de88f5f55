//! What a person reads.

use super::case::{Case, Content, HOUR, accepted, failure, link, published, state, synced};
use super::story::story;
use crate::api::{
    CaReference, ConditionType, Conditions, InputKind, MigrationLinkStatus, Pace, Reason, SecretReference,
};
use crate::decision::{Call, CallFailure, Fetched, IMPERATIVE_CHECK, Outcome, read, truncated};

fn ready_message(status: &MigrationLinkStatus) -> &str {
    let conditions = status.conditions.as_ref().unwrap();
    let shown = conditions.of(ConditionType::Suspended).or_else(|| conditions.of(ConditionType::Ready));
    &shown.unwrap().message
}

/// Names as long as the API server lets them be.
fn long_names(mut case: Case) -> Case {
    case.link.name = "n".repeat(253);
    case.link.namespace = "m".repeat(63);
    case.link.spec.secret_ref = SecretReference { name: "s".repeat(253) };
    case
}

fn synced_before(status: &MigrationLinkStatus) -> bool {
    status.last_synced_time.is_some()
}

/// A status for every reason.
fn statuses(case: impl Fn(Case) -> Case, text: &str) -> Vec<(Reason, MigrationLinkStatus)> {
    let settled =
        |call, outcome, base: Case| case(base).settle(call, outcome).status.map(|status| *status).unwrap();
    let mut all = vec![
        (Reason::Synced, settled(Call::Link, accepted("SYNCED"), link())),
        (Reason::NotSynced, settled(Call::Link, accepted(text), link())),
        (Reason::NotSynced, settled(Call::Link, Outcome::Accepted(None), link())),
        (
            Reason::NotSynced,
            settled(Call::Poll, state(text), link().after(Call::Link, accepted("X")).now(HOUR)),
        ),
        (Reason::LinkLost, settled(Call::Poll, Outcome::NoLink, synced())),
        (Reason::SecretNotFound, published(case(link().no_secret()).step_after_reading())),
        (Reason::InvalidSecret, published(case(link().secret(Content::Bad)).step_after_reading())),
        (Reason::SecretAccessDenied, published(case(link().secret(Content::Denied)).step_after_reading())),
        (Reason::EndpointNotAllowed, published(case(link().base_url("https://evil.example")).step())),
        (Reason::InvalidSpec, published(case(link().base_url("https://a@b")).step())),
        (Reason::Suspended, published(case(link().suspend()).step())),
        (Reason::DuplicateOrganization, published(case(link()).held_by_another().step())),
        (
            Reason::DeletionBlocked,
            published(case(synced().delete()).deleting().no_secret().step_after_reading()),
        ),
        (Reason::LiveExportRunning, {
            let failed = CallFailure { message: text.to_owned(), ..failure(Reason::LiveExportRunning) };
            settled(Call::Unlink, Outcome::Failed(failed), synced().delete().deleting())
        }),
    ];
    for (reason, fetched) in [
        (Reason::CANotFound, Fetched::Missing),
        (
            Reason::InvalidCA,
            Fetched::Found { uid: "u".into(), resource_version: "1".into(), data: [].into() },
        ),
    ] {
        let mut with_ca = case(link());
        let ca = CaReference { kind: InputKind::ConfigMap, name: "om-ca".into(), key: None };
        with_ca.link.spec.ca_ref = Some(ca);
        let mut references = with_ca.link.references().into_iter();
        let data = ["publicKey", "privateKey", "linkToken"].map(|key| (key.to_owned(), b"x".to_vec()));
        let keys = Fetched::Found { uid: "u".into(), resource_version: "1".into(), data: data.into() };
        let objects = [keys, fetched].map(|fetched| (references.next().unwrap(), fetched));
        with_ca.inputs = Some(read(&with_ca.link, &objects, |_| true).0);
        all.push((reason, published(with_ca.step())));
    }
    for reason in Reason::ALL.into_iter().filter(|reason| matches!(reason.pace(), Pace::BackOff | Pace::Slow))
    {
        let failed = Outcome::Failed(CallFailure { message: text.to_owned(), ..failure(reason) });
        all.push((reason, settled(Call::Link, failed.clone(), link())));
        all.push((reason, settled(Call::Poll, failed, synced().reconcile_at("1"))));
    }
    all
}

#[test]
fn every_reason_says_something_and_the_bad_ones_what_to_do() {
    let all = statuses(|case| case, "It failed. Do this.");
    for reason in Reason::ALL {
        assert!(all.iter().any(|(said, _)| *said == reason), "{reason} is not covered");
    }
    for (reason, status) in &all {
        let message = ready_message(status);
        let conditions = status.conditions.as_ref().unwrap();
        let told: Reason = conditions.last().unwrap().reason.parse().unwrap();
        // Beside a deletion that is held up stands what holds it up.
        assert!(told == *reason || *reason == Reason::DeletionBlocked, "{told}");
        let wanted = match reason {
            Reason::Synced => "says SYNCED.",
            Reason::NotSynced => "",
            Reason::LinkLost => "sending the link token again",
            Reason::SecretNotFound | Reason::CANotFound => "Create it",
            Reason::InvalidSecret => "It needs the keys publicKey, privateKey and linkToken.",
            Reason::EndpointNotAllowed => "--allowed-origin=https://evil.example ",
            Reason::InvalidSpec => "Delete this MigrationLink and create it again",
            Reason::Suspended => "To resume",
            Reason::DuplicateOrganization => "Delete one of the two",
            Reason::DeletionBlocked => "To delete the resource and keep the link: kubectl patch",
            Reason::InvalidCA => "It needs root certificates in PEM form under the key ca.crt.",
            _ => "Do this.",
        };
        if *reason != Reason::SecretAccessDenied || !message.contains("RoleBinding") {
            assert!(message.contains(wanted), "{reason}: {message}");
        }
        if *reason == Reason::LinkExists {
            assert!(
                message.contains("migrationlink.dev/adopt-existing=true") || synced_before(status),
                "{message}"
            );
        } else if reason.pace() == Pace::Slow {
            let command = "kubectl annotate migrationlink orders -n payments \
                           migrationlink.dev/reconcile-at=\"$(date +%s)\" --overwrite";
            assert!(message.ends_with(command), "{reason}: {message}");
        }
    }
}

#[test]
fn not_synced_for_long_names_the_usual_causes() {
    let settling = link().after(Call::Link, accepted("NOT_SYNCED"));
    let early = settling.clone().now(599).after(Call::Poll, state("NOT_SYNCED"));
    assert!(!ready_message(&early.link.status).contains("Usual causes"));
    let late = settling.now(602).after(Call::Poll, state("NOT_SYNCED"));
    assert!(ready_message(&late.link.status).contains("Usual causes"));
}

#[test]
fn a_message_fits_and_its_command_survives_whatever_the_names_and_texts() {
    for text in ["short.".to_owned(), "long ".repeat(400), "ü".repeat(900)] {
        for (reason, status) in statuses(long_names, &text) {
            let message = ready_message(&status);
            assert!(message.len() <= 1000, "{reason}: {}", message.len());
            assert_eq!(
                message.contains(IMPERATIVE_CHECK),
                reason.pace() == Pace::Slow,
                "{reason}: {message}"
            );
            if reason.pace() == Pace::Slow {
                assert!(message.ends_with("--overwrite"), "{reason}: {message}");
            }
        }
    }
    let host = format!("https://{}", "h".repeat(500));
    let not_allowed = published(link().base_url(&host).step());
    let flag = format!("--allowed-origin={host} ");
    assert!(ready_message(&not_allowed).contains(&flag), "{}", ready_message(&not_allowed));
    assert!(ready_message(&not_allowed).len() <= 1000);
}

#[test]
fn a_check_that_fails_with_a_long_text_still_says_when_it_was_good() {
    let failure = CallFailure { message: "ü".repeat(900), ..failure(Reason::EndpointUnavailable) };
    let case =
        long_names(link()).accepted("t1").ready().now(HOUR).last_answered(7).failing(failure.reason, 0, 1, 1);
    let case = case.after(Call::Poll, Outcome::Failed(failure));
    let message = ready_message(&case.link.status);
    assert!(message.starts_with("The link was SYNCED when the API last answered (2026-01-01T00:00:07Z)."));
    assert!(message.len() <= 1000);
}

#[test]
fn a_text_is_cut_between_characters() {
    assert_eq!(truncated("aüb", 2), "a");
    assert_eq!(truncated("aüb", 3), "aü");
    assert_eq!(truncated("aüb", 9), "aüb");
}

#[test]
fn nothing_of_a_secret_comes_into_a_status() {
    const CANARY: &str = "canary-4711";
    let data = |entries: &[(&str, &str)]| -> std::collections::BTreeMap<String, Vec<u8>> {
        entries.iter().map(|(key, value)| ((*key).into(), format!("{value}{CANARY}").into())).collect()
    };
    let good = [("publicKey", "a"), ("privateKey", "b"), ("linkToken", "c")];
    for entries in [
        good.to_vec(),
        vec![("publicKey", "a"), ("privateKey", "b")],
        vec![("user", "a"), ("publicApiKey", "b")],
        vec![("publicKey", "a\n"), ("privateKey", "b"), ("linkToken", "c")],
        vec![("clientId", "a"), ("clientSecret", "b")],
    ] {
        let mut case = link();
        let found = Fetched::Found { uid: "u".into(), resource_version: "1".into(), data: data(&entries) };
        let (inputs, _) = read(&case.link, &[(case.reference(), found)], |_| false);
        let usable = inputs.usable.clone();
        case.inputs = Some(inputs);
        let status = match usable {
            Ok(_) => case.after(Call::Link, accepted("SYNCED")).link.status,
            Err(_) => published(case.step()),
        };
        let json = serde_json::to_string(&status).unwrap();
        assert!(json.contains("\"content\"") && !json.contains("canary"), "{json}");
    }
}

#[test]
fn events_are_told_for_changes_only() {
    let mut told = story(link()).failing(&super::case::failed(Reason::EndpointUnavailable)).told();
    told.until(29 * 60);
    assert_eq!(told.events.len(), 1);
    assert_eq!(told.events[0].note, "EndpointUnavailable happened. Do this.");
    told.until(31 * 60);
    assert_eq!(told.events.len(), 2, "a person became needed");
    assert_ne!(told.events[0].action, told.events[1].action, "the second is no repetition of the first");
    (told.link, told.poll) = (accepted("NOT_SYNCED"), state("NOT_SYNCED"));
    told.until(HOUR);
    told.poll = state("SYNCED");
    told.until(2 * HOUR);
    told.then(Case::paused).pass();
    told.case.link.paused = false;
    told.pass();
    let reasons: Vec<_> = told.events.iter().map(|event| (event.reason.as_str(), event.warning)).collect();
    assert_eq!(
        reasons,
        [
            ("EndpointUnavailable", true),
            ("EndpointUnavailable", true),
            ("NotSynced", true),
            ("Synced", false),
            ("Suspended", false),
            ("Synced", false),
        ]
    );
}
