//! What people and the other side do to one link while copies are killed: one change after the other, each waited for.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt};
use migrationlink_operator::api::{DeletionPolicy, MigrationLinkSpec};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::chance::Chance;
use super::oracle::{Demand, History, IN_FLIGHT, Record};
use super::pair::Pair;
use super::wanted::{Wanted, edited, fingerprint};
use crate::support::{keys, spec, token};

/// So long a change may take to be settled once nobody is killed any more.
const PATIENCE: Duration = Duration::from_mins(3);
/// Changes of one link lie at most so far apart.
const PAUSE: Duration = Duration::from_millis(700);

/// A change of a link that is there and settled.
#[derive(Clone, Copy, Debug)]
enum Change {
    Rotate,
    RotateTwice,
    RotateBack,
    ThereAndBack,
    Relink,
    Lose,
    Ask,
    TouchSecret,
    EditInterval,
    FlipPolicy,
    Delete,
    RotateAndDelete,
}

/// Each as often as it comes.
const CHANGES: [Change; 18] = [
    Change::Rotate,
    Change::Rotate,
    Change::Rotate,
    Change::RotateTwice,
    Change::RotateTwice,
    Change::RotateBack,
    Change::ThereAndBack,
    Change::ThereAndBack,
    Change::Relink,
    Change::Relink,
    Change::Lose,
    Change::Lose,
    Change::Ask,
    Change::TouchSecret,
    Change::EditInterval,
    Change::FlipPolicy,
    Change::Delete,
    Change::RotateAndDelete,
];

/// The life of one link: of a name and an organization, with one resource after the other.
pub struct Life<'a> {
    pair: &'a Pair<'a>,
    name: String,
    /// The organization.
    pub org_id: String,
    chance: Chance,
    /// What the resource should say; None while there is none.
    wanted: Option<Wanted>,
    /// What became of the link when the resource was deleted.
    policy: DeletionPolicy,
    /// Version of the Secret.
    secret: String,
    /// Every token, and its fingerprint for each resource that it was wanted for.
    sent: Vec<(String, String)>,
    /// How many of them were for earlier resources.
    earlier: usize,
    demands: Vec<Demand>,
    /// How many changes there were.
    pub changes: usize,
}

impl<'a> Life<'a> {
    /// An organization and a Secret without a resource.
    pub async fn begin(pair: &'a Pair<'a>, name: String, org_id: String, chance: Chance) -> Self {
        pair.cloud.simulator.add_organization(&org_id, [keys(&name)]);
        let keys = keys(&name);
        let content = [("publicKey", keys.public_key.as_str()), ("privateKey", &keys.private_key)];
        pair.tenant.create_secret(&name, &content).await;
        Self {
            pair,
            name,
            org_id,
            chance,
            wanted: None,
            policy: DeletionPolicy::Retain,
            secret: String::new(),
            sent: Vec::new(),
            earlier: 0,
            demands: Vec::new(),
            changes: 0,
        }
    }

    /// Goes on until the last kill is over, and then until all is settled.
    pub async fn live(&mut self) {
        while !self.pair.over.get() {
            if self.wanted.is_none() {
                self.appear().await;
            } else {
                let change = self.chance.pick(&CHANGES);
                self.change(change).await;
            }
            self.changes += 1;
            self.pause(PAUSE).await;
        }
        if self.wanted.is_some() {
            // Whoever leads in the end has an answer for it, and checks nothing by itself for half a day.
            self.annotate("reconcile-at").await;
            self.settle().await;
        }
    }

    /// All that happened, for the oracle.
    pub fn history(&self) -> History {
        let accepted = self.pair.chronicle.accepted(&self.name).into_iter();
        let token = |fingerprint: &str| {
            let known = self.sent.iter().find(|(_, known)| known == fingerprint);
            known.map_or_else(|| format!("unknown, {fingerprint}"), |(token, _)| token.clone())
        };
        let records =
            accepted.map(|accepted| Record { at: accepted.at, token: token(&accepted.fingerprint) });
        History {
            demands: self.demands.clone(),
            posts: self.pair.posts(&self.org_id),
            records: records.collect(),
        }
    }

    /// The name, if the resource is to be there.
    pub fn present(&self) -> Option<&str> {
        self.wanted.as_ref().map(|_| self.name.as_str())
    }

    /// Whether everything is as it should be.
    pub fn settled(&self) -> Result<(), String> {
        let in_force = self.pair.cloud.simulator.link_token(&self.org_id);
        match (&self.wanted, self.pair.chronicle.link(&self.name)) {
            (Some(wanted), Some(link)) => wanted.is_met(&link, in_force.as_deref()),
            (Some(_), None) => Err("it is not there".to_owned()),
            (None, Some(link)) => Err(format!("it is there: {:?}", link.meta().finalizers)),
            (None, None) if self.policy == DeletionPolicy::Delete => {
                // One that an earlier resource left, as it was to, is not this one's.
                let mut own = self.sent[self.earlier..].iter();
                let left = in_force.is_some_and(|in_force| own.any(|(token, _)| *token == in_force));
                if left { Err("its link was left behind".to_owned()) } else { Ok(()) }
            }
            (None, None) => Ok(()),
        }
    }

    /// A new resource with a token of its own. Some are deleted again before or while they are linked.
    async fn appear(&mut self) {
        let policy = self.chance.pick(&[DeletionPolicy::Retain, DeletionPolicy::Delete]);
        let token = self.next_token();
        self.secret = self.edit_secret(json!({"stringData": {"linkToken": token}})).await;
        self.demand(&token);
        let base_url = self.pair.cloud.base_url();
        let spec = MigrationLinkSpec {
            deletion_policy: policy,
            sync_interval: Some("24h".to_owned()),
            ..spec(&self.name, &self.org_id, &base_url)
        };
        let link = self.pair.tenant.create_link(&self.name, spec).await;
        let uid = link.uid().expect("a uid");
        self.policy = policy;
        self.earlier = self.sent.len();
        let (secret, edited) = (self.secret.clone(), edited(&link));
        self.wanted = Some(Wanted { uid, policy, token, secret, edited });
        self.know_token();
        if self.chance.percent(25) {
            self.pause(Duration::from_secs(1)).await;
            self.vanish(true).await;
        } else {
            self.settle().await;
        }
    }

    async fn change(&mut self, change: Change) {
        match change {
            Change::Rotate => {
                self.rotate(self.next_token()).await;
                if self.chance.percent(30) {
                    // A check that is asked for meanwhile is no reason to send anything.
                    self.pause(PAUSE).await;
                    self.annotate("reconcile-at").await;
                }
            }
            Change::RotateTwice => {
                self.rotate(self.next_token()).await;
                self.pause(PAUSE).await;
                self.give_up();
                self.rotate(self.next_token()).await;
            }
            Change::RotateBack => {
                let own: Vec<_> = self.sent[self.earlier..].iter().map(|(token, _)| token.as_str()).collect();
                let token = self.chance.pick(&own).to_owned();
                if self.wanted.as_ref().is_some_and(|wanted| wanted.token != token) {
                    self.rotate(token).await;
                }
            }
            Change::ThereAndBack => {
                let token = self.wanted.as_ref().expect("a resource").token.clone();
                self.rotate(self.next_token()).await;
                self.pause(PAUSE).await;
                self.give_up();
                self.rotate(token).await;
                // Not again if the other one was never sent.
                self.give_up();
            }
            Change::Relink => {
                self.demand_again();
                self.annotate("relink-at").await;
            }
            Change::Lose => {
                self.demand_again();
                self.pair.cloud.simulator.unlink_behind_the_back(&self.org_id);
                self.annotate("reconcile-at").await;
            }
            Change::Ask => self.annotate("reconcile-at").await,
            Change::TouchSecret => {
                let touched = json!({"metadata": {"labels": {"touched": self.changes.to_string()}}});
                self.secret = self.edit_secret(touched).await;
                self.want(|wanted, life| wanted.secret.clone_from(&life.secret));
            }
            Change::EditInterval => {
                let interval = self.chance.pick(&["24h", "1439m"]);
                self.edit(json!({"spec": {"syncInterval": interval}})).await;
            }
            Change::FlipPolicy => {
                self.policy = match self.policy {
                    DeletionPolicy::Retain => DeletionPolicy::Delete,
                    DeletionPolicy::Delete => DeletionPolicy::Retain,
                };
                self.want(|wanted, life| wanted.policy = life.policy);
                self.edit(json!({"spec": {"deletionPolicy": self.policy}})).await;
            }
            Change::Delete => return self.vanish(false).await,
            Change::RotateAndDelete => {
                self.rotate(self.next_token()).await;
                self.pause(PAUSE).await;
                return self.vanish(true).await;
            }
        }
        self.settle().await;
    }

    /// Another token, that is wanted from now on.
    async fn rotate(&mut self, token: String) {
        self.demand(&token);
        self.secret = self.edit_secret(json!({"stringData": {"linkToken": token}})).await;
        self.want(|wanted, life| {
            wanted.token = token;
            wanted.secret.clone_from(&life.secret);
        });
        self.know_token();
    }

    /// Deletes the resource; what it was waiting for is given up if it is not settled (`early`).
    async fn vanish(&mut self, early: bool) {
        self.pair.tenant.delete_link(&self.name).await;
        if early {
            self.give_up();
        }
        self.wanted = None;
        self.settle().await;
    }

    /// Waits until all is as it should be, however often copies are killed meanwhile.
    async fn settle(&mut self) {
        let begin = self.pair.now();
        while let Err(why) = self.settled() {
            let undisturbed = self.pair.now().saturating_sub(begin.max(self.pair.undisturbed_since()));
            assert!(undisturbed < PATIENCE, "{} is not settled: {why}\n{}", self.name, self.describe());
            // A resource that is gone has done what it does with its link.
            assert!(self.wanted.is_some() || !why.contains("left behind"), "{}: {why}", self.name);
            sleep(Duration::from_millis(30)).await;
        }
        let now = self.pair.now();
        for demand in self.demands.iter_mut().filter(|demand| demand.until == Duration::MAX) {
            // What was on its way when the resource went may still arrive.
            demand.until = if self.wanted.is_some() { now } else { now + IN_FLIGHT };
        }
    }

    fn demand(&mut self, token: &str) {
        let from = self.pair.now();
        self.demands.push(Demand { token: token.to_owned(), from, until: Duration::MAX, must: true });
    }

    /// The token that is in force is to be sent once more.
    fn demand_again(&mut self) {
        let token = self.wanted.as_ref().expect("a resource").token.clone();
        self.demand(&token);
    }

    /// What was wanted last is not any more.
    fn give_up(&mut self) {
        self.demands.last_mut().expect("a demand").must = false;
    }

    fn want(&mut self, change: impl FnOnce(&mut Wanted, &Self)) {
        let mut wanted = self.wanted.take().expect("a resource");
        change(&mut wanted, self);
        self.wanted = Some(wanted);
    }

    fn next_token(&self) -> String {
        format!("{}-{}", token(&self.name), self.demands.len())
    }

    fn know_token(&mut self) {
        let Wanted { uid, token, .. } = self.wanted.as_ref().expect("a resource");
        self.sent.push((token.clone(), fingerprint(uid, token)));
    }

    async fn annotate(&mut self, annotation: &str) {
        let value = format!("{}-{}", self.changes, self.demands.len());
        let annotation = format!("migrationlink.dev/{annotation}");
        self.edit(json!({"metadata": {"annotations": {annotation: value}}})).await;
    }

    /// Edits the resource. What is asked of its status is asked of this version or a later one.
    async fn edit(&mut self, patch: Value) {
        let link = self.pair.tenant.edit_link(&self.name, patch).await;
        self.want(|wanted, _| wanted.seen(&link));
    }

    async fn edit_secret(&self, patch: Value) -> String {
        let secrets: Api<Secret> =
            Api::namespaced(self.pair.tenant.client.clone(), &self.pair.tenant.namespace);
        let patched = secrets.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.expect("the Secret").resource_version().expect("a version")
    }

    async fn pause(&mut self, longest: Duration) {
        sleep(self.chance.within(longest)).await;
    }

    fn describe(&self) -> String {
        let status = self.pair.chronicle.link(&self.name).and_then(|link| link.status);
        let posts = self.pair.posts(&self.org_id);
        format!("{status:#?}\n{:#?}\n{posts:#?}\n{:#?}", self.demands.last(), self.pair.deaths.borrow())
    }
}
