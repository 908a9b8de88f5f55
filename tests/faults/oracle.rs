//! What has to hold, in each run and at each write.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hyper::body::Bytes;
use hyper::{Request, Response};
use k8s_openapi::jiff::Timestamp;
use migrationlink_apiserver::Answer;
use serde_json::{Value, json};

use crate::border::Kind;
use crate::world::life::Life;
use crate::world::user::NAMESPACE;
use crate::world::{CANARY, ORG, World, clock, log};

mod tests;

/// When a write is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// It leaves the process.
    Sent,
    /// It takes effect.
    Effect,
}

/// Whoever writes holds the lease, at both moments.
pub fn may_write(world: &World, life: &Life, kind: Kind, moment: Moment) {
    if !kind.is_write() {
        return;
    }
    let lease = world.api.object("leases", "system", "operator");
    let holder = lease.as_ref().and_then(|lease| lease["spec"]["holderIdentity"].as_str());
    if holder != Some(&life.name) {
        world
            .border
            .violation(format!("a write of {} ({moment:?}), and the lease is held by {holder:?}", life.name));
    }
}

/// Nothing is called before the time that the status names, unless something has changed since.
pub fn may_call(world: &World) {
    for link in world.api.objects("migrationlinks") {
        let status = &link["status"];
        let next = status["nextAttemptTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        let ahead = next.is_some_and(|next| next > clock::now());
        let inputs = status["inputs"].as_array().cloned().unwrap_or_default();
        let as_read = inputs.iter().all(|input| {
            let plural = if input["kind"] == "Secret" { "secrets" } else { "configmaps" };
            let object = world.api.object(plural, NAMESPACE, input["name"].as_str().unwrap_or_default());
            // What could not be read and now can be is a change.
            input["content"].is_string()
                && object.unwrap_or_default()["metadata"]["resourceVersion"] == input["resourceVersion"]
        });
        let handled = |annotation: &str, field: &str| {
            let asked = &link["metadata"]["annotations"][format!("migrationlink.dev/{annotation}")];
            asked.is_null() || *asked == status[field]
        };
        let asked = !handled("reconcile-at", "lastHandledReconcileAt")
            || !handled("relink-at", "lastHandledRelinkAt");
        if ahead && as_read && !asked && status["observedGeneration"] == link["metadata"]["generation"] {
            world.border.violation(format!("the API is called before its time, {next:?}"));
        }
    }
}

/// The API has accepted a token.
pub fn note_token(world: &World) {
    world.accepted.lock().unwrap().extend(world.cloud.link_token(ORG));
}

/// Lets the API server answer, and looks at what a write of a status has changed.
pub fn serve(world: &World, life: &Life, request: &Request<Bytes>, kind: Kind) -> Response<Answer> {
    may_write(world, life, kind, Moment::Effect);
    if kind != Kind::Status {
        return world.api.serve(request);
    }
    let name = request.uri().path().split('/').nth(7).unwrap_or_default().to_owned();
    let before = world.link(&name);
    let response = world.api.serve(request);
    if let (true, Some(before), Some(after)) = (response.status().is_success(), before, world.link(&name)) {
        world.border.wrote_status(life);
        look_at(world, &before, &after);
    }
    response
}

fn look_at(world: &World, before: &Value, after: &Value) {
    let generation = |link: &Value| link["status"]["observedGeneration"].as_i64().unwrap_or(-1);
    if generation(after) < generation(before) {
        let text = format!("observedGeneration goes from {} to {}", generation(before), generation(after));
        world.border.violation(text);
    }
    let ready = condition(after, "Ready").is_some_and(|ready| {
        ready["status"] == "True" && ready["observedGeneration"] == after["metadata"]["generation"]
    });
    if ready && !token_of(world, after).is_none_or(|token| world.accepted.lock().unwrap().contains(&token)) {
        world.border.violation("Ready=True of a token that the API never accepted".to_owned());
    }
}

fn condition<'a>(link: &'a Value, kind: &str) -> Option<&'a Value> {
    link["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// The token that the status is about, if its Secret is still the same version.
fn token_of(world: &World, link: &Value) -> Option<String> {
    let secret = world.api.object("secrets", NAMESPACE, "keys")?;
    let inputs = link["status"]["inputs"].as_array()?;
    let read = inputs.iter().find(|input| input["kind"] == "Secret")?;
    let same = read["resourceVersion"] == secret["metadata"]["resourceVersion"];
    let encoded = secret["data"]["linkToken"].as_str().filter(|_| same)?;
    let bytes = STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok()
}

/// How the world is, times aside: what has to be the same whatever went wrong on the way.
pub fn state(world: &World) -> Value {
    let version_of = |kind: &str, name: &str| {
        let plural = if kind == "Secret" { "secrets" } else { "configmaps" };
        world.api.object(plural, NAMESPACE, name).map(|object| object["metadata"].clone()).unwrap_or_default()
    };
    let links = world.api.objects("migrationlinks").into_iter().map(|mut link| {
        let generation = link["metadata"]["generation"].clone();
        let mut status = link["status"].take();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"] = Value::Null;
        }
        for input in status["inputs"].as_array_mut().into_iter().flatten() {
            let kind = input["kind"].as_str().unwrap_or_default().to_owned();
            let now = version_of(&kind, input["name"].as_str().unwrap_or_default());
            for field in ["uid", "resourceVersion"] {
                if input[field] == now[field] {
                    input[field] = json!("current");
                }
            }
        }
        for field in ["lastSyncedTime", "nextAttemptTime"] {
            hide_time(&mut status, field);
        }
        for field in ["heldSince", "acceptedTime", "lostSince"] {
            hide_time(&mut status["link"], field);
        }
        json!({
            "name": link["metadata"]["name"], "finalizers": link["metadata"]["finalizers"],
            "generation": generation, "spec": link["spec"], "status": status,
        })
    });
    json!({"links": links.collect::<Vec<_>>(), "remote": world.cloud.link_token(ORG)})
}

fn hide_time(of: &mut Value, field: &str) {
    if let Some(time) = of.as_object_mut().and_then(|of| of.get_mut(field)) {
        *time = json!("a time");
    }
}

/// A process sends this to the API server, whatever becomes of it: nothing secret is in it, also where it is overwritten or deleted
/// later.
pub fn sends(world: &World, request: &Request<Bytes>) {
    let sent = [request.uri().path(), request.uri().query().unwrap_or_default()];
    let body = String::from_utf8_lossy(request.body());
    if sent.into_iter().chain([&*body]).any(has_secret) {
        world.border.violation(format!("a secret is in what is sent: {} {}", request.method(), sent[0]));
    }
}

/// In the end nothing secret is anywhere but in the Secret.
pub fn nothing_leaks(world: &World) {
    let objects = ["migrationlinks", "configmaps", "leases", "events"];
    let text: String = objects.iter().map(|plural| json!(world.api.objects(plural)).to_string()).collect();
    for (place, text) in [("an object of the API server", &text), ("the log", &log::text())] {
        if has_secret(text) {
            world.border.violation(format!("a secret is in {place}"));
        }
    }
}

/// Whether the word is there that every secret of a run has in it, as it is or in base64.
fn has_secret(text: &str) -> bool {
    static FORMS: LazyLock<[String; 4]> = LazyLock::new(|| {
        // In base64 it depends on what stands before it: the digits that are the word's alone, for each place in a group of three.
        let [first, second, third] = [(0, 0), (1, 2), (2, 3)].map(|(before, shared)| {
            let encoded = STANDARD_NO_PAD.encode(["-".repeat(before).as_str(), CANARY].concat());
            encoded[shared..(before + CANARY.len()) * 8 / 6].to_owned()
        });
        [CANARY.to_owned(), first, second, third]
    });
    FORMS.iter().any(|form| text.contains(form))
}
