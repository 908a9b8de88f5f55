//! What is read of a response body: a few named fields, validated, nothing else (api page, sections 1 and 3).

use std::net::IpAddr;

use serde_json::{Map, Value};

/// The longest state and error code that are kept.
const LONGEST: usize = 64;
/// How many ids are kept.
const MOST_IDS: usize = 10;

/// What the API said to a request that it accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The state of the link in the API's own word: `SYNCED`, `NOT_SYNCED` or one yet to come; at most 64 characters,
    /// no control characters. `None` when the answer to a POST did not say.
    pub state: Option<String>,
}

/// The fields of a body that mean something to us.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// The HTTP status inside an envelope: `{"status": 404, "content": {…}}` (`envelope` instead of `content` in Ops
    /// Manager 5 and 6). We never ask for one.
    pub(super) envelope: Option<u16>,
    pub(super) state: Option<String>,
    pub(super) error_code: Option<String>,
    /// The address that an access list refuses, out of `parameters` or `detail`.
    pub(super) address: Option<IpAddr>,
    /// What looks like the ids of projects or organizations, out of `parameters`, else out of `detail`.
    pub(super) ids: Vec<String>,
}

/// Reads a body; `None` if it is not a JSON object.
pub(super) fn read(body: &[u8]) -> Option<Fields> {
    let outer: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let inner = ["content", "envelope"].iter().find_map(|name| outer.get(*name)?.as_object());
    let status = outer.get("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
    Some(match (status, inner) {
        (Some(_), Some(inner)) => Fields { envelope: status, ..fields(inner) },
        _ => fields(&outer),
    })
}

fn fields(object: &Map<String, Value>) -> Fields {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let parameters = object.get("parameters").map(strings).unwrap_or_default();
    let named = ids(&parameters);
    Fields {
        envelope: None,
        state: text("status").and_then(state),
        error_code: text("errorCode").filter(|code| is_code(code)).map(str::to_owned),
        address: parameters.iter().copied().chain(text("detail")).find_map(address),
        ids: if named.is_empty() { ids(text("detail").as_slice()) } else { named },
    }
}

/// The strings in an array and in the arrays inside it.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values
            .iter()
            .flat_map(|value| value.as_str().map_or_else(|| strings(value), |text| vec![text]))
            .collect(),
        _ => Vec::new(),
    }
}

/// The ids in some sentences: words of 24 hexadecimal digits, each once.
fn ids(texts: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    let words = texts.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric()));
    for word in words.filter(|word| word.len() == 24 && word.bytes().all(|b| b.is_ascii_hexdigit())) {
        let id = word.to_ascii_lowercase();
        if ids.len() < MOST_IDS && !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn state(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ');
    let word = text.trim();
    ((1..=LONGEST).contains(&word.len()) && word.chars().all(plain)).then(|| word.to_owned())
}

fn is_code(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// The first IP address in a sentence.
fn address(text: &str) -> Option<IpAddr> {
    text.split(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':'))
        .find_map(|word| word.trim_end_matches(['.', ':']).parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_of(body: &str) -> Option<String> {
        read(body.as_bytes()).unwrap().state
    }

    #[test]
    fn a_state_is_a_short_plain_word_or_none() {
        for (word, known) in [
            ("FUTURE_WORD", true),
            ("Warming up", true),
            ("", false),
            ("a\u{202e}b", false),
            ("a\u{2028}b", false),
            ("a\u{7}b", false),
            ("A\u{0}B\r\nC\u{9b}", false),
            ("é", false),
            ("<b>", false),
            (&"x".repeat(65), false),
        ] {
            let body = serde_json::json!({ "status": word }).to_string();
            assert_eq!(state_of(&body).is_some(), known, "{word:?}");
        }
    }

    #[test]
    fn the_state_is_read_in_every_form_of_answer() {
        for body in [
            r#"{"status": "SYNCED"}"#,
            r#"{"status": "SYNCED", "sourceOrgId": "1", "targetOrg": {"linkToken": "t"}, "errorMessage": null}"#,
            r#"{"status": 200, "content": {"status": "SYNCED"}}"#,
            r#"{"status": 201, "envelope": {"status": "SYNCED"}}"#,
        ] {
            assert_eq!(state_of(body).as_deref(), Some("SYNCED"), "{body}");
        }
    }

    #[test]
    fn a_future_word_is_kept_as_it_came() {
        assert_eq!(state_of(r#"{"status": "Partly synced"}"#).as_deref(), Some("Partly synced"));
        for body in
            [r#"{"status": ""}"#, r#"{"status": " \n"}"#, r#"{"status": 200}"#, r#"{"status": null}"#, "{}"]
        {
            assert_eq!(state_of(body), None, "{body}");
        }
    }

    #[test]
    fn what_is_no_object_is_not_read() {
        for body in
            ["", "null", r#"["SYNCED"]"#, r#""SYNCED""#, "<html>SYNCED</html>", r#"{"status": "SYNCED""#]
        {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn an_error_code_is_taken_only_if_it_looks_like_one() {
        let code = |body: &str| read(body.as_bytes()).unwrap().error_code;
        let ok = r#"{"error": 403, "errorCode": "FEATURE_UNSUPPORTED", "reason": "Forbidden", "parameters": null}"#;
        assert_eq!(code(ok).as_deref(), Some("FEATURE_UNSUPPORTED"));
        assert_eq!(code(r#"{"status": 403, "content": {"errorCode": "A_1"}}"#).as_deref(), Some("A_1"));
        let long = format!(r#"{{"errorCode": "{}"}}"#, "A".repeat(65));
        for body in [
            r#"{"error": "rate_limited", "error_description": "slow"}"#,
            r#"{"errorCode": "has blank"}"#,
            r#"{"errorCode": 5}"#,
            long.as_str(),
        ] {
            assert_eq!(code(body), None, "{body}");
        }
    }

    #[test]
    fn the_refused_address_comes_from_parameters_or_detail() {
        let address =
            |body: &str| read(body.as_bytes()).unwrap().address.map_or(String::new(), |a| a.to_string());
        for (body, expected) in [
            (
                r#"{"parameters": [7, null, "203.0.113.7"], "detail": "IP address 203.0.113.8."}"#,
                "203.0.113.7",
            ),
            (r#"{"parameters": ["203.0.113.7/32"]}"#, "203.0.113.7"),
            (
                r#"{"detail": "IP address 203.0.113.8 is not allowed to access this resource."}"#,
                "203.0.113.8",
            ),
            (r#"{"detail": "Address 2001:DB8::1, refused."}"#, "2001:db8::1"),
            (r#"{"detail": "Address 1.2.3.4."}"#, "1.2.3.4"),
            (r#"{"detail": "an accessed dead: bead", "parameters": {"a": "1.2.3.4"}}"#, ""),
        ] {
            assert_eq!(address(body), expected, "{body}");
        }
    }
}
