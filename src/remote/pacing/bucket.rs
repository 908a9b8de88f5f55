//! The token bucket, kept as the time at which it is full again: nothing has to be filled up as time passes.

use std::time::Duration;

use tokio::time::Instant;

use crate::rate::Rate;

/// Lets calls through at a rate: never more than rate × time + burst.
#[derive(Debug)]
pub(super) struct Bucket {
    /// From one call to the next; none where no rate is set.
    interval: Option<Duration>,
    /// The most tokens it holds.
    burst: u32,
    /// Absent while it has not been used.
    full: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        Self { interval: rate.interval(), burst: rate.burst(), full: None }
    }

    /// When a call can go beside the `reserved` ones that have been promised a token: `now` or later. None if all the
    /// tokens that it can hold are promised.
    pub(super) fn free_at(&self, reserved: usize, now: Instant) -> Option<Instant> {
        let Some(interval) = self.interval else { return Some(now) };
        let spare = self.burst.checked_sub(1)?.checked_sub(u32::try_from(reserved).ok()?)?;
        let ahead = interval.saturating_mul(spare);
        Some(self.full_at(now).checked_sub(ahead).map_or(now, |time| time.max(now)))
    }

    /// A call goes.
    pub(super) fn take(&mut self, now: Instant) {
        if let Some(interval) = self.interval {
            self.full = Some(self.full_at(now) + interval);
        }
    }

    /// Leaves nothing in it, so that what follows goes at the rate from the first call on.
    pub(super) fn drain(&mut self, now: Instant) {
        if let Some(interval) = self.interval {
            self.full = Some(self.full_at(now).max(now + interval.saturating_mul(self.burst)));
        }
    }

    /// When nothing is to be remembered of the calls so far: `now` or later.
    pub(super) fn full_at(&self, now: Instant) -> Instant {
        self.full.map_or(now, |full| full.max(now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::is_within;
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_then_one_after_the_other() {
        let mut bucket = Bucket::new("10/s".parse().unwrap());
        let start = Instant::now();
        for _ in 0..10 {
            assert_eq!(bucket.free_at(0, start), Some(start));
            bucket.take(start);
        }
        let next = start + Duration::from_millis(100);
        assert_eq!(bucket.free_at(0, start), Some(next));
        assert_eq!(bucket.free_at(1, start), Some(start + Duration::from_millis(200)), "one is promised");
        bucket.take(next);
        assert_eq!(bucket.free_at(0, next), Some(next + Duration::from_millis(100)));
        let later = start + Duration::from_mins(1);
        assert_eq!(bucket.free_at(9, later), Some(later), "full again");
        assert_eq!(bucket.free_at(10, later), None, "and no fuller than that");
        assert!(is_within("10/s".parse().unwrap(), &[start; 10]));
        assert!(!is_within("10/s".parse().unwrap(), &[start; 11]));
    }

    #[test]
    fn an_empty_one_has_no_burst() {
        let mut bucket = Bucket::new("10/s".parse().unwrap());
        let start = Instant::now();
        bucket.drain(start);
        assert_eq!(bucket.free_at(0, start), Some(start + Duration::from_millis(100)));
        bucket.take(start + Duration::from_millis(100));
        let later = start + Duration::from_millis(150);
        bucket.drain(later);
        assert_eq!(bucket.free_at(0, later), Some(later + Duration::from_millis(100)));
    }

    #[test]
    fn without_a_rate_everything_goes() {
        let mut bucket = Bucket::new(Rate::OFF);
        let now = Instant::now();
        for _ in 0..1000 {
            bucket.take(now);
        }
        bucket.drain(now);
        assert_eq!((bucket.free_at(1000, now), bucket.full_at(now)), (Some(now), now));
    }

    proptest! {
        #[test]
        fn never_more_than_rate_times_time_and_the_burst(
            calls in 1u32..200,
            per in "[sm]",
            pauses in proptest::collection::vec(0u64..2_000, 1..100),
        ) {
            let rate: Rate = format!("{calls}/{per}").parse().unwrap();
            let mut bucket = Bucket::new(rate);
            let mut now = Instant::now();
            let mut taken: Vec<Instant> = Vec::new();
            for pause in pauses {
                now += Duration::from_millis(pause);
                // As many as it lets through.
                while bucket.free_at(0, now) == Some(now) {
                    bucket.take(now);
                    taken.push(now);
                }
            }
            prop_assert!(!taken.is_empty() && is_within(rate, &taken));
        }

        #[test]
        fn whoever_comes_when_told_can_go(calls in 1u32..200, reserved in 0usize..200, used in 0u32..300) {
            let rate: Rate = format!("{calls}/s").parse().unwrap();
            let mut bucket = Bucket::new(rate);
            let now = Instant::now();
            for _ in 0..used {
                bucket.take(now);
            }
            match bucket.free_at(reserved, now) {
                Some(at) => {
                    prop_assert_eq!(bucket.free_at(reserved, at), Some(at));
                    let before = at - Duration::from_nanos(1);
                    prop_assert!(at == now || bucket.free_at(reserved, before) == Some(at));
                }
                None => prop_assert!(reserved >= usize::try_from(calls).unwrap()),
            }
        }
    }
}
