//! What a resource and its link should be like once all is settled.

use hmac::{Hmac, KeyInit, Mac};
use kube::ResourceExt;
use migrationlink_operator::api::{ConditionType, Conditions, DeletionPolicy, FINALIZER, MigrationLink};
use sha2::Sha256;

/// What a resource should say.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which resource it is.
    pub uid: String,
    /// What becomes of the link with the resource.
    pub policy: DeletionPolicy,
    /// The token that is to be in force.
    pub token: String,
    /// The version of the Secret that is to be read.
    pub secret: String,
    /// The generation and the annotations that the last edit left.
    pub edited: (Option<i64>, [Option<String>; 2]),
}

/// What is asked for by annotation: a check, and the token once more.
const ANNOTATIONS: [&str; 2] = ["migrationlink.dev/reconcile-at", "migrationlink.dev/relink-at"];

impl Wanted {
    /// Takes in what an edit left. Until the watch tells of it, nothing counts as settled.
    pub fn seen(&mut self, link: &MigrationLink) {
        self.edited = edited(link);
    }

    /// Whether the resource says so, and the Cloud Manager has this token in force.
    pub fn is_met(&self, link: &MigrationLink, in_force: Option<&str>) -> Result<(), String> {
        let status = link.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let ready = conditions.of(ConditionType::Ready).map(|ready| ready.reason.as_str());
        let record = status.link.unwrap_or_default();
        let inputs = status.inputs.unwrap_or_default();
        let read: Vec<_> = inputs.iter().filter_map(|input| input.resource_version.as_deref()).collect();
        let handled = [status.last_handled_reconcile_at, status.last_handled_relink_at];
        let held = link.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
        let fingerprint = fingerprint(&self.uid, &self.token);
        for (holds, what) in [
            (link.uid().as_ref() == Some(&self.uid), "it is another resource"),
            (edited(link) == self.edited, "the edit is not seen"),
            (status.observed_generation == link.metadata.generation, "the generation is not observed"),
            (ready == Some("Synced") && conditions.len() == 1, "it is not Ready, and nothing else"),
            (conditions.is_true(ConditionType::Ready), "it is not Ready"),
            (status.state.as_deref() == Some("SYNCED"), "it is not SYNCED"),
            (record.token_fingerprint == Some(fingerprint), "another token was accepted last"),
            (record.sent.is_none() && record.resend.is_none(), "a token is to be sent again"),
            (record.lost_since.is_none() && record.relinks.is_none(), "it remembers a loss"),
            (status.attempts.unwrap_or(0) == 0 && status.next_attempt_time.is_none(), "it waits"),
            (read == [self.secret.as_str()], "the Secret's version was not read"),
            (handled == self.edited.1, "an annotation is not handled"),
            (held == (self.policy == DeletionPolicy::Delete), "the finalizer is not right"),
            (in_force == Some(self.token.as_str()), "another token is in force, or none"),
        ] {
            if !holds {
                return Err(what.to_owned());
            }
        }
        Ok(())
    }
}

/// What of a resource its status has to be about.
pub fn edited(link: &MigrationLink) -> (Option<i64>, [Option<String>; 2]) {
    (link.metadata.generation, ANNOTATIONS.map(|name| link.annotations().get(name).cloned()))
}

/// A token's fingerprint in the status of the resource with this uid: HMAC-SHA-256 of its length and its bytes, 16 digits.
pub fn fingerprint(uid: &str, token: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(uid.as_bytes()).expect("a key of any length");
    mac.update(&(token.len() as u64).to_be_bytes());
    mac.update(token.as_bytes());
    let digest = mac.finalize().into_bytes();
    let first = digest.first_chunk().expect("32 bytes");
    format!("{:016x}", u64::from_be_bytes(*first))
}
