//! The loop that takes the lease, keeps it, and gives it back.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::api::{LeaseApi, LeaseError};
use super::claim::{Claim, Loss, Standing};
use super::evaluate::{Seen, Step, Timing, evaluate, held, released};
use crate::metrics::Metrics;

/// The longest that giving the lease back may take. Who cannot give it back loses it with time.
const RELEASE: Duration = Duration::from_secs(2);

/// What an election is about.
pub struct Options {
    /// The Kubernetes API, through a client that does not repeat calls by itself.
    pub client: Client,
    /// The lease's namespace.
    pub namespace: String,
    /// The lease's name.
    pub name: String,
    /// So long a holder that says nothing keeps the lease. Whole seconds.
    pub duration: Duration,
    /// The name of this process among the candidates.
    pub identity: String,
    /// Where the calls are counted.
    pub metrics: Arc<Metrics>,
}

/// What becomes of the lease when this process is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// It is released: whoever waits for it need not wait until it expires.
    Release,
    /// It is left to expire: what this process has sent may take effect still, and until then nobody else should write.
    LetExpire,
}

/// A candidate for the lease.
pub struct Elector {
    api: LeaseApi,
    /// Namespace and name, for people.
    lease: String,
    identity: String,
    timing: Timing,
    clock: fn() -> Timestamp,
    metrics: Arc<Metrics>,
    standing: watch::Sender<Standing>,
    seen: Option<Seen>,
    /// Whether `seen` is all that happened: not after an attempt whose effect is not known.
    current: bool,
    /// Whether a write of ours may have made this process the holder.
    wrote: bool,
    trouble: Option<LeaseError>,
    unwatched: bool,
}

impl Elector {
    /// A candidate and its claim. Nothing happens before [`Elector::run`].
    pub fn new(options: Options) -> (Self, Claim) {
        let Options { client, namespace, name, duration, identity, metrics } = options;
        let timing = Timing { duration };
        let standing = watch::Sender::new(Standing::Without { refused: None });
        let claim = Claim::new(&standing);
        let elector = Self {
            lease: format!("{namespace}/{name}"),
            api: LeaseApi::new(client, &namespace, name, timing.call(), metrics.clone()),
            identity,
            timing,
            clock: Timestamp::now,
            metrics,
            standing,
            seen: None,
            current: false,
            wrote: false,
            trouble: None,
            unwatched: false,
        };
        (elector, claim)
    }

    /// Sets another clock for what is written into the lease.
    #[cfg(test)]
    pub fn set_clock(&mut self, clock: fn() -> Timestamp) {
        self.clock = clock;
    }

    /// Takes the lease as soon as it can be had and keeps it, until it is lost, or until `done`.
    pub async fn run(mut self, done: impl Future<Output = AtEnd>) {
        tokio::select! {
            biased;
            at_end = done => self.end(at_end).await,
            loss = self.elect() => {
                self.metrics.leader(false);
                self.standing.send_replace(Standing::Lost(loss));
            }
        }
    }

    async fn elect(&mut self) -> Loss {
        loop {
            let begun = Instant::now();
            let next = match self.step() {
                Step::Lost => return self.loss(),
                step => self.until_claim_ends(step).await,
            };
            match next {
                Ok(Next::AtOnce) => {}
                Ok(Next::Later) => self.pause(begun).await,
                Err(error) => {
                    self.current = false;
                    self.failed(error);
                    self.pause(begun).await;
                }
            }
        }
    }

    fn step(&self) -> Step {
        let seen = self.seen.as_ref().filter(|_| self.current);
        evaluate(seen, &self.identity, self.claim_end(), self.timing, Instant::now())
    }

    /// Takes the step, unless the claim ends meanwhile.
    async fn until_claim_ends(&mut self, step: Step) -> Result<Next, LeaseError> {
        let end = self.claim_end();
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = over => Ok(Next::AtOnce),
            next = self.take(step) => next,
        }
    }

    async fn take(&mut self, step: Step) -> Result<Next, LeaseError> {
        match step {
            Step::Lost => Ok(Next::AtOnce),
            Step::Read => {
                let lease = self.api.get().await?;
                self.observe(lease);
                Ok(Next::AtOnce)
            }
            Step::Acquire | Step::Renew => {
                self.write().await?;
                Ok(Next::Later)
            }
            Step::Wait(left) => {
                self.mended();
                Ok(self.follow(left).await)
            }
        }
    }

    /// Writes that this process holds the lease. From the moment at which it begins to write the claim is counted.
    async fn write(&mut self) -> Result<(), LeaseError> {
        let lease = match self.seen.as_ref().and_then(|seen| seen.lease.clone()) {
            Some(lease) => lease,
            None => self.api.create().await?,
        };
        // Without one nobody has written before this process.
        let predecessor = lease.spec.as_ref().is_some_and(|spec| spec.renew_time.is_some());
        let begun = Instant::now();
        self.wrote = true;
        let lease = self.api.replace(&held(lease, &self.identity, self.timing, (self.clock)())).await?;
        let since = match self.claim_end() {
            Some(_) => self.standing.borrow().since(),
            None => lease.resource_version().filter(|_| predecessor),
        };
        self.observe(Some(lease));
        self.mended();
        if self.claim_end().is_none() {
            tracing::info!(lease = self.lease, identity = self.identity, "leads: it holds the lease");
            self.metrics.leader(true);
        }
        let end = begun + self.timing.renew_deadline();
        self.standing.send_replace(Standing::Until { end, since });
        Ok(())
    }

    /// Waits for what becomes of somebody else's lease. It is watched, not polled: a lease that is given back is taken
    /// within milliseconds, and a waiting copy costs the API server no request. Nothing depends on the watch: where it
    /// says nothing the lease expires all the same, an attempt to take it meets the newer version, and it is read again.
    async fn follow(&mut self, left: Duration) -> Next {
        let Some(lease) = self.seen.as_ref().and_then(|seen| seen.lease.as_ref()) else {
            return Next::AtOnce;
        };
        let changes = match timeout(left, self.api.changes(lease)).await {
            Ok(Ok(changes)) => changes,
            Ok(Err(error)) => return self.not_watched(error),
            // It has expired.
            Err(_) => return Next::AtOnce,
        };
        let mut changes = pin!(changes);
        while let Step::Wait(left) = self.step() {
            match timeout(left, changes.next()).await {
                Ok(Some(Ok(lease))) => self.observe(lease),
                Ok(Some(Err(error))) => return self.not_watched(error),
                Ok(None) => {
                    self.current = false;
                    return Next::Later;
                }
                Err(_) => {}
            }
        }
        Next::AtOnce
    }

    fn not_watched(&mut self, error: LeaseError) -> Next {
        if error.needs_a_person() && !self.unwatched {
            tracing::warn!(
                lease = self.lease,
                "{error}. Until it is given, this copy reads the lease again and again, and takes over later than it could"
            );
            self.unwatched = true;
        }
        self.current = false;
        Next::Later
    }

    fn observe(&mut self, lease: Option<Lease>) {
        let before = self.seen.take();
        let former = before.as_ref().and_then(Seen::holder).map(str::to_owned);
        let seen = Seen::update(before, lease, Instant::now());
        match seen.holder() {
            Some(holder) if holder != self.identity && former.as_deref() != Some(holder) => {
                tracing::info!(lease = self.lease, holder, "another copy of the operator holds the lease");
            }
            _ => {}
        }
        self.seen = Some(seen);
        self.current = true;
    }

    /// Waits until the next attempt is due, but not past the end of the claim.
    async fn pause(&self, begun: Instant) {
        let next = begun + self.timing.retry();
        sleep_until(self.claim_end().map_or(next, |end| next.min(end))).await;
    }

    fn claim_end(&self) -> Option<Instant> {
        match *self.standing.borrow() {
            Standing::Until { end, .. } => Some(end),
            _ => None,
        }
    }

    fn failed(&mut self, error: LeaseError) {
        if error == LeaseError::Conflict {
            tracing::debug!(lease = self.lease, "somebody else was faster");
            return;
        }
        if self.trouble.replace(error) == Some(error) {
            return;
        }
        tracing::warn!(lease = self.lease, %error, "the lease cannot be read or written; trying again");
        let refused = error.needs_a_person().then(|| format!("the lease {}: {error}", self.lease));
        self.standing.send_if_modified(|standing| match standing {
            Standing::Without { refused: before } => {
                *before = refused;
                true
            }
            _ => false,
        });
    }

    fn mended(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!(lease = self.lease, "the lease can be read and written again");
            self.standing.send_if_modified(|standing| match standing {
                Standing::Without { refused } => refused.take().is_some(),
                _ => false,
            });
        }
    }

    fn loss(&self) -> Loss {
        let lease = self.lease.clone();
        if self.claim_end().is_some_and(|end| end <= Instant::now()) {
            return Loss::Expired { lease, after: self.timing.renew_deadline(), last: self.trouble };
        }
        match self.seen.as_ref().and_then(Seen::holder) {
            Some(holder) => Loss::Taken { lease, holder: holder.to_owned() },
            None => Loss::Removed { lease },
        }
    }

    async fn end(&mut self, at_end: AtEnd) {
        let end = self.claim_end();
        let over = end.is_some_and(|end| end <= Instant::now());
        // Before anybody else can have it.
        self.standing.send_replace(Standing::Without { refused: None });
        self.metrics.leader(false);
        match at_end {
            AtEnd::LetExpire if end.is_some() && !over => tracing::warn!(
                lease = self.lease,
                "the lease is not given back, because what this copy has sent may take effect still: another one takes \
                 over when it expires"
            ),
            // Who finds out only now that its claim has ended may have cut off a write because of that.
            AtEnd::Release if self.wrote && !over => self.release().await,
            _ => {}
        }
    }

    /// Gives the lease back.
    async fn release(&self) {
        let releasing = async {
            // Read first: a renewal may have been under way, and come in still.
            while let Some(lease) = self.api.get().await? {
                let spec = lease.spec.as_ref();
                if spec.and_then(|spec| spec.holder_identity.as_ref()) != Some(&self.identity) {
                    break;
                }
                match self.api.replace(&released(lease, (self.clock)())).await {
                    Ok(_) => {
                        tracing::info!(lease = self.lease, "gave the lease back");
                        break;
                    }
                    Err(LeaseError::Conflict) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        if let Err(error) = timeout(RELEASE, releasing).await.unwrap_or(Err(LeaseError::Timeout)) {
            tracing::warn!(
                lease = self.lease, %error,
                "the lease could not be given back: another copy takes over when it expires"
            );
        }
    }
}

/// When the next step is taken.
enum Next {
    /// Now.
    AtOnce,
    /// When the next attempt is due.
    Later,
}

/// A name for this process that no other process has: the host's (in a pod, the pod's) and a random number.
pub fn identity() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "unknown",
        host => host,
    };
    format!("{host}_{:016x}", RandomState::new().hash_one(()))
}
