//! Objects with as much metadata as they may have: a page of their list is more than the operator has memory.

use std::collections::BTreeMap;

use http::Request;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use migrationlink_operator::api::MigrationLink;

use super::measure::{Beside, Memory};
use super::tells_nothing;
use crate::pacing::THOUSANDS;
use crate::support::{World, org_id, spec};

/// As many as a page has.
const OBJECTS: usize = 50;
/// The most that the operator may have at any time. In a cluster it is ended when it has 128 MiB.
const MOST_MIB: usize = 64;
/// All the annotations of an object together, key included.
const LONGEST_ANNOTATION: usize = 256 * 1024 - 10;
/// Less for a link: etcd is given it in JSON, and each is written once more.
const LONG_ANNOTATION: usize = 100 * 1024;
/// Labels of an object: a few bytes each in JSON, and many times that once they are parsed.
const LABELS: usize = 10_000;

/// An annotation of characters that are six bytes each in JSON.
fn annotation(length: usize) -> BTreeMap<String, String> {
    [("note".to_owned(), "<".repeat(length))].into()
}

/// A Secret with an annotation or with labels.
async fn large_secret(world: &World, number: usize) {
    let mut metadata = ObjectMeta { name: Some(format!("large-{number}")), ..ObjectMeta::default() };
    if number.is_multiple_of(2) {
        metadata.annotations = Some(annotation(LONGEST_ANNOTATION));
    } else {
        metadata.labels = Some((0..LABELS).map(|n| (format!("l{n}"), String::new())).collect());
    }
    let secret = Secret { metadata, ..Secret::default() };
    let secrets: Api<Secret> = Api::namespaced(world.tenant.client.clone(), &world.tenant.namespace);
    secrets.create(&PostParams::default(), &secret).await.expect("a Secret");
}

/// A link that may not be linked: its origin is nobody's.
async fn large_link(world: &World, number: usize) {
    let name = format!("large-{number}");
    let mut link = MigrationLink::new(&name, spec("none", &org_id(number), "http://127.0.0.1:1"));
    link.metadata.annotations = Some(annotation(LONG_ANNOTATION));
    world.tenant.links().create(&PostParams::default(), &link).await.expect("a MigrationLink");
}

/// How many bytes the API server sends for an object.
async fn size(world: &World, kind: &str, name: &str) -> usize {
    let path = match kind {
        "secrets" => "api/v1",
        _ => "apis/migrationlink.dev/v1alpha1",
    };
    let uri = format!("/{path}/namespaces/{}/{kind}/{name}", world.tenant.namespace);
    let request = Request::get(uri).body(Vec::new()).expect("a request");
    world.tenant.client.request_text(request).await.expect("the object").len()
}

#[tokio::test]
async fn lists_of_objects_with_much_metadata_take_little_memory() {
    // The API server has much to write, and others are measured.
    let _alone = THOUSANDS.lock().await;
    let world = World::new().await;
    for n in 0..OBJECTS {
        large_secret(&world, n).await;
        large_link(&world, n).await;
    }
    let annotated = size(&world, "secrets", "large-0").await;
    let labelled = size(&world, "secrets", "large-1").await;
    let link = size(&world, "migrationlinks", "large-0").await;
    println!("bytes of JSON: {annotated} and {labelled} for a Secret, {link} for a link");
    assert!(annotated > 6 * LONGEST_ANNOTATION, "`<` is six bytes");
    let operator = world.prepared().arg("--log-format=json").start().await;
    operator.wait_until_it_leads().await;
    println!("it leads: {}", Memory::of(&operator));
    for n in 0..OBJECTS {
        world.tenant.wait_for_ready(&format!("large-{n}"), "False", "EndpointNotAllowed").await;
    }
    println!("all have been told: {}", Memory::of(&operator));
    let mut measured = Beside::new(&world.tenant, &world.cloud, &operator).await;
    measured.is_as_quick("beside large objects", 3).await;
    let lists = ["secrets", "migrationlinks"].map(|kind| operator.requests().count("list", kind));
    println!("lists of Secrets and links: {lists:?}");
    let most = Memory::of(&operator).most_mib();
    assert!(most <= MOST_MIB, "{most} MiB, not {MOST_MIB}");
    measured.is_unharmed(MOST_MIB).await;
    tells_nothing(&world, &operator, &["neighbour"], "json").await;
}
