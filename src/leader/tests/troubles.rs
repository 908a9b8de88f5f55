//! What goes wrong: lost answers, an API server that is away or refuses, somebody else's writes, time that has passed.

use std::iter::repeat_n;

use k8s_openapi::jiff::Timestamp;
use tokio::time::advance;

use super::super::Loss;
use super::super::api::LeaseError;
use super::super::evaluate::{Timing, held, released};
use super::super::fake::fates;
use super::*;

/// Waits until the claim is lost, and gives the reason and the time it took.
async fn lost(candidate: Candidate) -> (Loss, Duration) {
    let begin = Instant::now();
    let loss = timeout(Duration::from_mins(2), candidate.claim.lost()).await.expect("the claim is lost");
    assert!(!candidate.claim.holds() && !candidate.leads());
    let elapsed = begin.elapsed();
    candidate.running.await.unwrap();
    (loss, elapsed)
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_costs_an_attempt_and_not_the_lease() {
    // Each of the first three requests, and then one in the course of renewing.
    for (served, verb) in [(0, "get"), (1, "create"), (2, "update"), (3, "update")] {
        let api = FakeApi::default();
        let row: Vec<_> = repeat_n(Fate::Served, served).chain([Fate::Unanswered]).collect();
        let candidate = Candidate::start(api.client(fates(row, Fate::Served)), "a");
        assert!(candidate.acquires().await <= RETRY + DURATION / 5 + AT_ONCE, "{verb}");
        for _ in 0..60 {
            sleep(Duration::from_secs(1)).await;
            assert!(candidate.claim.holds(), "{verb}");
        }
        assert_eq!(api.requests()[served], verb);
        let spec = api.lease().unwrap().spec.unwrap();
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("a"), Some(0)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_hangs_ends_the_claim_ten_seconds_after_the_last_renewal_began() {
    for fate in [Fate::Lost, Fate::Unanswered, Fate::Late(Duration::from_secs(40))] {
        let (api, way) = (FakeApi::default(), Way::new());
        let candidate = Candidate::start(way.client(&api), "a");
        let begin = Instant::now();
        candidate.acquires().await;
        // The renewal of the second second is the last.
        sleep(RETRY + RETRY / 2).await;
        let renewed = begin + RETRY;
        way.set(fate);
        let claim = candidate.claim.clone();
        let (loss, _) = lost(candidate).await;
        let after = renewed.elapsed();
        assert!((RENEW_DEADLINE..=RENEW_DEADLINE + AT_ONCE).contains(&after), "{fate:?}: {after:?}");
        let Loss::Expired { last, .. } = &loss else { panic!("{loss:?}") };
        assert_eq!(*last, Some(LeaseError::Timeout));
        assert_eq!(
            loss.to_string(),
            "the lease operators/migrationlink-operator could not be renewed for 10 s (the API server did not answer \
             in time): another copy of the operator may write from now on, so this one ends"
        );
        assert_eq!(claim.deadline(Duration::ZERO), None);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_end_before_the_deadline_cost_nothing() {
    for fate in [Fate::Lost, Fate::Refused(500), Fate::Refused(403), Fate::Refused(409), Fate::Refused(429)] {
        let (api, way) = (FakeApi::default(), Way::new());
        let candidate = Candidate::start(way.client(&api), "a");
        candidate.acquires().await;
        for _ in 0..10 {
            sleep(RETRY * 2).await;
            way.set(fate);
            sleep(Duration::from_secs(5)).await;
            way.set(Fate::Served);
            assert!(candidate.claim.holds(), "{fate:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_last_end_the_claim() {
    for (code, error) in [(500, LeaseError::Status(500)), (403, LeaseError::Forbidden("get"))] {
        let (api, way) = (FakeApi::default(), Way::new());
        let candidate = Candidate::start(way.client(&api), "a");
        candidate.acquires().await;
        way.set(Fate::Refused(code));
        let (loss, after) = lost(candidate).await;
        assert!(after <= RENEW_DEADLINE, "{after:?}");
        assert!(matches!(loss, Loss::Expired { last, .. } if last == Some(error)), "{loss:?}");
    }
}

/// From the answer on it would be too long: the others count from what they saw before that.
#[tokio::test(start_paused = true)]
async fn the_claim_is_counted_from_the_begin_of_the_request_however_slow_the_answer() {
    let slow = Duration::from_millis(2900);
    let api = FakeApi::default();
    let candidate = Candidate::start(api.client(move |_| Fate::Slow(slow)), "a");
    // Read, make, write.
    let acquired = candidate.acquires().await;
    assert!((slow * 3..=slow * 3 + AT_ONCE).contains(&acquired), "{acquired:?}");
    let end = candidate.claim.deadline(Duration::from_hours(1)).unwrap();
    let of_claim = (end - Instant::now()) + slow;
    assert!(of_claim <= RENEW_DEADLINE && of_claim + AT_ONCE >= RENEW_DEADLINE, "{of_claim:?}");
    for _ in 0..60 {
        sleep(Duration::from_secs(1)).await;
        assert!(candidate.claim.holds(), "slow is not away");
    }
}

/// The other one sees the last renewal when its answer is lost already, and has a third of the duration to spare.
#[tokio::test(start_paused = true)]
async fn who_is_cut_off_stops_before_the_other_one_begins() {
    let (api, way) = (FakeApi::default(), Way::new());
    let first = Candidate::start(way.client(&api), "a");
    first.acquires().await;
    let second = Candidate::sound(&api, "b");
    sleep(RETRY * 4).await;
    way.set(Fate::Unanswered);
    let mut pause = Duration::ZERO;
    while !second.claim.holds() {
        sleep(Duration::from_millis(10)).await;
        assert!(!(first.claim.holds() && second.claim.holds()));
        if !first.claim.holds() {
            pause += Duration::from_millis(10);
        }
    }
    assert!(RENEW_DEADLINE + pause >= DURATION, "{pause:?}");
    assert_eq!(api.holder().as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn who_was_stopped_for_longer_than_the_claim_sees_it_before_anything_else_is_done() {
    let api = FakeApi::default();
    let candidate = Candidate::sound(&api, "a");
    candidate.acquires().await;
    sleep(RETRY * 4).await;
    api.requests();
    // Time goes by, and no task gets to run.
    advance(Duration::from_secs(20)).await;
    assert_eq!(candidate.claim.deadline(Duration::ZERO), None);
    let (loss, after) = lost(candidate).await;
    assert!(matches!(loss, Loss::Expired { last: None, .. }), "{loss:?}");
    assert!(after <= AT_ONCE, "{after:?}");
    assert!(loss.to_string().contains("this process stood still"), "{loss}");
    assert_eq!(api.requests(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_took_emptied_or_deleted_is_lost_with_the_next_renewal() {
    let timing = Timing { duration: DURATION };
    let taken = |lease| held(lease, "z", timing, Timestamp::now());
    for (what, words) in
        [("taken", "was taken by z"), ("emptied", "deleted or emptied"), ("deleted", "deleted or emptied")]
    {
        let api = FakeApi::default();
        let candidate = Candidate::sound(&api, "a");
        candidate.acquires().await;
        sleep(RETRY * 3 / 2).await;
        let lease = api.lease().unwrap();
        api.put(match what {
            "taken" => Some(taken(lease)),
            "emptied" => Some(released(lease, Timestamp::now())),
            _ => None,
        });
        let after = api.lease();
        let (loss, elapsed) = lost(candidate).await;
        assert!(loss.to_string().contains(words), "{what}: {loss}");
        assert!(elapsed <= RETRY * 2, "{elapsed:?}");
        assert_eq!(api.lease(), after, "nothing was written any more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_said_and_the_lease_taken_as_soon_as_it_is_given() {
    for (verb, refused) in [("get", true), ("create", true), ("update", true), ("watch", false)] {
        let (api, way) = (FakeApi::default(), Way::new());
        let fate = way.0.clone();
        way.set(Fate::Refused(403));
        let client =
            api.client(move |asked| if asked == verb { *fate.lock().unwrap() } else { Fate::Served });
        let other = (verb == "watch").then(|| Candidate::sound(&api, "other"));
        if let Some(other) = &other {
            other.acquires().await;
        }
        let candidate = Candidate::start(client, "a");
        sleep(Duration::from_mins(1)).await;
        assert!(!candidate.claim.holds());
        let said = candidate.claim.refused();
        assert_eq!(said.is_some(), refused, "{verb}");
        if let Some(said) = said {
            let sentence = format!("the operator's role lacks {verb} on leases (see deploy/rbac.yaml)");
            assert!(said.contains(&sentence) && said.contains("operators/migrationlink-operator"), "{said}");
            assert_eq!(api.holder(), None);
            let asked = api.requests().iter().filter(|asked| **asked == verb).count();
            assert!((30..=31).contains(&asked), "{asked}");
        }
        way.set(Fate::Served);
        if let Some(other) = other {
            other.stop().await;
        }
        assert!(candidate.acquires().await <= RETRY, "{verb}");
        assert_eq!(candidate.claim.refused(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_watch_the_lease_is_read_every_two_seconds() {
    let api = FakeApi::default();
    let first = Candidate::sound(&api, "a");
    first.acquires().await;
    let client = api.client(|verb| if verb == "watch" { Fate::Refused(403) } else { Fate::Served });
    let second = Candidate::start(client, "b");
    sleep(Duration::from_secs(21)).await;
    api.requests();
    sleep(Duration::from_mins(1)).await;
    let reads = api.requests().iter().filter(|verb| **verb == "get").count();
    assert!((29..=31).contains(&reads), "{reads}");
    first.stop().await;
    assert!(second.acquires().await <= RETRY + AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_says_nothing_any_more_takes_no_lease_from_its_holder() {
    let api = FakeApi::default();
    let first = Candidate::sound(&api, "a");
    first.acquires().await;
    // It begins, and then not a line comes through.
    let deaf = FakeApi::default();
    deaf.put(api.lease());
    let (sound, silent) = (api.client(|_| Fate::Served), deaf.client(|_| Fate::Served));
    let client = Client::new(
        tower::service_fn(move |request: hyper::Request<kube::client::Body>| {
            let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let client = if watch { silent.clone() } else { sound.clone() };
            async move { client.send(request).await }
        }),
        "default",
    );
    let second = Candidate::start(client, "b");
    for _ in 0..240 {
        sleep(Duration::from_millis(500)).await;
        assert!(first.claim.holds() && !second.claim.holds());
    }
    first.stop().await;
    assert!(second.acquires().await <= DURATION + RETRY * 2);
}

#[tokio::test(start_paused = true)]
async fn giving_the_lease_back_ends_within_two_seconds_and_not_later() {
    for fate in [Fate::Lost, Fate::Unanswered, Fate::Refused(500)] {
        let (api, way) = (FakeApi::default(), Way::new());
        let candidate = Candidate::start(way.client(&api), "a");
        candidate.acquires().await;
        way.set(fate);
        let begin = Instant::now();
        candidate.stop().await;
        assert!(begin.elapsed() <= Duration::from_secs(2) + AT_ONCE, "{fate:?}");
    }
}

/// Told to stop while a renewal is under way, whose answer nobody waits for any more.
#[tokio::test(start_paused = true)]
async fn the_lease_is_given_back_though_a_renewal_is_under_way() {
    let (api, way) = (FakeApi::default(), Way::new());
    let candidate = Candidate::start(way.client(&api), "a");
    candidate.acquires().await;
    way.set(Fate::Unanswered);
    let before = api.lease().unwrap().metadata.resource_version;
    while api.lease().unwrap().metadata.resource_version == before {
        sleep(Duration::from_millis(10)).await;
    }
    way.set(Fate::Served);
    candidate.stop().await;
    assert_eq!(api.holder(), None);
}
