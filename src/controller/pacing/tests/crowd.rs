//! A thousand links through queue and pacer, with workers as the controller has them, on a clock that stands still
//! while somebody works.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;

use super::*;

const LINKS: usize = 1000;
const LATENCY: Duration = Duration::from_millis(20);

/// What the endpoint answers at a time since the start.
type Server = fn(Duration) -> Verdict;

/// What came of it.
#[derive(Debug, Default)]
struct Report {
    /// Calls, by when they began.
    calls: Vec<Duration>,
    /// The most at the same time.
    most: usize,
    /// Passes over links, those included that had to wait.
    passes: usize,
    /// When the last link was answered.
    end: Duration,
}

impl Report {
    /// Calls that began in that time.
    fn between(&self, from: u64, to: u64) -> usize {
        let span = Duration::from_secs(from)..Duration::from_secs(to);
        self.calls.iter().filter(|time| span.contains(*time)).count()
    }
}

/// Each link calls until it is answered; one that fails tries again a minute later.
async fn crowd(pacing: Pacing, server: Server) -> Report {
    let (pacer, queue) = (pacer(pacing), Queue::default());
    let origin = origin("om");
    let [credential] = credentials(&origin);
    let start = Instant::now();
    let report = Mutex::new(Report::default());
    let (in_flight, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for n in 0..LINKS {
        queue.wake(&key(&n), Urgency::Backlog);
    }
    let worker = async || {
        loop {
            let (key, urgency) = queue.next().await;
            report.lock().unwrap().passes += 1;
            let now = Instant::now();
            let permit = match pacer.admit(&key, urgency, &origin, credential, now) {
                Admission::Granted(permit) => permit,
                Admission::Held(_) => {
                    queue.done(&key, None);
                    continue;
                }
            };
            {
                let mut report = report.lock().unwrap();
                report.calls.push(now - start);
                report.most = report.most.max(in_flight.fetch_add(1, Ordering::Relaxed) + 1);
            }
            tokio::time::sleep(LATENCY).await;
            in_flight.fetch_sub(1, Ordering::Relaxed);
            let now = Instant::now();
            let verdict = server(now - start);
            permit.done(verdict, now);
            let retry = (verdict != Verdict::Answered).then(|| now + Duration::from_mins(1));
            queue.done(&key, retry);
            if retry.is_none() && answered.fetch_add(1, Ordering::Relaxed) + 1 == LINKS {
                report.lock().unwrap().end = now - start;
            }
        }
    };
    let ended = async {
        while answered.load(Ordering::Relaxed) < LINKS {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = ended => {}
        () = pacer.run(&queue) => {}
        _ = join_all((0..64).map(|_| worker())) => {}
        () = tokio::time::sleep(Duration::from_hours(10)) => panic!("{:?}", report.lock()),
    }
    assert_eq!(pacer.held(), [("turn", 0), ("rate_limited", 0), ("unavailable", 0)]);
    report.into_inner().unwrap()
}

fn no_rates() -> Pacing {
    Pacing { origin_concurrency: 32, ..FOUR }
}

#[tokio::test(start_paused = true)]
async fn a_healthy_endpoint_is_used_to_its_limit_and_no_link_is_woken_in_vain() {
    let report = crowd(no_rates(), |_| Verdict::Answered).await;
    assert_eq!((report.calls.len(), report.most), (LINKS, 32));
    assert!(report.passes <= 2 * LINKS, "each once, and once more if it had to wait: {}", report.passes);
    let rounds = u32::try_from(LINKS.div_ceil(32)).unwrap();
    assert!(report.end <= LATENCY * (rounds + 1), "{:?}", report.end);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_links_of_a_limited_credential_cost_one_probe() {
    let report = crowd(no_rates(), |time| {
        let left = Duration::from_mins(5).saturating_sub(time);
        if left.is_zero() { Verdict::Answered } else { Verdict::Limited(Some(left)) }
    })
    .await;
    assert_eq!(report.between(0, 1), 32, "on their way at once");
    assert_eq!(report.between(1, 300), 0, "the server asked for it");
    assert_eq!(report.calls.len(), 32 + LINKS, "the probe, and then each once");
    let first = report.calls[32];
    assert!(report.calls[33] >= first + LATENCY, "one alone");
    let last_rounds = report.calls.iter().filter(|time| **time == first + LATENCY).count();
    assert_eq!(last_rounds, 2, "then a ramp");
    assert!(report.end < Duration::from_secs(302), "{:?}", report.end);
    // Each once, once more if it had to wait, and once to hear of the limit.
    assert!(report.passes <= report.calls.len() + 2 * LINKS, "{}", report.passes);
}

#[tokio::test(start_paused = true)]
async fn with_a_rate_a_limited_credential_comes_back_at_that_rate() {
    let pacing = Pacing { api_rate: rate("10/s"), ..no_rates() };
    let report = crowd(pacing, |time| {
        let left = Duration::from_mins(5).saturating_sub(time);
        if left.is_zero() { Verdict::Answered } else { Verdict::Limited(Some(left)) }
    })
    .await;
    assert_eq!((report.between(0, 1), report.between(1, 300)), (10, 0));
    for second in 300..390 {
        let calls = report.between(second, second + 1);
        assert!((8..=11).contains(&calls), "{calls} in second {second}");
    }
    assert!(report.end < Duration::from_secs(405), "{:?}", report.end);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_down_is_called_by_one_at_a_time_and_by_all_when_it_is_back() {
    let report = crowd(no_rates(), |time| {
        if time < Duration::from_mins(10) { Verdict::Unavailable } else { Verdict::Answered }
    })
    .await;
    let in_vain = report.between(0, 600);
    assert!((32..32 + 20).contains(&in_vain), "those on their way, and a probe a minute: {in_vain}");
    assert_eq!(report.most, 32);
    assert!(report.end < Duration::from_secs(600 + 60 + 5), "{:?}", report.end);
    assert_eq!(report.calls.len(), in_vain + LINKS);
}

/// Some links fail for a reason of their own, such as a path where nothing answers, and a person keeps asking for them.
#[tokio::test(start_paused = true)]
async fn links_that_fail_by_themselves_do_not_hold_up_those_that_would_be_answered() {
    const GOOD: usize = 200;
    let (pacer, queue) = (pacer(no_rates()), Queue::default());
    let origin = origin("om");
    let ids: [CredentialId; 21] = credentials(&origin);
    let start = Instant::now();
    let answered = Mutex::new(Vec::new());
    for n in 0..20 {
        queue.wake(&key(&format!("bad-{n}")), Urgency::Change);
    }
    for n in 0..GOOD {
        queue.wake(&key(&format!("good-{n}")), Urgency::Routine);
    }
    let worker = async || {
        loop {
            let (link, urgency) = queue.next().await;
            let bad = link.name.strip_prefix("bad-").and_then(|n| n.parse::<usize>().ok());
            let credential = ids[bad.unwrap_or(20)];
            let Admission::Granted(permit) = pacer.admit(&link, urgency, &origin, credential, Instant::now())
            else {
                queue.done(&link, None);
                continue;
            };
            tokio::time::sleep(LATENCY).await;
            permit.done(if bad.is_some() { Verdict::Unavailable } else { Verdict::Answered }, Instant::now());
            queue.done(&link, None);
            if bad.is_some() {
                queue.wake(&link, Urgency::Change);
            } else {
                answered.lock().unwrap().push(Instant::now());
            }
        }
    };
    let ended = async {
        while answered.lock().unwrap().len() < GOOD {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = ended => {}
        () = pacer.run(&queue) => {}
        _ = join_all((0..64).map(|_| worker())) => {}
        () = tokio::time::sleep(Duration::from_hours(1)) => {
            panic!("{} of {GOOD} within an hour", answered.lock().unwrap().len());
        }
    }
    let last = *answered.lock().unwrap().last().unwrap() - start;
    assert!(last <= Duration::from_mins(5), "{last:?}");
}
