//! A few links, step by step.

use super::*;

/// One origin with one credential, and a clock.
struct Bench {
    pacer: Pacer,
    origin: Origin,
    credential: CredentialId,
    now: Instant,
}

impl Bench {
    fn new(pacing: Pacing) -> Self {
        let origin = origin("om");
        let [credential] = credentials(&origin);
        Self { pacer: pacer(pacing), origin, credential, now: Instant::now() }
    }

    fn one_at_a_time() -> Self {
        Self::new(Pacing { origin_concurrency: 1, ..FOUR })
    }

    fn admit(&self, name: &str, urgency: Urgency) -> Admission {
        self.pacer.admit(&key(name), urgency, &self.origin, self.credential, self.now)
    }

    fn change(&self, name: &str) -> Admission {
        self.admit(name, Urgency::Change)
    }

    fn look(&self, name: &str) -> Option<Held> {
        self.pacer.look(&key(name), &self.origin, Some(self.credential), self.now)
    }

    fn wakes(&self) -> Vec<String> {
        self.pacer.wakes(self.now)
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Ends the call that runs, and lets those that are woken go one after the other: their order.
    fn order(&self, mut running: Permit) -> Vec<String> {
        let mut order = Vec::new();
        loop {
            running.done(Verdict::Answered, self.now);
            let Some(next) = self.wakes().pop() else { return order };
            running = granted(self.admit(&next, Urgency::Routine));
            order.push(next);
        }
    }
}

#[test]
fn who_cannot_go_waits_and_is_woken_when_it_can() {
    let bench = Bench::one_at_a_time();
    let running = granted(bench.change("a"));
    let turn = Held { why: HeldWhy::Turn, until: None };
    assert_eq!(held(&bench.change("b")), turn);
    assert_eq!(held(&bench.change("c")), turn);
    assert_eq!(bench.wakes(), [""; 0]);
    running.done(Verdict::Answered, bench.now);
    assert_eq!(bench.wakes(), ["b"], "as many as can go");
    assert_eq!(held(&bench.change("d")), turn, "nobody gets in before those that wait");
    assert_eq!(bench.look("b"), None, "its place is kept");
    assert_eq!(bench.look("c"), Some(turn));
    granted(bench.change("b")).done(Verdict::Answered, bench.now);
    assert_eq!(bench.wakes(), ["c"]);
}

#[test]
fn a_change_goes_before_the_backlog_and_that_before_routine() {
    let bench = Bench::one_at_a_time();
    let running = granted(bench.change("a"));
    for (name, urgency) in [
        ("check", Urgency::Routine),
        ("old", Urgency::Backlog),
        ("new", Urgency::Change),
        ("newer", Urgency::Change),
    ] {
        held(&bench.admit(name, urgency));
    }
    assert_eq!(bench.order(running), ["new", "newer", "old", "check"]);
}

#[test]
fn asking_again_brings_a_link_forward_if_it_is_more_urgent_and_never_sets_it_back() {
    let bench = Bench::one_at_a_time();
    let running = granted(bench.change("a"));
    for name in ["b", "c", "d"] {
        held(&bench.admit(name, Urgency::Backlog));
    }
    held(&bench.admit("b", Urgency::Routine));
    held(&bench.admit("d", Urgency::Change));
    assert_eq!(bench.order(running), ["d", "b", "c"]);
}

#[test]
fn checks_are_not_starved_by_changes() {
    let bench = Bench::one_at_a_time();
    let running = granted(bench.change("a"));
    held(&bench.admit("check", Urgency::Routine));
    for n in 0..20 {
        held(&bench.change(&n.to_string()));
    }
    let order = bench.order(running);
    assert_eq!(order.len(), 21);
    assert!(order.iter().position(|name| name == "check").unwrap() < 8, "{order:?}");
}

#[test]
fn a_rate_lets_one_go_when_its_time_comes() {
    let mut bench = Bench::new(Pacing { api_rate: rate("30/m"), ..FOUR });
    granted(bench.change("a")).done(Verdict::Answered, bench.now);
    let until = Some(bench.now + Duration::from_secs(2));
    assert_eq!(held(&bench.change("b")), Held { why: HeldWhy::Turn, until });
    held(&bench.change("c"));
    assert_eq!(bench.wakes(), [""; 0]);
    assert_eq!(bench.pacer.lock().alarm(), until);
    bench.pass(2);
    assert_eq!(bench.wakes(), ["b"]);
    granted(bench.change("b")).done(Verdict::Answered, bench.now);
    bench.pass(2);
    assert_eq!(bench.wakes(), ["c"]);
}

#[test]
fn a_limited_credential_holds_its_links_and_no_others() {
    let bench = Bench::new(FOUR);
    granted(bench.change("a")).done(Verdict::Limited(Some(Duration::from_mins(1))), bench.now);
    let until = bench.now + Duration::from_mins(1);
    let limited = Held { why: HeldWhy::RateLimited { until }, until: Some(until) };
    assert_eq!(bench.look("b"), Some(limited));
    assert_eq!(held(&bench.change("b")), limited);
    let [_, other] = credentials(&bench.origin);
    let _same_origin =
        granted(bench.pacer.admit(&key("c"), Urgency::Change, &bench.origin, other, bench.now));
    assert_eq!(bench.pacer.held(), [("turn", 0), ("rate_limited", 1), ("unavailable", 0)]);
}

#[test]
fn an_endpoint_that_is_down_holds_its_links_and_those_of_no_other() {
    let bench = Bench::new(FOUR);
    for _ in 0..5 {
        granted(bench.change("a")).done(Verdict::Unavailable, bench.now);
    }
    let (since, until) = (bench.now, bench.now + Duration::from_secs(2));
    let unavailable = Held { why: HeldWhy::Unavailable { since, until }, until: Some(until) };
    assert_eq!(bench.look("b"), Some(unavailable));
    assert_eq!(bench.pacer.look(&key("b"), &bench.origin, None, bench.now), Some(unavailable));
    assert_eq!(
        bench.pacer.park(&key("b"), Urgency::Routine, &bench.origin, None, bench.now),
        Some(unavailable)
    );
    assert_eq!(bench.pacer.held(), [("turn", 0), ("rate_limited", 0), ("unavailable", 1)]);
    assert_eq!(bench.pacer.breaker_openings(), 1);
    assert_eq!(bench.pacer.look(&key("b"), &origin("other"), None, bench.now), None);
}

#[test]
fn a_reservation_does_not_outlast_the_breaker_or_a_limit() {
    for verdict in [Verdict::Limited(None), Verdict::Unavailable] {
        let bench = Bench::new(FOUR);
        for _ in 0..4 {
            granted(bench.change("a")).done(Verdict::Unavailable, bench.now);
        }
        let running = granted(bench.change("a"));
        let parked =
            bench.pacer.park(&key("b"), Urgency::Change, &bench.origin, Some(bench.credential), bench.now);
        assert_eq!((parked, bench.look("b")), (None, None), "its turn");
        running.done(verdict, bench.now);
        assert!(bench.look("b").is_some(), "{verdict:?}");
        assert_ne!(held(&bench.change("b")).why, HeldWhy::Turn, "{verdict:?}");
    }
}

#[test]
fn a_link_that_is_gone_is_not_woken_and_what_was_kept_for_it_goes_to_the_next() {
    let bench = Bench::one_at_a_time();
    let running = granted(bench.change("a"));
    for name in ["b", "c", "d"] {
        held(&bench.change(name));
    }
    bench.pacer.forget(&key("b"), bench.now);
    running.done(Verdict::Answered, bench.now);
    assert_eq!(bench.wakes(), ["c"]);
    bench.pacer.forget(&key("c"), bench.now);
    assert_eq!(bench.wakes(), ["d"]);
    bench.pacer.forget(&key("d"), bench.now);
    bench.pacer.forget(&key("unknown"), bench.now);
    assert_eq!(bench.wakes(), [""; 0]);
    let _free = granted(bench.change("e"));
}

#[test]
fn who_was_woken_and_does_not_come_loses_the_place() {
    let mut bench = Bench::one_at_a_time();
    let running = granted(bench.change("a"));
    held(&bench.change("b"));
    held(&bench.change("c"));
    running.done(Verdict::Answered, bench.now);
    assert_eq!(bench.wakes(), ["b"]);
    bench.pass(14);
    assert_eq!(bench.wakes(), [""; 0]);
    bench.pass(1);
    assert_eq!(bench.wakes(), ["b", "c"], "and is woken again: perhaps it was not told");
    held(&bench.change("b"));
}

#[test]
fn who_could_not_be_told_in_time_is_told_later() {
    let mut bench = Bench::one_at_a_time();
    let running = granted(bench.change("a"));
    held(&bench.change("b"));
    running.done(Verdict::Answered, bench.now);
    // The process stands still, and nobody is told.
    bench.pass(20);
    assert_eq!(bench.wakes(), ["b"]);
    let _free = granted(bench.change("b"));
}

/// They may have to say what they wait for from now on.
#[test]
fn those_that_wait_are_told_when_they_wait_for_something_else() {
    for verdict in [Verdict::Limited(Some(Duration::from_mins(5))), Verdict::Unavailable] {
        let bench = Bench::new(Pacing { origin_concurrency: 1, ..FOUR });
        for _ in 0..4 {
            granted(bench.change("a")).done(Verdict::Unavailable, bench.now);
        }
        let running = granted(bench.change("a"));
        assert_eq!(held(&bench.change("b")).why, HeldWhy::Turn);
        assert_eq!(held(&bench.admit("c", Urgency::Routine)).why, HeldWhy::Turn);
        let [_, other] = credentials(&bench.origin);
        let elsewhere = bench.pacer.admit(&key("d"), Urgency::Change, &bench.origin, other, bench.now);
        assert_eq!(held(&elsewhere).why, HeldWhy::Turn);
        running.done(verdict, bench.now);
        let told = bench.wakes();
        let limited = matches!(verdict, Verdict::Limited(_));
        // The other credential's link is the next to go, or waits for the endpoint like all.
        assert_eq!(told, ["b", "c", "d"], "{verdict:?}");
        let why = held(&bench.change("b")).why;
        assert_eq!(matches!(why, HeldWhy::RateLimited { .. }), limited, "{why:?}");
        assert_eq!(bench.wakes(), [""; 0], "once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_given_up_gives_its_place_back_and_counts_for_nothing() {
    let bench = Bench::one_at_a_time();
    for _ in 0..100 {
        drop(granted(bench.change("a")));
        assert_eq!(bench.look("b"), None);
    }
    let running = granted(bench.change("a"));
    held(&bench.change("b"));
    drop(running);
    assert_eq!(bench.wakes(), ["b"]);
}

#[test]
fn a_probe_that_was_given_up_is_followed_by_another() {
    let mut bench = Bench::new(FOUR);
    granted(bench.change("a")).done(Verdict::Limited(None), bench.now);
    held(&bench.change("b"));
    held(&bench.change("c"));
    bench.pass(2);
    assert_eq!(bench.wakes(), ["b"], "one alone");
    let probe = granted(bench.change("b"));
    assert!(matches!(bench.look("c").unwrap().why, HeldWhy::RateLimited { .. }));
    probe.done(Verdict::Nothing, bench.now);
    assert_eq!(bench.wakes(), ["c"]);
}

#[test]
fn a_link_whose_credential_turns_out_to_be_another_keeps_its_place_in_the_row() {
    let bench = Bench::one_at_a_time();
    let running = granted(bench.change("a"));
    assert!(bench.pacer.park(&key("b"), Urgency::Change, &bench.origin, None, bench.now).is_some());
    held(&bench.change("c"));
    running.done(Verdict::Answered, bench.now);
    assert_eq!(bench.wakes(), ["b"]);
    assert_eq!(bench.pacer.park(&key("b"), Urgency::Change, &bench.origin, None, bench.now), None);
    let _first = granted(bench.change("b"));
}

#[test]
fn thousands_of_credentials_do_not_pile_up() {
    let mut bench = Bench::new(Pacing { api_rate: rate("10/s"), ..FOUR });
    let ids = CredentialIds::default();
    for (n, verdict) in (0..10_000).zip([Verdict::Answered, Verdict::Limited(None)].into_iter().cycle()) {
        let keys = ApiKeys { public: n.to_string().into(), private: "private".into() };
        let credential = ids.of(&bench.origin, &keys);
        let call = bench.pacer.admit(&key(&n), Urgency::Change, &bench.origin, credential, bench.now);
        granted(call).done(verdict, bench.now);
    }
    let (links, credentials) = bench.pacer.lock().size();
    assert_eq!(links, 0);
    assert!(credentials <= 4097, "{credentials}");
    bench.pass(3600);
    bench.wakes();
    assert_eq!(bench.pacer.lock().size(), (0, 0));
}
