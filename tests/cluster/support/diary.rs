//! Everything that the links of a test have said: what is true for a second only is not missed on a busy machine.

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::runtime::watcher::{self, Event, watcher};
use migrationlink_operator::api::{ConditionType, Conditions, MANAGER, MigrationLink, MigrationLinkStatus};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::tenant::Tenant;
use super::wait::eventually;

/// Writes down every version of the links of a namespace, from a watch.
pub struct Diary {
    versions: Arc<Mutex<Vec<MigrationLink>>>,
    writing: JoinHandle<()>,
}

/// What the operator said of a link at one time.
#[derive(Clone, Debug)]
pub struct Page {
    /// When the API server took it in.
    pub written: Option<Time>,
    /// What was said.
    pub status: MigrationLinkStatus,
}

impl Diary {
    /// Begins, and is sure to have every version that comes after.
    pub async fn begin(tenant: &Tenant<'_>) -> Self {
        let versions: Arc<Mutex<Vec<MigrationLink>>> = Arc::default();
        let (begun, begins) = oneshot::channel();
        let mut events = watcher(tenant.links(), watcher::Config::default()).boxed();
        let written = versions.clone();
        let writing = tokio::spawn(async move {
            let mut begun = Some(begun);
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::InitApply(link) | Event::Apply(link)) => written.lock().unwrap().push(link),
                    Ok(Event::InitDone) => drop(begun.take().map(|begun| begun.send(()))),
                    Ok(Event::Init | Event::Delete(_)) => {}
                    Err(error) => panic!("the diary cannot be kept: {error}"),
                }
            }
        });
        begins.await.expect("the watch begins");
        Self { versions, writing }
    }

    /// Every version of a link, oldest first.
    pub fn versions(&self, name: &str) -> Vec<MigrationLink> {
        let versions = self.versions.lock().unwrap();
        versions.iter().filter(|link| link.name_any() == name).cloned().collect()
    }

    /// What the operator has said of a link, oldest first: each status once.
    pub fn pages(&self, name: &str) -> Vec<Page> {
        let mut pages: Vec<Page> = Vec::new();
        for link in self.versions(name) {
            let Some(status) = link.status.clone().filter(|status| status.observed_generation != Some(-1))
            else {
                continue;
            };
            if pages.last().is_none_or(|last| last.status != status) {
                let ours =
                    link.managed_fields().iter().find(|entry| entry.manager.as_deref() == Some(MANAGER));
                let written = ours.and_then(|entry| entry.time.clone());
                pages.push(Page { written, status });
            }
        }
        pages
    }

    /// The reasons that `Ready` has had, each as long as it lasted once.
    pub fn reasons(&self, name: &str) -> Vec<String> {
        let mut reasons: Vec<_> = self.pages(name).iter().filter_map(Page::reason).collect();
        reasons.dedup();
        reasons
    }

    /// Waits until the link has been ready or not for exactly these reasons, one after the other.
    pub async fn has_been(&self, name: &str, expected: &[&str]) -> Vec<Page> {
        eventually(&format!("{name} has been {expected:?}"), async || {
            let reasons = self.reasons(name);
            if reasons == expected { Ok(self.pages(name)) } else { Err(self.last(name)) }
        })
        .await
    }

    /// Waits until something of this kind is said last.
    pub async fn page(&self, name: &str, what: &str, holds: impl Fn(&Page) -> bool) -> Page {
        eventually(&format!("{name}: {what}"), async || {
            self.pages(name).pop().filter(&holds).ok_or_else(|| self.last(name))
        })
        .await
    }

    /// The reasons so far and the last page, for a person.
    pub fn last(&self, name: &str) -> String {
        format!("{:?}, {:?}", self.reasons(name), self.pages(name).last())
    }

    /// All of it as text, to look for what must not be there.
    pub fn text(&self) -> String {
        serde_json::to_string(&*self.versions.lock().unwrap()).expect("links are JSON")
    }
}

impl Page {
    /// The reason of `Ready`.
    pub fn reason(&self) -> Option<String> {
        let ready = self.status.conditions.as_ref()?.of(ConditionType::Ready)?;
        Some(ready.reason.clone())
    }
}

impl Drop for Diary {
    fn drop(&mut self) {
        self.writing.abort();
    }
}
