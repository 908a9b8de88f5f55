//! The resources of the model, what a Secret holds, and how all of it grows older.

use std::sync::LazyLock;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use migrationlink_operator::api::{
    DEFAULT_BASE_URL, InputKind, InputRecord, MigrationLinkSpec, MigrationLinkStatus, SecretReference,
};
use migrationlink_operator::decision::{
    Attempt, Failing, Fingerprints, InputReference, Inputs, Link, Memory, Origins, Settings, Version,
};

use super::config::Config;
use super::intern::{Interned, Table};

/// The time. It stands still: what passes is the age of everything that bears a time.
pub const NOW: i64 = 1_767_226_600;
/// What is older than this is as old as this: beyond every wait, window and deadline.
pub const LONG_AGO: i64 = 24 * 3600;

/// More failures in a row than these are as many once time has passed.
const MOST_ATTEMPTS: i32 = 3;

/// A token, by its number: the four versions of the first Secret, then those of the second.
pub type Token = u8;

/// So many seconds from now.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(NOW + second).unwrap()
}

/// A link that nobody has looked at.
pub fn new_link(config: &Config, index: usize) -> Link {
    Link {
        namespace: "payments".into(),
        name: format!("link-{index}"),
        uid: format!("uid-{index}"),
        // Which version a copy is of stands beside the copy.
        resource_version: String::new(),
        generation: 1,
        created: at(-LONG_AGO - 10),
        deleting: false,
        finalizers: Vec::new(),
        spec: MigrationLinkSpec {
            org_id: "5f0d1e2a3b4c5d6e7f801234".into(),
            base_url: DEFAULT_BASE_URL.into(),
            secret_ref: SecretReference { name: format!("secret-{}", config.secret_of(index)) },
            link_token_secret_ref: None,
            ca_ref: None,
            sync_interval: None,
            deletion_policy: config.deletion,
            drift_policy: config.drift,
            suspend: None,
        },
        status: MigrationLinkStatus { observed_generation: Some(-1), ..MigrationLinkStatus::default() },
        reconcile_at: None,
        relink_at: None,
        paused: false,
        adopt: false,
    }
}

/// The settings of a process that began so many seconds from now.
pub fn settings(started: i64) -> Settings {
    static ORIGINS: LazyLock<Origins> =
        LazyLock::new(|| Origins(vec!["https://cloud.mongodb.com".parse().unwrap()]));
    Settings {
        allowed_origins: ORIGINS.clone(),
        sync_interval: Duration::from_mins(15),
        deletion_grace_period: Some(Duration::from_mins(10)),
        started_at: at(started),
    }
}

/// The token in a version of a Secret.
pub fn token_in(secret: usize, version: u8) -> Token {
    u8::try_from(secret).unwrap() * 4 + version
}

/// Its fingerprint.
pub fn fingerprint(token: Token) -> String {
    format!("t{token}")
}

/// What the fingerprint in a status is of.
pub fn token_of(fingerprint: &str) -> Option<Token> {
    fingerprint.strip_prefix('t')?.split('/').next()?.parse().ok()
}

/// The object that a link refers to.
pub fn reference(link: &Link) -> InputReference {
    InputReference { kind: InputKind::Secret, name: link.spec.secret_ref.name.clone() }
}

/// A version as the watch tells it.
pub fn version(version: u8) -> Version {
    Version::Present { uid: "secret".into(), resource_version: version.to_string() }
}

/// What is read of a Secret in this version.
pub fn inputs(link: &Link, secret: usize, version: u8) -> Inputs {
    let token = fingerprint(token_in(secret, version));
    let record = InputRecord {
        kind: InputKind::Secret,
        name: link.spec.secret_ref.name.clone(),
        uid: Some("secret".into()),
        resource_version: Some(version.to_string()),
        content: Some(format!("{token}/k")),
    };
    let fingerprints = Fingerprints { token, keys: "k".into() };
    Inputs { records: vec![record], keys: Ok(fingerprints.keys.clone()), usable: Ok(fingerprints) }
}

fn older(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_sub(SignedDuration::from_secs(seconds)).unwrap().max(at(-LONG_AGO))
}

fn age(time: &mut Option<Time>, seconds: i64) {
    if let Some(time) = time {
        time.0 = older(time.0, seconds);
    }
}

impl Interned for Link {
    fn table() -> &'static Table<Self> {
        static TABLE: LazyLock<Table<Link>> = LazyLock::new(Table::default);
        &TABLE
    }

    fn aged(&self, seconds: i64) -> Self {
        let mut link = self.clone();
        let status = &mut link.status;
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_transition_time.0 = older(condition.last_transition_time.0, seconds);
        }
        age(&mut status.last_synced_time, seconds);
        age(&mut status.next_attempt_time, seconds);
        // More attempts make no other decision, only longer waits.
        status.attempts = status.attempts.map(|attempts| attempts.min(MOST_ATTEMPTS));
        if let Some(record) = &mut status.link {
            age(&mut record.accepted_time, seconds);
            age(&mut record.lost_since, seconds);
            // Who was first must stay so: see `World::age`.
            if let Some(since) = &mut record.held_since {
                since.0 = since.0.saturating_sub(SignedDuration::from_secs(seconds)).unwrap();
            }
        }
        link
    }

    fn short(&self) -> String {
        let status = &self.status;
        let conditions: Vec<_> = (status.conditions.iter().flatten())
            .map(|condition| format!("{}={} {}", condition.type_, condition.status, condition.reason))
            .collect();
        let next = status.next_attempt_time.as_ref().map(|time| time.0.as_second() - NOW);
        let record = status.link.clone().unwrap_or_default();
        let held = record.held_since.map(|time| time.0.as_second() - NOW);
        format!(
            "{}{} generation {}/{} [{}] {:?} next {next:?} token {:?} sent {:?} held {held:?} inputs {:?}",
            if self.deleting { "deleting " } else { "" },
            if self.finalizers.is_empty() { "" } else { "finalized" },
            status.observed_generation.unwrap_or_default(),
            self.generation,
            conditions.join(", "),
            status.state.as_deref().unwrap_or_default(),
            record.token_fingerprint,
            record.sent,
            status.inputs.iter().flatten().filter_map(|record| record.content.as_deref()).collect::<Vec<_>>(),
        )
    }
}

impl Interned for Memory {
    fn table() -> &'static Table<Self> {
        static TABLE: LazyLock<Table<Memory>> = LazyLock::new(Table::default);
        &TABLE
    }

    fn aged(&self, seconds: i64) -> Self {
        Self {
            answered: self.answered.map(|time| older(time, seconds)),
            failing: self.failing.clone().map(|failing| Failing {
                since: older(failing.since, seconds),
                next: older(failing.next, seconds),
                ..failing
            }),
            ..self.clone()
        }
    }

    fn short(&self) -> String {
        let since = |time: Option<Timestamp>| time.map(|time| time.as_second() - NOW);
        format!(
            "answered {:?} failing {:?} announced {:?}",
            since(self.answered),
            self.failing.as_ref().map(|failing| (failing.reason, failing.attempts)),
            self.announced
        )
    }
}

impl Interned for Attempt {
    fn table() -> &'static Table<Self> {
        static TABLE: LazyLock<Table<Attempt>> = LazyLock::new(Table::default);
        &TABLE
    }

    fn aged(&self, seconds: i64) -> Self {
        Self { at: older(self.at, seconds), ..self.clone() }
    }

    fn short(&self) -> String {
        format!("{:?} of {} gave {:?}", self.call, self.fingerprints.token, self.outcome)
    }
}
