//! The Authorization header of a Digest answer, read strictly (RFC 7616 §3.4).

use std::collections::HashMap;

/// The directives of one answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) username: String,
    pub(super) realm: String,
    pub(super) nonce: String,
    pub(super) uri: String,
    /// Lower-case hexadecimal digits.
    pub(super) response: String,
    pub(super) algorithm: Option<String>,
    pub(super) opaque: Option<String>,
    /// qop, and with it nc (as it was sent, and as a number) and cnonce.
    pub(super) protection: Option<Protection>,
}

/// What RFC 2617 added to RFC 2069.
#[derive(Debug)]
pub(super) struct Protection {
    pub(super) qop: String,
    pub(super) nc_text: String,
    pub(super) nc: u32,
    pub(super) cnonce: String,
}

impl Answer {
    /// Reads a header; `None` if it is not a complete Digest answer. A server that announces `userhash=false` has no
    /// use for a hashed username, so `userhash=true` is not one either.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let mut directives = directives(rest)?;
        let mut take = |name: &str| directives.remove(name);
        let protection = match (take("qop"), take("nc"), take("cnonce")) {
            (None, None, None) => None,
            (Some(qop), Some(nc_text), Some(cnonce)) if !cnonce.is_empty() => {
                let nc = nc(&nc_text)?;
                Some(Protection { qop, nc_text, nc, cnonce })
            }
            _ => return None,
        };
        if take("userhash").is_some_and(|value| value != "false") {
            return None;
        }
        Some(Self {
            username: take("username")?,
            realm: take("realm")?,
            nonce: take("nonce")?,
            uri: take("uri")?,
            response: take("response")?,
            algorithm: take("algorithm"),
            opaque: take("opaque"),
            protection,
        })
    }
}

/// Exactly eight hexadecimal digits, counted from 1.
fn nc(text: &str) -> Option<u32> {
    let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits { u32::from_str_radix(text, 16).ok().filter(|&nc| nc > 0) } else { None }
}

/// `name=token` and `name="quoted-string"`, separated by commas; no name twice.
fn directives(mut rest: &str) -> Option<HashMap<String, String>> {
    let mut found = HashMap::new();
    loop {
        let (name, after) = rest.trim_start().split_once('=')?;
        let (value, after) = after.strip_prefix('"').map_or_else(|| token(after), quoted_string)?;
        if name.is_empty() || name.contains([' ', ',', '"']) {
            return None;
        }
        if found.insert(name.to_ascii_lowercase(), value).is_some() {
            return None;
        }
        match after.trim_start().strip_prefix(',') {
            Some(next) => rest = next,
            None => return after.trim().is_empty().then_some(found),
        }
    }
}

/// The text up to a comma or space, and the rest.
fn token(text: &str) -> Option<(String, &str)> {
    let end = text.find([',', ' ']).unwrap_or(text.len());
    text.split_at_checked(end).map(|(token, rest)| (token.to_owned(), rest))
}

/// The text up to the closing quote, without its backslashes, and what follows the quote.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(chars.next()?),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"Digest username="a\"b", realm="R, =x", nonce="n/+==", uri="/p?a=b", algorithm=MD5, nc=0000000a, cnonce="c", qop=auth, response="00""#;

    #[test]
    fn quoted_and_bare_directives_are_read() {
        let answer = Answer::parse(GOOD).unwrap();
        assert_eq!(answer.username, "a\"b");
        assert_eq!(answer.realm, "R, =x");
        assert_eq!(answer.nonce, "n/+==");
        assert_eq!(answer.uri, "/p?a=b");
        assert_eq!(answer.algorithm.as_deref(), Some("MD5"));
        let protection = answer.protection.unwrap();
        assert_eq!((protection.qop.as_str(), protection.nc), ("auth", 10));
    }

    #[test]
    fn the_form_without_qop_is_read() {
        let answer =
            Answer::parse(r#"Digest username="u",realm="r",nonce="n",uri="/",response="00""#).unwrap();
        assert!(answer.protection.is_none());
    }

    #[test]
    fn what_is_not_a_complete_answer_is_refused() {
        for (from, to) in [
            ("Digest ", "Basic "),
            ("Digest ", "Digest"),
            ("nc=0000000a, ", ""),
            ("nc=0000000a", "nc=a"),
            ("nc=0000000a", "nc=+000000a"),
            ("nc=0000000a", "nc=00000000"),
            ("cnonce=\"c\"", "cnonce=\"\""),
            ("username=\"a\\\"b\"", "username=\"a\"b\""),
            ("qop=auth", "qop=auth, QOP=auth"),
            ("qop=auth", "userhash=true, qop=auth"),
            ("response=\"00\"", "response=\"00"),
            (", response=\"00\"", ""),
            (", response=\"00\"", ", response=\"00\" x"),
        ] {
            let header = GOOD.replacen(from, to, 1);
            assert!(Answer::parse(&header).is_none(), "{header}");
        }
    }
}
