//! What a Secret may hold.

use std::collections::BTreeMap;

use migrationlink_operator::decision::{Credentials, Fetched, Inputs, Link, read};
use secrecy::ExposeSecret;
use serde_json::json;

type Data = BTreeMap<String, Vec<u8>>;

/// The longest value that is taken, in bytes.
const LONGEST: usize = 8 * 1024;

/// The first line of the input says what the link is like: with a `t`, its token is in a Secret of its own; with a `d`, it
/// is being deleted. Then come `KEY=VALUE`, any bytes, with a line `%%` between two; `atlas/KEY=VALUE` is in the token's own
/// Secret.
pub fn secret(input: &[u8]) {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    let (line, rest) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let case = Case::new(line.contains(&b't'), line.contains(&b'd'), rest);
    let (inputs, credentials) = case.read(|value, _| value.to_vec());
    case.check_what_is_taken(&inputs, credentials.as_ref());
    case.check_forms(&inputs);

    // Other values of the same kind: nothing that is said can depend on more than the kind.
    let (others, of_others) = case.read(|value, n| Kind::of(value).another(n));
    assert_eq!(inputs.usable.as_ref().err(), others.usable.as_ref().err());
    assert_eq!(inputs.keys.as_ref().err(), others.keys.as_ref().err());
    assert_eq!(format!("{credentials:?}"), format!("{of_others:?}"));
    for (at, usable) in case.usable_objects().into_iter().enumerate() {
        let content = |inputs: &Inputs| inputs.records[at].content.clone();
        assert!(usable || content(&inputs) == content(&others), "a value can be guessed from the status");
    }

    // White space around a value is nothing, an editor's or the newline of `--from-file`.
    let (padded, _) = case.read(|value, n| match n % 2 {
        0 => [value, b"\n"].concat(),
        _ => [b" \r\n\t", value, b"\r\n"].concat(),
    });
    assert_eq!(inputs, padded);
}

struct Case {
    link: Link,
    keys: Data,
    atlas: Data,
}

impl Case {
    fn new(own_token: bool, deleting: bool, entries: &[u8]) -> Self {
        let mut resource = json!({
            "apiVersion": "migrationlink.dev/v1alpha1",
            "kind": "MigrationLink",
            "metadata": {"name": "orders", "namespace": "payments", "uid": "6b1d7f0e-0001", "resourceVersion": "1"},
            "spec": {"orgId": "5f0d1e2a3b4c5d6e7f801234", "secretRef": {"name": "migration"}},
        });
        if own_token {
            resource["spec"]["linkTokenSecretRef"] = json!({"name": "atlas"});
        }
        if deleting {
            resource["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let link = Link::observe(serde_json::from_value(resource).unwrap()).unwrap();
        let mut case = Self { link, keys: Data::new(), atlas: Data::new() };
        let mut rest = Some(entries);
        while let Some(entry) = rest {
            let end = entry.windows(4).position(|part| part == b"\n%%\n");
            rest = end.map(|end| &entry[end + 4..]);
            let entry = &entry[..end.unwrap_or(entry.len())];
            let Some(at) = entry.iter().position(|&byte| byte == b'=') else { continue };
            let (key, value) = (String::from_utf8_lossy(&entry[..at]), entry[at + 1..].to_vec());
            match key.strip_prefix("atlas/") {
                Some(key) => case.atlas.insert(key.to_owned(), value),
                None => case.keys.insert(key.into_owned(), value),
            };
        }
        case
    }

    /// What is read, with each value put through `change`, which gets its number.
    fn read(&self, change: impl Fn(&[u8], usize) -> Vec<u8>) -> (Inputs, Option<Credentials>) {
        let found = |data: &Data| Fetched::Found {
            uid: "u".into(),
            resource_version: "1".into(),
            data: data.iter().enumerate().map(|(n, (key, value))| (key.clone(), change(value, n))).collect(),
        };
        let objects = self.link.references().into_iter().map(|reference| {
            let data = if reference.name == "atlas" { &self.atlas } else { &self.keys };
            (reference, found(data))
        });
        read(&self.link, &objects.collect::<Vec<_>>(), |_| false)
    }

    fn own_token(&self) -> bool {
        self.link.spec.link_token_secret_ref.is_some()
    }

    /// The pair that is to be taken; never a half of each, and none beside the keys of a service account.
    fn pair(&self) -> Option<(&str, &str)> {
        let reserved = ["clientId", "clientSecret"].iter().any(|key| self.keys.contains_key(*key));
        let pair = [("publicKey", "privateKey"), ("publicApiKey", "privateApiKey")]
            .into_iter()
            .find_map(|(public, private)| Some((self.keys.get(public)?, self.keys.get(private)?)));
        let (public, private) = pair.filter(|_| !reserved)?;
        Some((usable(public)?, usable(private)?))
    }

    fn token(&self) -> Option<&str> {
        let data = if self.own_token() { &self.atlas } else { &self.keys };
        let is_read = !self.own_token() || !self.link.deleting;
        data.get("linkToken").filter(|_| is_read).and_then(|value| usable(value))
    }

    /// For each object that is read: whether it can be used.
    fn usable_objects(&self) -> Vec<bool> {
        let (keys, token) = (self.pair().is_some(), self.token().is_some());
        match (self.own_token(), self.link.deleting) {
            (_, true) => vec![keys],
            (true, false) => vec![keys, token],
            (false, false) => vec![keys && token],
        }
    }

    fn check_what_is_taken(&self, inputs: &Inputs, credentials: Option<&Credentials>) {
        let pair = self.pair();
        let token = self.token().filter(|_| pair.is_some());
        assert_eq!((inputs.keys.is_ok(), inputs.usable.is_ok()), (pair.is_some(), token.is_some()));
        let values = credentials.map(|credentials| {
            let token = credentials.link_token.as_ref().map(ExposeSecret::expose_secret);
            (credentials.public_key.expose_secret(), credentials.private_key.expose_secret(), token)
        });
        assert_eq!(values, pair.map(|(public, private)| (public, private, token)));
    }

    fn check_forms(&self, inputs: &Inputs) {
        let is_fingerprint =
            |text: &String| text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        assert_eq!(inputs.records.len(), self.link.references().len());
        assert!(inputs.records.iter().all(|record| record.content.as_ref().is_some_and(is_fingerprint)));
        assert!(inputs.keys.as_ref().map_or(true, is_fingerprint));
        for unusable in [inputs.usable.as_ref().err(), inputs.keys.as_ref().err()].into_iter().flatten() {
            let message = &unusable.message;
            assert!(
                message.len() <= 1000 && message.bytes().all(|b| matches!(b, b' '..=b'~')),
                "{message:?}"
            );
        }
    }
}

/// The value as it is used, if it can be.
fn usable(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?.trim();
    matches!(Kind::of(value), Kind::Usable).then_some(text)
}

/// All that may be told of a value.
enum Kind {
    NotText,
    Empty,
    TooLong,
    WithControl,
    Usable,
}

impl Kind {
    fn of(value: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(value) else { return Self::NotText };
        match text.trim() {
            "" => Self::Empty,
            text if text.len() > LONGEST => Self::TooLong,
            text if text.chars().any(char::is_control) => Self::WithControl,
            _ => Self::Usable,
        }
    }

    /// The `n`-th other value of the same kind.
    fn another(&self, n: usize) -> Vec<u8> {
        match self {
            Self::NotText => [&[0xff], n.to_string().as_bytes()].concat(),
            Self::Empty => vec![b' '; n],
            Self::TooLong => vec![b'y'; LONGEST + 1 + n],
            Self::WithControl => format!("another\u{7}{n}").into_bytes(),
            Self::Usable => format!("another-{n}").into_bytes(),
        }
    }
}
