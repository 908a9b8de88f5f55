//! `Retry-After` (RFC 9110 §10.2.3): seconds or an HTTP date, capped, garbage ignored.

use std::time::{Duration, SystemTime};

/// The longest wait a server can ask for.
pub(super) const LONGEST: Duration = Duration::from_hours(6);

/// How long from `now` on the header's value asks to wait.
pub(super) fn parse(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Only an overflow can fail here: longer than anything.
        text.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> SystemTime {
        httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap()
    }

    #[test]
    fn seconds_and_dates_are_read_capped_and_garbage_is_ignored() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("21601", Some(21600)),
            ("99999999999999999999999", Some(21600)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30)),
            ("Sun Nov  6 08:50:07 1994", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:50:07 GMT", Some(21600)),
            ("", None),
            ("-1", None),
            ("+5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(parse(text.as_bytes(), now()), seconds.map(Duration::from_secs), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_or_waits_longer_than_the_cap(value: Vec<u8>, seconds in 0u64..1 << 40) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            prop_assert!(parse(&value, now).is_none_or(|wait| wait <= LONGEST));
        }

        #[test]
        fn seconds_mean_seconds(seconds: u64) {
            let wait = parse(seconds.to_string().as_bytes(), now());
            prop_assert_eq!(wait, Some(Duration::from_secs(seconds).min(LONGEST)));
        }

        #[test]
        fn a_date_means_the_time_until_then(seconds in 0u64..40_000) {
            let then = httpdate::fmt_http_date(now() + Duration::from_secs(seconds));
            prop_assert_eq!(parse(then.as_bytes(), now()), Some(Duration::from_secs(seconds).min(LONGEST)));
        }
    }
}
