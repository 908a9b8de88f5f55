//! The right to write: whether this process has it, until when, and why it was lost.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::api::LeaseError;

/// Whether this process may write, to the remote API and into statuses. A clone sees what the original sees.
///
/// A claim ends at a moment of the monotonic clock, whether or not anybody gets to say so: a process that was stopped
/// (SIGSTOP) or cut off sees it as soon as it looks. While a whole machine is suspended, Linux's monotonic clock
/// stands still: after that, it shows at the next renewal only, within a few seconds.
#[derive(Clone, Debug)]
pub struct Claim {
    standing: watch::Receiver<Standing>,
    writes: Arc<AtomicUsize>,
}

/// A write whose answer is waited for, for as long as this is kept.
#[derive(Debug)]
pub struct WriteInFlight(Arc<AtomicUsize>);

impl Drop for WriteInFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How this process stands.
#[derive(Debug)]
pub(super) enum Standing {
    /// It may not write; `refused` says what a person has to mend before it ever may.
    Without { refused: Option<String> },
    /// It may write until then.
    Until { end: Instant, since: Option<String> },
    /// Nobody else is going to write.
    Always,
    /// It may not write any more.
    Lost(Loss),
}

impl Standing {
    /// See [`Claim::since`].
    pub(super) fn since(&self) -> Option<String> {
        match self {
            Self::Until { since, .. } => since.clone(),
            _ => None,
        }
    }
}

/// Why a claim was lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// No renewal came through.
    #[error(
        "the lease {lease} could not be renewed for {} s{}: another copy of the operator may write from now on, so this \
         one ends",
        after.as_secs(), reason(*last)
    )]
    Expired {
        /// Namespace and name.
        lease: String,
        /// Since the last one.
        after: Duration,
        /// How the last attempt failed.
        last: Option<LeaseError>,
    },
    /// Somebody else holds it.
    #[error(
        "the lease {lease} was taken by {holder}, which writes from now on, so this copy of the operator ends"
    )]
    Taken {
        /// Namespace and name.
        lease: String,
        /// Who holds it.
        holder: String,
    },
    /// It was deleted, or its holder removed: by a person, since no copy of the operator does that.
    #[error(
        "somebody deleted or emptied the lease {lease}: whoever takes it writes from now on, so this copy ends"
    )]
    Removed {
        /// Namespace and name.
        lease: String,
    },
}

fn reason(last: Option<LeaseError>) -> String {
    last.map_or_else(
        || " (no call was answered in time, or this process stood still)".to_owned(),
        |error| format!(" ({error})"),
    )
}

impl Claim {
    /// The claim of a process that has no others beside it (`--leader-elect=false`): it has no end.
    pub fn always() -> Self {
        Self::over(watch::channel(Standing::Always).1)
    }

    /// A claim that nobody renews.
    pub fn until(end: Instant) -> Self {
        Self::over(watch::channel(Standing::Until { end, since: None }).1)
    }

    pub(super) fn new(standing: &watch::Sender<Standing>) -> Self {
        Self::over(standing.subscribe())
    }

    fn over(standing: watch::Receiver<Standing>) -> Self {
        Self { standing, writes: Arc::default() }
    }

    /// To be kept while a write waits for its answer.
    pub fn begin_write(&self) -> WriteInFlight {
        self.writes.fetch_add(1, Ordering::Relaxed);
        WriteInFlight(self.writes.clone())
    }

    /// How many writes wait for their answers. What becomes of one that is cut off nobody knows.
    pub fn writes_in_flight(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }

    /// When a write that may take so long has to be over: after that time or with the claim, whichever comes first.
    /// None if nothing may be written now. To be asked right before each write: tokio's `timeout` lets a call go on
    /// once more before it looks at the clock, and meanwhile the process may have been stopped for an hour.
    pub fn deadline(&self, longest: Duration) -> Option<Instant> {
        let now = Instant::now();
        let latest = now + longest;
        match *self.standing.borrow() {
            Standing::Always => Some(latest),
            Standing::Until { end, .. } if now < end => Some(latest.min(end)),
            Standing::Until { .. } | Standing::Without { .. } | Standing::Lost(_) => None,
        }
    }

    /// The version of the lease with which this claim began, if another copy held the lease before: what that one wrote, it wrote
    /// before this version. None where nobody held it before, or there is no claim.
    pub fn since(&self) -> Option<String> {
        self.standing.borrow().since()
    }

    /// Whether anything may be written now.
    pub fn holds(&self) -> bool {
        self.deadline(Duration::ZERO).is_some()
    }

    /// Returns as soon as this process may not write any more; at once if it may not now.
    pub async fn ended(&self) {
        let standing = &mut self.standing.clone();
        loop {
            let end = match *standing.borrow_and_update() {
                Standing::Always => None,
                Standing::Until { end, .. } if Instant::now() < end => Some(end),
                Standing::Until { .. } | Standing::Without { .. } | Standing::Lost(_) => return,
            };
            let over = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => pending().await,
                }
            };
            let renewed = async {
                if standing.changed().await.is_err() {
                    // Nobody renews it any more.
                    pending::<()>().await;
                }
            };
            tokio::select! {
                () = over => {}
                () = renewed => {}
            }
        }
    }

    /// Returns as soon as this process may write; never if it never may.
    pub async fn acquired(&self) {
        let standing = &mut self.standing.clone();
        let holds = |standing: &Standing| matches!(standing, Standing::Until { .. } | Standing::Always);
        if standing.wait_for(holds).await.is_err() {
            pending::<()>().await;
        }
    }

    /// Returns as soon as the claim is lost, and says why; never for one that was not lost but given back.
    pub async fn lost(&self) -> Loss {
        let standing = &mut self.standing.clone();
        match standing.wait_for(|standing| matches!(standing, Standing::Lost(_))).await.as_deref() {
            Ok(Standing::Lost(loss)) => loss.clone(),
            _ => pending().await,
        }
    }

    /// What a person has to mend before this process ever may write.
    pub fn refused(&self) -> Option<String> {
        match &*self.standing.borrow() {
            Standing::Without { refused } => refused.clone(),
            _ => None,
        }
    }
}
