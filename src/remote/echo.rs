//! Servers that repeat a secret in a field that we show.

/// How many letters and digits of a secret in a row are a part of it and no chance: as many as a public key has.
const PART: usize = 8;

/// Whether `text` shows a part of `secret`, or all of one that is shorter. Only letters and digits count, in upper or
/// lower case: an error code has room for nothing else.
pub(super) fn shows(text: &str, secret: &str) -> bool {
    let length = PART.min(plain(secret.as_bytes()).count());
    if length == 0 {
        return false;
    }
    let text: Vec<u8> = plain(text.as_bytes()).collect();
    // No copy is made of the secret. A part begins at what counts, so that a long run of what does not is passed once.
    let counts = |start: &usize| secret.as_bytes().get(*start).is_some_and(u8::is_ascii_alphanumeric);
    (0..secret.len())
        .filter(counts)
        .filter_map(|start| secret.as_bytes().get(start..))
        .any(|rest| text.windows(length).any(|part| plain(rest).take(length).eq(part.iter().copied())))
}

fn plain(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_secret_is_found_anywhere_and_in_any_spelling() {
        let secret = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
        for (text, shown) in [
            (secret, true),
            ("ERROR_0A1B2C3D", true),
            ("C3D_4E5F_6_OF_KEY", true),
            ("D7E8F9", false),
            ("UNEXPECTED_ERROR", false),
            ("", false),
        ] {
            assert_eq!(shows(text, secret), shown, "{text}");
        }
        assert!(shows("NO_ABCDEF_HERE", "abc-def") && !shows("NO_ABCDE_HERE", "abc-def"));
        assert!(!shows("SYNCED", "") && !shows("", "-") && !shows("é", "é"));
    }

    /// A tenant chooses the values, and everybody waits for the comparison.
    #[test]
    fn a_value_made_to_take_long_does_not() {
        let text = "UNEXPECTED_ERROR".repeat(4);
        let began = std::time::Instant::now();
        for secret in [format!("{}z", "-".repeat(8191)), "a-".repeat(4096), "e".repeat(8192)] {
            assert!(!shows(&text, &secret));
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    }
}
