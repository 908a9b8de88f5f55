//! The requests: what the operator does, and what happens beside it.

use http::Method;
use serde_json::{Value, json};

use super::built_in::{of_config_maps, of_events, watches_of_inputs};

const APPLY: &str = "application/apply-patch+yaml";
pub const MERGE: &str = "application/merge-patch+json";
pub const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// A request whose versions are filled in for each side.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub content_type: &'static str,
    pub accept: &'static str,
    pub body: Value,
    /// The version of the object that it is made of: how many versions ago. None: none is sent.
    pub version: Option<usize>,
    /// The uid that is sent, if one is: the right one or another.
    pub uid: Option<bool>,
}

impl Ask {
    pub fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }
}

/// A generator of numbers: xorshift64*.
pub struct Chance(pub u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % end
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

pub fn ask(method: Method, path: String, body: Value) -> Ask {
    Ask {
        method,
        path,
        query: String::new(),
        content_type: "application/json",
        accept: "application/json",
        body,
        version: None,
        uid: None,
    }
}

pub fn links(namespace: &str) -> String {
    format!("/apis/migrationlink.dev/v1alpha1/namespaces/{namespace}/migrationlinks")
}

fn leases(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
}

pub fn secrets(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets")
}

pub fn link(name: &str) -> Value {
    json!({
        "apiVersion": "migrationlink.dev/v1alpha1", "kind": "MigrationLink", "metadata": {"name": name},
        "spec": {"orgId": "5f0d1e2a3b4c5d6e7f801234", "secretRef": {"name": "keys"}},
        "status": {"state": "is not taken at creation"},
    })
}

fn applied(status: &Value) -> Value {
    json!({"apiVersion": "migrationlink.dev/v1alpha1", "kind": "MigrationLink", "metadata": {}, "status": status})
}

fn condition(kind: &str, status: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": "Because", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-03-02T08:00:00Z",
    })
}

/// What the operator does, and what happens beside it.
pub fn fixed(namespace: &str) -> Vec<Ask> {
    let (links, leases, secrets) = (links(namespace), leases(namespace), secrets(namespace));
    let of = |name: &str| format!("{links}/{name}");
    let status = |name: &str| format!("{links}/{name}/status");
    let secret = |token: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "data": {"linkToken": token}});
    let apply = |name: &str, what: Value, manager: &str| Ask {
        query: format!("fieldManager={manager}&force=true"),
        content_type: APPLY,
        ..ask(Method::PATCH, status(name), applied(&what))
    };
    let merge = |path: String, what: Value| Ask { content_type: MERGE, ..ask(Method::PATCH, path, what) };
    let list = |path: &String, query: &str| Ask {
        query: query.into(),
        ..ask(Method::GET, path.clone(), Value::Null)
    };
    let first = json!({
        "observedGeneration": 1, "state": "NOT_SYNCED", "attempts": 2, "link": {"sent": "a", "relinks": 1},
        "conditions": [condition("Ready", "False"), condition("Reconciling", "True")],
        "inputs": [{"kind": "Secret", "name": "keys", "uid": "u", "resourceVersion": "1"}],
    });
    let second = json!({
        "observedGeneration": 1, "state": "SYNCED", "conditions": [condition("Ready", "True")],
        "inputs": [{"kind": "Secret", "name": "keys", "uid": "u", "resourceVersion": "2", "content": "c"}],
    });
    let mut all = of_leases(&leases);
    all.extend(of_config_maps(namespace));
    all.extend(of_events(namespace));
    all.extend([
        ask(Method::GET, of("one"), Value::Null),
        ask(Method::POST, links.clone(), link("one")),
        ask(Method::POST, links.clone(), link("one")),
        ask(Method::POST, links.clone(), link("two")),
        ask(Method::POST, secrets.clone(), secret("YQ==")),
        merge(format!("{secrets}/keys"), json!({"data": {"linkToken": "Yg==", "more": "Yw=="}})),
        merge(format!("{secrets}/keys"), json!({"data": {"more": null}})),
        merge(format!("{secrets}/keys"), json!({"data": {"more": null}})),
        list(&links, ""),
        list(&links, "limit=1"),
        Ask { accept: METADATA, ..list(&secrets, "") },
        Ask { version: Some(0), uid: Some(true), ..apply("one", first.clone(), "operator") },
        // The same again is no new version.
        Ask { version: Some(0), uid: Some(true), ..apply("one", first, "operator") },
        Ask { version: Some(1), ..apply("one", second.clone(), "operator") },
        Ask { version: Some(0), uid: Some(false), ..apply("one", second.clone(), "operator") },
        merge(
            status("one"),
            json!({"status": {"attempts": 7, "link": {"lostSince": "2026-03-02T08:00:00Z"}}}),
        ),
        Ask { version: Some(0), ..apply("one", second.clone(), "operator") },
        Ask { version: Some(0), ..merge(status("one"), json!({"status": {"attempts": null, "link": null}})) },
        apply("one", json!({"conditions": [condition("Other", "True")]}), "somebody"),
        apply("one", second.clone(), "operator"),
        apply("one", json!({"conditions": []}), "somebody"),
        apply("one", json!({"observedGeneration": 1}), "operator"),
        apply("nobody", second, "operator"),
        merge(of("one"), json!({"spec": {"syncInterval": "2m"}})),
        merge(of("one"), json!({"spec": {"syncInterval": "2m"}, "status": {"state": "is not taken here"}})),
        merge(of("one"), json!({"metadata": {"annotations": {"migrationlink.dev/reconcile-at": "1"}}})),
        merge(
            status("one"),
            json!({"spec": {"syncInterval": "9m"}, "metadata": {"labels": {"is": "not-taken"}}}),
        ),
        Ask {
            version: Some(0),
            ..merge(of("one"), json!({"metadata": {"finalizers": ["migrationlink.dev/unlink"]}}))
        },
        Ask { version: Some(1), ..merge(of("one"), json!({"metadata": {"finalizers": []}})) },
        ask(Method::DELETE, of("one"), Value::Null),
        ask(Method::DELETE, of("one"), Value::Null),
        ask(Method::POST, links.clone(), link("one")),
        merge(of("one"), json!({"metadata": {"finalizers": ["migrationlink.dev/unlink", "a.b/c"]}})),
        Ask {
            version: Some(0),
            uid: Some(true),
            ..merge(of("one"), json!({"metadata": {"finalizers": []}}))
        },
        ask(Method::GET, of("one"), Value::Null),
        ask(Method::POST, links.clone(), link("one")),
        Ask { uid: Some(false), ..merge(of("one"), json!({"metadata": {"finalizers": ["a.b/c"]}})) },
        ask(Method::DELETE, of("two"), Value::Null),
        ask(Method::DELETE, format!("{secrets}/keys"), Value::Null),
        ask(Method::DELETE, format!("{secrets}/keys"), Value::Null),
        list(&links, "watch=true&timeoutSeconds=2"),
        list(&leases, "watch=true&timeoutSeconds=2&fieldSelector=metadata.name%3Doperator"),
    ]);
    all.extend(watches_of_inputs(namespace));
    all
}

fn of_leases(leases: &str) -> Vec<Ask> {
    let lease = |holder: &str| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "operator"},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
        })
    };
    let nobody =
        json!({"metadata": {"name": "nobody", "resourceVersion": "1"}, "spec": {"leaseDurationSeconds": 15}});
    vec![
        ask(Method::POST, leases.to_owned(), lease("a")),
        ask(Method::POST, leases.to_owned(), lease("b")),
        Ask { version: Some(0), ..ask(Method::PUT, format!("{leases}/operator"), lease("b")) },
        Ask { version: Some(1), ..ask(Method::PUT, format!("{leases}/operator"), lease("c")) },
        Ask {
            version: Some(0),
            uid: Some(false),
            ..ask(Method::PUT, format!("{leases}/operator"), lease("c"))
        },
        Ask {
            version: Some(0),
            uid: Some(true),
            ..ask(Method::PUT, format!("{leases}/operator"), lease("c"))
        },
        ask(Method::PUT, format!("{leases}/operator"), lease("d")),
        ask(Method::PUT, format!("{leases}/nobody"), nobody.clone()),
        ask(Method::DELETE, format!("{leases}/nobody"), Value::Null),
        Ask { uid: Some(false), ..ask(Method::PUT, format!("{leases}/nobody"), nobody) },
    ]
}

pub fn random(namespace: &str, chance: &mut Chance) -> Ask {
    let name = chance.of(&["one", "two", "three"]);
    let (links, path) = (links(namespace), format!("{}/{name}", links(namespace)));
    let version = chance.of(&[None, None, Some(0), Some(0), Some(0), Some(1)]);
    let uid = chance.of(&[None, None, None, Some(true), Some(true), Some(false)]);
    let mut asked = match chance.below(12) {
        0 => ask(Method::GET, path, Value::Null),
        1 | 2 => return ask(Method::POST, links, link(name)),
        3 => return ask(Method::DELETE, path, Value::Null),
        4 => Ask { query: chance.of(&["", "limit=2"]).into(), ..ask(Method::GET, links, Value::Null) },
        5 => Ask {
            content_type: MERGE,
            ..ask(
                Method::PATCH,
                path,
                json!({"metadata": {"finalizers": chance.of(&[json!(["a.b/c"]), json!(["a.b/c", "migrationlink.dev/unlink"]), json!(null)])}}),
            )
        },
        6 => Ask {
            content_type: MERGE,
            ..ask(
                Method::PATCH,
                path,
                json!({
                    "spec": {"syncInterval": chance.of(&[json!("1m"), json!("2m"), json!(null)]),
                        "suspend": chance.of(&[json!(true), json!(null)])},
                    "metadata": {"annotations": {"migrationlink.dev/relink-at": chance.of(&[json!("1"), json!("2"), json!(null)])}},
                }),
            )
        },
        7 => Ask {
            content_type: MERGE,
            ..ask(
                Method::PATCH,
                format!("{path}/status"),
                json!({"status": some_status(chance, Writer::Kubectl)}),
            )
        },
        _ => {
            let writer = chance.of(&[Writer::Operator, Writer::Operator, Writer::Somebody]);
            let manager = if writer == Writer::Operator { "operator" } else { "somebody" };
            Ask {
                content_type: APPLY,
                query: format!("fieldManager={manager}&force=true"),
                ..ask(Method::PATCH, format!("{path}/status"), applied(&some_status(chance, writer)))
            }
        }
    };
    if asked.method == Method::PATCH {
        (asked.version, asked.uid) = (version, uid);
    }
    asked
}

/// Who writes a status.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Applies all of it.
    Operator,
    /// Applies a condition of its own.
    Somebody,
    /// Patches the state.
    Kubectl,
}

fn some_status(chance: &mut Chance, writer: Writer) -> Value {
    let mut status = json!({});
    let mut put = |field: &str, values: &[Value]| match chance.below(values.len() + 1) {
        0 if writer != Writer::Kubectl => {}
        at => status[field] = values[at.max(1) - 1].clone(),
    };
    match writer {
        Writer::Operator => {
            put("observedGeneration", &[json!(1), json!(2)]);
            put("state", &[json!("SYNCED"), json!("NOT_SYNCED")]);
            put("attempts", &[json!(1), json!(2)]);
            put("link", &[json!({"sent": "a"}), json!({"sent": "b", "relinks": 1}), json!({"relinks": 2})]);
            put(
                "conditions",
                &[
                    json!([condition("Ready", "True")]),
                    json!([condition("Ready", "False"), condition("Stalled", "True")]),
                    json!([condition("Reconciling", "True"), condition("Ready", "Unknown")]),
                ],
            );
            put(
                "inputs",
                &[
                    json!([{"kind": "Secret", "name": "keys"}]),
                    json!([{"kind": "Secret", "name": "keys", "content": "c"}, {"kind": "ConfigMap", "name": "ca"}]),
                ],
            );
        }
        // Of an item that two of them share, parts could stay that the schema refuses: that is not imitated.
        Writer::Somebody => put("conditions", &[json!([condition("Other", "True")])]),
        Writer::Kubectl => put("state", &[json!("SYNCED"), json!("NOT_SYNCED")]),
    }
    status
}
