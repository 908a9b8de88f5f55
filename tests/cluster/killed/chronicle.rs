//! What a watch tells of the links: how each is now, and every acceptance that was recorded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use kube::ResourceExt;
use kube::runtime::watcher::{self, Event, watcher};
use migrationlink_operator::api::{ConditionType, Conditions, MigrationLink, MigrationLinkStatus};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::Tenant;

/// A status that says that a token was accepted, where the one before it did not.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// Name of the link.
    pub name: String,
    /// The token's fingerprint.
    pub fingerprint: String,
    /// When the watch told of it.
    pub at: Duration,
}

/// Follows the links of a namespace, from before the first of them.
pub struct Chronicle {
    state: Arc<Mutex<State>>,
    writing: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    now: HashMap<String, MigrationLink>,
    accepted: Vec<Acceptance>,
}

impl Chronicle {
    /// Begins; times are counted from `epoch`.
    pub async fn begin(tenant: &Tenant<'_>, epoch: Instant) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let (begun, begins) = oneshot::channel();
        let mut events = watcher(tenant.links(), watcher::Config::default()).boxed();
        let written = state.clone();
        let writing = tokio::spawn(async move {
            let mut begun = Some(begun);
            while let Some(event) = events.next().await {
                let mut state = written.lock().unwrap();
                match event {
                    Ok(Event::Apply(link) | Event::InitApply(link)) => state.take_in(link, epoch.elapsed()),
                    Ok(Event::Delete(link)) => drop(state.now.remove(&link.name_any())),
                    // What a second list leaves out nobody would know.
                    Ok(Event::Init) => assert!(begun.is_some(), "the chronicle has a gap"),
                    Ok(Event::InitDone) => drop(begun.take().map(|begun| begun.send(()))),
                    Err(error) => panic!("the chronicle cannot be kept: {error}"),
                }
            }
        });
        begins.await.expect("the watch begins");
        Self { state, writing }
    }

    /// The link as it is now; None if there is none.
    pub fn link(&self, name: &str) -> Option<MigrationLink> {
        assert!(!self.writing.is_finished(), "the chronicle has ended");
        self.state.lock().unwrap().now.get(name).cloned()
    }

    /// All that was recorded of a link.
    pub fn accepted(&self, name: &str) -> Vec<Acceptance> {
        let state = self.state.lock().unwrap();
        state.accepted.iter().filter(|acceptance| acceptance.name == name).cloned().collect()
    }
}

impl State {
    fn take_in(&mut self, link: MigrationLink, at: Duration) {
        let name = link.name_any();
        let before = self.now.get(&name).filter(|before| before.uid() == link.uid());
        let before = before.and_then(|before| before.status.as_ref());
        if let Some(fingerprint) = link.status.as_ref().and_then(|status| accepts(before, status)) {
            self.accepted.push(Acceptance { name: name.clone(), fingerprint, at });
        }
        self.now.insert(name, link);
    }
}

/// The token that was accepted between these two. Two acceptances within the same second leave the same times: the second tells
/// itself by the annotation that it handles, or by the loss that it ends.
fn accepts(before: Option<&MigrationLinkStatus>, now: &MigrationLinkStatus) -> Option<String> {
    let marks = |status: &MigrationLinkStatus| {
        let link = status.link.clone().unwrap_or_default();
        (link.token_fingerprint, link.accepted_time, status.last_handled_relink_at.clone())
    };
    let lost = |status: &MigrationLinkStatus| {
        let ready = status.conditions.as_ref().and_then(|all| all.of(ConditionType::Ready));
        ready.is_some_and(|ready| ready.reason == "LinkLost")
    };
    let found = before.is_some_and(lost) && !lost(now);
    let news = found || before.map(marks).unwrap_or_default() != marks(now);
    marks(now).0.filter(|_| news)
}

impl Drop for Chronicle {
    fn drop(&mut self) {
        self.writing.abort();
    }
}
