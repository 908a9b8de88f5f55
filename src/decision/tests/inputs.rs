//! What the objects that a link refers to must hold, and what is kept of them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};

use super::case::link;
use crate::api::{CaReference, InputKind, KeyReference, Reason};
use crate::decision::inputs::{KEYS, LONGEST};
use crate::decision::{Credentials, Fetched, InputReference, Inputs, Link, read};

type Data = BTreeMap<String, Vec<u8>>;

fn data(entries: &[(&str, &str)]) -> Data {
    entries.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

fn found(data: Data) -> Fetched {
    Fetched::Found { uid: "u".into(), resource_version: "1".into(), data }
}

/// Reads a link's objects, in the order of its references. Certificates begin with `PEM`.
fn read_all(link: &Link, fetched: Vec<Fetched>) -> (Inputs, Option<Credentials>) {
    let references: Vec<InputReference> = link.references();
    assert_eq!(references.len(), fetched.len());
    let objects: Vec<_> = references.into_iter().zip(fetched).collect();
    read(link, &objects, |pem| pem.starts_with(b"PEM"))
}

/// Reads a link with a single Secret.
fn read_one(data: Data) -> (Inputs, Option<Credentials>) {
    read_all(&link().link, vec![found(data)])
}

fn content(entries: &[(&str, &str)]) -> String {
    read_one(data(entries)).0.records.remove(0).content.unwrap()
}

/// The keys and the token that are taken.
fn taken(entries: &[(&str, &str)]) -> String {
    let credentials = read_one(data(entries)).1.unwrap();
    let text = |secret: &SecretString| secret.expose_secret().to_owned();
    let token = credentials.link_token.as_ref().map(text).unwrap();
    format!("{} {} {token}", text(&credentials.public_key), text(&credentials.private_key))
}

/// What is wrong, as it is said.
fn problem(inputs: &Inputs) -> String {
    let unusable = inputs.usable.clone().unwrap_err();
    format!("{}: {}", unusable.reason, unusable.message)
}

fn with_token_ref(key: Option<&str>) -> Link {
    let mut link = link().link;
    link.spec.link_token_secret_ref =
        Some(KeyReference { name: "atlas".into(), key: key.map(str::to_owned) });
    link
}

fn with_ca_ref(kind: InputKind) -> Link {
    let mut link = link().link;
    link.spec.ca_ref = Some(CaReference { kind, name: "om-ca".into(), key: None });
    link
}

const FULL: [(&str, &str); 3] = [("publicKey", "a"), ("privateKey", "b"), ("linkToken", "t")];

#[test]
fn both_pairs_are_taken_the_first_one_first_and_they_are_never_mixed() {
    assert_eq!(taken(&[("publicKey", "a"), ("privateKey", "b\n"), ("linkToken", " t ")]), "a b t");
    assert_eq!(taken(&[("publicApiKey", "c"), ("privateApiKey", "d"), ("linkToken", "t")]), "c d t");
    assert_eq!(taken(&[&FULL[..], &[("publicApiKey", "c"), ("privateApiKey", "d")]].concat()), "a b t");
    let mixed = [("publicKey", "a"), ("privateApiKey", "d"), ("linkToken", "t")];
    let (inputs, credentials) = read_one(data(&mixed));
    assert!(credentials.is_none());
    assert!(problem(&inputs).contains(": its key publicApiKey is missing."), "{inputs:?}");
}

#[test]
fn what_is_wrong_names_the_key() {
    let mut long = data(&FULL);
    long.insert("linkToken".into(), vec![b'x'; LONGEST + 1]);
    let mut binary = data(&FULL);
    binary.insert("linkToken".into(), vec![0xff, 0xfe]);
    for (data, message) in [
        (data(&[]), "its keys publicKey, privateKey, linkToken are missing"),
        (data(&[("privateKey", "b"), ("linkToken", "t")]), "its key publicKey is missing"),
        (data(&[("publicKey", "a"), ("privateKey", "b")]), "its key linkToken is missing"),
        (
            data(&[("publicKey", "a"), ("privateKey", " \n"), ("linkToken", "t")]),
            "its key privateKey is empty",
        ),
        (
            data(&[("publicKey", "a\r\nX: y"), ("privateKey", "b"), ("linkToken", "t")]),
            "its key publicKey has a line break or another control character inside",
        ),
        (
            data(&[("user", "a"), ("publicApiKey", "b"), ("linkToken", "t")]),
            "publicApiKey is the private key",
        ),
        (data(&[&FULL[..], &[("clientId", "x")]].concat()), "service accounts are not supported yet"),
        (binary, "its key linkToken is not UTF-8 text"),
        (long, "its key linkToken is longer than 8192 bytes"),
    ] {
        let said = problem(&read_one(data).0);
        assert!(said.starts_with("InvalidSecret: Secret migration cannot be used: "), "{said}");
        assert!(said.contains(message), "{said}");
        assert!(said.ends_with("It needs the keys publicKey, privateKey and linkToken."), "{said}");
    }
}

#[test]
fn the_content_changes_with_what_is_used_and_with_nothing_else() {
    let full = content(&FULL);
    assert_eq!(full, content(&[("publicKey", "a"), ("privateKey", "b"), ("linkToken", "t\n"), ("x", "y")]));
    assert_ne!(full, content(&[("publicKey", "a"), ("privateKey", "b"), ("linkToken", "u")]));
    assert_ne!(full, content(&[("publicKey", "a"), ("privateKey", "b")]));
}

/// A link may name a Secret that is not meant for it: its values must not be guessable from the status.
#[test]
fn nothing_of_the_values_of_an_unusable_object_is_in_its_content() {
    assert_eq!(content(&[("clientSecret", "hunter2")]), content(&[("clientSecret", "letmein")]));
    assert_eq!(content(&[("privateKey", "a")]), content(&[("privateKey", "b")]));
    assert_ne!(content(&[("privateKey", "a")]), content(&[("publicKey", "a")]), "another problem");
    let link = with_ca_ref(InputKind::Secret);
    let of = |ca: &str| {
        let (inputs, _) = read_all(&link, vec![found(data(&FULL)), found(data(&[("ca.crt", ca)]))]);
        inputs.records[1].content.clone()
    };
    assert_eq!(of("hunter2"), of("letmein"));
    assert_ne!(of("PEM 1"), of("PEM 2"));
}

#[test]
fn token_and_keys_have_fingerprints_of_their_own() {
    let of = |entries: &[(&str, &str)]| read_one(data(entries)).0.usable.unwrap();
    let first = of(&FULL);
    let rotated = of(&[("publicKey", "a"), ("privateKey", "b"), ("linkToken", "u")]);
    assert_eq!(first.keys, rotated.keys);
    assert_ne!(first.token, rotated.token);
}

#[test]
fn a_token_of_another_secret_is_taken_from_there_alone() {
    let keys = || found(data(&[("publicKey", "a"), ("privateKey", "b"), ("linkToken", "not wanted")]));
    let (inputs, credentials) =
        read_all(&with_token_ref(None), vec![keys(), found(data(&[("linkToken", "t")]))]);
    assert_eq!(credentials.unwrap().link_token.unwrap().expose_secret(), "t");
    assert_eq!(inputs.records.len(), 2);
    let (other, _) =
        read_all(&with_token_ref(None), vec![found(data(&FULL)), found(data(&[("linkToken", "t")]))]);
    assert_eq!(inputs.usable, other.usable);
    assert_eq!(inputs.records[0], other.records[0], "linkToken of the other Secret is not looked at");
    let (named, _) = read_all(&with_token_ref(Some("x.y")), vec![keys(), found(data(&[("x.y", "t")]))]);
    assert_eq!(inputs.usable, named.usable);

    for (token, said) in [
        (
            Fetched::Missing,
            "SecretNotFound: Secret atlas is not there. Create it in this namespace with the link token under the key x.y.",
        ),
        (
            found(data(&[])),
            "InvalidSecret: Secret atlas cannot be used: its key x.y is missing. It needs the link token under the key x.y.",
        ),
        (
            Fetched::Denied { known: None },
            "SecretAccessDenied: The API server does not let the operator read Secret atlas.",
        ),
    ] {
        let (inputs, credentials) = read_all(&with_token_ref(Some("x.y")), vec![keys(), token]);
        assert!(problem(&inputs).starts_with(said), "{inputs:?}");
        assert!(inputs.keys.is_ok(), "the keys alone are enough to remove the link");
        assert!(credentials.unwrap().link_token.is_none());
    }
    let (inputs, _) =
        read_all(&with_token_ref(None), vec![Fetched::Missing, found(data(&[("linkToken", "t")]))]);
    assert!(problem(&inputs).ends_with("with the keys publicKey and privateKey."), "{inputs:?}");
}

#[test]
fn one_secret_may_hold_everything_and_is_read_once() {
    let mut link = link().link;
    let name = link.spec.secret_ref.name.clone();
    link.spec.link_token_secret_ref = Some(KeyReference { name: name.clone(), key: Some("token".into()) });
    link.spec.ca_ref = Some(CaReference { kind: InputKind::Secret, name, key: None });
    let all = [("publicKey", "a"), ("privateKey", "b"), ("token", "t"), ("ca.crt", "PEM")];
    let (inputs, credentials) = read_all(&link, vec![found(data(&all))]);
    let credentials = credentials.unwrap();
    assert_eq!(credentials.link_token.unwrap().expose_secret(), "t");
    assert_eq!(credentials.ca.as_deref(), Some(b"PEM".as_slice()));
    let with = |changed: (&str, &str)| {
        let mut all = data(&all);
        all.insert(changed.0.into(), changed.1.into());
        read_all(&link, vec![found(all)]).0.records.remove(0).content
    };
    assert_eq!(inputs.records[0].content, with(("x", "y")));
    for changed in [("privateKey", "c"), ("token", "u"), ("ca.crt", "PEM 2")] {
        assert_ne!(inputs.records[0].content, with(changed));
    }
}

#[test]
fn a_ca_comes_from_a_config_map_or_a_secret() {
    for kind in [InputKind::ConfigMap, InputKind::Secret] {
        let of = |ca| read_all(&with_ca_ref(kind), vec![found(data(&FULL)), ca]);
        let (inputs, credentials) = of(found(data(&[("ca.crt", "PEM")])));
        assert!(inputs.usable.is_ok() && inputs.keys.is_ok());
        assert_eq!(credentials.unwrap().ca.as_deref(), Some(b"PEM".as_slice()));
        for (ca, said) in [
            (Fetched::Missing, format!("CANotFound: {kind} om-ca, which spec.caRef names, is not there.")),
            (
                found(data(&[])),
                format!(
                    "InvalidCA: {kind} om-ca, which spec.caRef names, cannot be used: its key ca.crt is missing."
                ),
            ),
            (
                found(data(&[("ca.crt", "x")])),
                format!(
                    "InvalidCA: {kind} om-ca, which spec.caRef names, cannot be used: its key ca.crt holds no certificate"
                ),
            ),
            (
                Fetched::Denied { known: None },
                format!("SecretAccessDenied: The API server does not let the operator read {kind} om-ca."),
            ),
        ] {
            let (inputs, credentials) = of(ca);
            assert!(problem(&inputs).starts_with(&said), "{inputs:?}");
            assert_eq!(inputs.keys.unwrap_err(), inputs.usable.unwrap_err(), "without it nothing is sent");
            assert!(credentials.is_none());
        }
    }
    let (inputs, _) = read_all(&with_ca_ref(InputKind::Other), vec![found(data(&FULL))]);
    assert!(serde_json::to_value(&inputs.records).is_ok(), "it can be written into a status");
    assert_eq!(inputs.usable.unwrap_err().reason, Reason::InvalidCA, "a kind of the future is refused");
}

#[test]
fn for_a_deletion_the_keys_are_enough() {
    let mut link = with_token_ref(None);
    link.deleting = true;
    assert_eq!(link.references().len(), 1, "the token's Secret is not read");
    let (inputs, credentials) = read_all(&link, vec![found(data(&FULL[..2]))]);
    assert!(inputs.keys.is_ok() && credentials.is_some());
    let (wrong, credentials) = read_all(&link, vec![found(data(&FULL[..1]))]);
    assert!(credentials.is_none());
    assert!(wrong.keys.unwrap_err().message.ends_with("It needs the keys publicKey and privateKey."));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_no_value_comes_out(
        entries in proptest::collection::btree_map(
            proptest::sample::select([&KEYS[..], &["ca.crt", "token"]].concat()).prop_map(str::to_owned),
            proptest::collection::vec(any::<u8>(), 0..40),
            0..8,
        ),
        canary in "canary[0-9]{8}",
    ) {
        let mut entries = entries;
        for value in entries.values_mut() {
            value.extend_from_slice(canary.as_bytes());
        }
        let mut link = with_token_ref(Some("token"));
        link.spec.ca_ref = Some(CaReference { kind: InputKind::Secret, name: "atlas".into(), key: None });
        let (inputs, _) = read_all(&link, vec![found(entries.clone()), found(entries.clone())]);
        let shown = format!("{inputs:?}");
        prop_assert!(!shown.contains(&canary));
        let (inputs, credentials) = read_one(entries);
        let shown = format!("{inputs:?} {:?}", credentials.map(|held| (held.public_key, held.link_token)));
        prop_assert!(!shown.contains(&canary));
    }
}

#[test]
fn what_was_read_is_overwritten_when_it_is_dropped() {
    let mut secret = found(data(&[("publicKey", "canary"), ("privateKey", "canary")]));
    // As its drop does, after which nobody can look.
    secret.overwrite();
    let Fetched::Found { data, .. } = &secret else { panic!("it is still there") };
    assert_eq!(data.len(), 2);
    assert!(data.values().all(Vec::is_empty), "zeroize empties what it has overwritten: {data:?}");
}
