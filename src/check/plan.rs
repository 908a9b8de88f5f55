//! What the operator would do next: its own decisions, played through up to the first call.

use k8s_openapi::jiff::Timestamp;

use super::inputs::Read;
use crate::api::{ConditionType, Conditions, FINALIZER, LinkRecord, MigrationLinkStatus};
use crate::decision::{
    Fingerprints, Holder, Link, Memory, Release, SecretAccess, Settings, Step, View, decide,
};

/// More steps than there are before a call.
const MOST_STEPS: usize = 16;

/// What the operator would do.
pub struct Plan {
    /// In words, one step after the other.
    pub steps: Vec<String>,
    /// What the status would say then.
    pub status: MigrationLinkStatus,
}

/// Plays the decisions through. The operator's memory is not known here: it may have asked a moment ago.
pub fn plan(
    link: &Link,
    read: Option<&Read>,
    holder: Option<&Holder>,
    settings: &Settings,
    now: Timestamp,
) -> Plan {
    let mut link = link.clone();
    let mut memory = Memory::default();
    let mut steps = Vec::new();
    let mut inputs = None;
    for _ in 0..MOST_STEPS {
        let view = View {
            link: &link,
            settings,
            memory: &memory,
            secret_access: SecretAccess::Watch,
            versions: read.map_or(&[], |read| &read.versions),
            holder,
            held: None,
            inputs,
            answered: None,
            now,
            jitter: 0.5,
        };
        match decide(&view) {
            Step::ReadInputs => {
                let Some(read) = read else {
                    steps.push("read what it refers to; what follows depends on that".to_owned());
                    break;
                };
                inputs = Some(&read.inputs);
            }
            Step::Publish(status) => {
                steps.extend(publishes(&link.status, &status));
                link.status = *status;
            }
            Step::Announce(status) => {
                memory.announced = status.link.as_ref().and_then(|record| record.sent.clone());
                link.status = *status;
            }
            Step::AddFinalizer => {
                steps.push(format!("add the finalizer {FINALIZER}"));
                link.finalizers.push(FINALIZER.to_owned());
            }
            last => {
                steps.extend(ends_with(&last, &link, inputs.and_then(|inputs| inputs.usable.as_ref().ok())));
                break;
            }
        }
    }
    Plan { steps, status: link.status }
}

/// What a new status says, if it says something else than before.
fn publishes(old: &MigrationLinkStatus, new: &MigrationLinkStatus) -> Option<String> {
    let said = |status: &MigrationLinkStatus| {
        let conditions = status.conditions.as_ref()?;
        let suspended = conditions.of(ConditionType::Suspended);
        let shown = suspended.or_else(|| conditions.of(ConditionType::Ready))?;
        Some(format!("{}={}, {}", shown.type_, shown.status, shown.reason))
    };
    let now = said(new)?;
    (said(old).as_ref() != Some(&now)).then(|| format!("say {now} in the status"))
}

/// The step at which nothing more can be foreseen.
fn ends_with(step: &Step, link: &Link, read: Option<&Fingerprints>) -> Option<String> {
    Some(match step {
        Step::Link => format!("send the link token (POST): {}", why_link(link, read)),
        Step::Poll => format!("ask for the state (GET): {}", why_poll(link, read)),
        Step::Unlink => {
            "remove the link (DELETE): the resource is being deleted and its deletionPolicy is Delete"
                .to_owned()
        }
        Step::DropFinalizer(Release::LeftBehind(_)) => {
            "let the resource go and leave the link behind: the deletion grace period is over".to_owned()
        }
        Step::DropFinalizer(_) if link.deleting => {
            "let the resource go: there is no link to remove".to_owned()
        }
        Step::DropFinalizer(_) => format!("drop the finalizer {FINALIZER}: deletionPolicy is Retain"),
        Step::Wait(until) | Step::Park(until) => waits(link, *until),
        _ => return None,
    })
}

fn why_link(link: &Link, read: Option<&Fingerprints>) -> &'static str {
    let none = LinkRecord::default();
    let record = link.status.link.as_ref().unwrap_or(&none);
    let token = read.map(|read| &read.token);
    match record {
        LinkRecord { token_fingerprint: None, .. } => "no token was accepted yet",
        LinkRecord { token_fingerprint: Some(accepted), .. }
            if token.is_some_and(|token| token != accepted) =>
        {
            "it is another token than the one that was accepted"
        }
        LinkRecord { sent: Some(_), .. } => "it is not known how an earlier POST ended",
        _ if link.relink_at.is_some() && link.relink_at != link.status.last_handled_relink_at => {
            "relink-at asks for it"
        }
        _ => "the link is lost",
    }
}

fn why_poll(link: &Link, read: Option<&Fingerprints>) -> &'static str {
    let record = link.status.link.as_ref();
    let keys = record.and_then(|record| record.key_fingerprint.as_ref());
    if link.status.conditions.as_ref().is_none_or(|conditions| !conditions.is_true(ConditionType::Ready)) {
        "the token was accepted, and the link is not Ready"
    } else if link.reconcile_at.is_some() && link.reconcile_at != link.status.last_handled_reconcile_at {
        "reconcile-at asks for it"
    } else if read.is_some_and(|read| keys != Some(&read.keys)) {
        "the API key is another one"
    } else {
        "the regular check is due"
    }
}

fn waits(link: &Link, until: Option<Timestamp>) -> String {
    let ready =
        link.status.conditions.as_ref().is_some_and(|conditions| conditions.is_true(ConditionType::Ready));
    let interval = match &link.spec.sync_interval {
        Some(own) => format!("every {own}"),
        None => "at the operator's --sync-interval".to_owned(),
    };
    match until {
        Some(_) if ready => format!("do nothing before the next regular check ({interval})"),
        Some(until) => format!("wait until something changes, at most until {}", whole_seconds(until)),
        None => "do nothing until something changes".to_owned(),
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::decision::{Fetched, Origins, Version, read};

    const TOKEN: &str = "a-link-token";

    fn link(spec: &Value, status: &Value, annotations: &Value) -> Link {
        let mut all = json!({
            "orgId": "5f0d1e2a3b4c5d6e7f801234", "baseUrl": "http://om:8080", "secretRef": {"name": "keys"},
        });
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let resource = json!({
            "apiVersion": "migrationlink.dev/v1alpha1", "kind": "MigrationLink", "spec": all, "status": status,
            "metadata": {
                "name": "link", "namespace": "n", "uid": "u", "resourceVersion": "1", "generation": 1,
                "annotations": annotations,
            },
        });
        Link::observe(serde_json::from_value(resource).unwrap()).unwrap()
    }

    fn inputs(link: &Link, token: &str) -> Read {
        let data = [("publicKey", "pub"), ("privateKey", "private"), ("linkToken", token)];
        let data = data.map(|(key, value)| (key.to_owned(), value.into())).into();
        let reference = link.references().remove(0);
        let (uid, resource_version) = ("s".to_owned(), "1".to_owned());
        let version = Version::Present { uid: uid.clone(), resource_version: resource_version.clone() };
        let found = Fetched::Found { uid, resource_version, data };
        let (inputs, credentials) = read(link, &[(reference.clone(), found)], |_| true);
        Read { inputs, credentials, versions: vec![(reference, version)] }
    }

    fn settings() -> Settings {
        Settings {
            allowed_origins: Origins(vec!["http://om:8080".parse().unwrap()]),
            sync_interval: Duration::from_mins(15),
            deletion_grace_period: None,
            started_at: now(),
        }
    }

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn steps(link: &Link, token: &str) -> String {
        plan(link, Some(&inputs(link, token)), None, &settings(), now()).steps.join(", then ")
    }

    /// The status of a link whose token and keys were accepted.
    fn synced(link: &Link) -> Value {
        let Read { inputs, .. } = inputs(link, TOKEN);
        let fingerprints = inputs.usable.unwrap();
        json!({
            "observedGeneration": 1, "state": "SYNCED", "inputs": inputs.records, "lastHandledRelinkAt": "1",
            "link": {
                "tokenFingerprint": fingerprints.token, "keyFingerprint": fingerprints.keys,
                "heldSince": "2026-11-23T11:00:00Z", "acceptedTime": "2026-11-23T11:00:00Z",
            },
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Synced", "message": "m",
                "observedGeneration": 1, "lastTransitionTime": "2026-11-23T11:00:00Z",
            }],
        })
    }

    fn changed(mut status: Value, fields: &Value) -> Value {
        status.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        status
    }

    #[test]
    fn a_new_link_gets_its_token_sent() {
        let new = link(&json!({}), &json!({"observedGeneration": -1}), &json!({}));
        assert_eq!(steps(&new, TOKEN), "send the link token (POST): no token was accepted yet");
        let deletes = link(&json!({"deletionPolicy": "Delete"}), &json!({}), &json!({}));
        let told = "add the finalizer migrationlink.dev/unlink, then send the link token (POST): no token was accepted yet";
        assert_eq!(steps(&deletes, TOKEN), told);
    }

    #[test]
    fn what_is_not_read_is_not_guessed() {
        let new = link(&json!({}), &json!({}), &json!({}));
        let told = plan(&new, None, None, &settings(), now());
        assert_eq!(told.steps, ["read what it refers to; what follows depends on that"]);
    }

    #[test]
    fn a_synced_link_is_asked_about_or_written_only_for_a_reason_that_is_told() {
        let of = |status: &Value, annotations: Value| link(&json!({}), status, &annotations);
        let status = synced(&of(&json!({}), json!({})));
        assert_eq!(
            steps(&of(&status, json!({})), TOKEN),
            "do nothing before the next regular check (at the operator's --sync-interval)"
        );
        let asked = json!({"migrationlink.dev/reconcile-at": "2"});
        assert_eq!(steps(&of(&status, asked), TOKEN), "ask for the state (GET): reconcile-at asks for it");
        let relink = json!({"migrationlink.dev/relink-at": "2"});
        assert_eq!(steps(&of(&status, relink), TOKEN), "send the link token (POST): relink-at asks for it");
        let ambiguous = changed(
            status.clone(),
            &json!({"link": {"tokenFingerprint": status["link"]["tokenFingerprint"], "sent": "x"}}),
        );
        assert_eq!(
            steps(&of(&ambiguous, json!({})), TOKEN),
            "send the link token (POST): it is not known how an earlier POST ended"
        );
        // The Secret has another version, so it is read.
        let moved = changed(
            status,
            &json!({"inputs": [{"kind": "Secret", "name": "keys", "uid": "s", "resourceVersion": "0"}]}),
        );
        let rotated = steps(&of(&moved, json!({})), "another-token");
        assert_eq!(rotated, "send the link token (POST): it is another token than the one that was accepted");
    }

    #[test]
    fn what_stops_a_link_is_what_the_status_would_say() {
        let spec = json!({"baseUrl": "http://other"});
        let told = steps(&link(&spec, &json!({}), &json!({})), TOKEN);
        assert_eq!(
            told,
            "say Ready=False, EndpointNotAllowed in the status, then do nothing until something changes"
        );
        let told = steps(&link(&json!({"suspend": true}), &json!({}), &json!({})), TOKEN);
        assert_eq!(
            told,
            "say Suspended=True, Suspended in the status, then do nothing until something changes"
        );
        let told = steps(&link(&json!({}), &json!({}), &json!({})), "");
        assert_eq!(
            told,
            "say Ready=False, InvalidSecret in the status, then do nothing until something changes"
        );
        let new = link(&json!({}), &json!({}), &json!({}));
        let holder = Holder { namespace: "n".to_owned(), name: "first".to_owned() };
        let told = plan(&new, None, Some(&holder), &settings(), now());
        assert_eq!(told.steps[0], "say Ready=False, DuplicateOrganization in the status");
    }
}
