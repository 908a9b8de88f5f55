//! Each rule of the table: where it matches, and where it does not.

use super::case::{Case, Change, Content, HOUR, INTERVAL, at, failed, link, published, shown, synced, time};
use crate::api::{PAUSED, RECONCILE_AT, RELINK_AT, Reason};
use crate::decision::{Call, Link, Memory, Step};

fn assert_steps(rows: Vec<(&str, Step, Step)>) {
    for (name, is, wanted) in rows {
        assert_eq!(is, wanted, "{name}");
    }
}

fn waits(step: &Step) -> bool {
    matches!(step, Step::Wait(_))
}

/// A check is due: more than two intervals have passed since the process began.
fn due() -> Case {
    synced().now(2 * INTERVAL)
}

#[test]
fn rule_1_what_is_being_deleted_and_not_held_by_us_is_left_alone() {
    for case in [link(), due(), synced().suspend(), link().base_url("https://evil.example")] {
        let mut case = case;
        case.link.deleting = true;
        assert_eq!(case.step(), Step::Wait(None));
        assert_eq!(case.step_after_reading(), Step::Wait(None));
    }
}

#[test]
fn rule_6_suspend_and_the_annotation_say_so_once_and_nothing_is_called() {
    for (case, shows) in [
        (link().suspend(), "Suspended=True Suspended"),
        (due().suspend(), "Ready=True Synced, Suspended=True Suspended"),
        (due().paused(), "Ready=True Synced, Suspended=True Suspended"),
        (synced().unknown(Reason::EndpointUnavailable, 10).paused(), "Suspended=True Suspended"),
        (link().not_ready(Reason::Unauthorized, Some(60)).paused(), "Suspended=True Suspended"),
        (link().suspend().base_url("https://evil.example"), "Suspended=True Suspended"),
    ] {
        let mut case = case;
        let status = published(case.step());
        assert_eq!(shown(&status), shows);
        assert_eq!(status.observed_generation, Some(case.link.generation));
        assert_eq!((status.attempts, &status.next_attempt_time), (None, &None));
        case.link.status = status;
        assert_eq!(case.step(), Step::Wait(None));
        assert_eq!(case.holds("t2", "k2").step(), Step::Wait(None));
    }
    let mut not = link();
    not.link.spec.suspend = Some(false);
    assert_eq!(not.step(), Step::ReadInputs);
}

#[test]
fn rule_7_an_origin_that_is_not_allowed_ends_before_any_secret_is_read() {
    for (url, reason) in [
        ("https://evil.example/api", "EndpointNotAllowed"),
        ("http://cloud.mongodb.com/api/public/v1.0", "EndpointNotAllowed"),
        ("https://cloud.mongodb.com:8443/api", "EndpointNotAllowed"),
        ("https://user@cloud.mongodb.com/api", "InvalidSpec"),
    ] {
        for case in [link(), link().no_secret(), due()] {
            let mut case = case.base_url(url).reconcile_at("1");
            let status = published(case.step());
            assert_eq!(shown(&status), format!("Ready=False {reason}, Stalled=True {reason}"));
            assert_eq!((status.attempts, &status.next_attempt_time), (None, &None));
            assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("1"));
            case.link.status = status;
            assert_eq!(case.step(), Step::Wait(None));
        }
    }
    for url in ["https://cloud.mongodb.com/other", "https://CLOUD.mongodb.com:443/api"] {
        assert_eq!(link().base_url(url).step(), Step::ReadInputs, "{url}");
    }
}

#[test]
fn rule_9_a_next_attempt_that_is_ahead_is_waited_for() {
    for reason in [Reason::EndpointUnavailable, Reason::Unauthorized, Reason::NotSynced, Reason::RateLimited]
    {
        let held = link().accepted("t1").not_ready(reason, Some(300));
        assert_eq!(held.step(), Step::Wait(Some(at(300))), "{reason}");
        assert_eq!(held.clone().now(299).step(), Step::Wait(Some(at(300))), "{reason}");
        assert_eq!(held.clone().now(300).step(), Step::ReadInputs, "{reason}");
        // Not a version that nobody has seen, and not a change that is none.
        let mut unlisted = held.clone();
        unlisted.listed = false;
        assert_eq!(unlisted.step(), Step::Wait(Some(at(300))), "{reason}");
        // A version not yet read counts as changed; what has been read shows what it is.
        let relabelled = held.clone().relabelled();
        assert_eq!(relabelled.step(), Step::ReadInputs, "{reason}");
        let status = published(relabelled.step_after_reading());
        assert_eq!(status.next_attempt_time, held.link.status.next_attempt_time, "{reason}");
        assert_eq!(status.inputs, Some(relabelled.read().records), "{reason}");
    }
}

/// kstatus would call it done, and a restart would forget that it is not.
#[test]
fn rule_9_a_change_under_a_silent_rate_limit_does_not_read_as_done() {
    let changes: [(&str, Change, &str); 2] =
        [("token", |case| case.holds("t2", "k1"), "NOT_SYNCED"), ("spec", Case::edited, "SYNCED")];
    for (name, change, state) in changes {
        let mut case = change(synced().failing(Reason::RateLimited, 0, 1, 300));
        if case.step() == Step::ReadInputs {
            case = case.has_read();
        }
        let status = published(case.step());
        case.link.status = status.clone();
        assert_eq!(case.conditions(), "Ready=False RateLimited, Reconciling=True RateLimited", "{name}");
        assert_eq!(status.state.as_deref(), Some(state), "{name}");
        assert_eq!(status.next_attempt_time, Some(time(300)), "{name}");
        assert_eq!(case.step(), Step::Wait(Some(at(300))), "{name}");
        // After a restart, too.
        case.memory = Memory::default();
        assert_eq!(case.step(), Step::Wait(Some(at(300))), "{name}");
        let due = case.now(300);
        if name == "token" {
            assert_eq!(due.step_after_announcing(), Step::Link);
        } else {
            assert_eq!(due.step_after_reading(), Step::Poll);
        }
    }
}

#[test]
fn rule_9_a_change_ends_the_wait() {
    let held = |reason| link().accepted("t1").not_ready(reason, Some(300));
    let changes: [(&str, Change); 5] = [
        ("spec", Case::edited),
        ("reconcile-at", |case| case.reconcile_at("1")),
        ("token", |case| case.holds("t2", "k1")),
        ("Secret gone", Case::no_secret),
        ("keys", |case| case.holds("t1", "k2")),
    ];
    for (name, change) in changes {
        for reason in [Reason::EndpointUnavailable, Reason::Unauthorized, Reason::NotSynced] {
            let case = change(held(reason));
            assert_eq!(case.step(), Step::ReadInputs, "{reason} {name}");
            assert!(!waits(&case.step_after_reading()), "{reason} {name}");
        }
        // Only the keys end a rate limit.
        let limited = change(held(Reason::RateLimited));
        assert_eq!(limited.step_after_reading() == Step::Poll, name == "keys", "RateLimited {name}");
    }
    for (reason, ends) in [
        (Reason::NotSynced, true),
        (Reason::LinkLost, true),
        (Reason::EndpointUnavailable, false),
        (Reason::Unauthorized, false),
        (Reason::TokenRejected, false),
        (Reason::RateLimited, false),
    ] {
        assert_eq!(waits(&held(reason).relink_at("1").step()), !ends, "relink-at, {reason}");
    }
}

#[test]
fn rule_9_a_time_that_no_wait_of_the_class_can_reach_counts_as_passed() {
    for (reason, longest) in [
        (Reason::EndpointUnavailable, 11 * 60 + 60),
        (Reason::RateLimited, 6 * HOUR + 36 * 60 + 60),
        (Reason::Unauthorized, HOUR + 6 * 60 + 60),
        (Reason::NotSynced, INTERVAL + 90 + 60),
    ] {
        let held = |next| link().accepted("t1").not_ready(reason, Some(next)).now(0);
        assert!(waits(&held(longest).step()), "{reason}");
        assert_eq!(held(longest + 1).step(), Step::ReadInputs, "{reason}");
    }
}

#[test]
fn rule_9_after_the_suspension_nothing_of_before_is_waited_for() {
    let mut resumed = link().accepted("t1").not_ready(Reason::RateLimited, Some(300)).paused();
    resumed.link.status = published(resumed.step());
    resumed.link.paused = false;
    assert_eq!(resumed.step(), Step::ReadInputs);
    assert_eq!(resumed.step_after_reading(), Step::Poll);
}

#[test]
fn rule_10_inputs_are_read_only_where_something_is_wanted_of_them() {
    assert_steps(vec![
        ("first look", link().step(), Step::ReadInputs),
        ("due", due().step(), Step::ReadInputs),
        ("another version", synced().relabelled().step(), Step::ReadInputs),
        ("gone", synced().no_secret().step(), Step::ReadInputs),
        ("relink asked", synced().relink_at("1").step(), Step::ReadInputs),
        ("reconcile asked", synced().reconcile_at("1").step(), Step::ReadInputs),
    ]);
    assert!(waits(&synced().step()));
    assert!(waits(&synced().without_watch().holds("t2", "k2").step()), "nobody tells");
    let mut unlisted = synced().holds("t2", "k2");
    unlisted.listed = false;
    assert!(waits(&unlisted.step()), "not seen yet");
    assert!(matches!(synced().edited().step(), Step::Publish(_)), "no read for a spec that needs no call");
}

#[test]
fn rule_10_a_recreated_or_another_secret_is_read() {
    let mut recreated = synced();
    recreated.secret.as_mut().unwrap().uid = "another".into();
    assert_eq!(recreated.step(), Step::ReadInputs);
    let mut renamed = synced().edited();
    renamed.link.spec.secret_ref.name = "other".into();
    assert_eq!(renamed.step(), Step::ReadInputs);
}

#[test]
fn rule_11_what_is_missing_or_unusable_is_said_and_nothing_is_called() {
    for (case, shows) in [
        (link().no_secret(), "Ready=False SecretNotFound, Reconciling=True SecretNotFound"),
        (synced().no_secret(), "Ready=False SecretNotFound, Reconciling=True SecretNotFound"),
        (link().secret(Content::Bad), "Ready=False InvalidSecret, Stalled=True InvalidSecret"),
        (synced().secret(Content::Bad), "Ready=False InvalidSecret, Stalled=True InvalidSecret"),
        (link().secret(Content::Denied), "Ready=False SecretAccessDenied, Stalled=True SecretAccessDenied"),
    ] {
        let case = case.reconcile_at("1").relink_at("1");
        assert_eq!(case.step(), Step::ReadInputs);
        let status = published(case.step_after_reading());
        assert_eq!(shown(&status), shows);
        assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("1"));
        assert_eq!(status.last_handled_relink_at, None, "nothing was sent");
        assert_eq!(status.inputs, Some(case.read().records));
    }
}

#[test]
fn rule_12_the_token_is_sent_where_it_is_not_known_to_be_in_force() {
    let linked = || link().accepted("t1");
    assert_steps(vec![
        ("never accepted", link().step_after_reading(), Step::Link),
        (
            "never accepted, refused",
            link().recorded().not_ready(Reason::TokenRejected, None).step_after_reading(),
            Step::Link,
        ),
        ("rotated", synced().holds("t2", "k1").step_after_announcing(), Step::Link),
        ("rotated, not ready", linked().holds("t2", "k1").step_after_announcing(), Step::Link),
        ("another one was sent", synced().sent("t2").relabelled().step_after_reading(), Step::Link),
        ("the same was sent", due().sent("t1").step_after_reading(), Step::Link),
        ("a relink was asked", synced().relink_at("1").step_after_reading(), Step::Link),
        ("a relink and a check were asked", due().relink_at("1").step_after_reading(), Step::Link),
        ("accepted", due().step_after_reading(), Step::Poll),
    ]);
    let mut handled = due().relink_at("1");
    handled.link.status.last_handled_relink_at = Some("1".into());
    assert_eq!(handled.step_after_reading(), Step::Poll);
}

#[test]
fn rule_12_a_token_that_was_refused_is_tried_again_and_not_asked_about() {
    let refused = |case: Case| case.not_ready(Reason::TokenRejected, None).step_after_reading();
    assert_eq!(refused(link().recorded()), Step::Link);
    let rotated = link().accepted("t1").holds("t2", "k1").recorded().not_ready(Reason::TokenRejected, None);
    assert_eq!(rotated.step_after_announcing(), Step::Link);
    assert_eq!(refused(link().accepted("t1").relink_at("1")), Step::Link);
    let relinked = link().accepted("t1").lost(0, 0).not_ready(Reason::LinkLost, None);
    let relinked = relinked.after(Call::Link, failed(Reason::TokenRejected));
    assert_eq!(refused(relinked), Step::Link, "refused after the link was lost");
    // The refused token is gone, and the one that was accepted before is back: it was never out of force.
    assert_eq!(refused(link().accepted("t1")), Step::Poll, "rotated back");
}

#[test]
fn rule_13_a_lost_link_gets_its_token_again() {
    let lost = link().accepted("t1").lost(0, 0).not_ready(Reason::LinkLost, None);
    assert_eq!(lost.step(), Step::ReadInputs);
    assert_eq!(lost.step_after_reading(), Step::Link);
    let settling = link().accepted("t1").lost(0, 0).not_ready(Reason::NotSynced, None);
    assert_eq!(settling.step_after_reading(), Step::Poll);
}

#[test]
fn rule_14_the_state_is_asked_for() {
    assert_steps(vec![
        ("due", due().step_after_reading(), Step::Poll),
        ("not ready", link().accepted("t1").step_after_reading(), Step::Poll),
        ("unknown", synced().unknown(Reason::RateLimited, 1).step_after_reading(), Step::Poll),
        ("other keys", synced().holds("t1", "k2").step_after_reading(), Step::Poll),
        ("asked", synced().reconcile_at("1").step_after_reading(), Step::Poll),
    ]);
    let mut handled = synced().reconcile_at("1");
    handled.link.status.last_handled_reconcile_at = Some("1".into());
    assert!(waits(&handled.step()));
}

#[test]
fn rule_15_what_differs_is_published_and_then_nothing_happens_until_the_next_check() {
    let Step::Wait(Some(check)) = synced().step() else { panic!("{:?}", synced().step()) };
    assert!(check > at(1) && check <= at(INTERVAL), "{check}");
    let status = published(synced().edited().step());
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!(shown(&status), "Ready=True Synced");
    let status = published(synced().relabelled().step_after_reading());
    assert_eq!(status.inputs, Some(synced().relabelled().read().records));
    // The annotations that were handled are no difference, nor is one that was taken away.
    let mut taken_away = synced();
    taken_away.link.status.last_handled_reconcile_at = Some("1".into());
    assert!(waits(&taken_away.step()));
}

#[test]
fn an_outcome_is_recorded_before_everything_else() {
    for case in [synced().suspend(), synced().base_url("https://evil.example"), due()] {
        let mut case = case;
        case.answered = Some(case.attempt(Call::Poll, super::case::state("SYNCED")));
        assert!(matches!(case.step(), Step::Record(_)));
    }
}

#[test]
fn annotation_values_that_are_long_or_no_plain_text_are_kept_as_a_hash_and_empty_ones_are_none() {
    let observed = |value: &str| {
        let resource = serde_json::from_value(serde_json::json!({
            "apiVersion": "migrationlink.dev/v1alpha1", "kind": "MigrationLink",
            "metadata": {
                "name": "a", "namespace": "b", "uid": "c", "resourceVersion": "1", "generation": 4,
                "annotations": {RECONCILE_AT: value, RELINK_AT: value, PAUSED: value},
            },
            "spec": {"orgId": "5f0d1e2a3b4c5d6e7f801234", "secretRef": {"name": "s"}},
        }));
        Link::observe(resource.unwrap()).unwrap()
    };
    let short = "é".repeat(128);
    assert_eq!(observed(&short).reconcile_at, Some(short.clone()));
    let long = observed(&"x".repeat(129));
    assert_eq!(long.reconcile_at, long.relink_at);
    let hash = long.reconcile_at.unwrap();
    assert!(hash.starts_with("sha256:") && hash.len() == 7 + 64, "{hash}");
    assert_ne!(Some(hash), observed(&"y".repeat(129)).reconcile_at);
    // What the API server does not take in an apply, or would change.
    for value in ["a\nb", "\u{1b}[2J", "\u{7f}", "\u{9b}31m", "a\u{85}b", "a\u{2028}b", "\u{feff}"] {
        assert!(observed(value).reconcile_at.unwrap().starts_with("sha256:"), "{value:?}");
    }
    assert_eq!(observed("").reconcile_at, None);
    assert!(observed("true").paused && !observed("True").paused && !observed("").paused);
}
