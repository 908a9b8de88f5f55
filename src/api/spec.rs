//! What a person writes.

use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use super::status::{InputKind, MigrationLinkStatus};
use crate::duration;

/// Base URL of Cloud Manager's API, the schema's default for `spec.baseUrl`.
pub const DEFAULT_BASE_URL: &str = "https://cloud.mongodb.com/api/public/v1.0";

/// Desired link of one Cloud Manager or Ops Manager organization with an Atlas organization.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "migrationlink.dev",
    version = "v1alpha1",
    kind = "MigrationLink",
    plural = "migrationlinks",
    shortname = "mlink",
    namespaced,
    status = "MigrationLinkStatus",
    derive = "PartialEq",
    doc = "Links a Cloud Manager or Ops Manager organization with an Atlas organization.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Last Synced", type_ = "date", json_path = ".status.lastSyncedTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Org", type_ = "string", json_path = ".spec.orgId", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct MigrationLinkSpec {
    /// Id of the Cloud Manager or Ops Manager organization: 24 lower-case hexadecimal digits. Immutable.
    #[schemars(length(max = 64))]
    #[x_kube(
        validation = (rules::ORG_ID.cel, rules::ORG_ID.sentence),
        validation = (rules::STAYS, "orgId is immutable: delete this MigrationLink and create another one for the other organization")
    )]
    pub org_id: String,

    /// Base URL of the HTTP API. Immutable.
    #[serde(default = "default_base_url")]
    #[schemars(length(max = 512))]
    #[x_kube(
        validation = (rules::BASE_URL.cel, rules::BASE_URL.sentence),
        validation = (rules::STAYS, "baseUrl is immutable: delete this MigrationLink and create another one for the other server")
    )]
    pub base_url: String,

    /// Secret of the same namespace with the keys publicKey, privateKey and linkToken.
    pub secret_ref: SecretReference,

    /// The link token from another Secret of the same namespace; linkToken is then not wanted in secretRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_token_secret_ref: Option<KeyReference>,

    /// Root certificates that are trusted for this link beside the system's: PEM in a ConfigMap or Secret of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaReference>,

    /// How often a SYNCED link is checked, such as 15m or 1h30m: from 1m to 24h. The operator's --sync-interval if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(
        validation = (rules::SYNC_INTERVAL.cel, rules::SYNC_INTERVAL.sentence)
    )]
    pub sync_interval: Option<String>,

    /// What becomes of the link when this resource is deleted: it stays (Retain), or is removed (Delete).
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// What is done about a link that is lost: its token is sent again (Relink), or it is only said (Report).
    #[serde(default)]
    pub drift_policy: DriftPolicy,

    /// While true, nothing is called and the status stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Names a Secret of the resource's own namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SecretReference {
    /// Name of the Secret.
    #[schemars(length(max = 253))]
    #[x_kube(
        validation = (rules::SECRET_NAME.cel, rules::SECRET_NAME.sentence)
    )]
    pub name: String,
}

/// Names a key of a Secret of the resource's own namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct KeyReference {
    /// Name of the Secret.
    #[schemars(length(max = 253))]
    #[x_kube(
        validation = (rules::SECRET_NAME.cel, rules::SECRET_NAME.sentence)
    )]
    pub name: String,

    /// Key of the Secret; linkToken if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(
        validation = (rules::SECRET_KEY.cel, rules::SECRET_KEY.sentence)
    )]
    pub key: Option<String>,
}

/// Names a key of a ConfigMap or Secret of the resource's own namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct CaReference {
    /// ConfigMap or Secret.
    pub kind: InputKind,

    /// Name of the ConfigMap or Secret.
    #[schemars(length(max = 253))]
    #[x_kube(
        validation = (rules::OBJECT_NAME.cel, rules::OBJECT_NAME.sentence)
    )]
    pub name: String,

    /// Its key, which holds certificates in PEM form; ca.crt if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(
        validation = (rules::OBJECT_KEY.cel, rules::OBJECT_KEY.sentence)
    )]
    pub key: Option<String>,
}

/// What becomes of the link when the resource is deleted.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum DeletionPolicy {
    /// The link stays.
    #[default]
    Retain,
    /// The link is removed with the resource.
    Delete,
}

/// What is done about a link that is lost.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum DriftPolicy {
    /// Its token is sent again.
    #[default]
    Relink,
    /// It is said, and left to a person.
    Report,
}

impl KeyReference {
    /// The key, with its default.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("linkToken")
    }
}

impl CaReference {
    /// The key, with its default.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("ca.crt")
    }
}

impl MigrationLinkSpec {
    /// The check interval that the resource itself asks for. None if it asks for none, or if it cannot be read
    /// (the schema lets in only what can).
    pub fn own_sync_interval(&self) -> Option<Duration> {
        duration::parse(self.sync_interval.as_deref()?)
    }
}

fn default_base_url() -> String {
    DEFAULT_BASE_URL.to_owned()
}
