//! The rules by themselves: the pure function, and the claim.

use futures::FutureExt;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use super::super::evaluate::{Seen, Step, Timing, evaluate, held, released};
use super::super::identity;
use super::*;

const TIMING: Timing = Timing { duration: DURATION };

fn seen(holder: Option<&str>, at: Instant) -> Seen {
    let lease = match holder {
        Some(holder) => held(Lease::default(), holder, TIMING, Timestamp::UNIX_EPOCH),
        None => released(Lease::default(), Timestamp::UNIX_EPOCH),
    };
    Seen { lease: Some(lease), at }
}

#[test]
fn the_times_are_those_of_client_go() {
    assert_eq!(TIMING.renew_deadline(), RENEW_DEADLINE);
    assert_eq!(TIMING.retry(), RETRY);
    // client-go has 5 s here, so that one call that hangs and the next one are all there is.
    assert_eq!(TIMING.call(), Duration::from_secs(3));
}

#[test]
fn what_comes_next() {
    let now = Instant::now() + Duration::from_hours(1);
    let ago = |seconds| now - Duration::from_secs(seconds);
    let within = Some(now + Duration::from_secs(1));
    for (what, holder, seen_at, claim, step) in [
        ("free", None, now, None, Step::Acquire),
        ("ours, and nobody told us", Some("me"), now, None, Step::Renew),
        ("ours", Some("me"), ago(3600), within, Step::Renew),
        ("ours, but the claim is over", Some("me"), now, Some(now), Step::Lost),
        ("taken", Some("other"), now, within, Step::Lost),
        ("emptied", None, now, within, Step::Lost),
        ("another's", Some("other"), now, None, Step::Wait(DURATION)),
        ("another's for a while", Some("other"), ago(14), None, Step::Wait(Duration::from_secs(1))),
        ("expired", Some("other"), ago(15), None, Step::Acquire),
        ("long expired", Some("other"), ago(3600), None, Step::Acquire),
        ("nobody's name", Some(""), now, None, Step::Acquire),
    ] {
        assert_eq!(evaluate(Some(&seen(holder, seen_at)), "me", claim, TIMING, now), step, "{what}");
    }
    let none = Seen { lease: None, at: now };
    assert_eq!(evaluate(Some(&none), "me", None, TIMING, now), Step::Acquire);
    assert_eq!(evaluate(Some(&none), "me", within, TIMING, now), Step::Lost);
    for (claim, step) in [(None, Step::Read), (within, Step::Read), (Some(ago(1)), Step::Lost)] {
        assert_eq!(evaluate(None, "me", claim, TIMING, now), step);
    }
}

proptest! {
    /// Nobody takes another's lease before its duration is over, and nobody renews beyond a claim.
    #[test]
    fn no_lease_is_taken_too_early(
        holder in prop::option::of(prop::sample::select(vec!["me", "other", ""])),
        age in 0_u64..40_000,
        claim in prop::option::of(-20_000_i64..20_000),
        known in any::<bool>(),
    ) {
        let now = Instant::now() + Duration::from_hours(1);
        let at = now - Duration::from_millis(age);
        let end = claim.map(|claim| if claim < 0 {
            now - Duration::from_millis(claim.unsigned_abs())
        } else {
            now + Duration::from_millis(claim.unsigned_abs())
        });
        let seen = seen(holder, at);
        let step = evaluate(known.then_some(&seen), "me", end, TIMING, now);
        match step {
            Step::Acquire => {
                prop_assert!(end.is_none() && holder != Some("me"));
                prop_assert!(holder != Some("other") || age >= 15_000);
            }
            Step::Renew => prop_assert!(holder == Some("me") && claim.is_none_or(|claim| claim > 0)),
            Step::Wait(left) => {
                prop_assert!(!left.is_zero());
                prop_assert_eq!(at + DURATION, now + left);
            }
            Step::Lost => prop_assert!(claim.is_some_and(|claim| claim <= 0 || holder != Some("me"))),
            Step::Read => prop_assert!(!known),
        }
    }
}

#[test]
fn a_new_holder_counts_and_the_same_one_does_not() {
    let time = |second| Timestamp::from_second(second).unwrap();
    let lease = held(Lease::default(), "a", TIMING, time(1));
    let lease = held(lease, "a", TIMING, time(2));
    let spec = lease.spec.clone().unwrap();
    assert_eq!(spec.acquire_time.unwrap().0, time(1));
    assert_eq!(spec.renew_time.unwrap().0, time(2));
    assert_eq!(spec.lease_transitions, Some(0));
    let spec = held(lease, "b", TIMING, time(3)).spec.unwrap();
    assert_eq!(spec.acquire_time.unwrap().0, time(3));
    assert_eq!(spec.lease_transitions, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_never_reaches_past_the_claim() {
    let now = Instant::now();
    let claim = Claim::until(now + Duration::from_secs(10));
    let seconds = |claim: &Claim, seconds| {
        let deadline = claim.deadline(Duration::from_secs(seconds))?;
        Some((deadline - now).as_secs())
    };
    assert_eq!((seconds(&claim, 3), seconds(&claim, 30)), (Some(3), Some(10)));
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!((seconds(&claim, 1), seconds(&claim, 3)), (Some(10), Some(10)));
    assert_eq!(claim.ended().now_or_never(), None);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(seconds(&claim, 0), None);
    assert!(!claim.holds());
    assert_eq!(claim.ended().now_or_never(), Some(()));
}

#[tokio::test(start_paused = true)]
async fn without_an_election_everything_may_be_written_for_ever() {
    let claim = Claim::always();
    claim.acquired().await;
    tokio::time::advance(Duration::from_hours(10_000)).await;
    assert_eq!(claim.deadline(RETRY), Some(Instant::now() + RETRY));
    assert_eq!(claim.lost().now_or_never(), None);
    assert_eq!(claim.ended().now_or_never(), None);
    assert_eq!(claim.refused(), None);
}

#[test]
fn no_two_processes_have_the_same_name() {
    let (first, second) = (identity(), identity());
    assert_ne!(first, second);
    let (host, random) = first.rsplit_once('_').unwrap();
    assert!(!host.is_empty() && random.len() == 16, "{first}");
}
