//! What is written: the status, the finalizer, and the events that tell of it.

use super::Pass;
use crate::api::MigrationLinkStatus;
use crate::controller::kubernetes::KubernetesError;
use crate::controller::queue::Urgency;
use crate::controller::store::Known;
use crate::decision::{Announcement, Link, Release, Settled, announcement};

impl Pass<'_> {
    pub(super) async fn record(&self, seen: &Known, settled: Settled) -> Result<(), KubernetesError> {
        let link = &seen.link;
        let written = match settled.status {
            Some(status) => self.publish(link, &status).await?,
            None => true,
        };
        if written {
            // The outcome need not be kept any longer.
            self.remember(link, |known| {
                // What another link's success gave while this was written is not lost.
                let nudged = Some(known.memory.nudge).filter(|nudge| *nudge != seen.memory.nudge);
                known.memory = settled.memory;
                known.memory.nudge = nudged.unwrap_or(known.memory.nudge);
                known.answered = None;
                known.given_on = false;
            });
        }
        Ok(())
    }

    /// Writes the status of this version of the link and announces what changed. False if the link is another version by
    /// now, or gone: that is taken in, and the next step decides anew.
    pub(super) async fn publish(
        &self,
        link: &Link,
        status: &MigrationLinkStatus,
    ) -> Result<bool, KubernetesError> {
        let patched = self.context.kubernetes.patch_status(link, status).await;
        let written = self.take_in(link, patched).await?;
        if written && let Some(announcement) = announcement(&link.status, status) {
            self.announce(link, announcement);
        }
        Ok(written)
    }

    pub(super) async fn patch_finalizers(
        &self,
        link: &Link,
        finalizers: &[String],
    ) -> Result<bool, KubernetesError> {
        let patched = self.context.kubernetes.patch_finalizers(link, finalizers).await;
        let written = self.take_in(link, patched).await?;
        if written && link.deleting && finalizers.is_empty() {
            // Nothing else holds it: it is gone.
            self.gone(link);
        }
        Ok(written)
    }

    /// Takes in what a patch was answered. False if the link is another version by now, or gone.
    async fn take_in(
        &self,
        link: &Link,
        patched: Result<Link, KubernetesError>,
    ) -> Result<bool, KubernetesError> {
        let (context, key) = (self.context, self.key);
        let patched = match patched {
            Err(KubernetesError::Conflict) => {
                match context.kubernetes.link(&key.namespace, &key.name).await {
                    Ok(newer) => {
                        context.wake(context.store.update(newer), Urgency::Change);
                        return Ok(false);
                    }
                    Err(error) => Err(error),
                }
            }
            patched => patched,
        };
        match patched {
            Ok(written) => {
                context.wake(context.store.update(written), Urgency::Change);
                Ok(true)
            }
            Err(KubernetesError::NotFound) => {
                self.gone(link);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn gone(&self, link: &Link) {
        self.context.wake(self.context.store.found_gone(self.key, &link.uid), Urgency::Change);
    }

    /// The resource was let go.
    pub(super) fn released(&self, link: &Link, release: Release) {
        match release {
            Release::NotNeeded => {}
            Release::Unlinked => {
                tracing::info!(link = %self.key, "the link was removed");
                self.remember(link, |known| known.answered = None);
            }
            Release::LeftBehind(announcement) => {
                self.context.metrics.link_left_behind();
                self.announce(link, announcement);
            }
        }
    }

    fn announce(&self, link: &Link, announcement: Announcement) {
        if announcement.warning {
            tracing::warn!(link = %self.key, reason = announcement.reason, "{}", announcement.note);
        } else {
            tracing::info!(link = %self.key, reason = announcement.reason, "{}", announcement.note);
        }
        self.context.events.send(link, announcement);
    }
}
