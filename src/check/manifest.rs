//! The manifests in files: the links to check, and the Secrets and ConfigMaps that lie beside them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use serde_json::{Map, Value};

use super::findings::Finding;
use super::schema::without_nulls;
use crate::api::{GROUP, InputKind, rules};

const CHECK: &str = "file";
/// What a MigrationLink has for its apiVersion.
const VERSION: &str = "v1alpha1";

/// What the files hold.
#[derive(Default)]
pub struct Manifests {
    /// The links, without nulls.
    pub links: Vec<Map<String, Value>>,
    /// Secrets and ConfigMaps.
    pub objects: Vec<Object>,
    others: usize,
}

/// A Secret or ConfigMap of a file. It has no `Debug`: it holds what the Secret holds.
pub struct Object {
    /// Its kind.
    pub kind: InputKind,
    /// Its namespace, if it names one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// What is in it; None if that cannot be read, which is a finding already.
    pub data: Option<BTreeMap<String, Vec<u8>>>,
}

/// Reads the files; `-` is standard input.
pub fn read(files: &[PathBuf]) -> (Manifests, Vec<Finding>) {
    let mut manifests = Manifests::default();
    let mut findings = Vec::new();
    for path in files {
        let name = if path.as_path() == Path::new("-") {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        let text = match text(path) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("{name} cannot be read: {error}");
                findings.push(Finding::problem(
                    CHECK,
                    what,
                    "Name a file with a MigrationLink in YAML or JSON",
                ));
                continue;
            }
        };
        match serde_saphyr::from_multiple::<Value>(&text) {
            Ok(documents) => {
                for document in documents {
                    manifests.take(document, &name, &mut findings);
                }
            }
            Err(error) => {
                // The error's own text shows the lines around the mistake.
                let place = error.location().map_or_else(String::new, |place| {
                    format!(" (line {}, column {})", place.line(), place.column())
                });
                findings.push(Finding::problem(
                    CHECK,
                    format!("{name} is not YAML{place}"),
                    "Look there for a bracket or quote that is not closed, a tab, a wrong indentation or a key that is there twice",
                ));
            }
        }
    }
    let count = |kind| manifests.objects.iter().filter(|object| object.kind == kind).count();
    let summary = format!(
        "MigrationLinks: {}, Secrets: {}, ConfigMaps: {}, others, which are left out: {}",
        manifests.links.len(),
        count(InputKind::Secret),
        count(InputKind::ConfigMap),
        manifests.others
    );
    if manifests.links.is_empty() {
        findings.push(Finding::problem(
            CHECK,
            format!("There is no MigrationLink to check ({summary})"),
            "Give a file that holds one",
        ));
    } else {
        findings.push(Finding::ok(CHECK, summary));
    }
    (manifests, findings)
}

fn text(path: &Path) -> io::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(path)
}

impl Manifests {
    /// The object of a file that a link in this namespace means. `default` is the namespace of what names none.
    pub fn object(&self, kind: InputKind, namespace: &str, name: &str, default: &str) -> Option<&Object> {
        let of_name = self.objects.iter().filter(|object| object.kind == kind && object.name == name);
        // kubectl applies one after the other: the last one stays.
        of_name.rev().find(|object| object.namespace.as_deref().unwrap_or(default) == namespace)
    }

    fn take(&mut self, document: Value, file: &str, findings: &mut Vec<Finding>) {
        let Value::Object(mut document) = document else {
            findings.push(Finding::problem(
                CHECK,
                format!("{file} holds a document that is no object"),
                "Give it apiVersion, kind and metadata",
            ));
            return;
        };
        let word = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (word("apiVersion"), word("kind"));
        let wanted = match kind.as_str() {
            "MigrationLink" => format!("{GROUP}/{VERSION}"),
            "Secret" | "ConfigMap" => "v1".to_owned(),
            "List" => {
                let items = document.remove("items").unwrap_or_default();
                for item in items.as_array().into_iter().flatten() {
                    self.take(item.clone(), file, findings);
                }
                return;
            }
            "" => {
                let what = format!("{file} holds an object without a kind");
                findings.push(Finding::problem(CHECK, what, "Give it apiVersion and kind"));
                return;
            }
            _ => {
                self.others += 1;
                return;
            }
        };
        if version != wanted {
            let what = format!("{file} holds a {kind} of another apiVersion than {wanted}");
            findings.push(Finding::problem(CHECK, what, format!("Write apiVersion: {wanted}")));
            return;
        }
        match kind.as_str() {
            "MigrationLink" => {
                if let Value::Object(link) = without_nulls(Value::Object(document)) {
                    self.links.push(link);
                }
            }
            "Secret" => self.object_of(InputKind::Secret, &document, file, findings),
            _ => self.object_of(InputKind::ConfigMap, &document, file, findings),
        }
    }

    fn object_of(
        &mut self,
        kind: InputKind,
        document: &Map<String, Value>,
        file: &str,
        findings: &mut Vec<Finding>,
    ) {
        let meta = |field: &str| document.get("metadata")?.get(field)?.as_str();
        let Some(name) = meta("name").filter(|name| (rules::OBJECT_NAME.holds)(name)) else {
            let what = format!("{file} holds a {kind} without a name, or with one that none can have");
            findings.push(Finding::problem(CHECK, what, "Give it a metadata.name"));
            return;
        };
        let data = data(kind, document).map_err(|problem| {
            let what = format!("{kind} {name} in {file} cannot be used: {problem}");
            findings.push(Finding::problem(
                CHECK,
                what,
                "Write it as kubectl create --dry-run=client -o yaml does",
            ));
        });
        let namespace = meta("namespace").map(str::to_owned);
        self.objects.push(Object { kind, namespace, name: name.to_owned(), data: data.ok() });
    }
}

/// What is in a Secret or ConfigMap. The error names a key, never a value.
fn data(kind: InputKind, document: &Map<String, Value>) -> Result<BTreeMap<String, Vec<u8>>, String> {
    // What comes later goes before.
    let (encoded, plain) =
        if kind == InputKind::Secret { ("data", "stringData") } else { ("binaryData", "data") };
    let mut all = BTreeMap::new();
    for (field, is_encoded) in [(encoded, true), (plain, false)] {
        let values = match document.get(field) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(values)) => values,
            Some(_) => return Err(format!("its {field} is not a list of keys with a value each")),
        };
        for (key, value) in values {
            let shown = if (rules::OBJECT_KEY.holds)(key) && super::inputs::is_ours(key) {
                key
            } else {
                "(not shown)"
            };
            let text = match value {
                Value::Null => "",
                Value::String(text) => text,
                _ => {
                    return Err(format!("the value of {shown} in its {field} is not text: put it in quotes"));
                }
            };
            let bytes = if is_encoded {
                let decoded = serde_json::from_value::<ByteString>(Value::String(text.to_owned()));
                decoded.map_err(|_| format!("the value of {shown} in its {field} is not base64"))?.0
            } else {
                text.as_bytes().to_vec()
            };
            all.insert(key.clone(), bytes);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken(yaml: &str) -> (Manifests, Vec<Finding>) {
        let mut manifests = Manifests::default();
        let mut findings = Vec::new();
        for document in serde_saphyr::from_multiple::<Value>(yaml).unwrap() {
            manifests.take(document, "a.yaml", &mut findings);
        }
        (manifests, findings)
    }

    #[test]
    fn secrets_and_config_maps_are_read_as_the_api_server_reads_them() {
        let (manifests, findings) = taken(
            "apiVersion: v1\nkind: List\nitems:\n\
             - {apiVersion: v1, kind: Secret, metadata: {name: keys}, data: {a: aGVsbG8=, b: Yg==}, stringData: {b: new, c: }}\n\
             ---\n\
             {apiVersion: v1, kind: ConfigMap, metadata: {name: ca, namespace: x}, data: {ca.crt: PEM}, binaryData: {d: 8J+YgA==}}\n\
             ---\n\
             {apiVersion: apps/v1, kind: Deployment}\n",
        );
        assert_eq!(findings, []);
        assert_eq!(manifests.others, 1);
        let data = |kind, namespace, name| {
            manifests.object(kind, namespace, name, "x").unwrap().data.clone().unwrap()
        };
        let secret = data(InputKind::Secret, "x", "keys");
        assert_eq!(secret["a"], b"hello");
        assert_eq!(secret["b"], b"new");
        assert_eq!(secret["c"], b"");
        assert_eq!(data(InputKind::ConfigMap, "x", "ca").len(), 2);
        assert!(manifests.object(InputKind::Secret, "y", "keys", "x").is_none());
        assert!(manifests.object(InputKind::ConfigMap, "y", "ca", "y").is_none());
    }

    #[test]
    fn what_is_malformed_is_named_and_no_value_is_shown() {
        let secret = |data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "data": data});
        for (document, words) in [
            (json!("hunter2"), "a document that is no object"),
            (json!({"hunter2": 1}), "an object without a kind"),
            (json!({"kind": "Secret", "stringData": {"linkToken": "hunter2"}}), "another apiVersion than v1"),
            (json!({"kind": "MigrationLink", "apiVersion": "hunter2"}), "than migrationlink.dev/v1alpha1"),
            (
                json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "Hunter2"}}),
                "without a name",
            ),
            (secret(json!({"linkToken": "hunter2!"})), "the value of linkToken in its data is not base64"),
            (secret(json!({"hunter2": "hunter2!"})), "the value of (not shown) in its data is not base64"),
            (
                secret(json!({"publicKey": 7})),
                "the value of publicKey in its data is not text: put it in quotes",
            ),
            (secret(json!("hunter2")), "its data is not a list of keys"),
        ] {
            let mut findings = Vec::new();
            Manifests::default().take(document, "a.yaml", &mut findings);
            let [finding] = findings.as_slice() else { panic!("{words}: {findings:?}") };
            assert!(finding.message.contains(words) && finding.fix.is_some(), "{finding:?}");
            assert!(!format!("{finding:?}").to_lowercase().contains("hunter2"), "{finding:?}");
        }
    }
}
