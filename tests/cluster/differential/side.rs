//! One of the two API servers, and what was seen of it.

use std::collections::HashMap;

use http::Request;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::requests::Ask;

/// One of the two, and what was seen of it.
pub struct Side {
    client: Client,
    names: HashMap<String, String>,
    /// The last version seen of each path, and the one before.
    versions: HashMap<String, Vec<String>>,
    uids: HashMap<String, String>,
}

impl Side {
    pub fn new(client: Client) -> Self {
        Self { client, names: HashMap::new(), versions: HashMap::new(), uids: HashMap::new() }
    }

    pub async fn ask(&mut self, ask: &Ask) -> (u16, Value) {
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
        if ask.is_watch() {
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
        if ask.is_watch() {
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
        // What an event has for an older version of its API. (Items of a list do not say that they are events.)
        for field in ["deprecatedSource", "deprecatedFirstTimestamp", "deprecatedLastTimestamp"] {
            object.as_object_mut().map(|event| event.remove(field));
        }
        object
    }
}
