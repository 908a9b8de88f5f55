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
            Step::ReadInputs => match read {
                Some(read) => inputs = Some(&read.inputs),
                None => {
                    steps.push("read what it refers to; what follows depends on that".to_owned());
                    break;
                }
            },
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
    let interval = link.spec.sync_interval.as_deref().unwrap_or("the operator's --sync-interval");
    match until {
        Some(_) if ready => format!("do nothing before the next regular check, one every {interval}"),
        Some(until) => format!("wait until something changes, at most until {}", whole_seconds(until)),
        None => "do nothing until something changes".to_owned(),
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
