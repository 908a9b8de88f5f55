//! Origins that never answer, beside one that does.

use super::*;

/// As many calls as go to each of these origins, one after the other, where each wants more than there are places.
fn all_that_go(pacer: &Pacer, names: &[&str], now: Instant) -> Vec<Vec<Permit>> {
    let of_one = |name: &&str| {
        let origin = origin(name);
        let [credential] = credentials(&origin);
        let asked = (0..200)
            .map(|n| pacer.admit(&key(&format!("{name}-{n}")), Urgency::Change, &origin, credential, now));
        let go = |admission| if let Admission::Granted(permit) = admission { Some(permit) } else { None };
        asked.filter_map(go).collect()
    };
    names.iter().map(of_one).collect()
}

fn pacer_of(concurrency: usize, origin_concurrency: usize) -> Pacer {
    pacer(Pacing { concurrency, origin_concurrency, ..FOUR })
}

fn sizes(calls: &[Vec<Permit>]) -> Vec<usize> {
    calls.iter().map(Vec::len).collect()
}

#[test]
fn each_origin_has_half_of_what_the_others_leave() {
    let now = Instant::now();
    let calls = all_that_go(&pacer_of(64, 32), &["a", "b", "c", "d", "e", "f", "g"], now);
    assert_eq!(sizes(&calls), [32, 16, 8, 4, 2, 1, 1]);
}

#[test]
fn one_that_is_alone_has_as_many_as_it_may_and_makes_room_for_another() {
    let now = Instant::now();
    let pacer = pacer_of(64, 64);
    let mut of_a = all_that_go(&pacer, &["a"], now).remove(0);
    assert_eq!(of_a.len(), 64);
    let of_b = all_that_go(&pacer, &["b"], now).remove(0);
    assert_eq!(of_b.len(), 1);
    let ended = of_a.split_off(44);
    for permit in ended {
        permit.done(Verdict::Answered, now);
    }
    assert_eq!(count(&pacer.wakes(now)), (0, 9), "b has half of the 20 that are free of a by now");
}

#[test]
fn what_one_gives_back_another_gets_at_once() {
    let now = Instant::now();
    let pacer = pacer_of(64, 32);
    let mut calls = all_that_go(&pacer, &["a", "b"], now);
    let of_a = calls.remove(0);
    for permit in of_a {
        permit.done(Verdict::Answered, now);
    }
    // a has 22 by now and b 21: each half of what the other leaves, and as much again is left for a third.
    assert_eq!(count(&pacer.wakes(now)), (22, 21 - 16));
}

#[test]
fn what_was_kept_for_one_that_is_gone_another_gets() {
    let now = Instant::now();
    let pacer = pacer_of(8, 8);
    let a = origin("a");
    let [of_a] = credentials(&a);
    for n in 0..4 {
        assert_eq!(pacer.park(&key(&format!("a-{n}")), Urgency::Change, &a, Some(of_a), now), None);
    }
    let calls = all_that_go(&pacer, &["b"], now);
    assert_eq!(sizes(&calls), [2]);
    pacer.forget(&key("a-0"), now);
    pacer.forget(&key("a-1"), now);
    assert!(pacer.lock().has_news(now), "somebody has to tell b");
    assert_eq!(pacer.wakes(now), ["b-2"], "half of the six that are left");
}

/// How many links of the origins `a` and `b`.
fn count(woken: &[String]) -> (usize, usize) {
    let of = |name: &str| woken.iter().filter(|link| link.starts_with(name)).count();
    (of("a-"), of("b-"))
}

#[test]
fn an_origin_under_its_share_is_never_held_by_it() {
    let now = Instant::now();
    let pacer = pacer_of(1, 1);
    let calls = all_that_go(&pacer, &["a", "b"], now);
    // One place for all: whose pass is begun first has it, and the other's pass is not begun before.
    assert_eq!(sizes(&calls), [1, 1]);
}

#[test]
fn the_end_of_a_limit_is_told_while_the_origin_has_its_share() {
    let now = Instant::now();
    let pacer = pacer_of(8, 8);
    let [limited, other] = credentials(&origin("a"));
    let permit = granted(pacer.admit(&key("first"), Urgency::Change, &origin("a"), limited, now));
    permit.done(Verdict::Limited(Some(Duration::from_hours(1))), now);
    let calls = (0..20).map(|n| pacer.admit(&key(&n), Urgency::Change, &origin("a"), other, now));
    let _calls: Vec<_> = calls.collect();
    let held = held(&pacer.admit(&key("second"), Urgency::Change, &origin("a"), limited, now));
    let HeldWhy::RateLimited { until } = held.why else { panic!("{held:?}") };
    assert!(until >= now + Duration::from_hours(1));
    assert_eq!(held.until, Some(until));
}
