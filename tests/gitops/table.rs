//! The table: what each tool says of each captured state.

use std::collections::BTreeMap;

/// Name; Argo CD; kstatus; Flux; whether `kubectl wait --for=condition=Ready` ends well, which `tests/cluster/gitops` tries; the
/// actions that can be taken: reconcile, re-link, suspend, resume.
pub type Row = (&'static str, &'static str, &'static str, &'static str, bool, &'static str);

/// Of a resource that is being deleted, Argo CD says Progressing without asking, and kstatus Terminating.
#[rustfmt::skip]
pub const TABLE: [Row; 41] = [
    ("AccessListDenied",                     "Degraded",    "Failed",      "Failed",     false, "r-s-"),
    ("Announced",                            "Progressing", "InProgress",  "InProgress", false, "r-s-"),
    ("Applied",                              "Progressing", "InProgress",  "InProgress", false, "r-s-"),
    ("CANotFound",                           "Progressing", "InProgress",  "InProgress", false, "r-s-"),
    ("Deleting",                             "Progressing", "Terminating", "InProgress", false, "r---"),
    ("DeletionBlocked-passing",              "Progressing", "Terminating", "InProgress", false, "r---"),
    ("DeletionBlocked-refused",              "Progressing", "Terminating", "Failed",     false, "r---"),
    ("DeletionBlocked-secret",               "Progressing", "Terminating", "Failed",     false, "r---"),
    ("DuplicateOrganization",                "Degraded",    "Failed",      "Failed",     false, "--s-"),
    ("EndpointNotAllowed",                   "Degraded",    "Failed",      "Failed",     false, "--s-"),
    ("EndpointUnavailable",                  "Progressing", "InProgress",  "InProgress", false, "r-s-"),
    ("EndpointUnavailable-deadline",         "Degraded",    "Failed",      "Failed",     false, "r-s-"),
    ("EndpointUnavailable-unknown",          "Progressing", "InProgress",  "InProgress", false, "rls-"),
    ("EndpointUnavailable-unknown-deadline", "Degraded",    "Failed",      "Failed",     false, "rls-"),
    ("Forbidden",                            "Degraded",    "Failed",      "Failed",     false, "r-s-"),
    ("InvalidCA",                            "Degraded",    "Failed",      "Failed",     false, "r-s-"),
    ("InvalidSecret",                        "Degraded",    "Failed",      "Failed",     false, "r-s-"),
    ("InvalidSpec",                          "Degraded",    "Failed",      "Failed",     false, "--s-"),
    ("LinkExists",                           "Degraded",    "Failed",      "Failed",     false, "r-s-"),
    ("LinkLost",                             "Progressing", "InProgress",  "InProgress", false, "rls-"),
    ("LinkLost-reported",                    "Degraded",    "Failed",      "Failed",     false, "rls-"),
    ("LiveExportRunning",                    "Progressing", "Terminating", "InProgress", false, "r---"),
    ("NotSynced",                            "Progressing", "InProgress",  "InProgress", false, "rls-"),
    ("NotSynced-deadline",                   "Degraded",    "Failed",      "Failed",     false, "rls-"),
    ("OrganizationNotFound",                 "Degraded",    "Failed",      "Failed",     false, "r-s-"),
    ("RateLimited",                          "Progressing", "InProgress",  "InProgress", false, "r-s-"),
    ("RequestRejected",                      "Degraded",    "Failed",      "Failed",     false, "r-s-"),
    ("SecretAccessDenied",                   "Degraded",    "Failed",      "Failed",     false, "r-s-"),
    ("SecretNotFound",                       "Progressing", "InProgress",  "InProgress", false, "r-s-"),
    ("SecretNotFound-deadline",              "Degraded",    "Failed",      "Failed",     false, "r-s-"),
    ("ServiceUpgrading",                     "Progressing", "InProgress",  "InProgress", false, "r-s-"),
    ("Suspended",                            "Suspended",   "Current",     "Current",    false, "----"),
    ("Suspended-paused",                     "Suspended",   "Current",     "Current",    false, "---u"),
    ("Suspended-synced",                     "Suspended",   "Current",     "Current",    true,  "----"),
    ("Synced",                               "Healthy",     "Current",     "Current",    true,  "rls-"),
    ("Synced-edited",                        "Progressing", "InProgress",  "InProgress", false, "rls-"),
    ("TlsVerificationFailed",                "Degraded",    "Failed",      "Failed",     false, "r-s-"),
    ("TokenRejected",                        "Degraded",    "Failed",      "Failed",     false, "r-s-"),
    ("Unauthorized",                         "Degraded",    "Failed",      "Failed",     false, "r-s-"),
    ("Unauthorized-edited",                  "Progressing", "InProgress",  "InProgress", false, "r-s-"),
    ("UnexpectedResponse",                   "Progressing", "InProgress",  "InProgress", false, "r-s-"),
];

/// The actions that can be taken, as the table has them.
pub fn letters(actions: &BTreeMap<String, bool>) -> String {
    let names: Vec<_> = actions.keys().map(String::as_str).collect();
    assert_eq!(names, ["reconcile", "relink", "resume", "suspend"]);
    [("reconcile", 'r'), ("relink", 'l'), ("suspend", 's'), ("resume", 'u')]
        .map(|(name, letter)| if actions[name] { letter } else { '-' })
        .iter()
        .collect()
}
