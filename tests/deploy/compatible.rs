//! What an object of a released CustomResourceDefinition, or a client of it, would lose with another definition. Needs no API server.

use serde_json::{Map, Value, json};

/// Says what the new definition drops, changes or tightens.
pub fn what_breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for field in ["group", "scope"] {
        same(&format!("spec.{field}"), &old["spec"][field], &new["spec"][field], &mut found);
    }
    let (names, new_names) = (object(&old["spec"]["names"]), object(&new["spec"]["names"]));
    for (name, old) in &names {
        let new = new_names.get(name).unwrap_or(&Value::Null);
        // Short names and categories may be added.
        same_or_more(&format!("spec.names.{name}"), old, new, &mut found);
    }
    for old in list(&old["spec"]["versions"]) {
        let name = old["name"].as_str().unwrap_or_default();
        match list(&new["spec"]["versions"]).iter().find(|version| version["name"] == name) {
            Some(new) => version(name, old, new, &mut found),
            None => found.push(format!("{name} is gone")),
        }
    }
    found
}

fn version(name: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    if old["served"] == true && new["served"] != true {
        found.push(format!("{name} is not served"));
    }
    same(&format!("{name}: storage"), &old["storage"], &new["storage"], found);
    for subresource in object(&old["subresources"]).keys() {
        let path = format!("{name}: subresources.{subresource}");
        same(&path, &old["subresources"][subresource], &new["subresources"][subresource], found);
    }
    for field in ["additionalPrinterColumns", "selectableFields"] {
        same_or_more(&format!("{name}: {field}"), &old[field], &new[field], found);
    }
    schema(name, &old["schema"]["openAPIV3Schema"], &new["schema"]["openAPIV3Schema"], found);
}

/// Compares every keyword: one that is not known here may not change.
fn schema(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    let (old, new) = (object(old), object(new));
    let mut keywords: Vec<_> = old.keys().chain(new.keys()).collect();
    keywords.sort();
    keywords.dedup();
    for keyword in keywords {
        let [was, is] = [&old, &new].map(|schema| schema.get(keyword).unwrap_or(&Value::Null));
        let at = format!("{path}: {keyword}");
        match keyword.as_str() {
            "description" | "title" | "example" | "externalDocs" => {}
            "properties" => {
                for (name, was) in object(was) {
                    match is.get(&name) {
                        Some(is) => schema(&format!("{path}.{name}"), &was, is, found),
                        None => found.push(format!("{path}.{name} is gone")),
                    }
                }
            }
            "items" if was.is_object() => schema(&format!("{path}[]"), was, is, found),
            "additionalProperties" if was.is_object() && is.is_object() => {
                schema(&format!("{path}{{}}"), was, is, found);
            }
            "required" => {
                for name in list(is).iter().filter(|name| !list(was).contains(name)) {
                    found.push(format!("{path}: {} is required", name.as_str().unwrap_or_default()));
                }
            }
            // A value may be added, or the list dropped; whatever was free before may not get one.
            "enum" if is.is_null() => {}
            "enum" if was.is_array() => same_or_more(&at, was, is, found),
            "maxLength" | "maxItems" | "maxProperties" | "maximum" => {
                bound(&at, was, is, |was, is| is >= was, found);
            }
            "minLength" | "minItems" | "minProperties" | "minimum" => {
                bound(&at, was, is, |was, is| is <= was, found);
            }
            "x-kubernetes-validations" => {
                let was: Vec<_> = list(was).iter().map(judges).collect();
                for rule in list(is).iter().map(judges).filter(|rule| !was.contains(rule)) {
                    found.push(format!("{path}: a new rule: {}", rule["rule"].as_str().unwrap_or_default()));
                }
            }
            "pattern" | "uniqueItems" | "multipleOf" if is.is_null() || *is == false => {}
            "nullable" if *is == true => {}
            _ => same(&at, was, is, found),
        }
    }
}

/// What a rule says, without what it says to a person.
fn judges(rule: &Value) -> Value {
    json!({"rule": rule["rule"], "optionalOldSelf": rule["optionalOldSelf"]})
}

fn bound(at: &str, was: &Value, is: &Value, looser: fn(f64, f64) -> bool, found: &mut Vec<String>) {
    let fits = match (was.as_f64(), is.as_f64()) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(was), Some(is)) => looser(was, is),
    };
    if !fits {
        found.push(format!("{at} was {was} and is {is}"));
    }
}

fn same(at: &str, was: &Value, is: &Value, found: &mut Vec<String>) {
    if was != is {
        found.push(format!("{at} was {was} and is {is}"));
    }
}

/// A list may gain something, anything else is the same.
fn same_or_more(at: &str, was: &Value, is: &Value, found: &mut Vec<String>) {
    if let (Value::Array(was), Value::Array(is)) = (was, is) {
        found.extend(was.iter().filter(|one| !is.contains(one)).map(|one| format!("{at}: {one} is gone")));
    } else if !was.is_null() {
        same(at, was, is, found);
    }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A small definition with one keyword of each kind.
fn sample() -> Value {
    let spec = json!({
        "type": "object", "required": ["a"],
        "properties": {
            "a": {"type": "string", "maxLength": 10, "minLength": 2, "pattern": "^a", "default": "aa"},
            "b": {"type": "string", "enum": ["x", "y"]},
            "c": {"type": "array", "maxItems": 3, "items": {"type": "integer", "minimum": 1}},
            "d": {"type": "object", "additionalProperties": {"type": "string"}},
            "e": {"type": "string"},
        },
        "x-kubernetes-validations": [{"rule": "self.a != self.b", "message": "they differ"}],
    });
    json!({"spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"kind": "Link", "plural": "links", "singular": "link", "shortNames": ["l"]},
        "versions": [{
            "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".spec.a"}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
        }],
    }})
}

/// The definition with this value at this place; null takes away what is there.
fn with(path: &str, value: Value) -> Value {
    let mut definition = sample();
    let path = path
        .replace("VERSION", "/spec/versions/0")
        .replace("SPEC", "/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    let (parent, name) = path.rsplit_once('/').unwrap();
    let parent = definition.pointer_mut(parent).unwrap_or_else(|| panic!("{path}"));
    match (parent, value) {
        (Value::Object(parent), Value::Null) => assert!(parent.remove(name).is_some(), "{path}"),
        (Value::Object(parent), value) => {
            parent.insert(name.to_owned(), value);
        }
        (parent, value) => parent[name.parse::<usize>().unwrap()] = value,
    }
    definition
}

#[test]
fn what_is_dropped_changed_or_tightened_is_noticed() {
    for (path, value, said) in [
        ("/spec/scope", json!("Cluster"), "spec.scope was \"Namespaced\" and is \"Cluster\""),
        ("/spec/names/plural", json!("lynx"), "spec.names.plural was \"links\" and is \"lynx\""),
        ("/spec/names/shortNames", json!(["m"]), "spec.names.shortNames: \"l\" is gone"),
        ("/spec/names/shortNames", Value::Null, "spec.names.shortNames was [\"l\"] and is null"),
        ("VERSION/name", json!("v2"), "v1 is gone"),
        ("VERSION/served", json!(false), "v1 is not served"),
        ("VERSION/storage", json!(false), "v1: storage was true and is false"),
        ("VERSION/subresources", Value::Null, "v1: subresources.status was {} and is null"),
        ("VERSION/additionalPrinterColumns/0/jsonPath", json!(".spec.b"), "v1: additionalPrinterColumns: "),
        ("VERSION/additionalPrinterColumns", Value::Null, "v1: additionalPrinterColumns was "),
        ("SPEC/required", json!(["a", "b"]), "v1.spec: b is required"),
        ("SPEC/properties/e", Value::Null, "v1.spec.e is gone"),
        ("SPEC/properties/e/type", json!("integer"), "v1.spec.e: type was \"string\" and is \"integer\""),
        ("SPEC/properties/e/format", json!("date"), "v1.spec.e: format was null and is \"date\""),
        ("SPEC/properties/e/pattern", json!("^e"), "v1.spec.e: pattern was null and is \"^e\""),
        ("SPEC/properties/a/pattern", json!("^aa"), "v1.spec.a: pattern was \"^a\" and is \"^aa\""),
        ("SPEC/properties/e/enum", json!(["x"]), "v1.spec.e: enum was null and is [\"x\"]"),
        ("SPEC/properties/b/enum", json!(["x", "z"]), "v1.spec.b: enum: \"y\" is gone"),
        ("SPEC/properties/a/maxLength", json!(9), "v1.spec.a: maxLength was 10 and is 9"),
        ("SPEC/properties/e/maxLength", json!(9), "v1.spec.e: maxLength was null and is 9"),
        ("SPEC/properties/a/minLength", json!(3), "v1.spec.a: minLength was 2 and is 3"),
        ("SPEC/properties/c/maxItems", json!(2), "v1.spec.c: maxItems was 3 and is 2"),
        ("SPEC/properties/c/minItems", json!(1), "v1.spec.c: minItems was null and is 1"),
        ("SPEC/properties/c/uniqueItems", json!(true), "v1.spec.c: uniqueItems was null and is true"),
        ("SPEC/properties/c/items/minimum", json!(2), "v1.spec.c[]: minimum was 1 and is 2"),
        ("SPEC/properties/c/items", Value::Null, "v1.spec.c[]: type was \"integer\" and is null"),
        (
            "SPEC/properties/c/x-kubernetes-list-type",
            json!("set"),
            "v1.spec.c: x-kubernetes-list-type was null",
        ),
        (
            "SPEC/properties/d/additionalProperties/maxLength",
            json!(1),
            "v1.spec.d{}: maxLength was null and is 1",
        ),
        ("SPEC/properties/d/additionalProperties", Value::Null, "v1.spec.d: additionalProperties was "),
        ("SPEC/properties/a/default", json!("ab"), "v1.spec.a: default was \"aa\" and is \"ab\""),
        ("SPEC/properties/a/default", Value::Null, "v1.spec.a: default was \"aa\" and is null"),
        ("SPEC/properties/e/default", json!("e"), "v1.spec.e: default was null and is \"e\""),
        (
            "SPEC/properties/e/x-kubernetes-validations",
            json!([{"rule": "self != ''"}]),
            "v1.spec.e: a new rule: self",
        ),
        (
            "SPEC/x-kubernetes-validations/0/rule",
            json!("self.a == self.b"),
            "v1.spec: a new rule: self.a == self.b",
        ),
        (
            "SPEC/x-kubernetes-validations/0/optionalOldSelf",
            json!(true),
            "v1.spec: a new rule: self.a != self.b",
        ),
    ] {
        let found = what_breaks(&sample(), &with(path, value.clone()));
        assert!(found.iter().any(|found| found.starts_with(said)), "{path} {value}: {found:?}");
    }
}

#[test]
fn what_is_added_or_loosened_is_no_finding() {
    let column = json!({"name": "B", "type": "string", "jsonPath": ".spec.b"});
    let older = sample()["spec"]["versions"][0]["additionalPrinterColumns"][0].clone();
    let version = sample()["spec"]["versions"][0].clone();
    let mut second = version.clone();
    second["name"] = json!("v2");
    second["storage"] = json!(false);
    for (path, value) in [
        ("/spec/names/shortNames", json!(["k", "l"])),
        ("/spec/names/categories", json!(["all"])),
        // Found by its name, not by its place.
        ("/spec/versions", json!([second, version])),
        ("VERSION/additionalPrinterColumns", json!([column, older])),
        ("SPEC/description", json!("Another one.")),
        ("SPEC/required", Value::Null),
        ("SPEC/properties/f", json!({"type": "string", "pattern": "^f"})),
        ("SPEC/properties/a/pattern", Value::Null),
        ("SPEC/properties/b/enum", json!(["x", "y", "z"])),
        ("SPEC/properties/b/enum", Value::Null),
        ("SPEC/properties/a/maxLength", json!(11)),
        ("SPEC/properties/a/maxLength", Value::Null),
        ("SPEC/properties/a/minLength", json!(1)),
        ("SPEC/properties/c/items/minimum", Value::Null),
        ("SPEC/properties/e/nullable", json!(true)),
        ("SPEC/x-kubernetes-validations", Value::Null),
        ("SPEC/x-kubernetes-validations/0/message", json!("In other words.")),
    ] {
        let new = with(path, value.clone());
        assert_ne!(new, sample(), "{path}");
        assert_eq!(what_breaks(&sample(), &new), [""; 0], "{path} {value}");
    }
}
