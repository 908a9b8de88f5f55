//! A driver for one link in virtual time: it acts on every step as the controller does, with scripted answers, counts,
//! and checks after each step what must hold always.

use std::ops::Sub;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::case::{Case, accepted, at, shown, state};
use crate::api::{ConditionType, Conditions, DeletionPolicy, FINALIZER, MigrationLinkStatus, Reason};
use crate::decision::{
    Announcement, Call, Memory, Outcome, Release, SecretAccess, Settled, Step, announcement,
};

/// No pass may have more steps than this.
pub const STEPS: usize = 12;

/// What was done, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Did {
    pub reads: u32,
    pub links: u32,
    pub polls: u32,
    pub unlinks: u32,
    pub publishes: u32,
    pub finalizers: u32,
}

pub const NOTHING: Did = Did { reads: 0, links: 0, polls: 0, unlinks: 0, publishes: 0, finalizers: 0 };

impl Sub for Did {
    type Output = Self;
    fn sub(self, before: Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            links: self.links - before.links,
            polls: self.polls - before.polls,
            unlinks: self.unlinks - before.unlinks,
            publishes: self.publishes - before.publishes,
            finalizers: self.finalizers - before.finalizers,
        }
    }
}

/// A link, what its calls are answered, and what was done.
#[derive(Debug)]
pub struct Story {
    pub case: Case,
    /// What a POST is answered.
    pub link: Outcome,
    /// What a GET is answered.
    pub poll: Outcome,
    /// What a DELETE is answered.
    pub unlink: Outcome,
    /// Why the resource was let go.
    pub released: Option<Release>,
    pub total: Did,
    pub events: Vec<Announcement>,
    /// Until when the last pass decided to wait.
    pub wait: Option<Timestamp>,
}

/// A story in which every call is answered as one wishes.
pub fn story(case: Case) -> Story {
    Story {
        case,
        link: accepted("SYNCED"),
        poll: state("SYNCED"),
        unlink: Outcome::Unlinked,
        released: None,
        total: NOTHING,
        events: Vec::new(),
        wait: None,
    }
}

impl Story {
    /// What a DELETE is answered.
    pub fn unlinking(mut self, outcome: Outcome) -> Self {
        self.unlink = outcome;
        self
    }

    pub fn answers(mut self, link: Outcome, poll: Outcome) -> Self {
        (self.link, self.poll) = (link, poll);
        self
    }

    /// Every call fails so.
    pub fn failing(self, outcome: &Outcome) -> Self {
        self.answers(outcome.clone(), outcome.clone())
    }

    /// The story so far, as it is before its first counted pass.
    pub fn told(mut self) -> Self {
        self.pass();
        self
    }

    /// The surroundings change.
    pub fn then(&mut self, change: impl FnOnce(Case) -> Case) -> &mut Self {
        self.case = change(self.case.clone());
        self
    }

    /// The link is looked at until there is nothing to do. Says what that took.
    pub fn pass(&mut self) -> Did {
        let before = self.total;
        self.case.inputs = None;
        for _ in 0..STEPS {
            let step = self.case.step();
            match step {
                Step::Wait(until) => {
                    self.check_wait(until);
                    self.wait = until;
                    return self.total - before;
                }
                Step::Park(until) => {
                    assert!(self.case.held.is_some(), "parked, and nothing will wake it");
                    self.wait = until;
                    return self.total - before;
                }
                Step::Adopt => {
                    self.total.polls += 1;
                    self.call(Call::Adopt, &self.poll.clone());
                }
                Step::Unlink => {
                    self.total.unlinks += 1;
                    self.call(Call::Unlink, &self.unlink.clone());
                }
                Step::Announce(status) => {
                    self.case.memory.announced = status.link.as_ref().and_then(|record| record.sent.clone());
                    self.total.publishes += 1;
                    assert_eq!(
                        status.observed_generation, self.case.link.status.observed_generation,
                        "nothing may read as done before the POST"
                    );
                    self.case.link.status = *status;
                }
                Step::AddFinalizer => {
                    assert!(!self.case.link.deleting, "too late: the API server refuses it");
                    self.total.finalizers += 1;
                    self.case.link.finalizers.push(FINALIZER.into());
                }
                Step::DropFinalizer(release) => {
                    self.total.finalizers += 1;
                    self.case.link.finalizers.retain(|finalizer| finalizer != FINALIZER);
                    self.case.answered = None;
                    self.released = Some(release);
                }
                Step::ReadInputs => {
                    assert!(self.case.inputs.is_none(), "read twice in one pass");
                    self.check_may_act();
                    self.total.reads += 1;
                    self.case.inputs = Some(self.case.read());
                }
                Step::Link => {
                    self.total.links += 1;
                    self.call(Call::Link, &self.link.clone());
                }
                Step::Poll => {
                    self.total.polls += 1;
                    self.call(Call::Poll, &self.poll.clone());
                }
                Step::Publish(status) => self.publish(&status),
                Step::Record(Settled { status, memory }) => {
                    if let Some(status) = status {
                        self.publish(&status);
                    }
                    self.case.memory = memory;
                    self.case.answered = None;
                }
            }
        }
        panic!("no end after {STEPS} steps: {:?}\n{:?}", self.case.step(), self.case);
    }

    fn call(&mut self, call: Call, outcome: &Outcome) {
        self.check_may_act();
        assert!(self.case.inputs.is_some(), "a call without inputs");
        self.case.answered = Some(self.case.attempt(call, outcome.clone()));
    }

    fn publish(&mut self, status: &MigrationLinkStatus) {
        let before = &self.case.link.status;
        assert_ne!(status, before, "published without a change");
        assert!(
            status.observed_generation >= before.observed_generation,
            "observedGeneration went backwards: {status:?}"
        );
        check_status(status);
        // It comes back from the API server as JSON.
        let kept: MigrationLinkStatus =
            serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap();
        assert_eq!(kept, *status, "the API server keeps something else");
        self.events.extend(announcement(before, &kept));
        self.case.link.status = kept;
        self.total.publishes += 1;
    }

    fn check_may_act(&self) {
        let link = &self.case.link;
        let held = link.paused || link.spec.suspend == Some(true);
        let deletes = link.finalized() && link.spec.deletion_policy == DeletionPolicy::Delete;
        assert!(if link.deleting { deletes } else { !held }, "acted on while held");
        assert!(self.case.holder.is_none(), "another resource holds the organization");
        assert!(self.case.held.is_none() || self.case.inputs.is_none(), "the call is held back");
        let origin = link.base_url().map(|base| base.origin().clone());
        assert!(origin.is_some_and(|origin| self.case.settings.allowed_origins.allow(&origin)));
    }

    fn check_wait(&self, until: Option<Timestamp>) {
        let link = &self.case.link;
        if let Some(until) = until {
            assert!(until > self.case.now, "a wait that is over: {until} at {}: {link:?}", self.case.now);
            return;
        }
        if link.deleting && !link.finalized() {
            return;
        }
        let reason: Option<Reason> = (link.status.conditions.as_ref())
            .and_then(|conditions| conditions.of(ConditionType::Ready))
            .and_then(|ready| ready.reason.parse().ok());
        let woken_by_a_change = match reason {
            Some(Reason::EndpointNotAllowed | Reason::InvalidSpec | Reason::DuplicateOrganization) => true,
            Some(Reason::SecretNotFound | Reason::InvalidSecret) => {
                self.case.secret_access == SecretAccess::Watch
            }
            _ => link.deleting || link.paused || link.spec.suspend == Some(true),
        };
        assert!(woken_by_a_change, "nothing would ever wake it: {link:?}");
    }

    /// Time passes until the wait is over, and the link is looked at.
    pub fn next(&mut self) -> Did {
        self.case.now = self.wait.unwrap();
        self.pass()
    }

    /// Time passes until this second, with a look at the end of every wait before it.
    pub fn until(&mut self, second: i64) -> Did {
        let before = self.total;
        while let Some(wait) = self.wait.filter(|wait| *wait <= at(second)) {
            self.case.now = wait;
            self.pass();
        }
        self.case.now = at(second);
        self.total - before
    }

    /// The process ends, and another one begins now.
    pub fn restart(&mut self) -> &mut Self {
        self.case.memory = Memory::default();
        self.case.settings.started_at = self.case.now;
        self
    }

    /// Seconds until the wait is over.
    pub fn waits(&self) -> i64 {
        self.wait.unwrap().duration_since(self.case.now).as_secs()
    }

    /// Whether a wait is over after about so many seconds, a jitter of 10 % allowed.
    pub fn assert_waits_about(&self, seconds: i64) {
        let waits = Duration::from_secs(self.waits().unsigned_abs()).as_secs_f64();
        let wanted = Duration::from_secs(seconds.unsigned_abs()).as_secs_f64();
        assert!((waits - wanted).abs() <= wanted * 0.1 + 1.0, "waits {waits} s, not about {wanted} s");
    }
}

/// What holds for every status that is published.
pub fn check_status(status: &MigrationLinkStatus) {
    let conditions = status.conditions.clone().unwrap_or_default();
    let line = shown(status);
    let is_true = |kind| conditions.is_true(kind);
    for condition in &conditions {
        assert_eq!(condition.observed_generation, status.observed_generation, "{line}");
        assert!((1..=1000).contains(&condition.message.len()), "{condition:?}");
        assert!(condition.reason.parse::<Reason>().is_ok(), "{line}");
        assert!(condition.type_ == "Ready" || condition.status == "True", "abnormal is true: {line}");
    }
    let besides = [ConditionType::Reconciling, ConditionType::Stalled].map(is_true);
    let ready = conditions.iter().filter(|condition| condition.type_ == "Ready").count();
    if is_true(ConditionType::Suspended) {
        assert_eq!(besides, [false, false], "kstatus must say Current: {line}");
        assert!(ready == 0 || is_true(ConditionType::Ready), "{line}");
    } else {
        assert_eq!(ready, 1, "{line}");
        let trouble = besides.into_iter().filter(|beside| *beside).count();
        assert_eq!(trouble, usize::from(!is_true(ConditionType::Ready)), "{line}");
    }
    if is_true(ConditionType::Ready) || is_true(ConditionType::Suspended) {
        assert_eq!((status.attempts, &status.next_attempt_time), (None, &None), "{line}");
    }
}
