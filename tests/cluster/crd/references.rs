//! The objects that a link refers to: a kind where there is a choice, a name and, where it is not fixed, a key. All are of the
//! resource's own namespace.

use serde_json::{Value, json};

use super::{assert_refused, causes, create, manifest, try_create, try_edit};
use crate::support::Tenant;

const SECRET_NAME: &str = "name must be the name of a Secret: lower-case letters, digits, '-' and '.', beginning and ending with a \
                           letter or digit";
const CA_NAME: &str = "name must be the name of a ConfigMap or Secret: lower-case letters, digits, '-' and '.', beginning and \
                       ending with a letter or digit";
const SECRET_KEY: &str = "key must be a key of a Secret: letters, digits, '-', '_' and '.'";
const CA_KEY: &str = "key must be a key of a ConfigMap or Secret: letters, digits, '-', '_' and '.'";

/// A reference, the smallest that is accepted, and the sentences of its rules.
struct Reference {
    field: &'static str,
    smallest: Value,
    name: &'static str,
    key: Option<&'static str>,
}

fn references() -> [Reference; 3] {
    [
        Reference { field: "secretRef", smallest: json!({"name": "keys"}), name: SECRET_NAME, key: None },
        Reference {
            field: "linkTokenSecretRef",
            smallest: json!({"name": "token"}),
            name: SECRET_NAME,
            key: Some(SECRET_KEY),
        },
        Reference {
            field: "caRef",
            smallest: json!({"kind": "ConfigMap", "name": "ca"}),
            name: CA_NAME,
            key: Some(CA_KEY),
        },
    ]
}

impl Reference {
    /// The smallest one, with this field set.
    fn with(&self, field: &str, value: &Value) -> Value {
        let mut reference = self.smallest.clone();
        reference[field] = value.clone();
        json!({self.field: reference})
    }

    /// Checks that neither a new link nor an edit may have this, and that the sentence says why.
    async fn refused(&self, tenant: &Tenant<'_>, field: &str, value: &str, sentence: &str) {
        let fields = self.with(field, &json!(value));
        let path = format!("spec.{}.{field}", self.field);
        assert_refused(try_create(tenant, &fields).await, &path, sentence, &fields);
        assert_refused(try_edit(tenant, "link", &fields).await, &path, sentence, &fields);
    }
}

#[tokio::test]
async fn an_object_is_named_as_it_can_be() {
    let tenant = Tenant::new().await;
    create(&tenant, "link", &json!({})).await;
    for reference in references() {
        for good in ["a", "payments-migration", "0.a-b.9", &"a".repeat(253)] {
            let fields = reference.with("name", &json!(good));
            try_create(&tenant, &fields).await.unwrap();
            try_edit(&tenant, "link", &fields).await.unwrap();
        }
        for bad in [
            "",
            "Keys",
            "-keys",
            "keys-",
            "keys.",
            "a..b",
            "a_b",
            "other/keys",
            "../keys",
            "keys\n",
            "käys",
            "a b",
        ] {
            reference.refused(&tenant, "name", bad, reference.name).await;
        }
    }
}

#[tokio::test]
async fn a_key_is_one_that_an_object_can_have() {
    let tenant = Tenant::new().await;
    create(&tenant, "link", &json!({})).await;
    for reference in references() {
        let Some(sentence) = reference.key else { continue };
        for good in ["a", "linkToken", "ca.crt", "_A-b.9", &"a".repeat(253)] {
            let fields = reference.with("key", &json!(good));
            try_create(&tenant, &fields).await.unwrap();
            try_edit(&tenant, "link", &fields).await.unwrap();
        }
        for bad in ["", "a b", "a/b", "../a", "key\n", "schlüssel", "a:b", "$(id)"] {
            reference.refused(&tenant, "key", bad, sentence).await;
        }
    }
}

#[tokio::test]
async fn a_ca_is_in_a_config_map_or_a_secret() {
    let tenant = Tenant::new().await;
    create(&tenant, "link", &json!({})).await;
    for kind in ["ConfigMap", "Secret"] {
        let fields = json!({"caRef": {"kind": kind, "name": "ca"}});
        try_create(&tenant, &fields).await.unwrap();
        try_edit(&tenant, "link", &fields).await.unwrap();
    }
    for bad in ["", "configmap", "Other", "Service", "ConfigMap "] {
        let fields = json!({"caRef": {"kind": bad, "name": "ca"}});
        for refused in [try_create(&tenant, &fields).await, try_edit(&tenant, "link", &fields).await] {
            let causes = causes(refused);
            let (first, _) = causes.split_first().unwrap_or_else(|| panic!("{fields} is accepted"));
            assert_eq!(first.0, "spec.caRef.kind", "{fields}");
            assert!(first.1.ends_with(r#"supported values: "Secret", "ConfigMap""#), "{fields}: {first:?}");
        }
    }
}

#[tokio::test]
async fn what_a_reference_lacks_or_has_too_long_is_named() {
    let tenant = Tenant::new().await;
    let long = "a".repeat(254);
    let too_long = "Too long: may not be more than 253";
    for (fields, field, what) in [
        (json!({"linkTokenSecretRef": {}}), "spec.linkTokenSecretRef.name", "Required value"),
        (json!({"linkTokenSecretRef": {"name": long}}), "spec.linkTokenSecretRef.name", too_long),
        (json!({"linkTokenSecretRef": {"name": "a", "key": long}}), "spec.linkTokenSecretRef.key", too_long),
        (json!({"linkTokenSecretRef": "token"}), "spec.linkTokenSecretRef", "must be of type object"),
        (json!({"caRef": {"name": "ca"}}), "spec.caRef.kind", "Required value"),
        (json!({"caRef": {"kind": "Secret"}}), "spec.caRef.name", "Required value"),
        (json!({"caRef": {"kind": "Secret", "name": long}}), "spec.caRef.name", too_long),
        (json!({"caRef": {"kind": "Secret", "name": "ca", "key": long}}), "spec.caRef.key", too_long),
    ] {
        let causes = causes(try_create(&tenant, &fields).await);
        let found = causes.iter().any(|(of, why)| of == field && why.contains(what));
        assert!(found, "{fields}: {causes:?}");
    }
}

/// A default inside of an optional object would make server-side apply and a diff of the manifest disagree with what was written.
#[tokio::test]
async fn a_reference_stays_as_it_was_written_and_can_be_taken_out() {
    let tenant = Tenant::new().await;
    let fields =
        json!({"linkTokenSecretRef": {"name": "token"}, "caRef": {"kind": "ConfigMap", "name": "ca"}});
    let made = create(&tenant, "link", &fields).await;
    for field in ["linkTokenSecretRef", "caRef"] {
        assert_eq!(made.data["spec"][field], fields[field], "no key is filled in");
        let without = try_edit(&tenant, "link", &json!({field: null})).await.unwrap();
        assert_eq!(without.data["spec"].get(field), None);
    }
    let link = tenant.link("link").await;
    assert_eq!(link.spec.link_token_secret_ref.unwrap().key(), "linkToken");
    assert_eq!(link.spec.ca_ref.unwrap().key(), "ca.crt");
}

#[tokio::test]
async fn no_reference_leads_into_another_namespace() {
    let tenant = Tenant::new().await;
    for reference in references() {
        let elsewhere = manifest("elsewhere", &reference.with("namespace", &json!("other")));
        let refused =
            tenant.kubectl(&["create", "-f", "-"], &serde_json::to_string(&elsewhere).expect("a manifest"));
        let what = format!("unknown field \"spec.{}.namespace\"", reference.field);
        assert!(!refused.success && refused.stderr.contains(&what), "{refused:?}");
    }
}
