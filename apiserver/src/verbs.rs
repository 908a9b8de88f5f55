//! What a request does.

use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal, answer};
use crate::apply;
use crate::objects::{Objects, Scope};
use crate::patch;
use crate::target::Target;

type Done = Result<(StatusCode, Value), Refusal>;

pub(crate) fn serve(objects: &mut Objects, request: &Request<Bytes>) -> Response<Answer> {
    let uri = request.uri();
    let Some(target) = Target::parse(uri.path(), uri.query().unwrap_or_default()) else {
        return answer(Err(Refusal::NotFound));
    };
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let content_type = header(CONTENT_TYPE).unwrap_or_default();
    let metadata_only = header(ACCEPT).is_some_and(|accept| accept.contains("as=PartialObjectMetadata"));
    match (request.method(), target.namespace, target.name) {
        (&Method::GET, _, None) => {
            let scope = Scope {
                kind: target.kind,
                namespace: target.namespace.map(str::to_owned),
                name: target.selected_name().map(str::to_owned),
                metadata_only,
            };
            if target.parameter("watch") == Some("true") {
                return watch(objects, &target, scope);
            }
            answer(Ok((StatusCode::OK, list(objects, &target, &scope))))
        }
        (&Method::GET, Some(namespace), Some(name)) => {
            let scope = Scope { kind: target.kind, namespace: None, name: None, metadata_only };
            let found = objects.get(target.kind, namespace, name).map(|found| scope.shown(found));
            answer(found.map(|found| (StatusCode::OK, found)).ok_or(Refusal::NotFound))
        }
        (&Method::POST, Some(namespace), None) => {
            answer(body(request).and_then(|sent| create(objects, &target, namespace, sent)))
        }
        (&Method::PUT, Some(namespace), Some(name)) => {
            answer(body(request).and_then(|sent| update(objects, &target, namespace, name, sent)))
        }
        (&Method::PATCH, Some(namespace), Some(name)) => answer(
            body(request).and_then(|sent| patch(objects, &target, namespace, name, content_type, &sent)),
        ),
        (&Method::DELETE, Some(namespace), Some(name)) => answer(delete(objects, &target, namespace, name)),
        _ => answer(Err(Refusal::NotAllowed)),
    }
}

/// The kind that a request is about, by its plural.
pub(crate) fn plural(request: &Request<Bytes>) -> Option<&'static str> {
    Some(Target::parse(request.uri().path(), "")?.kind.plural)
}

fn body(request: &Request<Bytes>) -> Result<Value, Refusal> {
    serde_json::from_slice(request.body()).map_err(|_| Refusal::BadRequest("the body is not JSON"))
}

fn watch(objects: &mut Objects, target: &Target<'_>, scope: Scope) -> Response<Answer> {
    let since =
        target.parameter("resourceVersion").and_then(|version| version.parse().ok()).filter(|v| *v > 0);
    let time = target.parameter("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
    Answer::watch(objects.watch(scope, since), Duration::from_secs(time.unwrap_or(1800)))
}

/// A page: the continue token is how many were told before.
fn list(objects: &Objects, target: &Target<'_>, scope: &Scope) -> Value {
    let number = |name: &str| target.parameter(name).and_then(|value| value.parse::<usize>().ok());
    let (skip, limit) = (number("continue").unwrap_or(0), number("limit").filter(|limit| *limit > 0));
    let all: Vec<&Value> = objects.all(scope.kind.plural).filter(|object| scope.holds(object)).collect();
    let page = all.iter().skip(skip).take(limit.unwrap_or(usize::MAX));
    let mut metadata = json!({"resourceVersion": objects.version().to_string()});
    let told = skip + limit.unwrap_or(usize::MAX).min(all.len().saturating_sub(skip));
    if told < all.len() {
        metadata["continue"] = json!(told.to_string());
        metadata["remainingItemCount"] = json!(all.len() - told);
    }
    let (kind, api_version) = if scope.metadata_only {
        ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned())
    } else {
        (format!("{}List", scope.kind.name), scope.kind.api_version())
    };
    let items: Vec<Value> = page.map(|object| scope.shown(object)).collect();
    json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items})
}

fn create(objects: &mut Objects, target: &Target<'_>, namespace: &str, mut object: Value) -> Done {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(Refusal::Invalid("metadata.name is missing"));
    }
    if objects.get(target.kind, namespace, &name).is_some() {
        return Err(Refusal::AlreadyExists);
    }
    object["kind"] = json!(target.kind.name);
    object["apiVersion"] = json!(target.kind.api_version());
    let metadata = &mut object["metadata"];
    metadata["namespace"] = json!(namespace);
    metadata["uid"] = json!(objects.new_uid(target.kind));
    metadata["creationTimestamp"] = json!(objects.now());
    if target.kind.custom {
        metadata["generation"] = json!(1);
        object.as_object_mut().map(|object| object.remove("status"));
    }
    target.kind.default(&mut object);
    Ok((StatusCode::CREATED, objects.put(target.kind, object)))
}

fn update(objects: &mut Objects, target: &Target<'_>, namespace: &str, name: &str, sent: Value) -> Done {
    let Some(before) = objects.get(target.kind, namespace, name).cloned() else {
        // A lease that is not there is made, unless the one is meant that was there.
        return match (target.kind.plural, sent["metadata"]["uid"].is_string()) {
            ("leases", false) => create(objects, target, namespace, sent),
            ("leases", true) => Err(Refusal::Conflict),
            _ => Err(Refusal::NotFound),
        };
    };
    if sent["metadata"]["resourceVersion"].as_str().is_none_or(str::is_empty) {
        return Err(Refusal::Invalid("metadata.resourceVersion must be specified for an update"));
    }
    if sent["metadata"]["uid"].as_str().is_some_and(|uid| before["metadata"]["uid"] != uid) {
        return Err(Refusal::Conflict);
    }
    change(objects, target, before, sent)
}

fn patch(
    objects: &mut Objects,
    target: &Target<'_>,
    namespace: &str,
    name: &str,
    content_type: &str,
    sent: &Value,
) -> Done {
    let before = objects.get(target.kind, namespace, name).cloned().ok_or(Refusal::NotFound)?;
    let mut after = before.clone();
    match content_type {
        "application/merge-patch+json" => {
            patch::merge(&mut after, sent);
            let done = change(objects, target, before.clone(), after)?;
            if target.kind.custom {
                objects.note_written(target.kind, &before, &done.1);
            }
            Ok(done)
        }
        "application/apply-patch+yaml" => {
            let manager = target.parameter("fieldManager").unwrap_or_default().to_owned();
            if manager.is_empty() {
                return Err(Refusal::Invalid("fieldManager is required for apply patch"));
            }
            let mut applied = sent.clone();
            let metadata = applied.as_object_mut().and_then(|applied| applied.remove("metadata"));
            let owned = objects.applied(target.kind, &before, &manager, target.status);
            apply::apply(target.kind, &mut after, &owned, &applied);
            patch::merge(&mut after["metadata"], &metadata.unwrap_or(json!({})));
            let uid = before["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let shifts = !objects.owns_as_much(target.kind, &before, &manager, target.status, &applied);
            let mut done = change(objects, target, before.clone(), after)?;
            if shifts && done.1 == before {
                // Who owns what stands in the object, too.
                done.1 = objects.put(target.kind, before);
            }
            objects.note_applied(&uid, &manager, target.status, applied);
            Ok(done)
        }
        _ => Err(Refusal::BadRequest("this kind of patch is not known")),
    }
}

/// Stores a changed object: what the request may change of it, if it was made of the version that there is.
fn change(objects: &mut Objects, target: &Target<'_>, before: Value, sent: Value) -> Done {
    let (was, is) = (&before["metadata"], &sent["metadata"]);
    let differs = |field: &str| is[field].as_str().is_some_and(|sent| !sent.is_empty() && was[field] != sent);
    if differs("resourceVersion") {
        return Err(Refusal::Conflict);
    }
    // A write of a status takes nothing else of the metadata that is sent, and looks at no uid in it.
    if differs("uid") && !target.status {
        return Err(Refusal::Invalid("metadata.uid: field is immutable"));
    }
    let finalizers = |of: &Value| of["finalizers"].as_array().cloned().unwrap_or_default();
    let (old, new) = (finalizers(was), finalizers(is));
    if was["deletionTimestamp"].is_string() && !target.status && new.iter().any(|one| !old.contains(one)) {
        return Err(Refusal::Invalid("no new finalizers can be added if the object is being deleted"));
    }
    let mut after;
    if target.status {
        after = before.clone();
        after["status"] = sent["status"].clone();
    } else {
        after = sent;
        for field in
            ["resourceVersion", "uid", "creationTimestamp", "generation", "deletionTimestamp", "namespace"]
        {
            after["metadata"][field] = was[field].clone();
        }
        if target.kind.custom {
            after["status"] = before["status"].clone();
            target.kind.default(&mut after);
            if after["spec"] != before["spec"] {
                after["metadata"]["generation"] = json!(was["generation"].as_i64().unwrap_or(0) + 1);
            }
        }
    }
    tidy(&mut after);
    if after == before {
        return Ok((StatusCode::OK, before));
    }
    Ok((StatusCode::OK, objects.put(target.kind, after)))
}

/// Takes out what stands for nothing.
fn tidy(object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|_, value| {
            !value.is_null()
                && value.as_array().is_none_or(|all| !all.is_empty())
                && value.as_object().is_none_or(|all| !all.is_empty())
        });
    }
}

fn delete(objects: &mut Objects, target: &Target<'_>, namespace: &str, name: &str) -> Done {
    let mut object = objects.get(target.kind, namespace, name).cloned().ok_or(Refusal::NotFound)?;
    let held = object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Ok((StatusCode::OK, object));
    }
    let uid = object["metadata"]["uid"].clone();
    let now = objects.now();
    let metadata = &mut object["metadata"];
    metadata["deletionTimestamp"] = json!(now);
    if let Some(generation) = metadata["generation"].as_i64() {
        metadata["generation"] = json!(generation + 1);
    }
    let object = objects.put(target.kind, object);
    if held {
        return Ok((StatusCode::OK, object));
    }
    let details = json!({"name": name, "group": target.kind.group, "kind": target.kind.plural, "uid": uid});
    Ok((
        StatusCode::OK,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
    ))
}
