//! The rules of the fields that a person writes. Each is there twice, side by side: in CEL, for the API server, and in Rust,
//! for a check of a manifest where there is no API server. `tests/cluster/check.rs` holds the two against each other.

use std::time::Duration;

use crate::duration;

/// What a text must be like.
#[derive(Clone, Copy)]
pub struct Rule {
    /// As the API server evaluates it.
    pub cel: &'static str,
    /// What is right, for whom it does not hold.
    pub sentence: &'static str,
    /// The same as `cel`.
    pub holds: fn(&str) -> bool,
}

/// That a field stays as it was.
pub const STAYS: &str = "self == oldSelf";

const NAME_CEL: &str = "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')";
const KEY_CEL: &str = "self.matches('^[-._a-zA-Z0-9]+$')";

/// `spec.orgId`.
pub const ORG_ID: Rule = Rule {
    cel: "self.matches('^[0-9a-f]{24}$')",
    sentence: "orgId must be the organization's id: 24 lower-case hexadecimal digits (Organization Settings shows it)",
    holds: is_org_id,
};

/// `spec.baseUrl`.
pub const BASE_URL: Rule = Rule {
    cel: r"self.matches('^https?://([A-Za-z0-9][A-Za-z0-9._-]*|\\[[0-9A-Fa-f:.]+\\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$')",
    sentence: "baseUrl must be https://HOST[:PORT][/PATH] (or http://), such as https://cloud.mongodb.com/api/public/v1.0, without user info, query, fragment, percent-encoding or trailing slash",
    holds: is_base_url,
};

/// `spec.syncInterval`.
pub const SYNC_INTERVAL: Rule = Rule {
    cel: "self.matches('^([0-9]{1,2}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$') && self != '' && duration(self) >= duration('1m') && duration(self) <= duration('24h')",
    sentence: "syncInterval must be a duration from 1m to 24h in hours, minutes and seconds, such as 15m or 1h30m",
    holds: is_sync_interval,
};

/// The name of a Secret.
pub const SECRET_NAME: Rule = Rule {
    cel: NAME_CEL,
    sentence: "name must be the name of a Secret: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
    holds: is_name,
};

/// A key of a Secret.
pub const SECRET_KEY: Rule = Rule {
    cel: KEY_CEL,
    sentence: "key must be a key of a Secret: letters, digits, '-', '_' and '.'",
    holds: is_key,
};

/// The name of a ConfigMap or Secret.
pub const OBJECT_NAME: Rule = Rule {
    cel: NAME_CEL,
    sentence: "name must be the name of a ConfigMap or Secret: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
    holds: is_name,
};

/// A key of a ConfigMap or Secret.
pub const OBJECT_KEY: Rule = Rule {
    cel: KEY_CEL,
    sentence: "key must be a key of a ConfigMap or Secret: letters, digits, '-', '_' and '.'",
    holds: is_key,
};

/// All rules but [`STAYS`].
pub const ALL: [Rule; 7] =
    [ORG_ID, BASE_URL, SYNC_INTERVAL, SECRET_NAME, SECRET_KEY, OBJECT_NAME, OBJECT_KEY];

fn is_org_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_base_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let (authority, path) =
        rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let of = |text: &str, others: &str| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c)) && !text.is_empty()
    };
    let bracketed = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host_is_right, after) = if let Some((address, after)) = bracketed {
        let is_address = address.chars().all(|c| c.is_ascii_hexdigit() || ":.".contains(c));
        (is_address && !address.is_empty(), after)
    } else {
        let (host, after) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        (of(host, "._-") && host.starts_with(|c: char| c.is_ascii_alphanumeric()), after)
    };
    let port_is_right = after.is_empty()
        || after.strip_prefix(':').is_some_and(|port| {
            port.starts_with(|c: char| matches!(c, '1'..='9')) && port.parse::<u16>().is_ok()
        });
    let path_is_right =
        path.is_none_or(|path| path.split('/').all(|part| of(part, "._~-") && !part.starts_with('.')));
    host_is_right && port_is_right && path_is_right
}

fn is_sync_interval(text: &str) -> bool {
    let mut rest = text;
    for (unit, longest) in [('h', 2), ('m', 4), ('s', 5)] {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let after = rest.split_at(digits).1.strip_prefix(unit);
        if let Some(after) = after.filter(|_| (1..=longest).contains(&digits)) {
            rest = after;
        }
    }
    let within = Duration::from_mins(1)..=Duration::from_hours(24);
    rest.is_empty() && duration::parse(text).is_some_and(|interval| within.contains(&interval))
}

/// Whether it is a DNS subdomain, whatever its length.
fn is_name(text: &str) -> bool {
    text.split('.').all(|label| {
        label.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}
