//! What a Secret must hold, and what is kept of it: fingerprints, never a value.

use std::collections::BTreeMap;

use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretString};

use super::fingerprint::fingerprint;
use super::message;
use super::observe::Link;
use crate::api::{InputRecord, Reason};

/// The longest value that is taken, in bytes. Real keys have 8 to 36 characters, link tokens a few hundred.
const LONGEST: usize = 8 * 1024;

/// Every key that is looked at. The content fingerprint covers these and no others.
const KEYS: [&str; 8] = [
    "publicKey",
    "privateKey",
    "linkToken",
    "publicApiKey",
    "privateApiKey",
    "user",
    "clientId",
    "clientSecret",
];

/// What a pass has read of the objects that the link refers to. It holds no secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// One record for each object, as it goes into the status.
    pub records: Vec<InputRecord>,
    /// The fingerprints of what is used, or why it cannot be used.
    pub usable: Result<Fingerprints, Unusable>,
}

/// Fingerprints of the values that a call is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprints {
    /// Of the link token.
    pub token: String,
    /// Of both API keys together.
    pub keys: String,
}

/// Why the inputs cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The reason for the status.
    pub reason: Reason,
    /// What is wrong, and what to do. It names keys, never their content.
    pub message: String,
}

/// The values that a call is made with.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The API key's public part.
    pub public_key: SecretString,
    /// The API key's private part.
    pub private_key: SecretString,
    /// The link token that Atlas gave out.
    pub link_token: SecretString,
}

/// What one Secret says.
#[derive(Debug)]
pub struct SecretRead {
    /// Fingerprint of all the values that are looked at; of the problem, where they cannot be used.
    pub content: String,
    /// The values, or what is wrong with them, in words for a person.
    pub credentials: Result<Credentials, String>,
}

impl Unusable {
    /// The Secret is not there.
    pub fn missing(name: &str) -> Self {
        Self { reason: Reason::SecretNotFound, message: message::secret_not_found(name) }
    }

    /// The Secret holds not what it must; `problem` as [`read_secret`] words it.
    pub fn invalid(name: &str, problem: &str) -> Self {
        Self { reason: Reason::InvalidSecret, message: message::invalid_secret(name, problem) }
    }

    /// The API server does not let the operator read the Secret.
    pub fn denied(link: &Link, name: &str) -> Self {
        Self { reason: Reason::SecretAccessDenied, message: message::secret_access_denied(link, name) }
    }
}

impl Credentials {
    /// The fingerprints of these values for the resource with this uid.
    pub fn fingerprints(&self, uid: &str) -> Fingerprints {
        let bytes = |secret: &'_ SecretString| secret.expose_secret().as_bytes().to_vec();
        let (mut public, mut private) = (bytes(&self.public_key), bytes(&self.private_key));
        let keys = fingerprint(uid, [public.as_slice(), private.as_slice()]);
        public.zeroize();
        private.zeroize();
        Fingerprints { token: fingerprint(uid, [self.link_token.expose_secret().as_bytes()]), keys }
    }
}

/// Reads the data of a Secret. The values are moved in, and what is not kept of them is overwritten.
pub fn read_secret(uid: &str, mut data: BTreeMap<String, Vec<u8>>) -> SecretRead {
    let credentials = credentials(&data);
    let content = match &credentials {
        Ok(_) => {
            let looked_at =
                KEYS.iter().filter_map(|key| Some([key.as_bytes(), data.get(*key)?.trim_ascii()]));
            fingerprint(uid, looked_at.flatten())
        }
        // Of a Secret that is not meant for us not even that: a short password could be guessed from it.
        Err(problem) => fingerprint(uid, [problem.as_bytes()]),
    };
    data.values_mut().for_each(Zeroize::zeroize);
    SecretRead { content, credentials }
}

fn credentials(data: &BTreeMap<String, Vec<u8>>) -> Result<Credentials, String> {
    let has = |key: &str| data.contains_key(key);
    if has("clientId") || has("clientSecret") {
        return Err("it holds clientId or clientSecret: service accounts are not supported yet, so take these keys out \
                    and give publicKey and privateKey of an API key"
            .into());
    }
    let (public, private) = if has("publicKey") && has("privateKey") {
        ("publicKey", "privateKey")
    } else if has("publicApiKey") && has("privateApiKey") {
        ("publicApiKey", "privateApiKey")
    } else if has("user") && has("publicApiKey") {
        return Err("it has the old form with user and publicApiKey, in which publicApiKey is the private key: name the \
                    keys publicKey (the value of user) and privateKey (the value of publicApiKey)"
            .into());
    } else if has("publicApiKey") || has("privateApiKey") {
        let missing = if has("publicApiKey") { "privateApiKey" } else { "publicApiKey" };
        return Err(format!("its key {missing} is missing"));
    } else {
        let missing: Vec<_> =
            ["publicKey", "privateKey", "linkToken"].into_iter().filter(|key| !has(key)).collect();
        let (noun, verb) = if missing.len() == 1 { ("key", "is") } else { ("keys", "are") };
        return Err(format!("its {noun} {} {verb} missing", missing.join(", ")));
    };
    Ok(Credentials {
        public_key: value(data, public)?,
        private_key: value(data, private)?,
        link_token: value(data, "linkToken")?,
    })
}

/// One value as text, without the white space around it (`--from-file` leaves a newline at the end).
fn value(data: &BTreeMap<String, Vec<u8>>, key: &str) -> Result<SecretString, String> {
    let raw = data.get(key).ok_or_else(|| format!("its key {key} is missing"))?;
    let text = std::str::from_utf8(raw).map_err(|_| format!("its key {key} is not UTF-8 text"))?.trim();
    if text.is_empty() {
        return Err(format!("its key {key} is empty"));
    }
    if text.len() > LONGEST {
        return Err(format!("its key {key} is longer than {LONGEST} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("its key {key} has a line break or another control character inside"));
    }
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(entries: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
    }

    fn read(entries: &[(&str, &str)]) -> SecretRead {
        read_secret("uid", secret(entries))
    }

    fn keys_of(entries: &[(&str, &str)]) -> (String, String, String) {
        let credentials = read(entries).credentials.unwrap();
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        (text(&credentials.public_key), text(&credentials.private_key), text(&credentials.link_token))
    }

    #[test]
    fn both_pairs_are_taken_the_first_one_first_and_they_are_never_mixed() {
        let is = |(a, b, c): (String, String, String)| format!("{a} {b} {c}");
        assert_eq!(is(keys_of(&[("publicKey", "a"), ("privateKey", "b\n"), ("linkToken", " t ")])), "a b t");
        assert_eq!(
            is(keys_of(&[("publicApiKey", "c"), ("privateApiKey", "d"), ("linkToken", "t")])),
            "c d t"
        );
        let both = [
            ("publicKey", "a"),
            ("privateKey", "b"),
            ("publicApiKey", "c"),
            ("privateApiKey", "d"),
            ("linkToken", "t"),
        ];
        assert_eq!(is(keys_of(&both)), "a b t");
        let mixed = [("publicKey", "a"), ("privateApiKey", "d"), ("linkToken", "t")];
        assert_eq!(read(&mixed).credentials.unwrap_err(), "its key publicApiKey is missing");
    }

    #[test]
    fn what_is_wrong_names_the_key() {
        let full = [("publicKey", "a"), ("privateKey", "b"), ("linkToken", "t")];
        for (entries, message) in [
            (vec![], "its keys publicKey, privateKey, linkToken are missing"),
            (vec![("privateKey", "b"), ("linkToken", "t")], "its key publicKey is missing"),
            (vec![("publicKey", "a"), ("privateKey", "b")], "its key linkToken is missing"),
            (
                vec![("publicKey", "a"), ("privateKey", " \n"), ("linkToken", "t")],
                "its key privateKey is empty",
            ),
            (
                vec![("publicKey", "a\r\nX: y"), ("privateKey", "b"), ("linkToken", "t")],
                "its key publicKey has a line break or another control character inside",
            ),
        ] {
            assert_eq!(read(&entries).credentials.unwrap_err(), message);
        }
        let old = read(&[("user", "a"), ("publicApiKey", "b"), ("linkToken", "t")]).credentials.unwrap_err();
        assert!(old.contains("publicApiKey is the private key"), "{old}");
        let mut later = full.to_vec();
        later.push(("clientId", "x"));
        assert!(read(&later).credentials.unwrap_err().contains("not supported yet"));
        let mut data = secret(&full);
        data.insert("linkToken".into(), vec![0xff, 0xfe]);
        assert_eq!(read_secret("uid", data).credentials.unwrap_err(), "its key linkToken is not UTF-8 text");
        let mut data = secret(&full);
        data.insert("linkToken".into(), vec![b'x'; LONGEST + 1]);
        assert!(read_secret("uid", data).credentials.unwrap_err().contains("longer than"));
    }

    #[test]
    fn the_content_changes_with_what_is_used_and_with_nothing_else() {
        let full = [("publicKey", "a"), ("privateKey", "b"), ("linkToken", "t")];
        let content = read(&full).content;
        assert_eq!(
            content,
            read(&[("publicKey", "a"), ("privateKey", "b"), ("linkToken", "t\n"), ("x", "y")]).content
        );
        assert_ne!(content, read(&[("publicKey", "a"), ("privateKey", "b"), ("linkToken", "u")]).content);
        assert_ne!(content, read(&[("publicKey", "a"), ("privateKey", "b")]).content);
    }

    /// A link may name a Secret that is not meant for it: its values must not be guessable from the status.
    #[test]
    fn nothing_of_the_values_of_an_unusable_secret_is_in_its_content() {
        let content = |entries: &[(&str, &str)]| read(entries).content;
        assert_eq!(content(&[("clientSecret", "hunter2")]), content(&[("clientSecret", "letmein")]));
        assert_eq!(content(&[("privateKey", "a")]), content(&[("privateKey", "b")]));
        assert_ne!(
            content(&[("privateKey", "a")]),
            content(&[("publicKey", "a")]),
            "another problem is another content"
        );
    }

    #[test]
    fn token_and_keys_have_fingerprints_of_their_own() {
        let of = |entries: &[(&str, &str)]| read(entries).credentials.unwrap().fingerprints("uid");
        let first = of(&[("publicKey", "a"), ("privateKey", "b"), ("linkToken", "t")]);
        let rotated = of(&[("publicKey", "a"), ("privateKey", "b"), ("linkToken", "u")]);
        assert_eq!(first.keys, rotated.keys);
        assert_ne!(first.token, rotated.token);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_no_value_comes_out(
            entries in proptest::collection::btree_map(
                proptest::sample::select(KEYS.to_vec()).prop_map(str::to_owned),
                proptest::collection::vec(any::<u8>(), 0..40),
                0..8,
            ),
            canary in "canary[0-9]{8}",
        ) {
            let mut entries = entries;
            for value in entries.values_mut() {
                value.extend_from_slice(canary.as_bytes());
            }
            let read = read_secret("uid", entries);
            let shown = format!("{read:?}");
            prop_assert!(!shown.contains(&canary));
        }
    }
}
