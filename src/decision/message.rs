//! What a person reads. Every message of trouble ends with what to do.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::observe::Link;
use super::outcome::CallFailure;
use crate::api::{Pace, RECONCILE_AT};

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

/// The text, and the command that makes the operator try now. Where both are too long, the text is cut: half a command
/// is none.
fn with_try_now(link: &Link, text: &str) -> String {
    let command = format!(
        " To try now: {IMPERATIVE_CHECK} {} -n {} {RECONCILE_AT}=\"$(date +%s)\" --overwrite",
        link.name, link.namespace
    );
    format!("{}{command}", truncated(text, LONGEST.saturating_sub(command.len())))
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

pub(super) fn failed(link: &Link, failure: &CallFailure) -> String {
    if failure.reason.pace() == Pace::Slow {
        with_try_now(link, &failure.message)
    } else {
        failure.message.clone()
    }
}

pub(super) fn check_failing(failure: &CallFailure, answered: Option<Timestamp>) -> String {
    let last = answered.map_or_else(
        || "not since the operator started".to_owned(),
        |time| format!("{}", super::status::seconds(time).0),
    );
    format!("The link was SYNCED when the API last answered ({last}). {}", failure.message)
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
         operator with --allowed-origin={origin} (this option replaces the default, so repeat it for every origin in use)."
    )
}

pub(super) fn secret_not_found(name: &str) -> String {
    format!(
        "Secret {name} is not there. Create it in this namespace with the keys publicKey, privateKey and linkToken."
    )
}

pub(super) fn invalid_secret(name: &str, problem: &str) -> String {
    format!("Secret {name} cannot be used: {problem}. It needs the keys publicKey, privateKey and linkToken.")
}

pub(super) fn secret_access_denied(link: &Link, name: &str) -> String {
    let text = format!(
        "The API server does not let the operator read Secret {name}. Create a RoleBinding in namespace {} that \
         binds the operator's ServiceAccount to a Role with the verb get on secrets.",
        link.namespace
    );
    with_try_now(link, &text)
}
