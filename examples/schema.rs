//! Prints a JSON schema of `MigrationLink` for kubeconform and editors, made of the CustomResourceDefinition. `make generate` keeps
//! it in `deploy/schemas`.
//!
//! It is as strict as `kubectl apply`: a field that the resource does not have is refused. Of the CEL rules it has what a regular
//! expression says; the API server has the rest.

use std::error::Error;

use migrationlink_operator::api::crd_yaml;
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let crd: Value = serde_saphyr::from_str(&crd_yaml()?)?;
    let version = crd.pointer("/spec/versions/0").ok_or("the CRD has no version")?;
    let whole = version.pointer("/schema/openAPIV3Schema").ok_or("the CRD has no schema")?;
    let mut schema = strict(whole);
    schema.insert("$schema".into(), json!("http://json-schema.org/draft-07/schema#"));
    let api_version = format!("{}/{}", word(&crd, "/spec/group")?, word(version, "/name")?);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("apiVersion".into(), json!({"type": "string", "enum": [api_version]}));
        let kind = word(&crd, "/spec/names/kind")?;
        properties.insert("kind".into(), json!({"type": "string", "enum": [kind]}));
        properties.insert("metadata".into(), json!({"type": "object"}));
    }
    schema.insert("required".into(), json!(["apiVersion", "kind", "metadata", "spec"]));
    println!("{:#}", Value::from(schema));
    Ok(())
}

fn word<'a>(value: &'a Value, pointer: &str) -> Result<&'a str, String> {
    value.pointer(pointer).and_then(Value::as_str).ok_or_else(|| format!("the CRD has no {pointer}"))
}

/// The schema without what only Kubernetes knows, and without room for other fields.
fn strict(schema: &Value) -> Map<String, Value> {
    let mut strict_one = Map::new();
    for (key, value) in schema.as_object().into_iter().flatten() {
        match key.as_str() {
            "properties" => {
                let properties = value.as_object().into_iter().flatten();
                let properties: Map<_, _> =
                    properties.map(|(name, value)| (name.clone(), strict(value).into())).collect();
                strict_one.insert(key.clone(), properties.into());
                strict_one.insert("additionalProperties".into(), json!(false));
            }
            "items" => {
                strict_one.insert(key.clone(), strict(value).into());
            }
            "x-kubernetes-validations" => {
                if let Some(pattern) = pattern(value) {
                    strict_one.insert("pattern".into(), json!(pattern));
                }
            }
            other if other.starts_with("x-kubernetes-") => {}
            _ => {
                strict_one.insert(key.clone(), value.clone());
            }
        }
    }
    strict_one
}

/// The regular expression that a CEL rule asks for, where it begins with one.
fn pattern(rules: &Value) -> Option<String> {
    let rules = rules.as_array()?.iter().filter_map(|rule| rule.get("rule")?.as_str());
    let mut matches = rules.filter_map(|rule| rule.trim().strip_prefix("self.matches('"));
    let (expression, _) = matches.next()?.split_once("')")?;
    Some(expression.replace("\\\\", "\\"))
}
