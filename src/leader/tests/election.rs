//! Who gets the lease, and when.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::super::evaluate::{Timing, held};
use super::*;

fn held_by(holder: &str, time: Timestamp) -> Lease {
    let mut lease = held(Lease::default(), holder, Timing { duration: DURATION }, time);
    lease.metadata.name = Some("migrationlink-operator".to_owned());
    lease
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_has_made_yet_is_made_and_held_at_once() {
    let api = FakeApi::default();
    let candidate = Candidate::sound(&api, "a");
    assert!(!candidate.claim.holds() && !candidate.leads());
    assert!(candidate.acquires().await <= AT_ONCE);
    assert!(candidate.leads());
    assert_eq!(api.requests(), ["get", "create", "update"]);
    let spec = api.lease().unwrap().spec.unwrap();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("a"), Some(0)));
    assert_eq!(spec.lease_duration_seconds, Some(15));
    assert!(spec.acquire_time.is_some() && spec.acquire_time == spec.renew_time, "{spec:?}");
}

#[tokio::test(start_paused = true)]
async fn the_holder_renews_every_two_seconds_with_one_request_and_the_other_asks_for_nothing() {
    let api = FakeApi::default();
    let (first, second) = (Candidate::sound(&api, "a"), Candidate::sound(&api, "b"));
    first.acquires().await;
    sleep(RETRY * 5 / 2).await;
    let before = api.lease().unwrap().spec.unwrap();
    api.requests();
    sleep(Duration::from_mins(4)).await;
    assert!(first.claim.holds() && !second.claim.holds());
    let requests = api.requests();
    assert_eq!(requests, vec!["update"; 120]);
    let after = api.lease().unwrap().spec.unwrap();
    assert!(after.acquire_time == before.acquire_time && after.renew_time > before.renew_time);
    assert_eq!(after.lease_transitions, Some(0));
}

/// A call that takes longer than a claim lasts goes on for as long as the claim is renewed.
#[tokio::test(start_paused = true)]
async fn a_claim_that_is_renewed_has_not_ended_and_one_that_is_not_has() {
    let api = FakeApi::default();
    let way = Way::new();
    let candidate = Candidate::start(way.client(&api), "a");
    candidate.acquires().await;
    assert!(timeout(Duration::from_mins(2), candidate.claim.ended()).await.is_err());
    let begin = Instant::now();
    way.set(Fate::Lost);
    candidate.claim.ended().await;
    let after = begin.elapsed();
    assert!(after + RETRY >= RENEW_DEADLINE && after <= RENEW_DEADLINE + AT_ONCE, "{after:?}");
    assert!(!candidate.claim.holds());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_taken_at_once() {
    let api = FakeApi::default();
    let first = Candidate::sound(&api, "a");
    first.acquires().await;
    let second = Candidate::sound(&api, "b");
    sleep(Duration::from_secs(31)).await;
    let claim = first.claim.clone();
    first.stop().await;
    assert!(!claim.holds());
    assert!(second.acquires().await <= AT_ONCE);
    let spec = api.lease().unwrap().spec.unwrap();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("b"), Some(1)));
    assert_eq!(spec.lease_duration_seconds, Some(15));
}

/// What the first one sent before it was cut off may still take effect.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_left_is_taken_when_it_expires() {
    let api = FakeApi::default();
    let first = Candidate::sound(&api, "a");
    first.acquires().await;
    let second = Candidate::sound(&api, "b");
    sleep(Duration::from_secs(31)).await;
    api.requests();
    first.leave().await;
    assert_eq!(api.requests(), Vec::<String>::new());
    let waited = second.acquires().await;
    assert!(waited + RETRY >= DURATION && waited <= DURATION + AT_ONCE, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_given_back_waits_for_the_next_one() {
    let api = FakeApi::default();
    let first = Candidate::sound(&api, "a");
    first.acquires().await;
    first.stop().await;
    let spec = api.lease().unwrap().spec.unwrap();
    assert_eq!((spec.holder_identity, spec.lease_duration_seconds), (None, Some(1)));
    api.requests();
    let second = Candidate::sound(&api, "b");
    assert!(second.acquires().await <= AT_ONCE);
    assert_eq!(api.requests(), ["get", "update"]);
}

#[tokio::test(start_paused = true)]
async fn who_never_held_it_gives_nothing_back_and_asks_for_nothing() {
    let api = FakeApi::default();
    let first = Candidate::sound(&api, "a");
    first.acquires().await;
    let second = Candidate::sound(&api, "b");
    sleep(RETRY / 2).await;
    api.requests();
    second.stop().await;
    assert_eq!((api.requests(), api.holder().as_deref()), (vec![], Some("a")));
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_the_other_one_waits_for_the_whole_duration_and_no_longer() {
    let api = FakeApi::default();
    let first = Candidate::sound(&api, "a");
    first.acquires().await;
    let second = Candidate::sound(&api, "b");
    sleep(Duration::from_secs(7)).await;
    first.kill();
    let waited = second.acquires().await;
    assert!(waited + RETRY >= DURATION && waited <= DURATION + AT_ONCE, "{waited:?}");
}

/// What another copy wrote, it wrote before the version with which this one's claim began.
#[tokio::test(start_paused = true)]
async fn who_takes_over_knows_since_when_and_who_is_the_first_has_nobody_before() {
    let api = FakeApi::default();
    let first = Candidate::sound(&api, "a");
    first.acquires().await;
    assert_eq!(first.claim.since(), None);
    let second = Candidate::sound(&api, "b");
    first.stop().await;
    second.acquires().await;
    let since = second.claim.since();
    assert!(since.is_some());
    sleep(2 * DURATION).await;
    assert_eq!(second.claim.since(), since, "a renewal changes nothing");
}

/// What the lease says of the time is another machine's clock.
#[tokio::test(start_paused = true)]
async fn an_old_lease_is_waited_for_from_the_moment_it_is_seen_whatever_times_it_has() {
    let now = Timestamp::now();
    for hours in [-1_000_000, -1, 0, 1, 1_000_000] {
        let api = FakeApi::default();
        api.put(Some(held_by("gone", now + SignedDuration::from_hours(hours))));
        let waited = Candidate::sound(&api, "a").acquires().await;
        assert!((DURATION..=DURATION + AT_ONCE).contains(&waited), "{hours} h: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_changes_nothing() {
    static YEAR: AtomicU8 = AtomicU8::new(0);
    fn jumping() -> Timestamp {
        let years = [50, 1, 20, 3][usize::from(YEAR.fetch_add(1, Ordering::Relaxed) % 4)];
        Timestamp::from_second(years * 31_536_000).unwrap()
    }
    let api = FakeApi::default();
    let [first, second] = ["a", "b"].map(|identity| {
        let (mut elector, claim, metrics) = elector(api.client(|_| Fate::Served), identity);
        elector.set_clock(jumping);
        Candidate::run(elector, claim, metrics)
    });
    first.acquires().await;
    for _ in 0..600 {
        sleep(Duration::from_millis(500)).await;
        assert!(first.claim.holds() && !second.claim.holds());
    }
    first.stop().await;
    assert!(second.acquires().await <= AT_ONCE);
}

/// The duration that counts is the holder's: it may have been started with another flag.
#[tokio::test(start_paused = true)]
async fn the_holders_own_duration_is_waited_for() {
    for (seconds, waits) in [(Some(40), 40), (Some(5), 5), (Some(0), 15), (None, 15)] {
        let api = FakeApi::default();
        let mut lease = held_by("gone", Timestamp::now());
        lease.spec.as_mut().unwrap().lease_duration_seconds = seconds;
        api.put(Some(lease));
        let waited = Candidate::sound(&api, "a").acquires().await;
        let expected = Duration::from_secs(waits);
        assert!((expected..=expected + AT_ONCE).contains(&waited), "{seconds:?}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_labels_and_annotations_stay_and_make_no_lease_longer() {
    let api = FakeApi::default();
    let mut lease = held_by("gone", Timestamp::now());
    lease.metadata.labels = Some([("team".to_owned(), "a".to_owned())].into());
    api.put(Some(lease));
    let candidate = Candidate::sound(&api, "a");
    sleep(Duration::from_secs(9)).await;
    let mut lease = api.lease().unwrap();
    lease.metadata.annotations = Some([("note".to_owned(), "b".to_owned())].into());
    api.put(Some(lease));
    let waited = candidate.acquires().await;
    assert!(waited + Duration::from_secs(9) <= DURATION + AT_ONCE, "{waited:?}");
    let metadata = api.lease().unwrap().metadata;
    assert_eq!(metadata.labels.unwrap()["team"], "a");
    assert_eq!(metadata.annotations.unwrap()["note"], "b");
}

#[tokio::test(start_paused = true)]
async fn of_many_that_begin_at_once_one_gets_it_and_each_of_the_others_in_its_turn() {
    let api = FakeApi::default();
    let mut candidates: Vec<_> = (0..5).map(|n| Candidate::sound(&api, &n.to_string())).collect();
    while !candidates.is_empty() {
        sleep(RETRY * 2).await;
        let holders: Vec<_> = (0..candidates.len()).filter(|n| candidates[*n].claim.holds()).collect();
        assert_eq!(holders.len(), 1);
        candidates.remove(holders[0]).stop().await;
    }
    assert_eq!(api.lease().unwrap().spec.unwrap().lease_transitions, Some(4));
}

#[test]
fn times_are_written_as_the_api_server_wants_them() {
    let time: Timestamp = "2026-01-02T03:04:05.678901Z".parse().unwrap();
    let spec = held_by("a", time).spec.unwrap();
    assert_eq!(spec.renew_time, Some(MicroTime(time)));
    assert_eq!(serde_json::to_value(&spec).unwrap()["renewTime"], "2026-01-02T03:04:05.678901Z");
}
