//! Durations as people write them in specs and flags.

use std::time::Duration;

/// Whole hours, minutes and seconds as Go writes them: `1h30m`. None if the text is something else.
// Not `kube::core::Duration`, whose parser panics where a number is too large or a minus sign follows the first unit.
pub fn parse(text: &str) -> Option<Duration> {
    let mut total = None;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let mut unit = unit.chars();
        let seconds = match unit.next()? {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        let part = Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?);
        total = Some(part.checked_add(total.unwrap_or_default())?);
        rest = unit.as_str();
    }
    total
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hours_minutes_and_seconds_are_read_and_nothing_else() {
        for (text, seconds) in [
            ("15m", Some(900)),
            ("1h30m", Some(5400)),
            ("90s", Some(90)),
            ("24h", Some(86_400)),
            ("0s", Some(0)),
            ("", None),
            ("15", None),
            ("-5m", None),
            ("1m-2m", None),
            ("1d", None),
            ("5ms", None),
            ("1.5h", None),
            ("99999999999999999999h", None),
            ("9999999999999999h", None),
        ] {
            assert_eq!(parse(text), seconds.map(Duration::from_secs), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9hms -]{0,40}|.{0,20}") {
            parse(&text);
        }
    }
}
