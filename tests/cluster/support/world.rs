//! A namespace with a Cloud Manager and a diary, where each link has an organization and a Secret of its own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use migrationlink_operator::api::{
    ConditionType, Conditions, MigrationLinkSpec, MigrationLinkStatus, SecretReference,
};
use migrationlink_simulator::{ApiKeys, DigestOutcome};

use super::cloud::Cloud;
use super::diary::{Diary, Page};
use super::operator::{Operator, OperatorBuilder};
use super::tenant::{Tenant, link_spec};
use super::wait::eventually;

/// In every secret value: what contains it tells a secret.
const CANARY: &str = "canary";

/// A namespace, its diary, and a Cloud Manager.
pub struct World {
    pub tenant: Tenant<'static>,
    pub cloud: Cloud,
    pub diary: Diary,
}

impl World {
    /// A namespace with nothing in it.
    pub async fn new() -> Self {
        let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
        let diary = Diary::begin(&tenant).await;
        Self { tenant, cloud, diary }
    }

    /// The operator, which may send credentials to the Cloud Manager.
    pub async fn operator(&self) -> Operator<'_> {
        self.prepared().start().await
    }

    /// The same, with flags that can still be changed.
    pub fn prepared(&self) -> OperatorBuilder<'_> {
        self.tenant.operator().arg(format!("--allowed-origin={}", self.cloud.origin()))
    }

    /// Adds the organization of a link to the Cloud Manager, and creates the link and its Secret, with something of its spec
    /// changed.
    pub async fn link_with(&self, name: &str, org_id: &str, change: impl FnOnce(&mut MigrationLinkSpec)) {
        self.cloud.simulator.add_organization(org_id, [keys(name)]);
        self.secret(name).await;
        let mut spec = spec(name, org_id, &self.cloud.base_url());
        change(&mut spec);
        self.tenant.create_link(name, spec).await;
    }

    /// Creates a link for this organization, and its Secret of the same name with [`keys`] and [`token`].
    pub async fn link(&self, name: &str, org_id: &str, base_url: &str) {
        self.secret(name).await;
        self.tenant.create_link(name, spec(name, org_id, base_url)).await;
    }

    /// Creates the Secret for a link.
    pub async fn secret(&self, name: &str) {
        let (keys, token) = (keys(name), token(name));
        let content =
            [("publicKey", keys.public_key), ("privateKey", keys.private_key), ("linkToken", token)];
        let content: Vec<_> = content.iter().map(|(key, value)| (*key, value.as_str())).collect();
        self.tenant.create_secret(name, &content).await;
    }

    /// Asks for a check.
    pub async fn ask(&self, name: &str) {
        self.tenant.annotate_link(name, "migrationlink.dev/reconcile-at", "now").await;
    }

    /// The methods of the requests for an organization whose credentials were accepted, oldest first.
    pub fn methods(&self, org_id: &str) -> Vec<String> {
        let journal = self.cloud.simulator.journal().into_iter();
        let accepted = journal.filter(|entry| entry.digest == DigestOutcome::Accepted);
        accepted.filter(|entry| entry.org_id.as_deref() == Some(org_id)).map(|entry| entry.method).collect()
    }

    /// How many requests there have been for an organization.
    pub fn requests(&self, org_id: &str) -> usize {
        let journal = self.cloud.simulator.journal();
        journal.iter().filter(|entry| entry.org_id.as_deref() == Some(org_id)).count()
    }

    /// Waits until exactly these events are there, each once.
    pub async fn announced(&self, name: &str, expected: &[&str]) {
        eventually(&format!("events of {name}"), async || {
            let events = self.tenant.events(name).await;
            let reasons: Vec<_> = events.iter().filter_map(|event| event.reason.as_deref()).collect();
            if reasons == expected && events.iter().all(|event| event.series.is_none()) {
                Ok(())
            } else {
                Err(format!("{events:?}"))
            }
        })
        .await;
    }

    /// Nothing that a person may see has a secret in it.
    pub async fn tells_no_secret(&self, operator: &Operator<'_>, names: &[&str]) {
        let mut seen = vec![self.diary.text(), operator.log(), operator.metrics().await];
        for name in names {
            seen.push(format!("{:?}", self.tenant.events(name).await));
        }
        for text in seen {
            assert!(!text.contains(CANARY), "{text}");
        }
    }
}

/// What was said about a link is free of contradictions, whatever it is about: kstatus must be able to read it.
pub fn is_sound(page: &Page) {
    let conditions = page.status.conditions.as_ref().expect("conditions");
    let is = |kind| conditions.is_true(kind);
    let beside =
        [ConditionType::Reconciling, ConditionType::Stalled, ConditionType::Suspended].map(is).map(u8::from);
    let expected = u8::from(!is(ConditionType::Ready));
    assert_eq!(beside.iter().sum::<u8>(), expected, "{page:?}");
    assert_eq!(conditions.len(), 1 + usize::from(expected), "{page:?}");
    for condition in conditions {
        assert_eq!(condition.observed_generation, page.status.observed_generation, "{page:?}");
        assert!(!condition.message.is_empty(), "{page:?}");
    }
    assert!(page.status.next_attempt_time.is_none() || !is(ConditionType::Ready), "{page:?}");
}

/// `Ready`, and the one condition beside it, which says the same.
pub fn trouble(status: &MigrationLinkStatus) -> (&Condition, &Condition) {
    let conditions = status.conditions.as_ref().expect("conditions");
    let ready = conditions.of(ConditionType::Ready).expect("Ready");
    let others: Vec<_> = conditions.iter().filter(|condition| condition.type_ != "Ready").collect();
    let [beside] = others[..] else { panic!("{conditions:?}") };
    assert_eq!(beside.status, "True", "{conditions:?}");
    assert_eq!((&beside.reason, &beside.message), (&ready.reason, &ready.message));
    (ready, beside)
}

/// The `n`th organization of a test.
pub fn org_id(n: usize) -> String {
    format!("5f0d1e2a{n:016x}")
}

/// The API keys of an organization.
pub fn keys(name: &str) -> ApiKeys {
    ApiKeys::new(format!("key-{name}"), format!("{CANARY}-private-{name}"))
}

/// The link token of an organization.
pub fn token(name: &str) -> String {
    format!("{CANARY}-token-{name}")
}

/// A spec whose Secret has the link's name.
pub fn spec(name: &str, org_id: &str, base_url: &str) -> MigrationLinkSpec {
    let secret_ref = SecretReference { name: name.to_owned() };
    MigrationLinkSpec { org_id: org_id.to_owned(), secret_ref, ..link_spec(base_url) }
}
