//! What is kept of versions, inputs and organizations, in whatever order they are told.

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::json;

use super::*;
use crate::api::{
    DeletionPolicy, DriftPolicy, InputKind, LinkRecord, MigrationLink, MigrationLinkSpec, Reason,
    SecretReference,
};
use crate::remote::{ApiKeys, CredentialIds};

fn link(uid: &str, version: u64, secret: &str) -> Link {
    let resource: MigrationLink = serde_json::from_value(json!({
        "apiVersion": "migrationlink.dev/v1alpha1",
        "kind": "MigrationLink",
        "metadata": {
            "namespace": "n", "name": "l", "uid": uid, "resourceVersion": version.to_string(), "generation": 1
        },
        "spec": {"orgId": "5f0d1e2a3b4c5d6e7f801234", "secretRef": {"name": secret}},
    }))
    .unwrap();
    assert_eq!(resource.name_any(), "l");
    Link::observe(resource).unwrap()
}

fn key() -> Key {
    Key { namespace: "n".into(), name: "l".into() }
}

fn secret(name: &str) -> InputReference {
    InputReference { kind: InputKind::Secret, name: name.into() }
}

fn present(uid: &str, version: u64) -> Version {
    Version::Present { uid: uid.into(), resource_version: version.to_string() }
}

fn version_of(store: &Store, link: &Link) -> Version {
    store.versions(link).remove(0).1
}

#[test]
fn our_own_write_coming_back_and_a_late_event_say_nothing_new() {
    let store = Store::default();
    assert!(store.apply(link("a", 5, "s")).news);
    let mut written = link("a", 9, "s");
    written.status.state = Some("SYNCED".into());
    assert!(store.apply(written.clone()).news, "the answer to our patch");
    assert!(!store.apply(written.clone()).news, "the watch brings it back");
    assert!(!store.apply(link("a", 5, "s")).news, "a late event");
    assert_eq!(store.get(&key()).unwrap().link.status.state.as_deref(), Some("SYNCED"));
    written.resource_version = "10".into();
    assert!(!store.apply(written).news, "a version that differs in nothing that a decision looks at");
    assert!(store.apply(link("a", 11, "s")).news, "somebody wiped the status");
}

/// What the watch tells of a link may be older than what the copy wrote that worked before.
#[test]
fn the_links_of_an_organization_that_are_known_from_before_the_claim_only_are_to_be_read() {
    let store = Store::default();
    let of = |name: &str, version| Link { name: name.into(), ..link(name, version, "s") };
    let rival = Key { namespace: "n".into(), name: "rival".into() };
    let me = (key(), "l".to_owned());
    store.apply(of("l", 5));
    assert_eq!(store.unread(&key(), "5"), std::slice::from_ref(&me));
    assert_eq!(store.unread(&key(), "4"), [], "it has changed since");
    store.apply(of("rival", 6));
    assert_eq!(store.unread(&key(), "6"), [me, (rival.clone(), "rival".to_owned())]);
    store.update(of("l", 5));
    assert_eq!(
        store.unread(&key(), "6"),
        [(rival.clone(), "rival".to_owned())],
        "it was read, though it is the same"
    );
    store.update(of("rival", 7));
    assert_eq!(store.unread(&key(), "9"), []);
    store.remove(&rival, "rival");
    store.apply(Link { uid: "again".into(), ..of("rival", 8) });
    assert_eq!(store.unread(&key(), "9"), [(rival, "again".to_owned())]);
}

#[test]
fn the_answer_to_our_own_call_brings_no_deleted_link_back() {
    let store = Store::default();
    store.update(link("a", 5, "s"));
    assert!(store.get(&key()).is_none());
    store.apply(link("a", 5, "s"));
    store.update(link("a", 6, "s"));
    assert_eq!(store.get(&key()).unwrap().link.resource_version, "6");
    store.remove(&key(), "a");
    store.update(link("a", 7, "s"));
    assert!(store.get(&key()).is_none());
}

#[test]
fn a_late_event_brings_no_link_back_that_a_call_has_shown_to_be_gone() {
    let store = Store::default();
    store.apply(link("a", 5, "s"));
    store.found_gone(&key(), "a");
    assert_eq!(store.apply(link("a", 6, "s")), Applied::default());
    assert!(store.get(&key()).is_none());
    assert!(store.apply(link("b", 8, "s")).news, "another one of this name");
    assert!(store.remove(&key(), "a").is_none(), "its deletion, told at last");
    assert!(store.get(&key()).is_some());
    assert!(store.found_gone(&key(), "a").is_empty(), "not known any more: there is nothing to wait for");
    store.found_gone(&key(), "b");
    store.retain(&HashSet::new(), None);
    assert!(store.lock().gone.is_empty(), "a list without it is as good as an event");
}

#[test]
fn another_uid_is_another_resource_and_remembers_nothing() {
    let store = Store::default();
    store.apply(link("a", 5, "s"));
    store.remember(&key(), "a", |known| known.kubernetes_failures = 3);
    store.remember(&key(), "b", |known| known.kubernetes_failures = 9);
    assert_eq!(store.get(&key()).unwrap().kubernetes_failures, 3);
    assert!(store.apply(link("b", 8, "s")).news);
    assert_eq!(store.get(&key()).unwrap().kubernetes_failures, 0);
    assert!(!store.apply(link("a", 6, "s")).news, "the one before, late");
    assert!(store.remove(&key(), "a").is_none(), "its deletion, late");
    assert!(store.remove(&key(), "b").is_some());
    assert!(store.get(&key()).is_none());
}

#[test]
fn only_objects_that_links_refer_to_are_kept() {
    let store = Store::default();
    let first = link("a", 5, "s");
    store.apply(first.clone());
    assert_eq!(store.observe_input("n", secret("other"), present("x", 1)), []);
    assert_eq!(version_of(&store, &first), Version::Unknown);
    assert_eq!(store.observe_input("n", secret("s"), present("x", 7)), [key()]);
    assert_eq!(store.observe_input("n", secret("s"), present("x", 7)), [], "known already");
    assert_eq!(store.observe_input("n", secret("s"), present("x", 6)), [], "late");
    assert_eq!(version_of(&store, &first), present("x", 7));
    assert_eq!(store.input_gone("n", secret("s"), "before"), [], "the deletion of the one before, late");
    assert_eq!(store.input_gone("n", secret("s"), "x"), [key()]);
    assert_eq!(version_of(&store, &first), Version::Missing);
    let second = link("a", 8, "t");
    store.apply(second.clone());
    assert_eq!(store.inputs(InputKind::Secret, None), HashSet::from([("n".to_owned(), secret("t"))]));
    assert_eq!(store.inputs(InputKind::Secret, Some("elsewhere")), HashSet::new());
    store.remove(&key(), "a");
    assert_eq!(store.inputs(InputKind::Secret, None), HashSet::new());
}

#[test]
fn a_complete_list_takes_away_what_is_not_in_it_and_only_within_its_namespace() {
    let store = Store::default();
    store.apply(link("a", 5, "s"));
    store.retain(&HashSet::new(), Some("elsewhere"));
    assert!(store.get(&key()).is_some());
    store.retain(&HashSet::from([key()]), None);
    assert!(store.get(&key()).is_some());
    store.retain(&HashSet::new(), Some("n"));
    assert!(store.get(&key()).is_none());
}

/// A link of the organization that all of these tests are about.
fn of_organization(name: &str, version: u64, held_since: Option<&str>) -> Link {
    let mut link = link(name, version, "s");
    link.name = name.into();
    link.created = "2026-01-01T00:00:00Z".parse().unwrap();
    link.status.link = held_since.map(|time| LinkRecord {
        held_since: Some(Time(format!("2026-01-01T{time}Z").parse().unwrap())),
        ..LinkRecord::default()
    });
    link
}

#[test]
fn whoever_was_accepted_first_holds_the_organization() {
    let store = Store::default();
    let key = |name: &str| Key { namespace: "n".into(), name: name.into() };
    let holder = |name: &str| store.holder(&key(name)).map(|holder| holder.name);
    store.apply(of_organization("a", 1, None));
    store.apply(of_organization("b", 2, None));
    assert_eq!((holder("a"), holder("b")), (None, None), "among those never accepted nobody is blocked");

    let applied = store.apply(of_organization("b", 3, Some("00:00:02")));
    assert_eq!((applied.news, applied.others), (true, vec![key("a")]));
    assert_eq!((holder("a").as_deref(), holder("b")), (Some("b"), None));

    store.apply(of_organization("c", 4, Some("00:00:01")));
    assert_eq!(holder("b").as_deref(), Some("c"), "restored from a backup, say");
    let same = store.apply(of_organization("c", 5, Some("00:00:01")));
    assert_eq!(same.others, [], "nothing that concerns others");
    store.apply(of_organization("c", 6, Some("00:00:02")));
    assert_eq!((holder("b"), holder("c").as_deref()), (None, Some("b")), "equally long: by uid");

    let mut elsewhere = of_organization("d", 7, None);
    elsewhere.spec.org_id = "5f0d1e2a3b4c5d6e7f805678".into();
    store.apply(elsewhere);
    assert_eq!(holder("d"), None);

    assert_eq!(store.remove(&key("b"), "b"), Some(vec![key("c"), key("a")]));
    assert_eq!((holder("a").as_deref(), holder("c")), (Some("c"), None));
    assert_eq!(store.remove(&key("a"), "a"), Some(vec![]), "it held nothing");
    assert_eq!(store.remove(&key("c"), "c"), Some(vec![]));
    assert_eq!(store.lock().organizations.len(), 1);
}

/// What a tenant makes thousands of, nobody has to look through: this takes well under a second, and took many minutes.
#[test]
fn thousands_of_links_that_name_an_organization_cost_no_more_than_a_few() {
    const CROWD: u64 = 20_000;
    let begin = Instant::now();
    let store = Store::default();
    let holder = of_organization("holder", 1, Some("00:00:01"));
    store.apply(holder.clone());
    store.update(holder);
    let sample = of_organization("crowd", 1, None);
    let name = |n| format!("crowd-{n}");
    let key = |n| Key { namespace: "n".into(), name: name(n) };
    for n in 0..CROWD {
        let link =
            Link { name: name(n), uid: name(n), resource_version: (100 + n).to_string(), ..sample.clone() };
        assert_eq!(store.apply(link).others, [], "it holds nothing");
    }
    for n in 0..CROWD {
        assert_eq!(store.holder(&key(n)).unwrap().name, "holder");
        assert_eq!(store.unread(&key(n), "50"), [], "all of them are from after the claim began");
    }
    for n in 0..CROWD {
        assert_eq!(store.remove(&key(n), &name(n)), Some(Vec::new()));
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[test]
fn a_holder_that_is_replaced_by_another_resource_of_its_name_holds_nothing() {
    let store = Store::default();
    let key = |name: &str| Key { namespace: "n".into(), name: name.into() };
    store.apply(of_organization("a", 1, Some("00:00:01")));
    store.apply(of_organization("b", 2, None));
    let mut again = of_organization("a", 3, None);
    again.uid = "a2".into();
    assert_eq!(store.apply(again).others, [key("b")]);
    assert_eq!(store.holder(&key("b")), None);
    store.apply(of_organization("b", 5, Some("00:00:03")));
    assert_eq!(store.apply(of_organization("b", 6, None)).others, [key("a")], "its status was wiped");
}

/// A link that waits for a person because of this.
fn stalled(name: &str, version: u64, reason: Option<Reason>) -> Link {
    let mut link = of_organization(name, version, None);
    link.status.conditions = reason.map(|reason| {
        let mut conditions = Vec::new();
        let now = Time("2026-01-01T00:00:00Z".parse().unwrap());
        for (kind, status) in [(ConditionType::Ready, "False"), (ConditionType::Stalled, "True")] {
            conditions.set(kind, status, reason.as_str(), "Do this.", 1, &now);
        }
        conditions
    });
    link
}

#[test]
fn a_success_gives_those_a_reason_that_wait_because_of_the_same_keys_or_origin() {
    let ids = CredentialIds::default();
    let origin: Origin = "https://cloud.mongodb.com".parse().unwrap();
    let credential =
        |public: &str| ids.of(&origin, &ApiKeys { public: public.into(), private: "private".into() });
    let store = Store::default();
    let key = |name: &str| Key { namespace: "n".into(), name: name.into() };
    let nudge = |keys: &str| -> Vec<String> {
        store.nudge(&origin, credential(keys)).into_iter().map(|key| key.name).collect()
    };
    for (name, reason) in [
        ("tls", Some(Reason::TlsVerificationFailed)),
        ("list", Some(Reason::AccessListDenied)),
        ("others", Some(Reason::AccessListDenied)),
        ("token", Some(Reason::TokenRejected)),
        ("well", None),
    ] {
        store.apply(stalled(name, 1, reason));
        let keys = if name == "others" { "b" } else { "a" };
        store.remember(&key(name), name, |known| known.credential = Some(credential(keys)));
    }
    assert_eq!(nudge("a"), ["list", "tls"]);
    assert_eq!(nudge("a"), [""; 0], "once for each reason");
    assert_eq!(nudge("b"), ["others"]);
    store.remember(&key("tls"), "tls", |known| {
        known.memory.nudge = Some(Nudge::Spent(Reason::TlsVerificationFailed));
    });
    assert_eq!(nudge("a"), [""; 0]);
    store.apply(stalled("tls", 2, Some(Reason::Unauthorized)));
    assert_eq!(nudge("a"), ["tls"], "another reason");
    store.remember(&key("others"), "others", |known| known.memory = Memory::default());
    assert_eq!(nudge("b"), ["others"], "it is not remembered that it had one");
    store.remember(&key("others"), "others", |known| {
        known.memory = Memory::default();
        known.credential = Some(credential("a"));
    });
    assert_eq!((nudge("b"), nudge("a")), (vec![], vec!["others".to_owned()]), "it has other keys by now");
    for name in ["tls", "list", "others"] {
        store.apply(stalled(name, 3, None));
    }
    store.remove(&key("token"), "token");
    assert!(store.lock().stalled.is_empty());
}

/// This takes some hundredths of a second, and took a minute.
#[test]
fn a_success_costs_the_same_however_many_wait_for_other_keys() {
    const CROWD: usize = 10_000;
    let ids = CredentialIds::default();
    let origin: Origin = "https://cloud.mongodb.com".parse().unwrap();
    let credential =
        |public: &str| ids.of(&origin, &ApiKeys { public: public.into(), private: "private".into() });
    let store = Store::default();
    for n in 0..CROWD {
        store.apply(stalled(&n.to_string(), 1, Some(Reason::Unauthorized)));
        let key = Key { namespace: "n".into(), name: n.to_string() };
        store.remember(&key, &n.to_string(), |known| known.credential = Some(credential("refused")));
    }
    let begin = Instant::now();
    for _ in 0..CROWD {
        assert_eq!(store.nudge(&origin, credential("good")), []);
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(store.nudge(&origin, credential("refused")).len(), CROWD);
}

const NAMESPACE: &str = "n";

fn store(links: &[&str]) -> Store {
    let store = Store::default();
    for name in links {
        let spec = MigrationLinkSpec {
            org_id: "5f0d1e2a3b4c5d6e7f801234".into(),
            base_url: "https://cloud.mongodb.com/api/public/v1.0".into(),
            secret_ref: SecretReference { name: "keys".into() },
            link_token_secret_ref: None,
            ca_ref: None,
            sync_interval: None,
            deletion_policy: DeletionPolicy::Retain,
            drift_policy: DriftPolicy::Relink,
            suspend: None,
        };
        let mut link = MigrationLink::new(name, spec);
        link.metadata.namespace = Some(NAMESPACE.into());
        link.metadata.uid = Some((*name).into());
        link.metadata.resource_version = Some("1".into());
        assert!(store.apply(Link::observe(link).unwrap()).news);
    }
    store
}

fn keys() -> InputReference {
    InputReference { kind: InputKind::Secret, name: "keys".into() }
}

fn names(links: Vec<Key>) -> Vec<String> {
    links.into_iter().map(|key| key.name).collect()
}

#[test]
fn a_version_is_news_once_whether_a_watch_or_a_read_brings_it() {
    let store = store(&["a", "b"]);
    let read = |before, version| names(store.observe_read(NAMESPACE, keys(), &before, version));
    let told = |version| names(store.observe_input(NAMESPACE, keys(), version));
    assert_eq!(told(Version::Missing), ["a", "b"]);
    assert_eq!(read(Version::Missing, present("u", 5)), ["a", "b"]);
    assert!(told(present("u", 5)).is_empty());
    assert_eq!(told(present("u", 6)), ["a", "b"]);
    assert!(read(present("u", 5), present("u", 5)).is_empty(), "older than what is known");
    assert_eq!(read(present("u", 5), present("u", 7)), ["a", "b"]);
}

#[test]
fn what_the_watch_told_during_a_read_stays() {
    let store = store(&["a"]);
    let version = || {
        let link = store.get(&Key { namespace: NAMESPACE.into(), name: "a".into() }).unwrap().link;
        store.versions(&link).remove(0).1
    };
    store.observe_input(NAMESPACE, keys(), present("u", 5));
    assert!(store.observe_read(NAMESPACE, keys(), &Version::Unknown, Version::Missing).is_empty());
    assert_eq!(version(), present("u", 5), "created after it was found missing");
    store.observe_input(NAMESPACE, keys(), Version::Missing);
    assert!(store.observe_read(NAMESPACE, keys(), &present("u", 5), present("u", 6)).is_empty());
    assert_eq!(version(), Version::Missing, "deleted after it was read");
}
