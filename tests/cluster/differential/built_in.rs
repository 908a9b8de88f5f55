//! The fixed requests for ConfigMaps and events, and the watches of what links refer to.

use http::Method;
use serde_json::{Value, json};

use super::requests::{Ask, MERGE, METADATA, ask, secrets};

/// What the watch of metadata alone accepts.
const OF_ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

fn config_maps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

fn merge(path: String, what: Value) -> Ask {
    Ask { content_type: MERGE, ..ask(Method::PATCH, path, what) }
}

/// A ConfigMap is made, changed, deleted and made again, and read meanwhile.
pub fn of_config_maps(namespace: &str) -> Vec<Ask> {
    let maps = config_maps(namespace);
    let ca = format!("{maps}/ca");
    let made =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": "a"}});
    let create = || ask(Method::POST, maps.clone(), made.clone());
    let get = || ask(Method::GET, ca.clone(), Value::Null);
    let list = |accept| Ask { accept, ..ask(Method::GET, maps.clone(), Value::Null) };
    vec![
        get(),
        create(),
        create(),
        get(),
        Ask { accept: OF_ONE, ..get() },
        merge(ca.clone(), json!({"data": {"ca.crt": "b", "more": "c"}})),
        merge(ca.clone(), json!({"data": {"more": null}})),
        merge(ca.clone(), json!({"data": {"more": null}})),
        merge(ca.clone(), json!({"metadata": {"labels": {"touched": "yes"}}})),
        merge(ca.clone(), json!({"metadata": {"labels": null}})),
        Ask { version: Some(0), uid: Some(true), ..merge(ca.clone(), json!({"data": {"ca.crt": "d"}})) },
        Ask { version: Some(1), ..merge(ca.clone(), json!({"data": {"ca.crt": "e"}})) },
        Ask { uid: Some(false), ..merge(ca.clone(), json!({"data": {"ca.crt": "e"}})) },
        merge(format!("{maps}/nobody"), json!({"data": {}})),
        get(),
        list("application/json"),
        list(METADATA),
        ask(Method::DELETE, ca.clone(), Value::Null),
        ask(Method::DELETE, ca.clone(), Value::Null),
        get(),
        create(),
    ]
}

/// An event as the operator sends it, and told again with how often it was seen: all of it, and no version.
pub fn of_events(namespace: &str) -> Vec<Ask> {
    let events = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let event = |name: &str| {
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace},
            "action": "Link", "reason": "Synced", "note": "The link is there.", "type": "Normal",
            "eventTime": "2026-03-02T08:00:00.000001Z",
            "reportingController": "migrationlink-operator", "reportingInstance": "migrationlink-operator",
            "regarding": {
                "apiVersion": "migrationlink.dev/v1alpha1", "kind": "MigrationLink", "namespace": namespace, "name": "one",
                "uid": "11111111-2222-4333-8444-555555555555",
            },
        })
    };
    let again = |name: &str, count: u32| {
        let mut event = event(name);
        event["series"] = json!({"count": count, "lastObservedTime": "2026-03-02T08:01:00.000001Z"});
        merge(format!("{events}/{name}"), event)
    };
    vec![
        ask(Method::POST, events.clone(), event("one.1")),
        ask(Method::POST, events.clone(), event("one.1")),
        again("one.1", 2),
        again("one.1", 2),
        again("one.1", 3),
        // It was deleted meanwhile.
        again("one.2", 2),
        ask(Method::POST, events.clone(), event("one.2")),
        again("one.2", 2),
        ask(Method::GET, events, Value::Null),
    ]
}

/// Of Secrets and ConfigMaps the operator watches the metadata only. All that was done to them before is told again.
pub fn watches_of_inputs(namespace: &str) -> Vec<Ask> {
    let watch = |path: String, accept| Ask {
        query: "watch=true&timeoutSeconds=2".into(),
        accept,
        ..ask(Method::GET, path, Value::Null)
    };
    [secrets(namespace), config_maps(namespace)]
        .into_iter()
        .flat_map(|path| [OF_ONE, "application/json"].map(|accept| watch(path.clone(), accept)))
        .collect()
}
