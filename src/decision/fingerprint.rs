//! Fingerprints show that a secret value changed, and nothing else of it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// HMAC-SHA-256 of the parts, keyed by the resource's uid, the first 16 hexadecimal digits.
///
/// Each part is preceded by its length, so that no two lists of parts run together. The key keeps equal values of two
/// resources from being seen as equal; of a long random string it can at most confirm a guess.
pub(super) fn fingerprint<'a>(uid: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    // HMAC takes a key of any length (RFC 2104 §3): the error cannot occur, and an empty fingerprint is no match.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(uid.as_bytes()) else { return String::new() };
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    let digest = mac.finalize().into_bytes();
    digest.iter().take(8).fold(String::with_capacity(16), |mut hex, byte| {
        for nibble in [byte >> 4, byte & 0xf] {
            hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_depends_on_the_key_and_on_where_a_part_ends() {
        let of = |uid, parts: [&[u8]; 2]| fingerprint(uid, parts);
        let one = of("uid", [b"ab", b"c"]);
        assert_eq!(one.len(), 16);
        assert_eq!(one, of("uid", [b"ab", b"c"]));
        assert_ne!(one, of("uid", [b"a", b"bc"]));
        assert_ne!(one, of("other", [b"ab", b"c"]));
    }

    #[test]
    fn it_is_hmac_sha_256() {
        // RFC 4231 §4.3 has no length in front of the data; computed with
        // `printf '\0\0\0\0\0\0\0\1x' | openssl dgst -sha256 -hmac key`.
        assert_eq!(fingerprint("key", [b"x".as_slice()]), "135c25c71e50465c");
    }
}
