//! When to try again: pure arithmetic over attempts, a jitter sample from 0 to 1, and the time.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::api::{Pace, Reason};

const MINUTE: Duration = Duration::from_mins(1);
/// First and longest wait of [`Pace::BackOff`].
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(10));
/// First and longest wait of [`Pace::Slow`].
const SLOW: (Duration, Duration) = (MINUTE, Duration::from_hours(1));
/// First and longest wait of [`Pace::LiveExport`].
const LIVE_EXPORT: (Duration, Duration) = (MINUTE, Duration::from_mins(10));
/// First wait of [`Pace::Settle`]; the longest is the check interval.
const SETTLE: Duration = Duration::from_secs(5);
/// The longest `Retry-After` that is honoured for a rate limit.
pub(super) const RETRY_AFTER_CAP: Duration = Duration::from_hours(6);
/// What has been reconciling for this long needs a person.
pub(super) const PROGRESS_DEADLINE: Duration = Duration::from_mins(30);
/// How long a link that was accepted may say NOT_SYNCED before it counts as lost; doubled with each relink.
const LOST_WINDOW: (Duration, Duration) = (Duration::from_mins(10), Duration::from_hours(6));

/// How long to wait after the `attempts`-th failure in a row (from 1).
///
/// `retry_after` is the server's own wish: never less than that is waited, up to [`RETRY_AFTER_CAP`] for a rate limit
/// and up to 10 min otherwise, or the longest wait of the pace. None: nothing is tried before something changes.
pub(super) fn delay(
    reason: Reason,
    attempts: i32,
    retry_after: Option<Duration>,
    interval: Duration,
    jitter: f64,
) -> Option<Duration> {
    let own = match reason.pace() {
        Pace::BackOff => doubled(BACK_OFF, attempts).mul_f64(0.5 + sample(jitter) / 2.0),
        Pace::Slow | Pace::AsCause => slow(attempts, jitter),
        Pace::LiveExport => spread(doubled(LIVE_EXPORT, attempts), jitter),
        Pace::Settle => spread(doubled((SETTLE, interval.max(SETTLE)), attempts), jitter),
        Pace::AtOnce => Duration::ZERO,
        Pace::Check | Pace::OnChange => return None,
    };
    let cap = if reason == Reason::RateLimited {
        RETRY_AFTER_CAP
    } else {
        BACK_OFF.1.min(longest(reason, interval))
    };
    Some(retry_after.map_or(own, |wish| own.max(wish.min(cap))))
}

/// The slow pace, for what is usually woken by a change but cannot be watched.
pub(super) fn slow(attempts: i32, jitter: f64) -> Duration {
    spread(doubled(SLOW, attempts), jitter)
}

/// The longest wait that this reason can ask for. A time further ahead than this was written under a wrong clock.
pub(super) fn longest(reason: Reason, interval: Duration) -> Duration {
    let longest = match reason.pace() {
        Pace::BackOff if reason == Reason::RateLimited => RETRY_AFTER_CAP,
        Pace::BackOff => BACK_OFF.1,
        Pace::Settle => interval.max(SETTLE),
        Pace::LiveExport => LIVE_EXPORT.1,
        // One that is only reported is looked after at the check interval.
        Pace::AtOnce => interval.max(SLOW.1),
        Pace::Check | Pace::Slow | Pace::OnChange | Pace::AsCause => SLOW.1,
    };
    spread(longest, 1.0) + MINUTE
}

/// How long an accepted link may be without SYNCED before it counts as lost.
pub(super) fn lost_window(relinks: i32) -> Duration {
    doubled(LOST_WINDOW, relinks.saturating_add(1))
}

/// The next regular check after `after`: at a phase of the wall clock that belongs to the resource, so that restarts
/// neither bunch the checks nor starve them.
pub(super) fn next_check(uid: &str, interval: Duration, after: Timestamp) -> Timestamp {
    let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let phase = i64::try_from(fnv1a(uid) % interval.unsigned_abs()).unwrap_or(0);
    let after = after.as_millisecond();
    let into = (after - phase).rem_euclid(interval);
    Timestamp::from_millisecond(after.saturating_add(interval - into)).unwrap_or(Timestamp::MAX)
}

/// `time` plus `duration`, at most the end of time.
pub(super) fn after(time: Timestamp, duration: Duration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// How long ago `then` was; zero if it is ahead.
pub(super) fn since(then: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(then).try_into().unwrap_or(Duration::ZERO)
}

fn doubled((first, longest): (Duration, Duration), attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1).clamp(0, 30)).unwrap_or(0);
    first.saturating_mul(1 << doublings).min(longest)
}

/// ± 10 %.
fn spread(duration: Duration, jitter: f64) -> Duration {
    duration.mul_f64(0.9 + sample(jitter) / 5.0)
}

/// A jitter sample that nothing can be multiplied wrongly with.
fn sample(jitter: f64) -> f64 {
    if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.5 }
}

/// A stable hash: the phase of a resource must be the same in every version of the program.
fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_mins(15);

    fn seconds(reason: Reason, attempts: i32, jitter: f64) -> f64 {
        delay(reason, attempts, None, INTERVAL, jitter).unwrap().as_secs_f64()
    }

    #[test]
    fn the_paces_begin_double_and_end_as_the_design_says() {
        for (reason, attempts, low, high) in [
            (Reason::EndpointUnavailable, 1, 1.0, 2.0),
            (Reason::EndpointUnavailable, 2, 2.0, 4.0),
            (Reason::EndpointUnavailable, 9, 256.0, 512.0),
            (Reason::EndpointUnavailable, 10, 300.0, 600.0),
            (Reason::EndpointUnavailable, i32::MAX, 300.0, 600.0),
            (Reason::Unauthorized, 1, 54.0, 66.0),
            (Reason::Unauthorized, 7, 3240.0, 3960.0),
            (Reason::NotSynced, 1, 4.5, 5.5),
            (Reason::NotSynced, 30, 810.0, 990.0),
            (Reason::EndpointUnavailable, i32::MIN, 1.0, 2.0),
        ] {
            let (least, most) = (seconds(reason, attempts, 0.0), seconds(reason, attempts, 1.0));
            assert!((least - low).abs() < 1e-6, "{reason} {attempts}: {least}");
            assert!((most - high).abs() < 1e-6, "{reason} {attempts}: {most}");
        }
    }

    #[test]
    fn the_servers_wish_is_a_lower_bound_with_a_cap() {
        let wait = |reason, seconds| {
            delay(reason, 1, Some(Duration::from_secs(seconds)), INTERVAL, 1.0).unwrap().as_secs()
        };
        assert_eq!(wait(Reason::RateLimited, 0), 2);
        assert_eq!(wait(Reason::RateLimited, 100), 100);
        assert_eq!(wait(Reason::RateLimited, 1_000_000), 6 * 3600);
        assert_eq!(wait(Reason::EndpointUnavailable, 30), 30);
        assert_eq!(wait(Reason::EndpointUnavailable, 1_000_000), 600);
        // Not longer than a wait may be that was written under a right clock.
        let minute = Duration::from_mins(1);
        let wish = Some(Duration::from_mins(30));
        let wait = delay(Reason::NotSynced, 1, wish, minute, 1.0).unwrap();
        assert_eq!(wait, longest(Reason::NotSynced, minute));
    }

    #[test]
    fn nothing_is_tried_before_a_change_where_only_a_change_helps() {
        assert_eq!(delay(Reason::SecretNotFound, 1, None, INTERVAL, 0.5), None);
        assert_eq!(delay(Reason::EndpointNotAllowed, 1, None, INTERVAL, 0.5), None);
    }

    #[test]
    fn the_lost_window_doubles_from_ten_minutes_to_six_hours() {
        let minutes: Vec<_> = [0, 1, 2, 5, 6, i32::MAX].map(|n| lost_window(n).as_secs() / 60).into();
        assert_eq!(minutes, [10, 20, 40, 320, 360, 360]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

        #[test]
        fn a_delay_stays_within_its_bounds(
            index in 0..Reason::ALL.len(), attempts: i32, wish in proptest::option::of(any::<u64>()),
            interval in 60u64..86_401, jitter: f64,
        ) {
            let reason = Reason::ALL[index];
            let interval = Duration::from_secs(interval);
            if let Some(wait) = delay(reason, attempts, wish.map(Duration::from_secs), interval, jitter) {
                prop_assert!(wait <= longest(reason, interval), "{reason}: {wait:?}");
            }
        }

        #[test]
        fn more_failures_never_shorten_the_wait(index in 0..Reason::ALL.len(), attempts in 1..1000i32, jitter in 0.0..1.0) {
            let reason = Reason::ALL[index];
            prop_assert!(
                delay(reason, attempts, None, INTERVAL, jitter) <= delay(reason, attempts + 1, None, INTERVAL, jitter)
            );
        }

        #[test]
        fn checks_fall_at_one_phase_and_are_ahead_by_at_most_an_interval(
            uid in "[0-9a-f-]{36}", interval in 60u64..86_401, after in 0i64..4_000_000_000_000,
        ) {
            let step = Duration::from_secs(interval);
            let after = Timestamp::from_millisecond(after).unwrap();
            let next = next_check(&uid, step, after);
            prop_assert!(next > after);
            prop_assert!(since(after, next) <= step);
            prop_assert_eq!(since(next, next_check(&uid, step, next)), step);
        }
    }
}
