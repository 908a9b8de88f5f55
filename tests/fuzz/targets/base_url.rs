//! Base URLs and origins, whatever a resource or a flag says.

use migrationlink_operator::api::rules;
use migrationlink_operator::endpoint::{BaseUrl, InvalidEndpoint, Origin};

const PATH: &str = "/orgs/5f0d1e2a3b4c5d6e7f801234/liveExport/migrationLink";

/// The input is the text of a base URL, and of an origin.
pub fn base_url(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(origin) = text.parse::<Origin>() {
        check_origin(&origin);
    }
    // What the API server lets in.
    let admitted = (rules::BASE_URL.holds)(text);
    match text.parse::<BaseUrl>() {
        Ok(base) => {
            check_base(&base, text);
            if admitted {
                check_admitted(&base, text);
            } else {
                check_refused(&base);
            }
        }
        // Of those the host alone may be wrong: an address that is none.
        Err(error) => assert!(!admitted || error == InvalidEndpoint::NotAUrl, "{text}: {error}"),
    }
}

/// Scheme, host and port, and nothing in which another one could hide.
fn check_origin(origin: &Origin) {
    let text = origin.as_str();
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority = rest.unwrap_or_else(|| panic!("{text:?} has another scheme"));
    assert!(!authority.is_empty() && authority.bytes().all(|b| b.is_ascii_graphic()), "{text:?}");
    assert!(!authority.contains(['/', '\\', '?', '#', '@']), "{text:?}");
    assert_eq!(text.parse::<Origin>().as_ref(), Ok(origin));
}

fn check_base(base: &BaseUrl, text: &str) {
    check_origin(base.origin());
    let shown = base.to_string();
    assert_eq!(shown.parse::<BaseUrl>().as_ref(), Ok(base), "{text:?} is shown as {shown:?}");
    let path = shown.strip_prefix(base.origin().as_str()).expect("it begins with its origin");
    assert!(path.is_empty() || path.starts_with('/') && !path.ends_with('/'), "{shown:?}");
    assert!(path.bytes().all(|b| b.is_ascii_graphic()) && !path.contains(['\\', '?', '#']), "{shown:?}");
    let dots = |part: &str| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "" | "." | "..");
    assert!(!path.split('/').skip(1).any(dots), "{text:?} is {shown:?}");
    assert!(text.ends_with(path), "{text:?} became {shown:?}");
    assert!(!text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\'), "{text:?}");

    let url = base.join(PATH);
    assert_eq!(url.as_str(), format!("{shown}{PATH}"));
    assert_eq!(url.path(), format!("{path}{PATH}"));
    assert_eq!(url.origin().ascii_serialization(), base.origin().as_str());
    assert_eq!((url.username(), url.password(), url.query(), url.fragment()), ("", None, None, None));
}

/// What the rule admits is used as it was written, but for the spelling of the host.
fn check_admitted(base: &BaseUrl, text: &str) {
    let (scheme, rest) = text.split_once("://").expect("the rule wants a scheme");
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let shown = base.to_string();
    assert!(shown.starts_with(scheme) && shown.ends_with(path), "{text} is shown as {shown}");
    let host = authority.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let url = base.join("");
    let same = match url.host() {
        Some(url::Host::Domain(domain)) => domain == host,
        // An address has many spellings.
        Some(_) => true,
        None => false,
    };
    assert!(same, "{text} is shown as {shown}");
}

/// What is of the rule's form once it is written plainly is admitted then.
fn check_refused(base: &BaseUrl) {
    let shown = base.to_string();
    let (_, rest) = shown.split_once("://").expect("it has a scheme");
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-/".contains(&b));
    let host = if authority.starts_with('[') {
        true
    } else {
        let host = authority.split(':').next().unwrap_or_default();
        plain(host) && !host.contains('~') && host.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    let outside = !host || !plain(path) || path.contains("/.") || authority.ends_with(":0");
    assert_eq!((rules::BASE_URL.holds)(&shown), !outside, "{shown}");
}
