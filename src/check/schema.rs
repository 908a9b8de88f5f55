//! Whether a manifest is what the API server would take: its types, required and unknown fields, and the rules, all out of the
//! definition that is shipped.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use crate::api::{MigrationLink, rules};

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which: `spec.orgId`.
    pub field: String,
    /// What is right. It does not repeat the value.
    pub sentence: String,
}

/// What there is to say of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// For these it is refused.
    pub faults: Vec<Fault>,
    /// These fields are not kept.
    pub unknown: Vec<String>,
}

/// Looks at a manifest without nulls; `old` is the spec that it replaces.
pub fn validate(manifest: &Map<String, Value>, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.metadata(manifest.get("metadata"));
    for field in manifest.keys() {
        if !["apiVersion", "kind", "metadata", "spec", "status"].contains(&field.as_str()) {
            verdict.unknown(field);
        }
    }
    match (manifest.get("spec"), spec_schema()) {
        (None, _) => verdict.fault("spec", "is required"),
        (Some(spec), Some(schema)) => verdict.walk(&schema, spec, old, "spec"),
        // A defect, which a test would show.
        (Some(_), None) => verdict.fault("spec", "cannot be checked: the definition has no schema for it"),
    }
    verdict
}

/// The value without its nulls, which the API server drops where nothing is nullable.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(field, value)| (field, without_nulls(value))).collect())
        }
        other => other,
    }
}

fn spec_schema() -> Option<Value> {
    let definition = serde_json::to_value(MigrationLink::crd()).ok()?;
    definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").cloned()
}

impl Verdict {
    fn fault(&mut self, field: &str, sentence: impl Into<String>) {
        self.faults.push(Fault { field: field.to_owned(), sentence: sentence.into() });
    }

    /// A field's name is shown only if it looks like one: it may be something that was pasted in a wrong place.
    fn unknown(&mut self, field: &str) {
        let looks_like_one =
            field.len() <= 64 && field.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        self.unknown.push(if looks_like_one { field.to_owned() } else { "(not shown)".to_owned() });
    }

    fn metadata(&mut self, metadata: Option<&Value>) {
        let text = |field: &str| metadata.and_then(|metadata| metadata.get(field));
        match text("name").map(Value::as_str) {
            None => self.fault("metadata.name", "is required"),
            Some(Some(name)) if name.len() <= 253 && (rules::SECRET_NAME.holds)(name) => {}
            Some(_) => self.fault(
                "metadata.name",
                "must be lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
            ),
        }
        let is_label =
            |name: &str| name.len() <= 63 && !name.contains('.') && (rules::SECRET_NAME.holds)(name);
        if text("namespace").is_some_and(|namespace| !namespace.as_str().is_some_and(is_label)) {
            self.fault(
                "metadata.namespace",
                "must be the name of a namespace: lower-case letters, digits and '-'",
            );
        }
        if metadata.is_some_and(|metadata| serde_json::from_value::<ObjectMeta>(metadata.clone()).is_err()) {
            self.fault(
                "metadata",
                "cannot be read: labels and annotations must be text, so put true, false and numbers in quotes",
            );
        }
    }

    fn walk(&mut self, schema: &Value, value: &Value, old: Option<&Value>, path: &str) {
        let before = self.faults.len();
        match (schema.get("type").and_then(Value::as_str), value) {
            (Some("object"), Value::Object(fields)) => self.object(schema, fields, old, path),
            (Some("string"), Value::String(text)) => self.text(schema, text, path),
            (Some("boolean"), Value::Bool(_)) => {}
            (Some("object"), _) => self.fault(path, "must be an object with fields"),
            (Some("boolean"), _) => self.fault(path, "must be true or false, without quotes"),
            _ => self.fault(path, "must be text: put it in quotes"),
        }
        // The API server does not evaluate the rules of what is not even well formed.
        if self.faults.len() == before {
            self.rules(schema, value, old, path);
        }
    }

    fn object(&mut self, schema: &Value, fields: &Map<String, Value>, old: Option<&Value>, path: &str) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for field in required.filter_map(Value::as_str).filter(|field| !fields.contains_key(*field)) {
            self.fault(&format!("{path}.{field}"), "is required");
        }
        for (field, schema) in properties {
            if let Some(value) = fields.get(field).or_else(|| schema.get("default")) {
                self.walk(schema, value, old.and_then(|old| old.get(field)), &format!("{path}.{field}"));
            }
        }
        for field in fields.keys().filter(|field| !properties.contains_key(*field)) {
            self.unknown(&format!("{path}.{field}"));
        }
    }

    fn text(&mut self, schema: &Value, text: &str, path: &str) {
        let longest = schema.get("maxLength").and_then(Value::as_u64);
        if let Some(longest) = longest.filter(|longest| text.chars().count() as u64 > *longest) {
            self.fault(path, format!("may not be longer than {longest} characters"));
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array)
            && !words.iter().any(|word| word.as_str() == Some(text))
        {
            let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
            self.fault(path, format!("must be one of {}", words.join(", ")));
        }
    }

    fn rules(&mut self, schema: &Value, value: &Value, old: Option<&Value>, path: &str) {
        let validations = schema.get("x-kubernetes-validations").and_then(Value::as_array);
        for validation in validations.into_iter().flatten() {
            let part = |name: &str| validation.get(name).and_then(Value::as_str).unwrap_or_default();
            let cel = part("rule");
            let holds = if cel == rules::STAYS {
                old.is_none_or(|old| old == value)
            } else {
                let rule = rules::ALL.iter().find(|rule| rule.cel == cel);
                rule.is_none_or(|rule| value.as_str().is_some_and(rule.holds))
            };
            if !holds {
                self.fault(path, part("message"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(spec: &Value) -> Map<String, Value> {
        let all = json!({"metadata": {"name": "payments"}, "spec": spec});
        without_nulls(all).as_object().unwrap().clone()
    }

    fn good() -> Value {
        json!({"orgId": "5f0d1e2a3b4c5d6e7f801234", "secretRef": {"name": "keys"}})
    }

    fn with(fields: &Value) -> Value {
        let mut spec = good();
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        spec
    }

    #[test]
    fn every_rule_of_the_schema_is_known_here() {
        fn cels(schema: &Value, found: &mut Vec<String>) {
            match schema {
                Value::Object(fields) => {
                    found.extend(fields.get("rule").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|field| cels(field, found));
                }
                Value::Array(items) => items.iter().for_each(|item| cels(item, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        cels(&spec_schema().unwrap(), &mut found);
        assert!(found.len() >= 10, "{found:?}");
        for cel in found {
            assert!(cel == rules::STAYS || rules::ALL.iter().any(|rule| rule.cel == cel), "{cel}");
        }
    }

    #[test]
    fn a_right_manifest_has_nothing_to_complain_about() {
        for fields in [
            json!({}),
            json!({"baseUrl": null, "syncInterval": null, "suspend": null}),
            json!({
                "baseUrl": "https://om:8443/api", "linkTokenSecretRef": {"name": "atlas"}, "syncInterval": "15m",
                "caRef": {"kind": "ConfigMap", "name": "ca", "key": "ca.crt"}, "deletionPolicy": "Delete",
                "driftPolicy": "Report", "suspend": false,
            }),
        ] {
            assert_eq!(validate(&manifest(&with(&fields)), None), Verdict::default());
        }
    }

    #[test]
    fn each_fault_names_its_field_and_what_is_right_and_not_the_value() {
        for (fields, field, sentence) in [
            (json!({"orgId": null}), "spec.orgId", "is required"),
            (json!({"orgId": 1.2e23}), "spec.orgId", "must be text: put it in quotes"),
            (json!({"orgId": "hunter2"}), "spec.orgId", rules::ORG_ID.sentence),
            (json!({"baseUrl": "https://u:hunter2@om"}), "spec.baseUrl", rules::BASE_URL.sentence),
            (json!({"secretRef": null}), "spec.secretRef", "is required"),
            (json!({"secretRef": "hunter2"}), "spec.secretRef", "must be an object with fields"),
            (json!({"secretRef": {}}), "spec.secretRef.name", "is required"),
            (json!({"secretRef": {"name": "hunter2/"}}), "spec.secretRef.name", rules::SECRET_NAME.sentence),
            (
                json!({"linkTokenSecretRef": {"name": "a", "key": "hunter2 "}}),
                "spec.linkTokenSecretRef.key",
                rules::SECRET_KEY.sentence,
            ),
            (json!({"caRef": {"name": "a"}}), "spec.caRef.kind", "is required"),
            (
                json!({"caRef": {"kind": "Vault", "name": "a"}}),
                "spec.caRef.kind",
                "must be one of Secret, ConfigMap",
            ),
            (json!({"syncInterval": "5s"}), "spec.syncInterval", rules::SYNC_INTERVAL.sentence),
            (
                json!({"syncInterval": "1".repeat(40)}),
                "spec.syncInterval",
                "may not be longer than 32 characters",
            ),
            (json!({"deletionPolicy": "hunter2"}), "spec.deletionPolicy", "must be one of Retain, Delete"),
            (json!({"suspend": "hunter2"}), "spec.suspend", "must be true or false, without quotes"),
        ] {
            let verdict = validate(&manifest(&with(&fields)), None);
            let fault = Fault { field: field.to_owned(), sentence: sentence.to_owned() };
            assert_eq!(verdict.faults, [fault], "{fields}");
            assert!(!format!("{verdict:?}").contains("hunter2"), "{fields}");
        }
    }

    #[test]
    fn what_is_around_the_spec_is_looked_at_too() {
        for (manifest, field) in [
            (json!({"metadata": {"name": "a"}}), "spec"),
            (json!({"spec": good()}), "metadata.name"),
            (json!({"metadata": {"name": "A"}, "spec": good()}), "metadata.name"),
            (json!({"metadata": {"name": "a", "namespace": "a.b"}, "spec": good()}), "metadata.namespace"),
            (json!({"metadata": {"name": "a", "annotations": {"x": true}}, "spec": good()}), "metadata"),
        ] {
            let verdict = validate(manifest.as_object().unwrap(), None);
            let fields: Vec<_> = verdict.faults.iter().map(|fault| fault.field.as_str()).collect();
            assert_eq!(fields, [field], "{manifest}");
        }
    }

    #[test]
    fn unknown_fields_are_named_if_they_look_like_fields() {
        let fields =
            json!({"syncintervall": "1h", "secretRef": {"name": "keys", "namespace": "other"}, "a token": 1});
        let mut manifest = manifest(&with(&fields));
        manifest.insert("data".to_owned(), json!({}));
        let verdict = validate(&manifest, None);
        assert_eq!(verdict.faults, []);
        assert_eq!(
            verdict.unknown,
            ["data", "spec.secretRef.namespace", "(not shown)", "spec.syncintervall"]
        );
    }

    #[test]
    fn organization_and_server_stay_as_they_were() {
        let old = with(&json!({"baseUrl": "http://om:8080"}));
        assert_eq!(validate(&manifest(&old), Some(&old)), Verdict::default());
        let another = json!({"orgId": "ffffffffffffffffffffffff"});
        // Without a base URL the default comes in its place.
        let faults = validate(&manifest(&with(&another)), Some(&old)).faults;
        let fields: Vec<_> = faults.iter().map(|fault| (fault.field.as_str(), &fault.sentence)).collect();
        assert_eq!(
            fields.iter().map(|(field, _)| *field).collect::<Vec<_>>(),
            ["spec.baseUrl", "spec.orgId"]
        );
        assert!(fields.iter().all(|(_, sentence)| sentence.contains("is immutable")), "{fields:?}");
    }
}
