//! The rules are there twice, in CEL for the API server and in Rust for a check without one: both judge alike. No operator runs
//! here.

use std::path::Path;

use kube::api::PostParams;
use serde_json::{Value, json};

use super::check;
use crate::support::{ORG_ID, Tenant};

const ORG_IDS: &[&str] = &[
    "",
    "payments",
    "5F0D1E2A3B4C5D6E7F801234",
    "5f0d1e2a3b4c5d6e7f80123",
    " 5f0d1e2a3b4c5d6e7f801234",
    "5f0d1e2a3b4c5d6e7f801234\n",
    "000000000000000000000000",
];
const BASE_URLS: &[&str] = &[
    "",
    "https://cloud.mongodb.com",
    "http://om:8080",
    "http://om:1",
    "https://om:65535",
    "https://om:65536",
    "https://om:0",
    "https://om:080",
    "https://om:",
    "https://om:port",
    "https://om.example.com:8443/om/api/public/v1.0",
    "https://[::1]:8443/x",
    "https://[::1",
    "https://[]",
    "https://[::1]x",
    "https://[g::1]",
    "https://::1",
    "https://10.0.0.7/api_v1/~om/a-b",
    "https://10.0.0.7/-a",
    "https://10.0.0.7/.a",
    "https://10.0.0.7/a..b",
    "HTTPS://cloud",
    "https:/cloud",
    "https://",
    "https:///api",
    "https://-",
    "https://_a",
    "https://a_b",
    "https://..",
    "https://u@cloud",
    "https://u:p@cloud",
    "https://cloud@evil",
    r"https://cloud\@evil",
    "https://cloud/@evil",
    "https://cloud%40evil",
    "https://cloud?x",
    "https://cloud/a?x",
    "https://cloud#x",
    "https://cloud/",
    "https://cloud/a/",
    "https://cloud//a",
    "https://cloud/a/../b",
    "https://cloud/a/.",
    "https://cloud/a%2f",
    " https://cloud",
    "https://cloud ",
    "https://clo ud",
    "https://cloud\n",
    "https://clöud",
    "https://cloud/é",
    "ftp://cloud",
    "cloud",
    "http://1",
    "http://a:1/b",
];
const SYNC_INTERVALS: &[&str] = &[
    "",
    "1m",
    "60s",
    "59s",
    "0s",
    "24h",
    "24h1s",
    "1440m",
    "1441m",
    "86400s",
    "86401s",
    "1h30m",
    "1h0m30s",
    "23h59m60s",
    "25h",
    "001h",
    "01h",
    "0001m",
    "00001m",
    "00060s",
    "000060s",
    "1m1h",
    "m",
    "15",
    "-5m",
    "+5m",
    "1d",
    "1.5h",
    "15 m",
    "15m\n",
    "15M",
    "h1m",
    "1hm",
    "1h1h",
    "999999h",
    "0h1m0s",
];
const NAMES: &[&str] = &[
    "",
    "a",
    "payments-migration",
    "0.a-b.9",
    "Keys",
    "-keys",
    "keys-",
    "keys.",
    ".keys",
    "a..b",
    "a.-b",
    "a_b",
    "a/b",
    "keys\n",
    "käys",
    "a b",
];
const KEYS: &[&str] = &["", "a", "ca.crt", "A_b-9.", "..", "a b", "a/b", "a\n", "ä"];
const WORDS: &[&str] =
    &["", "Retain", "Delete", "delete", "Relink", "Report", "Secret", "ConfigMap", "Other", "yes"];

/// Fields of a spec, each with its own values, values of another type, and values that are as long as can be and longer.
fn cases() -> Vec<Value> {
    let url = |length: usize| format!("https://{}", "a".repeat(length - "https://".len()));
    let long = |length| "a".repeat(length);
    let fields: [(&str, &[&str], Vec<String>); 15] = [
        ("orgId", ORG_IDS, vec![long(64), long(65)]),
        ("baseUrl", BASE_URLS, vec![url(512), url(513)]),
        ("syncInterval", SYNC_INTERVALS, Vec::new()),
        ("secretRef.name", NAMES, vec![long(253), long(254)]),
        ("linkTokenSecretRef.name", NAMES, vec![long(253), long(254)]),
        ("linkTokenSecretRef.key", KEYS, vec![long(253), long(254)]),
        ("caRef.name", NAMES, vec![long(253), long(254)]),
        ("caRef.key", KEYS, vec![long(253), long(254)]),
        ("caRef.kind", WORDS, Vec::new()),
        ("secretRef", WORDS, Vec::new()),
        ("linkTokenSecretRef", WORDS, Vec::new()),
        ("caRef", WORDS, Vec::new()),
        ("suspend", WORDS, Vec::new()),
        ("deletionPolicy", WORDS, Vec::new()),
        ("driftPolicy", WORDS, Vec::new()),
    ];
    let odd = [json!(null), json!(15), json!(1.5), json!(true), json!(false), json!([]), json!({})];
    let mut cases = Vec::new();
    for (field, texts, long) in fields {
        let texts = texts.iter().map(|text| json!(text)).chain(long.into_iter().map(Value::from));
        cases.extend(texts.chain(odd.iter().cloned()).map(|value| with(field, &value)));
    }
    cases
}

/// The smallest spec that is accepted, with this value at its place.
fn with(field: &str, value: &Value) -> Value {
    let mut spec = json!({"orgId": ORG_ID, "secretRef": {"name": "keys"}});
    match field.split_once('.') {
        Some((outer, inner)) => {
            spec[outer] = match outer {
                "caRef" => json!({"kind": "Secret", "name": "a"}),
                _ => json!({"name": "a"}),
            };
            spec[outer][inner] = value.clone();
        }
        None => spec[field] = value.clone(),
    }
    spec
}

/// What `check` finds wrong with the link of this number: field and sentence.
fn faults<'a>(said: &'a Value, link: &str) -> Vec<(&'a str, &'a str)> {
    let findings = said["findings"].as_array().expect("findings").iter();
    let faults = findings.filter(|finding| {
        finding["link"] == link && finding["check"] == "manifest" && finding["level"] == "problem"
    });
    let text = |finding: &'a Value, field: &str| finding[field].as_str().expect("text");
    faults.map(|fault| (text(fault, "message").trim_end_matches(" is refused"), text(fault, "fix"))).collect()
}

#[tokio::test]
async fn program_and_api_server_judge_a_manifest_alike_and_in_the_same_words() {
    let tenant = Tenant::new().await;
    let manifests: Vec<_> = cases()
        .into_iter()
        .enumerate()
        .map(|(number, spec)| {
            json!({
                "apiVersion": "migrationlink.dev/v1alpha1", "kind": "MigrationLink", "spec": spec,
                "metadata": {"name": format!("v{number}"), "namespace": tenant.namespace},
            })
        })
        .collect();
    let stdin: Vec<_> = manifests.iter().map(|manifest| format!("---\n{manifest}\n")).collect();
    let args = ["-f", "-", "-o", "json", "--allowed-origin=https://nowhere.invalid"];
    let ended = check(Path::new("/nowhere"), &args, &stdin.concat()).await;
    let said: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let only_try = PostParams { dry_run: true, ..PostParams::default() };
    let (mut accepted, mut same_words) = (0, 0);
    for (number, manifest) in manifests.iter().enumerate() {
        let faults = faults(&said, &format!("{}/v{number}", tenant.namespace));
        let object = serde_json::from_value(manifest.clone()).expect("an object");
        let status = match tenant.raw_links().create(&only_try, &object).await {
            Err(kube::Error::Api(status)) if status.is_invalid() => status,
            Err(error) => panic!("{manifest}: {error}"),
            Ok(_) => {
                accepted += 1;
                assert!(faults.is_empty(), "{manifest}: the API server takes it: {faults:?}");
                continue;
            }
        };
        let causes = status.details.expect("details").causes;
        let Some((field, sentence)) = faults.first() else { panic!("{manifest}: {causes:?}") };
        let cause = causes.iter().find(|cause| cause.field == *field);
        let cause = cause.unwrap_or_else(|| panic!("{manifest}: {field}: {causes:?}"));
        // The sentences of rules begin with the field, those of the schema are ours.
        let of_a_rule =
            field.rsplit('.').next().is_some_and(|name| sentence.starts_with(&format!("{name} must")));
        if of_a_rule {
            same_words += 1;
            assert!(cause.message.ends_with(sentence), "{manifest}: {sentence}: {}", cause.message);
        }
    }
    assert!(accepted > 40 && same_words > 100, "{accepted} accepted, {same_words} by a rule");
}
