//! What the operator answers.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known of the link.
///
/// Everything but `observedGeneration` is optional, so that a status that is older or newer than this program can be read.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationLinkStatus {
    /// Generation of the spec that this status is about; -1 until the operator has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The API's own word, as it came: SYNCED, NOT_SYNCED, or a future one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,

    /// Ready; and only while they are True: Reconciling, Stalled, Suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Option<Vec<Condition>>,

    /// Last change to SYNCED.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_synced_time: Option<Time>,

    /// What the API accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkRecord>,

    /// The Secrets and the ConfigMap last tried, accepted or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into(), "name".into()]))]
    pub inputs: Option<Vec<InputRecord>>,

    /// Failed attempts and NOT_SYNCED answers in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i32>,

    /// When the operator tries again by itself; absent when there is no such time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,

    /// Value of the annotation migrationlink.dev/reconcile-at last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,

    /// Value of the annotation migrationlink.dev/relink-at last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_relink_at: Option<String>,
}

/// What the API accepted, and what the next decision has to remember.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkRecord {
    /// First time that the API accepted a token for this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_since: Option<Time>,

    /// Last time that the API accepted a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_time: Option<Time>,

    /// Fingerprint of the token last accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_fingerprint: Option<String>,

    /// Fingerprint of the API keys last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,

    /// Fingerprint of a token that was sent with an effect nobody saw, or that is about to be sent: the first one of a link
    /// with the policy Delete, or one in place of another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,

    /// The token is to be sent again, though the API refused it: the link is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resend: Option<bool>,

    /// Since when the API no longer says SYNCED of an accepted link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_since: Option<Time>,

    /// How often the token was sent again since the link was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relinks: Option<i32>,
}

/// One object that was read for the link.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InputRecord {
    /// Kind of the object.
    pub kind: InputKind,

    /// Its name, in the resource's own namespace.
    pub name: String,

    /// Its uid; absent when it was missing or not readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,

    /// The version that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,

    /// Fingerprint of the values that were used of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// Kinds of objects that a link refers to.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub enum InputKind {
    /// A core/v1 Secret.
    Secret,
    /// A core/v1 ConfigMap.
    ConfigMap,
    /// One that a newer version of the operator knows. Such records are not kept.
    #[serde(other, skip_serializing)]
    #[schemars(skip)]
    Other,
}

impl fmt::Display for InputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Other => "An object",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_status_of_a_newer_version_can_be_read() {
        let status = json!({
            "observedGeneration": 3,
            "inputs": [{"kind": "Vault", "name": "om-ca"}, {"kind": "Secret", "name": "keys"}],
            "link": {"newer": true},
            "newer": {"a": 1}
        });
        let status: MigrationLinkStatus = serde_json::from_value(status).unwrap();
        let kinds: Vec<_> = status.inputs.unwrap().iter().map(|record| record.kind).collect();
        assert_eq!(kinds, [InputKind::Other, InputKind::Secret]);
    }
}
