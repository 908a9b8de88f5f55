//! What a person reads. Every message of trouble ends with what to do.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::observe::{Holder, Link};
use super::outcome::CallFailure;
use crate::api::{ADOPT_EXISTING, InputKind, Pace, RECONCILE_AT, Reason};

/// The longest message, in bytes. An event's note may have 1 kB.
pub(super) const LONGEST: usize = 1000;

/// After this time a lasting NOT_SYNCED is explained.
const SETTLING: Duration = Duration::from_mins(10);

/// What asks for an attempt now, without the name of a resource.
pub const IMPERATIVE_CHECK: &str = "kubectl annotate migrationlink";

/// The beginning of the text, at most so many bytes, cut between characters.
pub fn truncated(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

/// The text, and what is said after it. Where both are too long, the text is cut: half a command is none.
fn with_end(text: &str, end: &str) -> String {
    format!("{}{end}", truncated(text, LONGEST.saturating_sub(end.len())))
}

/// The text, and the command that makes the operator try now.
fn with_try_now(link: &Link, text: &str) -> String {
    let command = format!(
        " To try now: {IMPERATIVE_CHECK} {} -n {} {RECONCILE_AT}=\"$(date +%s)\" --overwrite",
        link.name, link.namespace
    );
    with_end(text, &command)
}

pub(super) fn synced() -> String {
    "The organization is linked with Atlas: the API says SYNCED.".to_owned()
}

pub(super) fn accepted_without_state() -> String {
    "The API accepted the link token and did not say a state; asking for it.".to_owned()
}

pub(super) fn not_synced(state: &str, no_link: bool, waiting: Duration) -> String {
    let mut text = if no_link {
        "The API accepted the link token but says that there is no link; waiting for it to appear.".to_owned()
    } else {
        format!("The API accepted the link token and says {state}; waiting for SYNCED.")
    };
    if waiting >= SETTLING {
        text.push_str(
            " This takes long. Usual causes: the token was deleted or used up in Atlas; the egress address of Ops Manager \
             is not on the token's access list in Atlas; the Atlas organization is gone. Make a new link token in Atlas \
             and put it into the Secret.",
        );
    }
    text
}

pub(super) fn link_lost(no_link: bool) -> String {
    let what = if no_link { "the API no longer knows the link" } else { "the API no longer says SYNCED" };
    format!("The link was accepted and is lost ({what}); sending the link token again.")
}

/// A lost link that is left to a person.
pub(super) fn link_lost_reported(link: &Link, no_link: bool) -> String {
    let what = if no_link { "the API no longer knows the link" } else { "the API no longer says SYNCED" };
    let end = format!(
        " To send the link token again: {IMPERATIVE_CHECK} {} -n {} {}=\"$(date +%s)\" --overwrite",
        link.name,
        link.namespace,
        crate::api::RELINK_AT
    );
    with_end(&format!("The link was accepted and is lost ({what}); spec.driftPolicy is Report."), &end)
}

/// The link that is there is not SYNCED, so that it is not taken for the one that this token makes.
pub(super) fn not_adopted() -> String {
    "The organization already has a link (HTTP 409), which is not SYNCED, so it is not taken over yet. Remove it if it does \
     not become SYNCED (mongocli liveMigrations link delete, or in the user interface)."
        .to_owned()
}

pub(super) fn duplicate(link: &Link, holder: &Holder) -> String {
    let who = if holder.namespace == link.namespace {
        format!("MigrationLink {} in this namespace", holder.name)
    } else {
        "A MigrationLink in another namespace".to_owned()
    };
    format!(
        "{who} holds the link of organization {} at this server: an organization has one link. Delete one of the two; this \
         one goes on when the other is gone.",
        link.spec.org_id
    )
}

/// A deletion that is held up: by what, the ways out, and when the resource is let go without them.
pub(super) fn deletion_blocked(link: &Link, cause: &str, release: Option<Timestamp>) -> String {
    let release = release.map_or_else(String::new, |release| {
        format!(" At {} that happens by itself.", super::status::seconds(release).0)
    });
    let end = format!(
        " Until this is mended (a Secret that is gone: restored) the link cannot be removed. To delete the resource and keep \
         the link: kubectl patch migrationlink {} -n {} --type merge -p '{{\"spec\":{{\"deletionPolicy\":\"Retain\"}}}}'.{release}",
        link.name, link.namespace
    );
    with_end(cause, &end)
}

/// What is said when the grace period is over.
pub(super) fn left_behind(link: &Link, cause: Option<Reason>) -> String {
    let cause = cause.map_or_else(String::new, |cause| format!(" ({cause})"));
    format!(
        "The link of organization {} could not be removed within the deletion grace period{cause} and stays. Remove it by \
         hand if it is not wanted (mongocli liveMigrations link delete, or in the user interface).",
        link.spec.org_id
    )
}

/// A call that is not made now because of what other links were answered.
pub(super) fn held(reason: Reason) -> String {
    if reason == Reason::RateLimited {
        return held_back();
    }
    "The endpoint did not answer the calls for other links, so it is asked for them one at a time; this link follows as soon \
     as it answers again."
        .to_owned()
}

/// A call that failed. `refused`: a POST was refused, and no poll has settled what that means.
pub(super) fn failed(link: &Link, failure: &CallFailure, refused: bool) -> String {
    if failure.reason == Reason::LinkExists
        && refused
        && link.status.link.as_ref().is_none_or(|record| record.token_fingerprint.is_none())
    {
        let command = format!(
            " If it is the one that this token makes, take it over: {IMPERATIVE_CHECK} {} -n {} {ADOPT_EXISTING}=true \
             {RECONCILE_AT}=\"$(date +%s)\" --overwrite",
            link.name, link.namespace
        );
        return with_end(&failure.message, &command);
    }
    if failure.reason.pace() == Pace::Slow {
        with_try_now(link, &failure.message)
    } else {
        failure.message.clone()
    }
}

pub(super) fn check_failing(problem: &str, answered: Option<Timestamp>) -> String {
    let last = answered.map_or_else(
        || "not since the operator started".to_owned(),
        |time| format!("{}", super::status::seconds(time).0),
    );
    format!("The link was SYNCED when the API last answered ({last}). {problem}")
}

pub(super) fn held_back() -> String {
    "The API limits the requests of this API key; what was changed is acted on as soon as it may be asked again. To be \
     quicker, give this link an API key of its own."
        .to_owned()
}

pub(super) fn suspended() -> String {
    "Nothing is called: spec.suspend or the annotation migrationlink.dev/paused is true. To resume, take it away."
        .to_owned()
}

pub(super) fn invalid_base_url(problem: &str) -> String {
    format!(
        "spec.baseUrl cannot be used: {problem}. Delete this MigrationLink and create it again with a right one."
    )
}

pub(super) fn endpoint_not_allowed(origin: &str) -> String {
    format!(
        "Credentials may not be sent to the origin of spec.baseUrl. If they should be, an administrator starts the \
         operator with --allowed-origin={origin} (Helm: allowedOrigins). It replaces the \
         default: name every origin in use."
    )
}

pub(super) fn secret_not_found(name: &str, keys: &str) -> String {
    format!("Secret {name} is not there. Create it in this namespace with {keys}.")
}

pub(super) fn invalid_secret(name: &str, problem: &str, keys: &str) -> String {
    format!("Secret {name} cannot be used: {problem}. It needs {keys}.")
}

pub(super) fn ca_not_found(kind: InputKind, name: &str, key: &str) -> String {
    format!(
        "{kind} {name}, which spec.caRef names, is not there. Create it in this namespace with root certificates in PEM form \
         under the key {key}, or take caRef out."
    )
}

pub(super) fn invalid_ca(kind: InputKind, name: &str, key: &str, problem: &str) -> String {
    format!(
        "{kind} {name}, which spec.caRef names, cannot be used: {problem}. It needs root certificates in PEM form under the \
         key {key}."
    )
}

pub(super) fn access_denied(link: &Link, kind: InputKind, name: &str) -> String {
    let resource = if kind == InputKind::ConfigMap { "configmaps" } else { "secrets" };
    let text = format!(
        "The API server does not let the operator read {kind} {name}. Create a RoleBinding in namespace {} that \
         binds the operator's ServiceAccount to a Role with the verb get on {resource}.",
        link.namespace
    );
    with_try_now(link, &text)
}
