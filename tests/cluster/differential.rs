//! The API server in memory (`apiserver/`) against the real one: the same requests in the same order, and the same answers.
//!
//! Left out of the comparison is what has to differ or is not imitated: messages, times, managedFields, the version of a list, and the defaults of
//! kinds that are not ours. Uids and resource versions are compared by when they were seen first.

use std::collections::HashMap;
use std::time::Duration;

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use migrationlink_apiserver::ApiServer;
use serde_json::{Value, json};
use tower::service_fn;

use crate::support::Tenant;

/// Random requests after the fixed ones.
const RANDOM: usize = 400;
const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// One of the two, and what was seen of it.
struct Side {
    client: Client,
    names: HashMap<String, String>,
    /// The last version seen of each path, and the one before.
    versions: HashMap<String, Vec<String>>,
    uids: HashMap<String, String>,
}

/// A request whose versions are filled in for each side.
#[derive(Clone, Debug)]
struct Ask {
    method: Method,
    path: String,
    query: String,
    content_type: &'static str,
    accept: &'static str,
    body: Value,
    /// The version of the object that it is made of: how many versions ago. None: none is sent.
    version: Option<usize>,
    /// The uid that is sent, if one is: the right one or another.
    uid: Option<bool>,
}

#[tokio::test]
async fn the_api_server_in_memory_answers_as_the_real_one() {
    let tenant = Tenant::new().await;
    let namespace = tenant.namespace.clone();
    let mut real = Side::new(tenant.client.clone());
    let mut memory = Side::new(in_memory());
    let seed: u64 = std::env::var("MIGRATIONLINK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("differential: MIGRATIONLINK_SEED={seed}");
    let mut chance = Chance(seed);
    let mut asks = fixed(&namespace);
    asks.extend((0..RANDOM).map(|_| random(&namespace, &mut chance)));
    for (number, ask) in asks.iter().enumerate() {
        let (one, other) = tokio::join!(real.ask(ask), memory.ask(ask));
        let events = |answer: &Value| answer.as_array().cloned().unwrap_or_default();
        for (one, other) in events(&one.1).iter().zip(&events(&other.1)) {
            assert_eq!(one, other, "an event, the real one left, request {number}");
        }
        assert_eq!(one, other, "request {number}, the real one left: {ask:#?}");
    }
}

impl Side {
    fn new(client: Client) -> Self {
        Self { client, names: HashMap::new(), versions: HashMap::new(), uids: HashMap::new() }
    }

    async fn ask(&mut self, ask: &Ask) -> (u16, Value) {
        let mut body = ask.body.clone();
        let versions = self.versions.get(&ask.path).cloned().unwrap_or_default();
        if let Some(version) = ask.version.and_then(|ago| versions.iter().rev().nth(ago)) {
            body["metadata"]["resourceVersion"] = json!(version);
        }
        if let Some(right) = ask.uid {
            let uid = self.uids.get(&ask.path).filter(|_| right).cloned();
            body["metadata"]["uid"] =
                json!(uid.unwrap_or_else(|| "11111111-2222-4333-8444-555555555555".into()));
        }
        let mut query = ask.query.clone();
        if query.contains("watch=true") {
            // From the first version that was seen of anything.
            query =
                format!("{query}&resourceVersion={}", self.names.get("first").cloned().unwrap_or_default());
        }
        let request = Request::builder()
            .method(ask.method.clone())
            .uri(format!("{}?{query}", ask.path))
            .header("Content-Type", ask.content_type)
            .header("Accept", ask.accept)
            .body(Body::from(if body.is_null() { Vec::new() } else { body.to_string().into_bytes() }))
            .unwrap();
        let response = self.client.send(request).await.unwrap();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        if ask.query.contains("watch=true") {
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let told = lines.filter(|event| event["type"] != "BOOKMARK").map(
                |event| json!({"type": event["type"], "object": self.told(event["object"].clone(), None)}),
            );
            return (code, told.collect());
        }
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{code} {text}"));
        if answer["items"].is_array() {
            let items = answer["items"].as_array().cloned().unwrap_or_default();
            let mut shown: Vec<Value> = items.into_iter().map(|item| self.told(item, None)).collect();
            for item in &mut shown {
                // Items of the built-in kinds do not say what they are.
                item.as_object_mut().map(|item| (item.remove("kind"), item.remove("apiVersion")));
            }
            let more = answer["metadata"]["continue"].as_str().is_some_and(|more| !more.is_empty());
            return (code, json!({"kind": answer["kind"], "items": shown, "more": more}));
        }
        (code, self.told(answer, Some(&ask.path)))
    }

    /// What is compared of an object.
    fn told(&mut self, mut object: Value, path: Option<&str>) -> Value {
        if object["kind"] == "Status" {
            return json!({"kind": "Status", "code": object["code"], "reason": object["reason"]});
        }
        if let Some(version) = object["metadata"]["resourceVersion"].as_str().map(str::to_owned) {
            self.names.entry("first".into()).or_insert_with(|| version.clone());
            if let Some(path) = path {
                let path = path.trim_end_matches("/status").to_owned();
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let path = if path.ends_with(&format!("/{name}")) { path } else { format!("{path}/{name}") };
                self.versions.entry(path.clone()).or_default().push(version.clone());
                self.versions.entry(format!("{path}/status")).or_default().push(version);
                let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
                self.uids.insert(path.clone(), uid.clone());
                self.uids.insert(format!("{path}/status"), uid);
            }
        }
        for field in ["uid", "resourceVersion"] {
            if let Some(value) = object["metadata"][field].as_str().map(str::to_owned) {
                let next = format!("{field} {}", self.names.len());
                object["metadata"][field] = json!(self.names.entry(value).or_insert(next).clone());
            }
        }
        for field in ["creationTimestamp", "deletionTimestamp"] {
            if object["metadata"][field].is_string() {
                object["metadata"][field] = json!("a time");
            }
        }
        let of_deletion = object["metadata"].as_object_mut();
        of_deletion.map(|of| (of.remove("managedFields"), of.remove("deletionGracePeriodSeconds")));
        if object["kind"] == "Secret" {
            object.as_object_mut().map(|secret| secret.remove("type"));
        }
        object
    }
}

fn in_memory() -> Client {
    let api = ApiServer::new(|| "2026-03-02T08:00:00Z".to_owned());
    Client::new(
        service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                Ok::<_, kube::Error>(api.serve(&Request::from_parts(head, body)))
            }
        }),
        "default",
    )
}

/// A generator of numbers: xorshift64*.
struct Chance(u64);

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

fn ask(method: Method, path: String, body: Value) -> Ask {
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

fn links(namespace: &str) -> String {
    format!("/apis/migrationlink.dev/v1alpha1/namespaces/{namespace}/migrationlinks")
}

fn leases(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
}

fn secrets(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets")
}

fn link(name: &str) -> Value {
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
fn fixed(namespace: &str) -> Vec<Ask> {
    let (links, leases, secrets) = (links(namespace), leases(namespace), secrets(namespace));
    let of = |name: &str| format!("{links}/{name}");
    let status = |name: &str| format!("{links}/{name}/status");
    let lease = |holder: &str| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "operator"}, "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15}});
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
    let nobody =
        json!({"metadata": {"name": "nobody", "resourceVersion": "1"}, "spec": {"leaseDurationSeconds": 15}});
    vec![
        ask(Method::POST, leases.clone(), lease("a")),
        ask(Method::POST, leases.clone(), lease("b")),
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
    ]
}

fn random(namespace: &str, chance: &mut Chance) -> Ask {
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

/// A test of the test: a difference is seen.
#[tokio::test]
async fn a_difference_is_noticed() {
    let (mut one, mut other) = (Side::new(in_memory()), Side::new(in_memory()));
    let made = ask(Method::POST, links("n"), link("one"));
    assert_eq!(one.ask(&made).await, other.ask(&made).await);
    let edit = |interval: &str| Ask {
        content_type: MERGE,
        ..ask(Method::PATCH, format!("{}/one", links("n")), json!({"spec": {"syncInterval": interval}}))
    };
    let pause = Duration::from_millis(1);
    tokio::time::sleep(pause).await;
    assert_ne!(one.ask(&edit("1m")).await, other.ask(&edit("2m")).await);
    let again = ask(Method::GET, format!("{}/one", links("n")), Value::Null);
    assert_ne!(one.ask(&again).await, other.ask(&again).await);
}
