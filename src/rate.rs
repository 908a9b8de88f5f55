//! Rates as people write them in flags: `10/s`, `30/m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// So many calls in a second or a minute, or no limit at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// 0 for no limit.
    calls: u32,
    per: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
}

/// A text that is no [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write calls per second or minute, such as 10/s or 30/m, or 0 for no limit")]
pub struct InvalidRate;

impl Rate {
    /// No limit.
    pub const OFF: Self = Self { calls: 0, per: Unit::Second };

    /// The time from one call to the next, rounded up. None without a limit.
    pub fn interval(self) -> Option<Duration> {
        let nanos = self.per.seconds() * 1_000_000_000;
        (self.calls > 0).then(|| Duration::from_nanos(nanos.div_ceil(u64::from(self.calls))))
    }

    /// How many calls can go at once after a pause: those of one second, rounded up. 0 without a limit.
    pub fn burst(self) -> u32 {
        u64::from(self.calls).div_ceil(self.per.seconds()).try_into().unwrap_or(u32::MAX)
    }
}

impl Unit {
    fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
        }
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" {
            return Ok(Self::OFF);
        }
        let (calls, per) = match text.split_once('/') {
            Some((calls, "s")) => (calls, Unit::Second),
            Some((calls, "m")) => (calls, Unit::Minute),
            _ => return Err(InvalidRate),
        };
        // The parser of numbers takes a plus sign, too.
        let calls = calls.bytes().all(|b| b.is_ascii_digit()).then(|| calls.parse().ok()).flatten();
        match calls.ok_or(InvalidRate)? {
            0 => Ok(Self::OFF),
            calls => Ok(Self { calls, per }),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { calls: 0, .. } => f.write_str("0"),
            Self { calls, per: Unit::Second } => write!(f, "{calls}/s"),
            Self { calls, per: Unit::Minute } => write!(f, "{calls}/m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn calls_per_second_or_minute_are_read_and_nothing_else() {
        for (text, printed, interval, burst) in [
            ("10/s", "10/s", Some(Duration::from_millis(100)), 10),
            ("3/s", "3/s", Some(Duration::from_nanos(333_333_334)), 3),
            ("30/m", "30/m", Some(Duration::from_secs(2)), 1),
            ("90/m", "90/m", Some(Duration::from_nanos(666_666_667)), 2),
            ("1/m", "1/m", Some(Duration::from_mins(1)), 1),
            ("4294967295/s", "4294967295/s", Some(Duration::from_nanos(1)), u32::MAX),
            ("0", "0", None, 0),
            ("0/s", "0", None, 0),
            ("0/m", "0", None, 0),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(
                (rate.to_string().as_str(), rate.interval(), rate.burst()),
                (printed, interval, burst)
            );
        }
        for text in
            ["", "10", "/s", "10/", "10/h", "10/sec", "10 /s", "-1/s", "+1/s", "1.5/s", "4294967296/s"]
        {
            assert_eq!(text.parse::<Rate>(), Err(InvalidRate), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9/sm+-]{0,20}|.{0,20}") {
            if let Ok(rate) = text.parse::<Rate>() {
                prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            }
        }
    }
}
