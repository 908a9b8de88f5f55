//! The CustomResourceDefinition as it is shipped: what the derive makes of the types, and what it cannot express.

use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::MigrationLink;

/// The definition could not be written. A defect of the program, not of its surroundings.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// The derived definition is no JSON.
    #[error("the CustomResourceDefinition cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The JSON is no YAML.
    #[error("the CustomResourceDefinition cannot be written as YAML")]
    Yaml(#[from] serde_saphyr::ser::Error),
    /// The derived definition lacks the place where an addition belongs.
    #[error("the derived CustomResourceDefinition has no {0}")]
    Shape(&'static str),
}

/// The CustomResourceDefinition as YAML.
///
/// # Errors
/// When the derived definition does not have the shape that the additions need.
pub fn crd_yaml() -> Result<String, CrdError> {
    let mut crd = serde_json::to_value(MigrationLink::crd())?;
    let status = crd
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/status")
        .and_then(Value::as_object_mut)
        .ok_or(CrdError::Shape("schema of the status"))?;
    // A resource without a status reads as Current in kstatus: Flux would call it healthy before anybody has looked
    // (fluxcd/kustomize-controller#387). No attribute of the derive gives this default.
    status.insert("default".into(), json!({"observedGeneration": -1}));
    simplify(&mut crd);
    Ok(format!("# Made by `make generate` from src/api; do not edit.\n{}", serde_saphyr::to_string(&crd)?))
}

/// Takes out what the derive adds and a reader of the schema does not need: paragraphs of a doc comment after the first,
/// and `nullable`. A null is pruned where a field is not nullable, so that a default holds for it as well (Kubernetes
/// documentation, "Defaulting and Nullable").
fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("nullable").is_some_and(Value::is_boolean) {
                fields.remove("nullable");
            }
            if let Some(Value::String(text)) = fields.get_mut("description")
                && let Some((first, _)) = text.split_once("\n\n")
            {
                *text = first.to_owned();
            }
            fields.values_mut().for_each(simplify);
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_is_what_the_types_say() {
        let shipped = include_str!("../../crds/migrationlinks.yaml");
        assert_eq!(crd_yaml().unwrap(), shipped, "run `make generate`");
    }

    #[test]
    fn it_is_small_and_has_no_format_that_the_api_server_does_not_know() {
        let yaml = crd_yaml().unwrap();
        assert!(yaml.len() < 60_000, "{} bytes", yaml.len());
        assert!(!yaml.contains("uint"));
        assert!(!yaml.contains("nullable"));
    }

    #[test]
    fn the_condition_list_is_a_map_and_the_status_has_its_default() {
        let crd: Value = serde_json::to_value(MigrationLink::crd()).unwrap();
        let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status";
        let conditions = crd.pointer(&format!("{status}/properties/conditions")).unwrap();
        assert_eq!(conditions["x-kubernetes-list-type"], "map");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
        assert!(crd_yaml().unwrap().contains("default:\n"));
    }
}
