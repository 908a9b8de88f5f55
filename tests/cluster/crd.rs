//! The resource as the API server takes it: what a manifest may say, the sentence for what it may not, defaults, and how kubectl
//! shows it. No operator runs here.

mod policies;
mod references;

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use migrationlink_operator::api::{DEFAULT_BASE_URL, MigrationLink};
use migrationlink_operator::endpoint::BaseUrl;
use serde_json::{Value, json};

use crate::support::{ControlPlane, ORG_ID, Tenant, eventually, link_spec};

const ORG_ID_FORM: &str =
    "orgId must be the organization's id: 24 lower-case hexadecimal digits (Organization Settings shows it)";
const ORG_ID_STAYS: &str =
    "orgId is immutable: delete this MigrationLink and create another one for the other organization";
const BASE_URL_FORM: &str = "baseUrl must be https://HOST[:PORT][/PATH] (or http://), such as https://cloud.mongodb.com/api/public/v1.0, \
                             without user info, query, fragment, percent-encoding or trailing slash";
const BASE_URL_STAYS: &str =
    "baseUrl is immutable: delete this MigrationLink and create another one for the other server";
const INTERVAL_FORM: &str =
    "syncInterval must be a duration from 1m to 24h in hours, minutes and seconds, such as 15m or 1h30m";
/// The smallest manifest that is accepted, with these fields of its spec set.
fn manifest(name: &str, fields: &Value) -> DynamicObject {
    let mut spec = json!({"orgId": ORG_ID, "secretRef": {"name": "keys"}});
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "migrationlink.dev/v1alpha1",
        "kind": "MigrationLink",
        "metadata": {"name": name},
        "spec": spec,
    }))
    .unwrap()
}

/// What the API server finds wrong: field and sentence of each cause.
fn causes<T>(result: kube::Result<T>) -> Vec<(String, String)> {
    let Err(kube::Error::Api(status)) = result else { return Vec::new() };
    assert!(status.is_invalid(), "{status:?}");
    let causes = status.details.unwrap().causes.into_iter();
    causes.map(|cause| (cause.field, cause.message)).collect()
}

/// Checks that the API server has one complaint only, and that it is about this field and ends in this sentence.
fn assert_refused<T>(result: kube::Result<T>, field: &str, sentence: &str, of: &Value) {
    let causes = causes(result);
    assert_eq!(causes.len(), 1, "{of}: {causes:#?}");
    let (where_, what) = &causes[0];
    assert_eq!(where_, field, "{of}");
    assert!(what.starts_with("Invalid value: ") && what.ends_with(&format!(": {sentence}")), "{of}: {what}");
    assert!(!what.contains("evaluating rule"), "{of}: {what}");
}

/// Whether a manifest with these fields would be accepted.
async fn try_create(tenant: &Tenant<'_>, fields: &Value) -> kube::Result<DynamicObject> {
    let only_try = PostParams { dry_run: true, ..PostParams::default() };
    tenant.raw_links().create(&only_try, &manifest("tried", fields)).await
}

/// Whether a merge patch of the spec would be accepted.
async fn try_edit(tenant: &Tenant<'_>, name: &str, spec: &Value) -> kube::Result<DynamicObject> {
    let only_try = PatchParams { dry_run: true, ..PatchParams::default() };
    tenant.raw_links().patch(name, &only_try, &Patch::Merge(json!({"spec": spec}))).await
}

async fn create(tenant: &Tenant<'_>, name: &str, fields: &Value) -> DynamicObject {
    tenant.raw_links().create(&PostParams::default(), &manifest(name, fields)).await.unwrap()
}

#[tokio::test]
async fn an_organization_id_is_24_lower_case_hexadecimal_digits() {
    let tenant = Tenant::new().await;
    create(&tenant, "link", &json!({})).await;
    for bad in [
        "",
        "payments",
        "5F0D1E2A3B4C5D6E7F801234",
        "5f0d1e2a3b4c5d6e7f80123",
        "5f0d1e2a3b4c5d6e7f8012345",
        "5f0d1e2a3b4c5d6e7f801234\n",
        " 5f0d1e2a3b4c5d6e7f801234",
        "5f0d1e2a3b4c5d6e7f80123g",
    ] {
        let fields = json!({"orgId": bad});
        assert_refused(try_create(&tenant, &fields).await, "spec.orgId", ORG_ID_FORM, &fields);
    }
}

#[tokio::test]
async fn organization_and_server_stay_as_they_are() {
    let tenant = Tenant::new().await;
    create(&tenant, "cloud", &json!({})).await;
    create(&tenant, "own", &json!({"baseUrl": "http://om:8080"})).await;
    let another = json!({"orgId": "ffffffffffffffffffffffff"});
    assert_refused(try_edit(&tenant, "cloud", &another).await, "spec.orgId", ORG_ID_STAYS, &another);
    for (name, base_url) in [
        ("cloud", json!("https://om.example.com")),
        ("own", json!("http://om:8081")),
        ("own", json!(DEFAULT_BASE_URL)),
        // Taken out, the default comes in its place.
        ("own", Value::Null),
    ] {
        let edit = json!({"baseUrl": base_url});
        assert_refused(try_edit(&tenant, name, &edit).await, "spec.baseUrl", BASE_URL_STAYS, &edit);
    }
    for (name, edit) in [
        ("cloud", json!({"baseUrl": DEFAULT_BASE_URL})),
        ("cloud", json!({"baseUrl": null})),
        ("own", json!({"secretRef": {"name": "others"}, "suspend": true, "syncInterval": "1h"})),
    ] {
        try_edit(&tenant, name, &edit).await.unwrap();
    }
}

#[tokio::test]
async fn a_base_url_is_scheme_host_port_and_path() {
    let tenant = Tenant::new().await;
    for good in [
        DEFAULT_BASE_URL,
        "https://cloud.mongodb.com",
        "http://om:8080",
        "http://om:1",
        "https://om:65535",
        "https://om.example.com:8443/om/api/public/v1.0",
        "https://[::1]:8443/x",
        "https://10.0.0.7/api_v1/~om/a-b",
    ] {
        let fields = json!({"baseUrl": good});
        let accepted = try_create(&tenant, &fields).await.unwrap();
        assert_eq!(accepted.data["spec"]["baseUrl"], good);
        // What the schema lets in, the operator can read, and does not change.
        assert_eq!(good.parse::<BaseUrl>().unwrap().to_string(), good);
    }
    for bad in [
        "",
        "cloud.mongodb.com",
        "cloud.mongodb.com:443/api",
        "ftp://cloud.mongodb.com",
        "HTTPS://cloud.mongodb.com",
        "https:/cloud.mongodb.com",
        "https://",
        "https:///api",
        "https://:8443",
        "https://host:",
        "https://host:port",
        "https://host:0",
        "https://host:65536",
        "https://host:123456",
        "https://-",
        "https://..",
        "https://[::1",
        "https://[]",
        "https://user@cloud.mongodb.com",
        "https://user:password@cloud.mongodb.com",
        "https://cloud.mongodb.com@evil.example.com",
        r"https://cloud.mongodb.com\@evil.example.com",
        r"https://cloud.mongodb.com\.evil.example.com",
        "https://cloud.mongodb.com/@evil.example.com",
        "https://cloud.mongodb.com%40evil.example.com",
        "https://cloud.mongodb.com%2f@evil.example.com",
        "https://cloud.mongodb.com?pretty=true",
        "https://cloud.mongodb.com/api?pretty=true",
        "https://cloud.mongodb.com#top",
        "https://cloud.mongodb.com/api#top",
        "https://cloud.mongodb.com/",
        "https://cloud.mongodb.com/api/",
        "https://cloud.mongodb.com//api",
        "https://cloud.mongodb.com/api/../other",
        "https://cloud.mongodb.com/api/.",
        "https://cloud.mongodb.com/api/%2e%2e/other",
        "https://cloud.mongodb.com/api%0d%0aHost:evil",
        "https://cloud.mongodb.com/api%zz",
        " https://cloud.mongodb.com",
        "https://cloud.mongodb.com ",
        "https://cloud mongodb.com",
        "https://cloud.mongodb.com/a b",
        "https://cloud.mongodb.com\n",
        "https://cloud.mongodb.com\n/api",
        "https://cloud.mongodb.com\r\nX: y",
        "https://clo\tud.mongodb.com",
        "https://clöud.mongodb.com",
        "https://cloud.mongodb.com/\u{202e}api",
    ] {
        let fields = json!({"baseUrl": bad});
        assert_refused(try_create(&tenant, &fields).await, "spec.baseUrl", BASE_URL_FORM, &fields);
    }
}

#[tokio::test]
async fn an_interval_is_a_duration_from_a_minute_to_a_day() {
    let tenant = Tenant::new().await;
    create(&tenant, "link", &json!({"syncInterval": "15m"})).await;
    for good in ["1m", "60s", "90s", "15m", "1h30m", "1h0m30s", "24h", "1440m", "86400s", "23h59m60s"] {
        let fields = json!({"syncInterval": good});
        let accepted = try_create(&tenant, &fields).await.unwrap();
        try_edit(&tenant, "link", &fields).await.unwrap();
        let link: MigrationLink = accepted.try_parse().unwrap();
        let seconds =
            link.spec.own_sync_interval().unwrap_or_else(|| panic!("{good} cannot be read")).as_secs();
        assert!((60..=86_400).contains(&seconds), "{good}: {seconds}");
    }
    for bad in [
        "",
        "abc",
        "15",
        "-5m",
        "+5m",
        "0s",
        "59s",
        "24h1s",
        "1441m",
        "25h",
        "1d",
        "1.5h",
        "15 m",
        "15m\n",
        "m",
        "15M",
        "1m1h",
        "9999999999999h",
        "99999999999999999999s",
    ] {
        let fields = json!({"syncInterval": bad});
        assert_refused(try_create(&tenant, &fields).await, "spec.syncInterval", INTERVAL_FORM, &fields);
        assert_refused(try_edit(&tenant, "link", &fields).await, "spec.syncInterval", INTERVAL_FORM, &fields);
    }
}

/// The schema's own complaints keep the API server from asking the rules; it says that, too.
#[tokio::test]
async fn what_is_missing_too_long_or_of_another_type_is_named() {
    let tenant = Tenant::new().await;
    let long = |length| "a".repeat(length);
    for (fields, field, what) in [
        (json!({"orgId": null}), "spec.orgId", "Required value"),
        (json!({"orgId": long(65)}), "spec.orgId", "Too long: may not be more than 64"),
        (
            json!({"baseUrl": format!("https://{}", long(600))}),
            "spec.baseUrl",
            "Too long: may not be more than 512",
        ),
        (json!({"secretRef": null}), "spec.secretRef", "Required value"),
        (json!({"secretRef": {}}), "spec.secretRef.name", "Required value"),
        (
            json!({"secretRef": {"name": long(254)}}),
            "spec.secretRef.name",
            "Too long: may not be more than 253",
        ),
        (json!({"syncInterval": 15}), "spec.syncInterval", "must be of type string"),
        (json!({"syncInterval": long(33)}), "spec.syncInterval", "Too long: may not be more than 32"),
        (json!({"suspend": "yes"}), "spec.suspend", "must be of type boolean"),
    ] {
        let causes = causes(try_create(&tenant, &fields).await);
        let (first, rest) = causes.split_first().unwrap_or_else(|| panic!("{fields} is accepted"));
        assert_eq!(first.0, field, "{fields}");
        assert!(first.1.contains(what), "{fields}: {first:?}");
        for (_, other) in rest {
            assert!(other.contains("some validation rules were not checked"), "{fields}: {other}");
        }
    }
}

#[tokio::test]
async fn a_new_link_has_its_base_url_and_policies_and_reads_as_not_looked_at() {
    let tenant = Tenant::new().await;
    let made = create(&tenant, "link", &json!({"suspend": null, "syncInterval": null})).await;
    let spec = json!({
        "orgId": ORG_ID, "baseUrl": DEFAULT_BASE_URL, "secretRef": {"name": "keys"},
        "deletionPolicy": "Retain", "driftPolicy": "Relink",
    });
    assert_eq!(made.data["spec"], spec);
    let unseen = json!({"observedGeneration": -1});
    assert_eq!(tenant.raw_links().get("link").await.unwrap().data["status"], unseen);
    // Whatever somebody writes into a manifest's status is not taken.
    let mut boasting = manifest("boasting", &json!({}));
    boasting.data["status"] = json!({"observedGeneration": 1, "state": "SYNCED"});
    tenant.raw_links().create(&PostParams::default(), &boasting).await.unwrap();
    assert_eq!(tenant.raw_links().get("boasting").await.unwrap().data["status"], unseen);
    // Somebody wipes the status: it is not looked at again, rather than Current to kstatus.
    let status = PatchParams::default();
    for (patch, after) in [
        (
            json!({"status": {"observedGeneration": 1, "state": "SYNCED"}}),
            json!({"observedGeneration": 1, "state": "SYNCED"}),
        ),
        (json!({"status": null}), unseen),
    ] {
        tenant.raw_links().patch_status("link", &status, &Patch::Merge(&patch)).await.unwrap();
        assert_eq!(tenant.raw_links().get("link").await.unwrap().data["status"], after, "{patch}");
    }
    // What the types write, the API server keeps as it is.
    let typed = tenant.create_link("typed", link_spec("http://om:8080")).await;
    assert_eq!(typed.spec, link_spec("http://om:8080"));
    assert_eq!(tenant.link("typed").await.status.unwrap().observed_generation, Some(-1));
}

#[tokio::test]
async fn kubectl_shows_the_columns_by_the_short_name() {
    let tenant = Tenant::new().await;
    create(&tenant, "payments", &json!({})).await;
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "Synced", "message": "linked",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
    });
    let status = json!({"status": {
        "observedGeneration": 1, "state": "SYNCED", "lastSyncedTime": "2026-01-01T00:00:00Z", "conditions": [condition],
    }});
    tenant
        .raw_links()
        .patch_status("payments", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let columns = ["NAME", "READY", "STATE", "REASON", "LAST SYNCED", "AGE"];
    let wide = ["NAME", "READY", "STATE", "REASON", "LAST SYNCED", "AGE", "ORG", "MESSAGE"];
    for (format, columns) in [("", &columns[..]), ("wide", &wide)] {
        let shown = tenant.kubectl(&["get", "mlink", "-o", format], "");
        assert!(shown.success, "{shown:?}");
        // Columns stand at least three spaces apart.
        let cells = |line: &str| -> Vec<String> {
            line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        };
        let lines: Vec<_> = shown.stdout.lines().map(cells).collect();
        assert_eq!(lines.len(), 2, "{}", shown.stdout);
        assert_eq!(lines[0], columns);
        assert_eq!(lines[1][..4], ["payments", "True", "SYNCED", "Synced"]);
        assert_eq!(lines[1].len(), columns.len(), "{}", shown.stdout);
        if format == "wide" {
            assert_eq!(lines[1][6..], [ORG_ID, "linked"]);
        }
    }
}

#[tokio::test]
async fn an_unknown_field_is_told_and_not_kept() {
    let tenant = Tenant::new().await;
    let mut misspelt = manifest("misspelt", &json!({"syncintervall": "1h"}));
    misspelt.data["spec"]["secretRef"]["namespace"] = json!("other");
    let misspelt = serde_json::to_string(&misspelt).unwrap();
    let refused = tenant.kubectl(&["create", "-f", "-"], &misspelt);
    assert!(!refused.success);
    for field in ["spec.syncintervall", "spec.secretRef.namespace"] {
        assert!(refused.stderr.contains(&format!("unknown field \"{field}\"")), "{}", refused.stderr);
    }
    let warned = tenant.kubectl(&["create", "--validate=warn", "-f", "-"], &misspelt);
    assert!(
        warned.success && warned.stderr.contains("Warning: unknown field \"spec.syncintervall\""),
        "{warned:?}"
    );
    let spec = &tenant.raw_links().get("misspelt").await.unwrap().data["spec"];
    assert_eq!(spec["secretRef"], json!({"name": "keys"}));
    assert_eq!(spec.get("syncintervall"), None);
}

#[tokio::test]
async fn the_definition_is_applied_either_way_and_has_nothing_to_complain_about() {
    let control_plane = ControlPlane::shared();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/migrationlinks.yaml");
    // The control plane got it by a client-side apply, which takes at most 256 KiB.
    for way in [&["apply", "-f", file][..], &["apply", "--server-side", "-f", file]] {
        let applied = control_plane.kubectl(way, "");
        assert!(applied.success && applied.stderr.is_empty(), "{way:?}: {applied:?}");
    }
    assert!(std::fs::metadata(file).unwrap().len() < 60_000);
    let shown = control_plane.kubectl(&["get", "-f", file, "-o", "json"], "");
    let crd: Value = serde_json::from_str(&shown.stdout).unwrap();
    let conditions = crd["status"]["conditions"].as_array().unwrap();
    let conditions: Vec<_> = conditions.iter().map(|found| (&found["type"], &found["status"])).collect();
    assert_eq!(conditions.len(), 2, "{conditions:?}");
    for wanted in ["NamesAccepted", "Established"] {
        assert!(conditions.contains(&(&json!(wanted), &json!("True"))), "{conditions:?}");
    }
    // What is explained is published a moment after the definition is served.
    eventually("kubectl explains the spec", async || {
        let explained = control_plane.kubectl(&["explain", "mlink.spec"], "");
        let fields = [
            "orgId",
            "baseUrl",
            "secretRef",
            "linkTokenSecretRef",
            "caRef",
            "syncInterval",
            "deletionPolicy",
            "driftPolicy",
            "suspend",
        ];
        let all = explained.success
            && fields.iter().all(|field| explained.stdout.contains(&format!("  {field}\t")));
        if all { Ok(()) } else { Err(format!("{explained:?}")) }
    })
    .await;
}
