//! What holds from every state, with every answer, at every time. The driver checks each published status, each wait and
//! each call by itself (`story.rs`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use proptest::sample::select;

use super::case::{Case, Content, DAY, HOUR, INTERVAL, MINUTE, at, failed, limited, link, state, time};
use super::story::{Did, NOTHING, STEPS, Story, story};
use crate::api::{ConditionType, Conditions, Pace, Reason};
use crate::decision::{Call, Held, HeldWhy, Outcome, Step};

fn reason() -> impl Strategy<Value = Reason> {
    select(Reason::ALL.to_vec())
}

/// Every reason that a call can fail with.
fn failing() -> impl Strategy<Value = Reason> {
    let can_fail = |reason: &Reason| matches!(reason.pace(), Pace::BackOff | Pace::Slow);
    select(Reason::ALL.into_iter().filter(can_fail).collect::<Vec<_>>())
}

/// The reasons that a check can fail with in silence.
fn passing() -> impl Strategy<Value = Reason> {
    let passes = |reason: &Reason| reason.pace() == Pace::BackOff;
    select(Reason::ALL.into_iter().filter(passes).collect::<Vec<_>>())
}

fn failure_outcome() -> impl Strategy<Value = Outcome> {
    (failing(), proptest::option::of(0..DAY.unsigned_abs()), any::<bool>()).prop_map(
        |(reason, wish, maybe_effective)| {
            let Outcome::Failed(failure) = failed(reason) else { unreachable!() };
            let retry_after = wish.map(std::time::Duration::from_secs);
            Outcome::Failed(crate::decision::CallFailure { retry_after, maybe_effective, ..failure })
        },
    )
}

fn word() -> impl Strategy<Value = String> {
    select(vec!["SYNCED", "NOT_SYNCED", "MIGRATING"]).prop_map(str::to_owned)
}

fn link_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![proptest::option::of(word()).prop_map(Outcome::Accepted), failure_outcome()]
}

fn poll_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![word().prop_map(Outcome::State), Just(Outcome::NoLink), failure_outcome()]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![link_outcome(), poll_outcome()]
}

fn value() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(select(vec!["1", "2"]).prop_map(str::to_owned))
}

fn mark() -> impl Strategy<Value = Option<Time>> {
    proptest::option::of((0..3 * HOUR).prop_map(time))
}

fn content() -> impl Strategy<Value = Option<Content>> {
    let good = (select(vec!["t1", "t2", "t3"]), select(vec!["k1", "k2"]))
        .prop_map(|(token, keys)| Content::Good { token: token.into(), keys: keys.into() });
    proptest::option::weighted(
        0.9,
        prop_oneof![4 => good, 1 => Just(Content::Bad), 1 => Just(Content::Denied)],
    )
}

/// What is recorded of the link.
fn record() -> impl Strategy<Value = crate::api::LinkRecord> {
    let token = || proptest::option::of(select(vec!["t1", "t2"]).prop_map(str::to_owned));
    let keys = proptest::option::of(select(vec!["k1", "k2"]).prop_map(str::to_owned));
    (mark(), mark(), token(), keys, token(), mark(), proptest::option::of(-1..9), any::<bool>()).prop_map(
        |(
            held_since,
            accepted_time,
            token_fingerprint,
            key_fingerprint,
            sent,
            lost_since,
            relinks,
            resend,
        )| {
            crate::api::LinkRecord {
                held_since,
                accepted_time,
                token_fingerprint,
                key_fingerprint,
                sent,
                resend: resend.then_some(true),
                lost_since,
                relinks,
            }
        },
    )
}

/// A link with a status that some version of the operator may have left at some time, as it is found now.
fn any_case() -> impl Strategy<Value = Case> {
    let status = (
        (proptest::option::of(word()), mark(), proptest::option::of(record()), proptest::option::of(-1..40)),
        (select(vec!["", "Ready", "NotReady", "Unknown", "Suspended"]), reason(), -1..4i64, any::<bool>()),
        (value(), value(), proptest::option::of(-HOUR..9 * HOUR)),
    );
    let around = (
        (value(), value(), any::<bool>(), content(), content()),
        (0..4 * HOUR, 0.0..1.0, 1..4i64, any::<bool>(), any::<bool>()),
        (proptest::option::of((passing(), 0..HOUR, 0..30, 0..HOUR)), proptest::option::of(-HOUR..9 * HOUR)),
    );
    (status, around).prop_map(|(status, around)| {
        let (
            (word, synced, record, attempts),
            (ready, reason, observed, escalated),
            (reconcile, relink, next),
        ) = status;
        let (
            (reconcile_at, relink_at, watched, before, content),
            (now, jitter, generation, listed, unchanged),
            (failing, answered),
        ) = around;
        let mut case = link();
        if !watched {
            case = case.without_watch();
        }
        case.secret.as_mut().unwrap().version = 0;
        // What was read then.
        if let Some(before) = before.clone() {
            case = case.secret(before);
        } else {
            case = case.no_secret();
        }
        case = case.recorded();
        case.link.generation = generation;
        case.link.status.observed_generation = Some(observed.min(generation));
        case.link.status.state = word;
        case.link.status.last_synced_time = synced;
        case.link.status.link = record;
        case = match ready {
            "Ready" => case.ready(),
            // A reason of the inputs fits what was read.
            "NotReady" => {
                let reason = match before {
                    None => Reason::SecretNotFound,
                    Some(Content::Bad | Content::Keys(_)) => Reason::InvalidSecret,
                    Some(Content::Denied) => Reason::SecretAccessDenied,
                    Some(Content::Good { .. }) if reason.pace() == Pace::OnChange => {
                        Reason::EndpointNotAllowed
                    }
                    Some(Content::Good { .. }) if reason == Reason::Synced => Reason::NotSynced,
                    Some(Content::Good { .. }) => reason,
                };
                case.not_ready(reason, next)
            }
            "Unknown" => case.unknown(Reason::EndpointUnavailable, next.unwrap_or(5)),
            "Suspended" => {
                let mut case = case.paused();
                if let Step::Publish(status) = case.step() {
                    case.link.status = *status;
                }
                case.link.paused = false;
                case
            }
            _ => case,
        };
        if ready == "NotReady" || ready == "Unknown" {
            case.link.status.attempts = attempts;
        }
        if escalated && case.link.status.next_attempt_time.is_some() {
            case = case.now(now);
            case.link.status = match case.step() {
                Step::Publish(status) => *status,
                _ => case.link.status,
            };
        }
        case.link.status.last_handled_reconcile_at = reconcile;
        case.link.status.last_handled_relink_at = relink;
        case.link.reconcile_at = reconcile_at;
        case.link.relink_at = relink_at;
        if !unchanged {
            case = match content {
                Some(content) => case.secret(content),
                None => case.no_secret(),
            };
        }
        case.listed = listed;
        case.memory.answered = answered.map(at);
        if let Some((reason, since, attempts, next)) = failing {
            case = case.failing(reason, since, attempts, next);
        }
        case.jitter = jitter;
        case.now(now)
    })
}

/// The same, with a Secret that can be used.
fn good_case() -> impl Strategy<Value = Case> {
    any_case().prop_map(|case| if case.read().usable.is_ok() { case } else { case.holds("t1", "k1") })
}

fn held() -> impl Strategy<Value = Held> {
    let why = select(vec![HeldWhy::Turn, HeldWhy::RateLimited, HeldWhy::Unavailable]);
    (why, proptest::option::of((0..9 * HOUR).prop_map(at))).prop_map(|(why, until)| Held { why, until })
}

fn is_ready(told: &Story) -> bool {
    let conditions = told.case.link.status.conditions.as_ref();
    conditions.is_some_and(|conditions| conditions.is_true(ConditionType::Ready))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(
        mut case in any_case(), jitter: f64, now in any::<i32>(), answer in proptest::option::of(outcome()),
        call in select(vec![Call::Link, Call::Poll, Call::Adopt, Call::Unlink]), paused: bool, read: bool,
        (deleting, delete, held, another) in (any::<bool>(), any::<bool>(), proptest::option::of(held()), any::<bool>()),
    ) {
        if delete {
            case = case.delete();
        }
        if another {
            case = case.held_by_another();
        }
        case.held = held;
        case.jitter = jitter;
        case = case.now(i64::from(now));
        (case.link.paused, case.link.deleting) = (paused, deleting);
        case.answered = answer.map(|outcome| case.attempt(call, outcome));
        case.inputs = read.then(|| case.read());
        let _ = case.step();
    }

    #[test]
    fn with_good_answers_it_becomes_ready_and_then_rests(case in good_case()) {
        let mut told = story(case);
        // The watch tells at last, and where there is none, the next attempt or check does.
        told.case.listed = true;
        told.pass();
        let check = Did { reads: 1, polls: 1, ..NOTHING };
        prop_assert!((0..STEPS).any(|_| told.next() == check), "no rest: {:?}", told.case.link.status);
        prop_assert!(told.total.links <= 2, "{:?}", told.total);
        for _ in 0..3 {
            prop_assert_eq!(told.next(), check);
        }
        prop_assert!(is_ready(&told), "{:?}", told.case.link.status);
        let token = told.case.read().usable.ok().map(|fingerprints| fingerprints.token);
        prop_assert_eq!(told.case.known().token_fingerprint, token);
    }

    #[test]
    fn whatever_is_answered_and_changed_every_pass_ends_and_every_status_is_sound(
        case in any_case(),
        acts in proptest::collection::vec(
            (link_outcome(), poll_outcome(), 0..16u8, content(), value(), 0..2 * HOUR), 1..12,
        ),
        delete: bool, report: bool, another in held(),
    ) {
        let mut told = story(if delete { case.delete() } else { case });
        if report {
            told.then(Case::report);
        }
        told.pass();
        for (link, poll, act, content, value, later) in acts {
            (told.link, told.poll) = (link, poll);
            match act {
                0 => { told.then(Case::edited); }
                1 => { told.then(Case::relabelled); }
                2 => { told.case.link.reconcile_at = value; }
                3 => { told.case.link.relink_at = value; }
                4 => { told.case.link.paused = !told.case.link.paused; }
                5 => {
                    let suspended = told.case.link.spec.suspend == Some(true);
                    told.then(Case::edited).case.link.spec.suspend = Some(!suspended);
                }
                6 => { told.then(|case| match content { Some(content) => case.secret(content), None => case.no_secret() }); }
                7 => { told.restart(); }
                13 => {
                    let url = if told.case.link.base_url().is_some_and(|url| url.origin().as_str().contains("evil")) {
                        link_url()
                    } else {
                        "https://evil.example".to_owned()
                    };
                    told.then(|case| case.base_url(&url).edited());
                }
                8 if told.released.is_none() && delete => { told.then(Case::deleting); }
                9 => { told.case.holder = if told.case.holder.is_none() { told.case.clone().held_by_another().holder } else { None }; }
                10 => { told.case.held = if told.case.held.is_none() { Some(another) } else { None }; }
                11 => { told.unlink = failed(Reason::Unauthorized); }
                12 => { told.unlink = Outcome::Unlinked; }
                _ => { told.case.now = told.case.now.saturating_add(std::time::Duration::from_secs(later.unsigned_abs())).unwrap(); }
            }
            told.pass();
            // Nothing changed: nothing more is done.
            let again = told.pass();
            prop_assert_eq!(again, Did { reads: again.reads, ..NOTHING });
            if told.wait.is_some() {
                told.next();
            }
        }
    }

    #[test]
    fn nothing_is_done_while_suspended_or_not_allowed(case in any_case(), suspended: bool) {
        let case = if suspended { case.paused() } else { case.base_url("https://evil.example") };
        let mut told = story(case);
        let did = told.pass();
        prop_assert!(did.publishes <= 1);
        prop_assert_eq!((did.reads, did.links, did.polls), (0, 0, 0));
        prop_assert_eq!(told.wait, None);
    }
}

fn link_url() -> String {
    link().link.spec.base_url
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_day_in_which_everything_fails_is_paced_by_its_class(case in good_case(), reason in failing()) {
        let mut told = story(case).failing(&failed(reason));
        let begin = told.case.now.duration_since(at(0)).as_secs();
        told.pass();
        told.until(begin + DAY);
        let calls = i64::from(told.total.links + told.total.polls);
        // The longest wait, at its shortest; the waits up to it; and what was published before.
        let most = if reason.pace() == Pace::Slow { DAY * 10 / 9 / HOUR + 8 } else { DAY / (5 * MINUTE) + 12 };
        // A POST that is refused because of a link that may be ours is followed by a poll.
        let most = if reason == Reason::LinkExists { 2 * most } else { most };
        prop_assert!(calls <= most, "{reason}: {calls} calls");
        // A token that replaces another one is announced before each attempt.
        prop_assert!(i64::from(told.total.publishes) <= 2 * calls + 6, "{:?}", told.total);
    }

    #[test]
    fn a_day_of_any_two_answers_is_paced(case in good_case(), link in link_outcome(), poll in poll_outcome()) {
        let mut told = story(case).answers(link, poll);
        let begin = told.case.now.duration_since(at(0)).as_secs();
        told.pass();
        told.until(begin + DAY);
        let calls = i64::from(told.total.links + told.total.polls);
        // The most that is wanted: a link that the POST calls SYNCED and the poll does not, over and over.
        prop_assert!(calls <= 22 * DAY / HOUR, "{:?}", told.total);
    }

    #[test]
    fn a_rate_limit_is_kept(case in good_case(), seconds in 60..6 * HOUR) {
        let mut told = story(case).failing(&limited(seconds.unsigned_abs()));
        told.case.listed = true;
        told.pass();
        for _ in 0..STEPS {
            if told.total.links + told.total.polls > 0 { break; }
            told.next();
        }
        let called = told.total;
        let begin = told.case.now.duration_since(at(0)).as_secs();
        told.then(|case| case.edited().reconcile_at("9").relink_at("9")).pass();
        told.until(begin + seconds - 1);
        prop_assert_eq!((told.total.links, told.total.polls), (called.links, called.polls));
    }

    #[test]
    fn a_link_that_stays_not_synced_is_asked_about_at_its_interval(case in good_case(), no_link: bool) {
        let poll = if no_link { Outcome::NoLink } else { state("NOT_SYNCED") };
        let mut told = story(case).answers(Outcome::Accepted(Some("NOT_SYNCED".into())), poll);
        let begin = told.case.now.duration_since(at(0)).as_secs();
        told.pass();
        told.until(begin + DAY);
        // Each relink begins at 5 s again.
        prop_assert!(told.total.links <= 14, "{:?}", told.total);
        prop_assert!(i64::from(told.total.polls) <= DAY * 10 / 9 / INTERVAL + 8 * i64::from(told.total.links + 2), "{:?}", told.total);
    }
}
