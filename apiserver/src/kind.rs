//! The kinds of objects that are served.

use serde_json::{Value, json};

/// A kind of object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) name: &'static str,
    /// Whether it has a generation and its status is a subresource.
    pub(crate) custom: bool,
}

const KINDS: [Kind; 5] = [
    Kind {
        group: "migrationlink.dev",
        version: "v1alpha1",
        plural: "migrationlinks",
        name: "MigrationLink",
        custom: true,
    },
    Kind { group: "", version: "v1", plural: "secrets", name: "Secret", custom: false },
    Kind { group: "", version: "v1", plural: "configmaps", name: "ConfigMap", custom: false },
    Kind { group: "coordination.k8s.io", version: "v1", plural: "leases", name: "Lease", custom: false },
    Kind { group: "events.k8s.io", version: "v1", plural: "events", name: "Event", custom: false },
];

impl Kind {
    pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
    }

    pub(crate) fn by_plural(plural: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.plural == plural)
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Fills in what the CustomResourceDefinition has defaults for.
    pub(crate) fn default(&self, object: &mut Value) {
        if !self.custom {
            return;
        }
        let defaults = [
            ("baseUrl", "https://cloud.mongodb.com/api/public/v1.0"),
            ("deletionPolicy", "Retain"),
            ("driftPolicy", "Relink"),
        ];
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            for (field, default) in defaults {
                spec.entry(field).or_insert_with(|| json!(default));
            }
        }
        if let Some(object) = object.as_object_mut() {
            object.entry("status").or_insert_with(|| json!({"observedGeneration": -1}));
        }
    }

    /// The fields that tell the items of a list apart, where the list is a map (`x-kubernetes-list-type`).
    pub(crate) fn list_keys(&self, path: &[&str]) -> Option<&'static [&'static str]> {
        match (self.plural, path) {
            ("migrationlinks", ["status", "conditions"]) => Some(&["type"]),
            ("migrationlinks", ["status", "inputs"]) => Some(&["kind", "name"]),
            _ => None,
        }
    }
}
