//! What has to be true when everybody has been quiet for a while.

use serde_json::Value;

use super::history::{FOREIGN, LINK, Op, TOKENS};
use crate::world::{ORG, World};

/// What people have done so far.
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub struct Model {
    /// The token of the Secret, if there is one.
    pub secret: Option<usize>,
    keys: bool,
    up: bool,
    /// Whether somebody else has linked the organization since the operator's own token was last sent for certain.
    foreign: bool,
    /// Whether the link was removed at Cloud Manager since then.
    unlinked: bool,
    /// Whether the link was there, SYNCED and with the policy `Delete` when it was last quiet, and stayed so until it was deleted, while nothing
    /// stood in the way.
    removable: bool,
    /// So many times a token had to be sent, at most.
    pub reasons_to_post: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            secret: Some(0),
            keys: true,
            up: true,
            foreign: false,
            unlinked: false,
            removable: false,
            reasons_to_post: 0,
        }
    }
}

impl Model {
    /// A step that was done.
    pub fn take_in(&mut self, op: &Op) {
        match *op {
            Op::CreateLink { .. } | Op::Relink => self.reasons_to_post += 1,
            Op::Token(token) => {
                self.reasons_to_post += 1;
                self.secret = Some(token);
            }
            Op::Unlink => {
                self.reasons_to_post += 1;
                self.unlinked = true;
            }
            Op::DeleteSecret => self.secret = None,
            Op::LinkElsewhere => self.foreign = true,
            Op::Keys(good) => self.keys = good,
            Op::Up(up) => self.up = up,
            _ => {}
        }
        let harmless = matches!(
            op,
            Op::DeleteLink | Op::Reconcile | Op::Kill | Op::Terminate | Op::EndWatches { .. } | Op::Wait(_)
        );
        self.removable &= harmless;
    }

    /// What is not as it has to be after a quiet time.
    pub fn settled(&mut self, world: &World) -> Vec<String> {
        let remote = world.cloud.link_token(ORG);
        let healthy = self.secret.is_some() && self.keys && self.up;
        let mut wrong = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{what}: remote {remote:?}, {:#}", world.link(LINK).unwrap_or_default()));
            }
        };
        let Some(link) = world.link(LINK) else {
            must(!self.removable || remote.is_none(), "the link is gone, and what it made is still there");
            self.removable = false;
            return wrong;
        };
        let condition = |kind: &str| condition(&link, kind);
        if link["metadata"]["deletionTimestamp"].is_string() {
            must(!self.up, "the deletion hangs though the API answers");
            return wrong;
        }
        must(
            link["status"]["observedGeneration"] == link["metadata"]["generation"],
            "the spec was not looked at",
        );
        let finalized = link["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        must(
            finalized == (link["spec"]["deletionPolicy"] == "Delete"),
            "the finalizer is not as the policy says",
        );
        if link["spec"]["suspend"] == true {
            must(
                condition("Suspended").is_some_and(|of| of["status"] == "True"),
                "it does not say Suspended",
            );
            self.removable = false;
            return wrong;
        }
        let ready = condition("Ready").unwrap_or_default();
        let (status, reason) =
            (ready["status"].as_str().unwrap_or(""), ready["reason"].as_str().unwrap_or(""));
        let report = link["spec"]["driftPolicy"] == "Report";
        let lost = reason == "LinkLost" && report && self.unlinked;
        if healthy {
            must(status == "True" || lost, "it is not Ready though nothing is wrong");
            let token = self.secret.map(|token| TOKENS[token]);
            let in_force = remote.as_deref() == token || (self.foreign && remote.as_deref() == Some(FOREIGN));
            must(in_force || lost, "the Secret's token is not in force");
        } else if self.secret.is_none() {
            must(reason == "SecretNotFound", "it does not say that the Secret is missing");
        } else if self.up {
            must(reason == "Unauthorized" || lost, "it does not say that the keys are refused");
        } else {
            must(
                status != "True" && (reason == "EndpointUnavailable" || lost),
                "it does not say that the API is down",
            );
        }
        self.removable = status == "True" && finalized;
        if status == "True" && remote.as_deref() != Some(FOREIGN) {
            self.foreign = false;
            self.unlinked = false;
        }
        wrong
    }

    /// What is not as it has to be after everything was put right.
    pub fn healed(&self, world: &World) -> Vec<String> {
        let link = world.link(LINK).unwrap_or_default();
        let remote = world.cloud.link_token(ORG);
        let status = &link["status"];
        let ready = condition(&link, "Ready").is_some_and(|ready| ready["status"] == "True");
        let quiet = status["conditions"].as_array().is_some_and(|all| all.len() == 1)
            && status["attempts"].is_null()
            && status["nextAttemptTime"].is_null()
            && status["link"]["sent"].is_null()
            && status["link"]["lostSince"].is_null();
        let token = self.secret.map(|token| TOKENS[token]);
        if ready && quiet && status["state"] == "SYNCED" && remote.as_deref() == token {
            return Vec::new();
        }
        vec![format!("it does not heal: remote {remote:?}, {link:#}")]
    }
}

fn condition(link: &Value, kind: &str) -> Option<Value> {
    link["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind).cloned()
}
