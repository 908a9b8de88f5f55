//! What a Secret must hold, and what is kept of it: fingerprints, never a value.

use std::collections::BTreeMap;

use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretString};

use super::fingerprint::fingerprint;
use super::message;
use super::observe::{InputReference, Link};
use crate::api::{InputKind, InputRecord, Reason};

/// The longest value that is taken, in bytes. Real keys have 8 to 36 characters, link tokens a few hundred.
pub(super) const LONGEST: usize = 8 * 1024;

/// Every key that is looked at in the Secret of the API keys. The content fingerprint covers these and no others.
pub const KEYS: [&str; 8] = [
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
    /// The fingerprints of what is used to link and to poll, or why it cannot be used.
    pub usable: Result<Fingerprints, Unusable>,
    /// The fingerprint of the API keys, which are all that it takes to remove the link, or why they cannot be used.
    pub keys: Result<String, Unusable>,
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
    /// The link token that Atlas gave out; None where only the keys are there.
    pub link_token: Option<SecretString>,
    /// The root certificates that `caRef` names, in PEM form.
    pub ca: Option<Vec<u8>>,
}

/// What the API server says of one object. Its values are overwritten when it is dropped, wherever a pass ends.
pub enum Fetched {
    /// It is not there.
    Missing,
    /// The operator may not read it. Only another version than that which the watch knows is worth another try before its
    /// time.
    Denied {
        /// Uid and resourceVersion that the watch knows.
        known: Option<(String, String)>,
    },
    /// It is there.
    Found {
        /// Its uid.
        uid: String,
        /// Its resourceVersion.
        resource_version: String,
        /// What is in it.
        data: BTreeMap<String, Vec<u8>>,
    },
}

impl Fetched {
    pub(super) fn overwrite(&mut self) {
        if let Self::Found { data, .. } = self {
            data.values_mut().for_each(Zeroize::zeroize);
        }
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        self.overwrite();
    }
}

impl Unusable {
    /// The Secret is not there; `wanted`: what it should hold.
    pub(super) fn missing(name: &str, wanted: &str) -> Self {
        Self { reason: Reason::SecretNotFound, message: message::secret_not_found(name, wanted) }
    }

    /// The Secret holds not what it must; `problem` says what is wrong with it.
    pub(super) fn invalid(name: &str, problem: &str, wanted: &str) -> Self {
        Self { reason: Reason::InvalidSecret, message: message::invalid_secret(name, problem, wanted) }
    }

    /// The API server does not let the operator read the object.
    pub(super) fn denied(link: &Link, kind: InputKind, name: &str) -> Self {
        Self { reason: Reason::SecretAccessDenied, message: message::access_denied(link, kind, name) }
    }
}

/// What is read of the objects that a link refers to: what may be seen of it, and the values that calls are made with.
/// `objects` are those of [`Link::references`]; `is_ca` says whether a text is certificates in PEM form.
pub fn read(
    link: &Link,
    objects: &[(InputReference, Fetched)],
    is_ca: impl Fn(&[u8]) -> bool,
) -> (Inputs, Option<Credentials>) {
    let reading = Reading { link, objects, is_ca: &is_ca };
    let (keys, full, ca) = (reading.keys(), reading.keys_and_token(), reading.ca());
    let records = objects.iter().map(|(reference, fetched)| reading.record(reference, fetched)).collect();
    let fingerprint_of = |keys: &(SecretString, SecretString)| keys_fingerprint(&link.uid, &keys.0, &keys.1);
    let with_ca = |unusable: Result<String, Unusable>| {
        unusable.and_then(|keys| ca.as_ref().map(|_| keys).map_err(Clone::clone))
    };
    let inputs = Inputs {
        records,
        usable: with_ca(full.as_ref().map(|(keys, _)| fingerprint_of(keys)).map_err(Clone::clone)).and_then(
            |keys| {
                let (_, token) = full.as_ref().map_err(Clone::clone)?;
                Ok(Fingerprints { token: fingerprint(&link.uid, [token.expose_secret().as_bytes()]), keys })
            },
        ),
        keys: with_ca(keys.as_ref().map(fingerprint_of).map_err(Clone::clone)),
    };
    let token = full.ok().map(|(_, token)| token);
    let credentials = match (keys, ca) {
        (Ok((public_key, private_key)), Ok(ca)) => {
            Some(Credentials { public_key, private_key, link_token: token, ca })
        }
        _ => None,
    };
    (inputs, credentials)
}

type Keys = (SecretString, SecretString);

/// The objects of one link, and what each of them is for.
struct Reading<'a> {
    link: &'a Link,
    objects: &'a [(InputReference, Fetched)],
    is_ca: &'a dyn Fn(&[u8]) -> bool,
}

impl Reading<'_> {
    fn fetched(&self, kind: InputKind, name: &str) -> &Fetched {
        static MISSING: Fetched = Fetched::Missing;
        let object =
            self.objects.iter().find(|(reference, _)| reference.kind == kind && reference.name == name);
        object.map_or(&MISSING, |(_, fetched)| fetched)
    }

    /// What is in a Secret.
    fn secret(&self, name: &str, wanted: &str) -> Result<&BTreeMap<String, Vec<u8>>, Unusable> {
        match self.fetched(InputKind::Secret, name) {
            Fetched::Missing => Err(Unusable::missing(name, wanted)),
            Fetched::Denied { .. } => Err(Unusable::denied(self.link, InputKind::Secret, name)),
            Fetched::Found { data, .. } => Ok(data),
        }
    }

    fn keys(&self) -> Result<Keys, Unusable> {
        let wanted = "the keys publicKey and privateKey";
        let name = &self.link.spec.secret_ref.name;
        let data = self.secret(name, wanted)?;
        api_keys(data, &["publicKey", "privateKey"])
            .map_err(|problem| Unusable::invalid(name, &problem, wanted))
    }

    fn keys_and_token(&self) -> Result<(Keys, SecretString), Unusable> {
        if let Some(token) = &self.link.spec.link_token_secret_ref {
            let keys = self.keys()?;
            let wanted = format!("the link token under the key {}", token.key());
            let data = self.secret(&token.name, &wanted)?;
            let token_value = value(data, token.key())
                .map_err(|problem| Unusable::invalid(&token.name, &problem, &wanted))?;
            return Ok((keys, token_value));
        }
        let wanted = "the keys publicKey, privateKey and linkToken";
        let name = &self.link.spec.secret_ref.name;
        let data = self.secret(name, wanted)?;
        credentials(data).map_err(|problem| Unusable::invalid(name, &problem, wanted))
    }

    fn ca(&self) -> Result<Option<Vec<u8>>, Unusable> {
        let Some(ca) = &self.link.spec.ca_ref else { return Ok(None) };
        let (kind, name, key) = (ca.kind, ca.name.as_str(), ca.key());
        let invalid = |problem: &str| {
            let message = message::invalid_ca(kind, name, key, problem);
            Err(Unusable { reason: Reason::InvalidCA, message })
        };
        let data = match self.fetched(kind, name) {
            _ if kind == InputKind::Other => {
                return invalid("this version of the operator does not know its kind");
            }
            Fetched::Missing => {
                let message = message::ca_not_found(kind, name, key);
                return Err(Unusable { reason: Reason::CANotFound, message });
            }
            Fetched::Denied { .. } => return Err(Unusable::denied(self.link, kind, name)),
            Fetched::Found { data, .. } => data,
        };
        match data.get(key) {
            None => invalid(&format!("its key {key} is missing")),
            Some(pem) if !(self.is_ca)(pem) => invalid(&format!(
                "its key {key} holds no certificate in PEM form, or one that cannot be read"
            )),
            Some(pem) => Ok(Some(pem.clone())),
        }
    }

    fn record(&self, reference: &InputReference, fetched: &Fetched) -> InputRecord {
        let record =
            |uid: Option<&String>, resource_version: Option<&String>, content: Option<String>| InputRecord {
                kind: reference.kind,
                name: reference.name.clone(),
                uid: uid.cloned(),
                resource_version: resource_version.cloned(),
                content,
            };
        match fetched {
            Fetched::Missing => record(None, None, None),
            Fetched::Denied { known } => {
                let (uid, version) = known.as_ref().map(|(uid, version)| (uid, version)).unzip();
                record(uid, version, None)
            }
            Fetched::Found { uid, resource_version, data } => {
                record(Some(uid), Some(resource_version), Some(self.content(reference, data)))
            }
        }
    }

    /// Fingerprint of all that is looked at in an object; of the problem, where it cannot be used. Of an object that is
    /// not meant for us not even that: a short password could be guessed from it.
    fn content(&self, reference: &InputReference, data: &BTreeMap<String, Vec<u8>>) -> String {
        let spec = &self.link.spec;
        let is_secret = |name: &str| reference.kind == InputKind::Secret && reference.name == name;
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut problems = Vec::new();
        let token = spec.link_token_secret_ref.as_ref().filter(|_| !self.link.deleting);
        if is_secret(&spec.secret_ref.name) {
            let alone = token.is_none() && !self.link.deleting;
            let read = if alone {
                credentials(data).map(drop)
            } else {
                api_keys(data, &["publicKey", "privateKey"]).map(drop)
            };
            problems.extend(read.err());
            let looked_at = KEYS.iter().filter(|key| alone || **key != "linkToken");
            for (key, value) in looked_at.filter_map(|key| Some((key, data.get(*key)?))) {
                parts.extend([key.as_bytes(), value.trim_ascii()]);
            }
        }
        if let Some(token) = token.filter(|token| is_secret(&token.name)) {
            problems.extend(value(data, token.key()).err());
            parts.extend(data.get(token.key()).map(|value| value.trim_ascii()));
        }
        if let Some(ca) =
            spec.ca_ref.as_ref().filter(|ca| ca.kind == reference.kind && ca.name == reference.name)
        {
            let pem = data.get(ca.key());
            if !pem.is_some_and(|pem| (self.is_ca)(pem)) {
                problems.push(format!("{} {}", ca.key(), pem.is_some()));
            }
            parts.extend(pem.map(Vec::as_slice));
        }
        if problems.is_empty() {
            return fingerprint(&self.link.uid, parts);
        }
        fingerprint(&self.link.uid, problems.iter().map(String::as_bytes))
    }
}

/// The fingerprint of both API keys together.
fn keys_fingerprint(uid: &str, public: &SecretString, private: &SecretString) -> String {
    fingerprint(uid, [public.expose_secret().as_bytes(), private.expose_secret().as_bytes()])
}

fn credentials(data: &BTreeMap<String, Vec<u8>>) -> Result<(Keys, SecretString), String> {
    let keys = api_keys(data, &["publicKey", "privateKey", "linkToken"])?;
    Ok((keys, value(data, "linkToken")?))
}

/// The API keys. `all` are the keys that should be there, for the words when neither pair is.
fn api_keys(data: &BTreeMap<String, Vec<u8>>, all: &[&str]) -> Result<Keys, String> {
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
        let missing: Vec<_> = all.iter().copied().filter(|key| !has(key)).collect();
        let (noun, verb) = if missing.len() == 1 { ("key", "is") } else { ("keys", "are") };
        return Err(format!("its {noun} {} {verb} missing", missing.join(", ")));
    };
    Ok((value(data, public)?, value(data, private)?))
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
