//! One link in its surroundings, said in the words of the design.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::{
    DEFAULT_BASE_URL, DeletionPolicy, DriftPolicy, FINALIZER, InputKind, InputRecord, LinkRecord,
    MigrationLinkSpec, MigrationLinkStatus, Reason, SecretReference,
};
use crate::decision::message;
use crate::decision::status::Draft;
use crate::decision::{
    Attempt, Call, Failing, Fingerprints, Held, HeldWhy, Holder, InputReference, Inputs, Link, Memory, Nudge,
    Origins, Outcome, SecretAccess, Settings, Settled, Step, Unusable, Version, View, decide, settle,
};

pub use super::answers::*;
pub use super::seen::*;

pub const MINUTE: i64 = 60;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;
/// The check interval of every test that does not say another.
pub const INTERVAL: i64 = 15 * MINUTE;
/// When the stories begin.
const BEGINNING: i64 = 1_767_225_600;

/// So many seconds after the beginning.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEGINNING + second).unwrap()
}

/// The same, as it stands in a status.
pub fn time(second: i64) -> Time {
    Time(at(second))
}

/// What may happen to a link or around it.
pub type Change = fn(Case) -> Case;

/// What the Secret holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    Good {
        token: String,
        keys: String,
    },
    /// Only the keys, no token.
    Keys(String),
    Bad,
    Denied,
}

/// A Secret as it is in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub uid: String,
    pub version: u32,
    pub content: Content,
}

/// A link in its surroundings.
#[derive(Clone, Debug)]
pub struct Case {
    pub link: Link,
    pub settings: Settings,
    pub secret_access: SecretAccess,
    pub memory: Memory,
    pub secret: Option<Stored>,
    /// What the pass has read.
    pub inputs: Option<Inputs>,
    pub answered: Option<Attempt>,
    /// Another resource that holds the organization.
    pub holder: Option<Holder>,
    pub held: Option<Held>,
    pub now: Timestamp,
    pub jitter: f64,
    /// Whether the watch has told the Secret's version yet.
    pub listed: bool,
}

/// A link that nobody has looked at, and a good Secret with token `t1` and keys `k1`.
pub fn link() -> Case {
    Case {
        link: Link {
            namespace: "payments".into(),
            name: "orders".into(),
            uid: "6b1d7f0e-0001".into(),
            resource_version: "1".into(),
            generation: 1,
            created: at(0),
            deleting: false,
            finalizers: Vec::new(),
            spec: MigrationLinkSpec {
                org_id: "5f0d1e2a3b4c5d6e7f801234".into(),
                base_url: DEFAULT_BASE_URL.into(),
                secret_ref: SecretReference { name: "migration".into() },
                link_token_secret_ref: None,
                ca_ref: None,
                sync_interval: None,
                deletion_policy: DeletionPolicy::Retain,
                drift_policy: DriftPolicy::Relink,
                suspend: None,
            },
            status: MigrationLinkStatus { observed_generation: Some(-1), ..Default::default() },
            reconcile_at: None,
            relink_at: None,
            paused: false,
            adopt: false,
        },
        settings: Settings {
            allowed_origins: Origins(vec!["https://cloud.mongodb.com".parse().unwrap()]),
            sync_interval: Duration::from_secs(INTERVAL.unsigned_abs()),
            deletion_grace_period: Some(Duration::from_mins(10)),
            started_at: at(0),
        },
        secret_access: SecretAccess::Watch,
        memory: Memory::default(),
        secret: Some(stored("t1", "k1", 1)),
        inputs: None,
        answered: None,
        holder: None,
        held: None,
        now: at(1),
        jitter: 0.5,
        listed: true,
    }
}

/// A link whose token `t1` was accepted at the beginning and that says SYNCED.
pub fn synced() -> Case {
    link().accepted("t1").ready()
}

pub fn stored(token: &str, keys: &str, version: u32) -> Stored {
    let content = Content::Good { token: token.into(), keys: keys.into() };
    Stored { uid: "5ec7e7".into(), version, content }
}

// What stands in the status.
impl Case {
    /// The API accepted this token at the beginning; the inputs are recorded as they are.
    pub fn accepted(mut self, token: &str) -> Self {
        let keys = match &self.secret {
            Some(Stored { content: Content::Good { keys, .. }, .. }) => keys.clone(),
            _ => "k1".into(),
        };
        self.link.status.link = Some(LinkRecord {
            held_since: Some(time(0)),
            accepted_time: Some(time(0)),
            token_fingerprint: Some(token.into()),
            key_fingerprint: Some(keys),
            ..Default::default()
        });
        self.recorded()
    }

    /// The inputs are recorded as they are, and so is the generation.
    pub fn recorded(mut self) -> Self {
        self.link.status.inputs = Some(self.read().records);
        self.link.status.observed_generation = Some(self.link.generation);
        self
    }

    fn with(mut self, draw: impl FnOnce(&mut Draft)) -> Self {
        let mut draft = Draft::new(&self.link, self.now);
        draw(&mut draft);
        self.link.status = draft.finish(&self.link, false);
        self
    }

    pub fn ready(mut self) -> Self {
        self.link.status.state = Some("SYNCED".into());
        self.link.status.last_synced_time = Some(time(0));
        self.with(|draft| draft.ready(&message::synced()))
    }

    /// Not ready since now for this reason, after one failure, with the next attempt so many seconds from the beginning.
    pub fn not_ready(self, reason: Reason, next: Option<i64>) -> Self {
        self.with(|draft| {
            draft.not_ready(reason, "It is not.");
            match next {
                Some(next) => draft.retry(1, Some(at(next))),
                None => draft.no_retry(),
            }
        })
    }

    /// A failing check that is published.
    pub fn unknown(self, reason: Reason, next: i64) -> Self {
        self.with(|draft| {
            draft.unknown(reason, "No answer.");
            draft.retry(1, Some(at(next)));
        })
    }

    pub fn record(&mut self) -> &mut LinkRecord {
        self.link.status.link.get_or_insert_default()
    }

    pub fn lost(mut self, since: i64, relinks: i32) -> Self {
        self.link.status.state = Some("NOT_SYNCED".into());
        self.record().lost_since = Some(time(since));
        self.record().relinks = (relinks > 0).then_some(relinks);
        self
    }

    pub fn sent(mut self, token: &str) -> Self {
        self.record().sent = Some(token.into());
        self
    }
}

// What is around it.
impl Case {
    pub fn now(mut self, second: i64) -> Self {
        self.now = at(second);
        self
    }

    /// The spec is edited in a way that no rule looks at.
    pub fn edited(mut self) -> Self {
        self.link.generation += 1;
        self
    }

    pub fn suspend(mut self) -> Self {
        self.link.spec.suspend = Some(true);
        self.edited()
    }

    pub fn paused(mut self) -> Self {
        self.link.paused = true;
        self
    }

    /// With the policy `Delete`, and held by our finalizer.
    pub fn delete(mut self) -> Self {
        self.link.spec.deletion_policy = DeletionPolicy::Delete;
        self.link.finalizers = vec![FINALIZER.into()];
        self
    }

    /// Somebody deletes the resource; the API server raises the generation with that.
    pub fn deleting(mut self) -> Self {
        self.link.deleting = true;
        self.edited()
    }

    pub fn report(mut self) -> Self {
        self.link.spec.drift_policy = DriftPolicy::Report;
        self.edited()
    }

    pub fn adopting(mut self) -> Self {
        self.link.adopt = true;
        self
    }

    /// Another resource of the same namespace holds the organization.
    pub fn held_by_another(mut self) -> Self {
        self.holder = Some(Holder { namespace: self.link.namespace.clone(), name: "first".into() });
        self
    }

    /// Calls are held back.
    pub fn held(mut self, why: HeldWhy, until: Option<i64>) -> Self {
        self.held = Some(Held { why, until: until.map(at) });
        self
    }

    pub fn nudged(mut self, reason: Reason) -> Self {
        self.memory.nudge = Some(Nudge::Due(reason));
        self
    }

    pub fn base_url(mut self, url: &str) -> Self {
        self.link.spec.base_url = url.into();
        self
    }

    pub fn reconcile_at(mut self, value: &str) -> Self {
        self.link.reconcile_at = Some(value.into());
        self
    }

    pub fn relink_at(mut self, value: &str) -> Self {
        self.link.relink_at = Some(value.into());
        self
    }

    /// The Secret changes to this.
    pub fn secret(mut self, content: Content) -> Self {
        // One that is created again is another one.
        let created = || Stored { uid: "5ec7e7-2".into(), ..stored("", "", 100) };
        let before = self.secret.take().unwrap_or_else(created);
        self.secret = Some(Stored { version: before.version + 1, content, ..before });
        self
    }

    pub fn holds(self, token: &str, keys: &str) -> Self {
        self.secret(Content::Good { token: token.into(), keys: keys.into() })
    }

    pub fn no_secret(mut self) -> Self {
        self.secret = None;
        self
    }

    /// The Secret's labels change, and nothing of what is used.
    pub fn relabelled(mut self) -> Self {
        if let Some(secret) = &mut self.secret {
            secret.version += 1;
        }
        self
    }

    pub fn without_watch(mut self) -> Self {
        self.secret_access = SecretAccess::Get;
        self
    }

    pub fn failing(mut self, reason: Reason, since: i64, attempts: i32, next: i64) -> Self {
        self.memory.failing = Some(Failing { since: at(since), attempts, next: at(next), reason });
        self
    }

    /// The API answered this process then.
    pub fn last_answered(mut self, second: i64) -> Self {
        self.memory.answered = Some(at(second));
        self
    }

    /// The pass reads the inputs.
    pub fn has_read(mut self) -> Self {
        self.inputs = Some(self.read());
        self
    }
}

// What is made of it.
impl Case {
    pub fn reference(&self) -> InputReference {
        InputReference { kind: InputKind::Secret, name: self.link.spec.secret_ref.name.clone() }
    }

    pub fn read(&self) -> Inputs {
        let name = &self.link.spec.secret_ref.name;
        let record = |uid: Option<String>, version: Option<u32>, content: Option<String>| InputRecord {
            kind: InputKind::Secret,
            name: name.clone(),
            uid,
            resource_version: version.map(|version| version.to_string()),
            content,
        };
        let wanted = "the keys publicKey, privateKey and linkToken";
        let (record, usable) = match &self.secret {
            None => (record(None, None, None), Err(Unusable::missing(name, wanted))),
            Some(Stored { uid, version, content }) => {
                let found = |content: String| record(Some(uid.clone()), Some(*version), Some(content));
                match content {
                    Content::Denied => {
                        let known = self.knows_versions().then(|| (uid.clone(), *version)).unzip();
                        let denied = Unusable::denied(&self.link, InputKind::Secret, name);
                        (record(known.0, known.1, None), Err(denied))
                    }
                    Content::Bad | Content::Keys(_) => (
                        found("bad".into()),
                        Err(Unusable::invalid(name, "its key linkToken is missing", wanted)),
                    ),
                    Content::Good { token, keys } => (
                        found(format!("{token}/{keys}")),
                        Ok(Fingerprints { token: token.clone(), keys: keys.clone() }),
                    ),
                }
            }
        };
        let keys = match &self.secret {
            Some(Stored { content: Content::Keys(keys), .. }) => Ok(keys.clone()),
            _ => usable.clone().map(|read: Fingerprints| read.keys),
        };
        Inputs { records: vec![record], usable, keys }
    }

    fn knows_versions(&self) -> bool {
        self.secret_access == SecretAccess::Watch && self.listed
    }

    fn version(&self) -> Version {
        if !self.knows_versions() {
            return Version::Unknown;
        }
        match &self.secret {
            None => Version::Missing,
            Some(secret) => {
                Version::Present { uid: secret.uid.clone(), resource_version: secret.version.to_string() }
            }
        }
    }

    /// What is decided.
    pub fn step(&self) -> Step {
        let versions = [(self.reference(), self.version())];
        decide(&View {
            link: &self.link,
            settings: &self.settings,
            memory: &self.memory,
            secret_access: self.secret_access,
            versions: &versions,
            holder: self.holder.as_ref(),
            held: self.held,
            inputs: self.inputs.as_ref(),
            answered: self.answered.as_ref(),
            now: self.now,
            jitter: self.jitter,
        })
    }

    /// The step after the token was announced, which is the first.
    pub fn step_after_announcing(&self) -> Step {
        let Step::Announce(status) = self.step_after_reading() else {
            panic!("{:?}", self.step_after_reading())
        };
        let mut announced = self.clone();
        announced.link.status = *status;
        announced.step_after_reading()
    }

    /// What is decided once the inputs are read.
    pub fn step_after_reading(&self) -> Step {
        self.clone().has_read().step()
    }

    /// A call that is answered now, made from what there is.
    pub fn attempt(&self, call: Call, outcome: Outcome) -> Attempt {
        let inputs = self.inputs.clone().unwrap_or_else(|| self.read());
        Attempt {
            call,
            at: self.now,
            generation: self.link.generation,
            reconcile_at: self.link.reconcile_at.clone(),
            relink_at: self.link.relink_at.clone(),
            inputs: inputs.records,
            fingerprints: inputs.usable.unwrap_or_else(|_| Fingerprints {
                token: "none".into(),
                keys: inputs.keys.unwrap_or_else(|_| "none".into()),
            }),
            outcome,
        }
    }

    pub fn settle(&self, call: Call, outcome: Outcome) -> Settled {
        settle(&self.link, &self.settings, &self.memory, &self.attempt(call, outcome), self.jitter)
    }

    /// The case after this call was answered so.
    pub fn after(mut self, call: Call, outcome: Outcome) -> Self {
        let Settled { status, memory } = self.settle(call, outcome);
        if let Some(status) = status {
            self.link.status = *status;
        }
        self.memory = memory;
        self
    }
}
