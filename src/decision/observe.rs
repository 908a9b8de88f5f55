//! What a decision is made on.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::inputs::Inputs;
use super::outcome::Attempt;
use crate::api::{
    ADOPT_EXISTING, DeletionPolicy, FINALIZER, InputKind, InputRecord, MigrationLink, MigrationLinkSpec,
    MigrationLinkStatus, PAUSED, RECONCILE_AT, RELINK_AT, Reason,
};
use crate::endpoint::{BaseUrl, Origin};

/// The longest annotation value that is kept as it is, in characters; a longer one is stored as a hash.
const LONGEST_MARK: usize = 128;

/// All that a decision needs of a `MigrationLink`. What it does not need (labels, managedFields, other annotations) is
/// not kept in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// Its uid: another one is another resource, whatever its name.
    pub uid: String,
    /// The version of the resource that this is.
    pub resource_version: String,
    /// Generation of the spec.
    pub generation: i64,
    /// When the resource was created.
    pub created: Timestamp,
    /// Whether the resource is being deleted.
    pub deleting: bool,
    /// All of its finalizers: they are written as one list.
    pub finalizers: Vec<String>,
    /// What is asked for.
    pub spec: MigrationLinkSpec,
    /// What was published last.
    pub status: MigrationLinkStatus,
    /// Value of the annotation `reconcile-at`.
    pub reconcile_at: Option<String>,
    /// Value of the annotation `relink-at`.
    pub relink_at: Option<String>,
    /// Whether the annotation `paused` says `true`.
    pub paused: bool,
    /// Whether the annotation `adopt-existing` says `true`.
    pub adopt: bool,
}

/// Another resource that holds the organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
}

/// A call that may not be made now. It is held back, not failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Why.
    pub why: HeldWhy,
    /// Until when, as far as that is known.
    pub until: Option<Timestamp>,
}

/// Why a call is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldWhy {
    /// Others go first: nothing is wrong.
    Turn,
    /// The server limits the requests of this API key.
    RateLimited,
    /// The endpoint does not answer, as calls for other links have shown.
    Unavailable,
}

/// An object that a link refers to, in the link's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InputReference {
    /// Its kind.
    pub kind: InputKind,
    /// Its name.
    pub name: String,
}

/// What is known of an input's version without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// Nothing: it is not watched, or was not seen yet.
    Unknown,
    /// It is not there.
    Missing,
    /// It is there in this version.
    Present {
        /// Its uid.
        uid: String,
        /// Its resourceVersion.
        resource_version: String,
    },
}

/// The origins that credentials may be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(pub Vec<Origin>);

/// How the operator learns of a changed Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretAccess {
    /// By a watch on metadata.
    Watch,
    /// By reading it again at the next check.
    Get,
}

/// What the administrator set for all links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where credentials may go.
    pub allowed_origins: Origins,
    /// The check interval of links that do not set one.
    pub sync_interval: Duration,
    /// How long a deletion waits for a person before the link is left behind; None: for ever.
    pub deletion_grace_period: Option<Duration>,
    /// When this process began.
    pub started_at: Timestamp,
}

/// What this process remembers of a link and does not publish. Losing it costs at most one check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// When the API last answered this process for the link.
    pub answered: Option<Timestamp>,
    /// A check that fails for a reason that passes by itself, and that is not published (again).
    pub failing: Option<Failing>,
    /// Fingerprint of the token whose `link.sent` was published for a POST that is not answered yet. Without it `link.sent`
    /// is of a POST of before.
    pub announced: Option<String>,
    /// Another link of the same origin or key succeeded while this one was stalled.
    pub nudge: Option<Nudge>,
}

/// A reason to try a stalled link before its time: once for each reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// It is to be tried.
    Due(Reason),
    /// It was.
    Spent(Reason),
}

/// A check that has been failing.
#[derive(Clone, Debug, PartialEq)]
pub struct Failing {
    /// The first failure in a row.
    pub since: Timestamp,
    /// Failures in a row.
    pub attempts: i32,
    /// When the check is tried again.
    pub next: Timestamp,
    /// Why it fails.
    pub reason: Reason,
}

/// Everything that one decision sees.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The resource: the newer of the watched one and the one that our last patch returned.
    pub link: &'a Link,
    /// What the administrator set.
    pub settings: &'a Settings,
    /// What this process remembers.
    pub memory: &'a Memory,
    /// How a changed Secret is noticed now: like [`SecretAccess::Get`] also while the watch is refused.
    pub secret_access: SecretAccess,
    /// The versions of the link's inputs, in the order of [`Link::references`].
    pub versions: &'a [(InputReference, Version)],
    /// The other resource that holds the organization.
    pub holder: Option<&'a Holder>,
    /// Set when a call may not be made now.
    pub held: Option<Held>,
    /// What this pass has read of the inputs.
    pub inputs: Option<&'a Inputs>,
    /// A call that was answered and is not yet recorded.
    pub answered: Option<&'a Attempt>,
    /// The time.
    pub now: Timestamp,
    /// A random number from 0 to 1.
    pub jitter: f64,
}

impl Link {
    /// Takes what a decision needs. None if the resource has no name, namespace or uid, which no API server sends.
    pub fn observe(resource: MigrationLink) -> Option<Self> {
        let ObjectMeta {
            name,
            namespace,
            uid,
            resource_version,
            generation,
            deletion_timestamp,
            creation_timestamp,
            annotations,
            finalizers,
            ..
        } = resource.metadata;
        let annotations = annotations.unwrap_or_default();
        let mark =
            |key: &str| annotations.get(key).filter(|value| !value.is_empty()).map(|value| shortened(value));
        let is_true = |key: &str| annotations.get(key).is_some_and(|value| value == "true");
        let mut status = resource.status.unwrap_or_default();
        if let Some(inputs) = &mut status.inputs {
            inputs.retain(|record| record.kind != InputKind::Other);
        }
        Some(Self {
            namespace: namespace?,
            name: name?,
            uid: uid?,
            resource_version: resource_version?,
            generation: generation.unwrap_or_default(),
            created: creation_timestamp.map_or(Timestamp::MAX, |time| time.0),
            deleting: deletion_timestamp.is_some(),
            finalizers: finalizers.unwrap_or_default(),
            spec: resource.spec,
            status,
            reconcile_at: mark(RECONCILE_AT),
            relink_at: mark(RELINK_AT),
            paused: is_true(PAUSED),
            adopt: is_true(ADOPT_EXISTING),
        })
    }

    /// The objects that the link refers to, each once: the Secret of the keys is the first. To remove the link no token is
    /// needed.
    pub fn references(&self) -> Vec<InputReference> {
        let secret = |name: &String| InputReference { kind: InputKind::Secret, name: name.clone() };
        let mut references = vec![secret(&self.spec.secret_ref.name)];
        let token = self.spec.link_token_secret_ref.iter().filter(|_| !self.deleting);
        // One of a kind that only a newer version knows is answered for without it.
        let ca = self.spec.ca_ref.iter().filter(|ca| ca.kind != InputKind::Other);
        let others = token
            .map(|token| secret(&token.name))
            .chain(ca.map(|ca| InputReference { kind: ca.kind, name: ca.name.clone() }));
        for other in others {
            if !references.contains(&other) {
                references.push(other);
            }
        }
        references
    }

    /// Whether one of them is a ConfigMap.
    pub fn uses_config_map(&self) -> bool {
        self.spec.ca_ref.as_ref().is_some_and(|ca| ca.kind == InputKind::ConfigMap)
    }

    /// Whether our finalizer holds the resource.
    pub fn finalized(&self) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
    }

    /// Whether the link is to be removed with the resource.
    pub(super) fn deletes(&self) -> bool {
        self.spec.deletion_policy == DeletionPolicy::Delete
    }

    /// Where the API is; None if the URL cannot be used although the schema let it in.
    pub fn base_url(&self) -> Option<BaseUrl> {
        self.spec.base_url.parse().ok()
    }

    /// How often a SYNCED link is checked.
    pub fn interval(&self, settings: &Settings) -> Duration {
        self.spec.own_sync_interval().unwrap_or(settings.sync_interval)
    }

    /// Whether somebody asked for a check since the last outcome.
    pub(super) fn reconcile_asked(&self) -> bool {
        self.reconcile_at.is_some() && self.reconcile_at != self.status.last_handled_reconcile_at
    }

    /// Whether somebody asked for the token to be sent again since it was last accepted.
    pub(super) fn relink_asked(&self) -> bool {
        self.relink_at.is_some() && self.relink_at != self.status.last_handled_relink_at
    }

    /// Whether the status is about another spec than this one.
    pub(super) fn generation_changed(&self) -> bool {
        self.status.observed_generation != Some(self.generation)
    }

    /// What the status says was last read of the inputs.
    pub(super) fn recorded(&self) -> &[InputRecord] {
        self.status.inputs.as_deref().unwrap_or_default()
    }

    /// Whether a person changed something since the status was published: the spec, the content of an input, or
    /// `reconcile-at`. That ends a wait, and attempts and the progress deadline count anew.
    pub(super) fn changed(
        &self,
        generation: i64,
        reconcile_at: Option<&String>,
        inputs: &[InputRecord],
    ) -> bool {
        // What is missing or may not be read has no content.
        fn essence(record: &InputRecord) -> (InputKind, &str, Option<&String>) {
            (record.kind, &record.name, record.content.as_ref())
        }
        self.status.observed_generation != Some(generation)
            || (reconcile_at.is_some() && reconcile_at != self.status.last_handled_reconcile_at.as_ref())
            || !self.recorded().iter().map(essence).eq(inputs.iter().map(essence))
    }

    /// What the status says was last read of an object.
    pub(super) fn record(&self, reference: &InputReference) -> Option<&InputRecord> {
        self.recorded().iter().find(|record| record.kind == reference.kind && record.name == reference.name)
    }
}

/// An annotation's value as it goes into the status: a long one as its hash, and so one that the API server would not take: it reads
/// what is applied as YAML, which has no control characters and knows more line breaks than JSON.
fn shortened(value: &str) -> String {
    let is_plain = |c: char| {
        !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    if value.chars().count() <= LONGEST_MARK && value.chars().all(is_plain) {
        return value.to_owned();
    }
    let digest = Sha256::digest(value.as_bytes());
    digest.iter().fold(String::from("sha256:"), |text, byte| format!("{text}{byte:02x}"))
}

impl View<'_> {
    /// Whether a person changed something since the status was published, as far as this pass has read.
    pub(super) fn changed(&self) -> bool {
        let inputs = self.inputs.map_or(self.link.recorded(), |inputs| &inputs.records);
        self.link.changed(self.link.generation, self.link.reconcile_at.as_ref(), inputs)
    }

    /// Whether an input has another version than the one that the status is about.
    pub(super) fn inputs_moved(&self) -> bool {
        self.versions.iter().any(|(reference, version)| match (self.link.record(reference), version) {
            (None, _) => true,
            (Some(_), Version::Unknown) => false,
            (Some(record), Version::Missing) => record.uid.is_some(),
            (Some(record), Version::Present { uid, resource_version }) => {
                record.uid.as_ref() != Some(uid) || record.resource_version.as_ref() != Some(resource_version)
            }
        })
    }
}

impl Origins {
    /// Whether credentials may be sent to this origin.
    pub fn allow(&self, origin: &Origin) -> bool {
        self.0.contains(origin)
    }
}
